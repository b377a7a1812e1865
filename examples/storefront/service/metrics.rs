//! What a service counts about itself, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::deployment::ServiceName;
use crate::json_log;
use crate::process::Identity;

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Status of a request whose client went away before it was answered (nginx's number for it).
const CLIENT_CLOSED: u16 = 499;

/// Counters of one process.
#[derive(Debug)]
pub(crate) struct Metrics {
    service: ServiceName,
    started_seconds: f64,
    in_flight: AtomicI64,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    version: String,
    requests: BTreeMap<(&'static str, u16), u64>,
    errors: BTreeMap<&'static str, u64>,
    durations: BTreeMap<&'static str, Histogram>,
    calls: BTreeMap<(ServiceName, &'static str), u64>,
    call_durations: BTreeMap<ServiceName, Histogram>,
    calls_in_flight: BTreeMap<ServiceName, i64>,
}

#[derive(Debug, Default)]
struct Histogram {
    /// Not cumulative; the last one is beyond every bound.
    buckets: [u64; BUCKETS.len() + 1],
    sum_seconds: f64,
}

impl Histogram {
    fn record(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let bucket = BUCKETS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket] += 1;
        self.sum_seconds += seconds;
    }
}

impl Metrics {
    pub(crate) fn new(service: ServiceName) -> Self {
        Self {
            service,
            started_seconds: json_log::now().as_millisecond() as f64 / 1000.0,
            in_flight: AtomicI64::new(0),
            counts: Mutex::default(),
        }
    }

    pub(crate) fn set_version(&self, version: &str) {
        version.clone_into(&mut self.counts().version);
    }

    /// Counts a call to another service until the guard is dropped.
    pub(crate) fn call(self: &Arc<Self>, callee: ServiceName) -> CallGuard {
        *self.counts().calls_in_flight.entry(callee).or_default() += 1;
        CallGuard {
            metrics: Arc::clone(self),
            callee,
            started: Instant::now(),
            outcome: "abandoned",
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page at `/metrics`.
    pub(crate) fn render(&self) -> String {
        let counts = self.counts();
        let mut page = Page {
            service: self.service,
            text: String::with_capacity(8 * 1024),
        };
        page.family("http_requests_total", "counter", "Requests answered.");
        for ((route, status), n) in &counts.requests {
            let labels = format!(",route=\"{route}\",status=\"{status}\"");
            page.sample("http_requests_total", &labels, n);
        }
        page.family(
            "http_request_errors_total",
            "counter",
            "Requests answered with a 5xx status.",
        );
        for (route, n) in &counts.errors {
            let labels = format!(",route=\"{route}\"");
            page.sample("http_request_errors_total", &labels, n);
        }
        page.family(
            "http_request_duration_seconds",
            "histogram",
            "Time from request to answer.",
        );
        for (route, histogram) in &counts.durations {
            let labels = format!(",route=\"{route}\"");
            page.histogram("http_request_duration_seconds", &labels, histogram);
        }
        page.family(
            "http_requests_in_flight",
            "gauge",
            "Requests being answered now.",
        );
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        page.sample("http_requests_in_flight", "", in_flight);
        Self::render_calls(&mut page, &counts);
        self.render_process(&mut page, &counts);
        page.text
    }

    fn render_calls(page: &mut Page, counts: &Counts) {
        page.family(
            "http_client_requests_total",
            "counter",
            "Calls to other services by outcome.",
        );
        for ((callee, outcome), n) in &counts.calls {
            let labels = format!(",callee=\"{callee}\",outcome=\"{outcome}\"");
            page.sample("http_client_requests_total", &labels, n);
        }
        page.family(
            "http_client_request_duration_seconds",
            "histogram",
            "Time calls to other services take.",
        );
        for (callee, histogram) in &counts.call_durations {
            let labels = format!(",callee=\"{callee}\"");
            page.histogram("http_client_request_duration_seconds", &labels, histogram);
        }
        page.family(
            "http_client_requests_in_flight",
            "gauge",
            "Calls to other services being waited for now.",
        );
        for (callee, n) in &counts.calls_in_flight {
            let labels = format!(",callee=\"{callee}\"");
            page.sample("http_client_requests_in_flight", &labels, n);
        }
    }

    fn render_process(&self, page: &mut Page, counts: &Counts) {
        let resident = Identity::current().ok().and_then(Identity::resident_bytes);
        page.family("process_resident_memory_bytes", "gauge", "Resident memory.");
        page.sample(
            "process_resident_memory_bytes",
            "",
            resident.unwrap_or_default(),
        );
        page.family(
            "process_start_time_seconds",
            "gauge",
            "Start of the process, seconds since 1970.",
        );
        page.sample("process_start_time_seconds", "", self.started_seconds);
        page.family("build_info", "gauge", "The running version.");
        page.sample("build_info", &format!(",version=\"{}\"", counts.version), 1);
    }
}

/// A page of metrics being written; every sample bears the service's name.
struct Page {
    service: ServiceName,
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.text
            .push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// `labels` start with a comma, unless there are none.
    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let service = self.service;
        self.text.push_str(&format!(
            "{name}{{service=\"{service}\"{labels}}} {value}\n"
        ));
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let bounds = BUCKETS.iter().map(ToString::to_string);
        let mut cumulative = 0;
        for (count, bound) in histogram
            .buckets
            .iter()
            .zip(bounds.chain(["+Inf".to_owned()]))
        {
            cumulative += count;
            self.sample(&bucket, &format!("{labels},le=\"{bound}\""), cumulative);
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum_seconds);
        self.sample(&format!("{name}_count"), labels, cumulative);
    }
}

/// Middleware that counts every request, also those whose client goes away.
pub(crate) async fn record(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let mut guard = RequestGuard {
        route: route_of(request.uri().path()),
        status: CLIENT_CLOSED,
        started: Instant::now(),
        metrics,
    };
    guard.metrics.in_flight.fetch_add(1, Ordering::Relaxed);
    let response = next.run(request).await;
    guard.status = response.status().as_u16();
    response
}

/// The route's name: few values, however many paths there are.
fn route_of(path: &str) -> &'static str {
    let first = path.split('/').nth(1).unwrap_or_default();
    match first {
        "shop" => "/shop/{id}",
        "order" => "/order",
        "orders" => "/orders",
        "products" => "/products/{id}",
        "admin" => "/admin",
        _ => "other",
    }
}

struct RequestGuard {
    metrics: Arc<Metrics>,
    route: &'static str,
    status: u16,
    started: Instant,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.metrics.counts();
        *counts
            .requests
            .entry((self.route, self.status))
            .or_default() += 1;
        // Present from the first request on, so that a scraper sees it rise from zero.
        *counts.errors.entry(self.route).or_default() += u64::from(self.status >= 500);
        let durations = counts.durations.entry(self.route).or_default();
        durations.record(self.started.elapsed());
    }
}

/// A call to another service while it lasts; see [`Metrics::call`].
#[derive(Debug)]
pub(crate) struct CallGuard {
    metrics: Arc<Metrics>,
    callee: ServiceName,
    started: Instant,
    outcome: &'static str,
}

impl CallGuard {
    /// Says how the call ended; without it, it counts as abandoned.
    pub(crate) fn ended(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut counts = self.metrics.counts();
        *counts.calls_in_flight.entry(self.callee).or_default() -= 1;
        *counts.calls.entry((self.callee, self.outcome)).or_default() += 1;
        let durations = counts.call_durations.entry(self.callee).or_default();
        durations.record(self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_buckets_are_cumulative_and_end_with_the_count() {
        let mut histogram = Histogram::default();
        for millis in [1, 2, 700, 60_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let mut page = Page {
            service: ServiceName::Orders,
            text: String::new(),
        };
        page.histogram("h", "", &histogram);
        let page = page.text;
        assert!(
            page.contains("h_bucket{service=\"orders\",le=\"0.001\"} 1\n"),
            "{page}"
        );
        assert!(
            page.contains("h_bucket{service=\"orders\",le=\"0.5\"} 2\n"),
            "{page}"
        );
        assert!(
            page.contains("h_bucket{service=\"orders\",le=\"1\"} 3\n"),
            "{page}"
        );
        assert!(
            page.contains("h_bucket{service=\"orders\",le=\"+Inf\"} 4\n"),
            "{page}"
        );
        assert!(
            page.ends_with("h_sum{service=\"orders\"} 60.703\nh_count{service=\"orders\"} 4\n"),
            "{page}"
        );
    }

    #[test]
    fn an_abandoned_call_is_counted_and_leaves_nothing_in_flight() {
        let metrics = Arc::new(Metrics::new(ServiceName::Gateway));
        drop(metrics.call(ServiceName::Orders));
        metrics.call(ServiceName::Orders).ended("ok");
        let page = metrics.render();
        assert!(
            page.contains("callee=\"orders\",outcome=\"abandoned\"} 1"),
            "{page}"
        );
        assert!(
            page.contains("callee=\"orders\",outcome=\"ok\"} 1"),
            "{page}"
        );
        assert!(
            page.contains("in_flight{service=\"gateway\",callee=\"orders\"} 0"),
            "{page}"
        );
    }
}
