//! A small load benchmark.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::port::{HttpClient, HttpRequest};
use homeostasis_core::{BoxFuture, ConfigError, Context, Secret, Target, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::check::{Check, Finding, absolute_url, checks, lasting};
use super::join::join_all;
use super::probing::Probe;
use super::reading::Reading;

/// After this many answers a service that mostly fails is left in peace.
const ENOUGH_TO_STOP: u32 = 20;

/// What is asked how often, and how good the answers must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whom it is about.
    pub target: Target,
    /// Absolute: `http://127.0.0.1:8080/search`. **Warning:** it must change nothing.
    pub url: String,
    /// Headers to send; default none. Their values are never shown, and none is serialized.
    #[serde(default, skip_serializing)]
    pub headers: Vec<(String, Secret)>,
    /// How many requests are under way at once; default 10, 1 to 50.
    #[serde(default = "LoadProbeConfig::default_concurrency")]
    pub concurrency: u32,
    /// How many requests are made in all; default 200, 1 to 10 000.
    #[serde(default = "LoadProbeConfig::default_requests")]
    pub requests: u32,
    /// A 95th percentile of the latency above it is degraded; default 500 ms.
    #[serde(
        default = "LoadProbeConfig::default_max_p95",
        with = "crate::duration_text"
    )]
    pub max_p95: Duration,
    /// A share of failures above it is unhealthy; default 0.001, 0 to 1.
    #[serde(default = "LoadProbeConfig::default_max_error_ratio")]
    pub max_error_ratio: f64,
    /// How long one request may take; default 5 s.
    #[serde(
        default = "LoadProbeConfig::default_request_timeout",
        with = "crate::duration_text"
    )]
    pub request_timeout: Duration,
    /// How often it is asked; default 15 min.
    #[serde(
        default = "LoadProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long all of it may take; default 30 s.
    #[serde(
        default = "LoadProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
}

impl LoadProbeConfig {
    /// The defaults for `url` of `target`.
    pub fn new(name: impl Into<String>, target: Target, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            target,
            url: url.into(),
            headers: Vec::new(),
            concurrency: Self::default_concurrency(),
            requests: Self::default_requests(),
            max_p95: Self::default_max_p95(),
            max_error_ratio: Self::default_max_error_ratio(),
            request_timeout: Self::default_request_timeout(),
            interval: Self::default_interval(),
            timeout: Self::default_timeout(),
        }
    }

    fn check(&self) -> Check<'_> {
        Check {
            name: &self.name,
            target: &self.target,
            interval: self.interval,
            timeout: self.timeout,
        }
    }

    fn default_concurrency() -> u32 {
        10
    }

    fn default_requests() -> u32 {
        200
    }

    fn default_max_p95() -> Duration {
        Duration::from_millis(500)
    }

    fn default_max_error_ratio() -> f64 {
        0.001
    }

    fn default_request_timeout() -> Duration {
        Duration::from_secs(5)
    }

    fn default_interval() -> Duration {
        Duration::from_secs(15 * 60)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(30)
    }
}

/// Asks a URL many times at once and judges the 95th percentile and the share of failures.
///
/// It measures `up`, `probe_latency_seconds` (of the whole round), `load_p95_seconds` (over the
/// requests that were answered, by nearest rank) and `load_error_ratio`, all with the label
/// `check`, and reports
/// - *healthy:* within both limits;
/// - *degraded:* few enough failures, but `max_p95` is exceeded;
/// - *unhealthy:* more failures than `max_error_ratio`.
///
/// A failure is no answer within `request_timeout`, or a status outside of 200 to 399.
/// It cannot become an attack: both numbers are capped, and when more than half of at least 20
/// requests have failed, no further one is begun. Keep it away from services under stress.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::Target;
/// use homeostasis::core::port::NoHttp;
/// use homeostasis::signals::{LoadProbe, LoadProbeConfig};
///
/// let mut config = LoadProbeConfig::new("search", Target::service("shop")?, "http://shop/search");
/// config.concurrency = 51;
/// let error = LoadProbe::new(config, Arc::new(NoHttp)).unwrap_err();
/// assert!(error.to_string().starts_with("concurrency = 51, expected 1 to 50"));
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug)]
pub struct LoadProbe {
    config: LoadProbeConfig,
    client: Arc<dyn HttpClient>,
}

/// What the requests of one round gave.
#[derive(Debug, Default)]
struct Tally {
    latencies: Vec<Duration>,
    failures: u32,
    last_failure: String,
}

impl Tally {
    fn asked(&self) -> u32 {
        let answered = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        answered.saturating_add(self.failures)
    }

    fn is_hopeless(&self) -> bool {
        self.asked() >= ENOUGH_TO_STOP && self.failures > self.asked() / 2
    }

    fn error_ratio(&self) -> f64 {
        f64::from(self.failures) / f64::from(self.asked().max(1))
    }

    /// By nearest rank; `None` without answers.
    fn p95(&mut self) -> Option<Duration> {
        self.latencies.sort_unstable();
        let rank = (self.latencies.len() * 95).div_ceil(100);
        self.latencies.get(rank.checked_sub(1)?).copied()
    }
}

impl LoadProbe {
    /// A probe that asks through `client`.
    ///
    /// # Errors
    /// - The name is empty, or the URL does not begin with `http://` or `https://`.
    /// - `concurrency` is not in `1..=50`, or `requests` not in `1..=10_000`.
    /// - `max_error_ratio` is not in `0..=1`, or a duration is zero.
    pub fn new(config: LoadProbeConfig, client: Arc<dyn HttpClient>) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.check().validate(&mut wrong);
        absolute_url(&mut wrong, "url", &config.url);
        lasting(&mut wrong, "max_p95", config.max_p95);
        lasting(&mut wrong, "request_timeout", config.request_timeout);
        if !(1..=50).contains(&config.concurrency) {
            let found = config.concurrency;
            wrong.push(Violation::new("concurrency", found, "1 to 50"));
        }
        if !(1..=10_000).contains(&config.requests) {
            wrong.push(Violation::new("requests", config.requests, "1 to 10000"));
        }
        if !(0.0..=1.0).contains(&config.max_error_ratio) {
            let found = config.max_error_ratio;
            wrong.push(Violation::new("max_error_ratio", found, "0 to 1"));
        }
        wrong.into_result(Self { config, client })
    }

    /// One of those who ask: takes the next request until there is none left.
    fn asker(
        &self,
        cx: &Context,
        next: &Arc<AtomicU32>,
        tally: &Arc<Mutex<Tally>>,
    ) -> BoxFuture<'static, ()> {
        let mut request = HttpRequest::get(&self.config.url).within(self.config.request_timeout);
        request.headers = super::http::exposed(&self.config.headers);
        let (client, clock) = (Arc::clone(&self.client), Arc::clone(cx.clock()));
        let (next, tally) = (Arc::clone(next), Arc::clone(tally));
        let requests = self.config.requests;
        Box::pin(async move {
            let tallied = || tally.lock().unwrap_or_else(PoisonError::into_inner);
            while next.fetch_add(1, Ordering::Relaxed) < requests && !tallied().is_hopeless() {
                let started = clock.now();
                let answer = client.send(request.clone()).await;
                let took = clock.now().since(started);
                let failure = match answer {
                    Ok(answer) if (200..400).contains(&answer.status) => None,
                    Ok(answer) => Some(format!("status {}", answer.status)),
                    Err(error) => Some(super::refusal::of_http(&error)),
                };
                let mut tally = tallied();
                match failure {
                    None => tally.latencies.push(took),
                    Some(why) => {
                        tally.failures += 1;
                        tally.last_failure = why;
                    }
                }
            }
        })
    }

    fn judge(&self, tally: &Tally, p95: Option<Duration>) -> Finding {
        let (asked, failed, most) = (tally.asked(), tally.failures, self.config.max_p95);
        if tally.error_ratio() > self.config.max_error_ratio {
            return Finding::unhealthy(format!(
                "{failed} of {asked} requests failed, the last one with: {}",
                tally.last_failure
            ));
        }
        match p95 {
            Some(p95) if p95 > most => Finding::degraded(format!(
                "p95 {p95:?} over {asked} requests, expected at most {most:?}"
            )),
            Some(p95) => Finding::healthy(format!("p95 {p95:?} over {asked} requests")),
            None => Finding::unhealthy("no request was answered"),
        }
    }
}

#[async_trait]
impl Probe for LoadProbe {
    checks!(Comprehensive);

    async fn probe(&self, cx: &Context) -> Reading {
        let (next, tally) = (Arc::default(), Arc::<Mutex<Tally>>::default());
        let started = cx.now();
        let askers = (0..self.config.concurrency).map(|_| self.asker(cx, &next, &tally));
        join_all(askers.collect()).await;
        let at = cx.now();
        let mut tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
        let p95 = tally.p95();
        let check = self.config.check();
        let mut reading = check
            .answered(started, at, self.judge(&tally, p95))
            .measured(check.measure("load_error_ratio", at, tally.error_ratio()));
        reading
            .measurements
            .extend(p95.map(|p95| check.measure("load_p95_seconds", at, p95.as_secs_f64())));
        reading
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use homeostasis_core::port::{HttpError, HttpResponse};
    use homeostasis_core::signal::HealthState;
    use homeostasis_core::{Clock, ManualClock, Timestamp};

    use super::super::ask;
    use super::*;

    /// A service that answers after `takes`, fails every `fails_every`-th request, and remembers
    /// how many it had at once.
    #[derive(Debug)]
    struct Service {
        clock: ManualClock,
        takes: Duration,
        fails_every: usize,
        asked: AtomicUsize,
        open: AtomicUsize,
        most_open: AtomicUsize,
    }

    #[async_trait]
    impl HttpClient for Service {
        async fn send(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
            let n = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_open.fetch_max(open, Ordering::SeqCst);
            self.clock.sleep(self.takes).await;
            self.open.fetch_sub(1, Ordering::SeqCst);
            let fails = n.is_multiple_of(self.fails_every);
            let status = if fails { 500 } else { 200 };
            Ok(HttpResponse::new(status, Vec::new(), Vec::new()))
        }
    }

    async fn round(takes: u64, fails_every: usize) -> (Reading, Arc<Service>) {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let service = Arc::new(Service {
            clock: clock.clone(),
            takes: Duration::from_millis(takes),
            fails_every,
            asked: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
        });
        let target = Target::service("shop").unwrap();
        let config = LoadProbeConfig::new("search", target, "http://shop/search");
        let client = Arc::clone(&service) as Arc<dyn HttpClient>;
        let probe = LoadProbe::new(config, client).unwrap();
        let cx = Context::new(Arc::new(clock.clone()), 1);
        let asked = ask(&probe, &cx);
        let drive = async {
            for _ in 0..400 {
                tokio::task::yield_now().await;
                clock.advance(Duration::from_millis(50));
            }
        };
        let (reading, ()) = tokio::join!(asked, drive);
        (reading, service)
    }

    fn state(reading: &Reading) -> HealthState {
        reading.reports().next().unwrap().state
    }

    #[tokio::test]
    async fn fast_answers_are_healthy_and_never_more_are_open_than_allowed() {
        let (reading, service) = round(100, usize::MAX).await;
        assert_eq!(state(&reading), HealthState::Healthy, "{reading:?}");
        assert_eq!(service.asked.load(Ordering::SeqCst), 200);
        assert_eq!(service.most_open.load(Ordering::SeqCst), 10);
        assert_eq!(reading.value("load_error_ratio"), Some(0.0));
        assert!(reading.value("load_p95_seconds").unwrap() >= 0.1);
    }

    #[tokio::test]
    async fn slow_answers_are_degraded_and_failures_are_unhealthy() {
        let (reading, _) = round(600, usize::MAX).await;
        assert_eq!(state(&reading), HealthState::Degraded);
        let (reading, service) = round(50, 100).await;
        assert_eq!(state(&reading), HealthState::Unhealthy);
        assert_eq!(reading.value("load_error_ratio"), Some(0.01));
        assert_eq!(service.asked.load(Ordering::SeqCst), 200);
    }

    #[tokio::test]
    async fn a_service_that_mostly_fails_is_left_in_peace() {
        let (reading, service) = round(50, 1).await;
        assert_eq!(state(&reading), HealthState::Unhealthy);
        assert!(service.asked.load(Ordering::SeqCst) <= 30);
        assert_eq!(reading.value("load_p95_seconds"), None);
    }

    #[test]
    fn the_percentile_is_of_nearest_rank() {
        let millis = |n| Duration::from_millis(n);
        let mut tally = Tally {
            latencies: (1..=100).rev().map(millis).collect(),
            ..Tally::default()
        };
        assert_eq!(tally.p95(), Some(millis(95)));
        tally.latencies = vec![millis(7)];
        assert_eq!(tally.p95(), Some(millis(7)));
        tally.latencies.clear();
        assert_eq!(tally.p95(), None);
    }
}
