//! What is counted of requests, and how it becomes series.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::{Context, Target, Timestamp};
use http::{Method, StatusCode};

use super::bounded::cut_at;
use super::route::UNMATCHED;
use super::sketch::{Distribution, Sketch};
use crate::intake::{QUANTILES, quantile_name};
use crate::measurement::Measurement;
use crate::probe::{Probe, Reading};

/// The route of all requests for whose route there is no room.
const OTHER: &str = ":other";
/// The longest route that is kept, in bytes.
const MAX_ROUTE_BYTES: usize = 256;

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// With a response.
    Answered(StatusCode),
    /// With an error of the service instead of a response.
    Failed,
    /// The service panicked.
    Panicked,
    /// Nobody waited for it any more.
    Cancelled,
}

/// What was counted of one route and method.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteCounts {
    /// The route.
    pub route: String,
    /// The method, or `OTHER`.
    pub method: String,
    /// Responses by the class of their status: 1xx to 5xx; others count as 5xx.
    pub by_class: [u64; 5],
    /// Requests that ended with an error of the service instead of a response.
    pub failed: u64,
    /// Requests whose service panicked.
    pub panicked: u64,
    /// Requests that were dropped before they were answered.
    pub cancelled: u64,
}

impl RouteCounts {
    /// Requests that were answered, with whatever: all but those that were cancelled.
    pub fn answered(&self) -> u64 {
        self.by_class.iter().sum::<u64>() + self.failed + self.panicked
    }

    /// Requests that failed: 5xx, errors of the service, panics.
    pub fn errors(&self) -> u64 {
        self.by_class[4] + self.failed + self.panicked
    }
}

/// The requests of one layer.
#[derive(Debug)]
pub(super) struct RequestTable {
    target: Target,
    max_routes: AtomicUsize,
    in_flight: AtomicU64,
    routes: RwLock<Routes>,
    last: Mutex<Option<Look>>,
}

/// What was counted up to the last asking.
#[derive(Debug)]
struct Look {
    at: Timestamp,
    counts: HashMap<(String, String), RouteCounts>,
}

#[derive(Debug)]
struct Cell {
    by_class: [AtomicU64; 5],
    failed: AtomicU64,
    panicked: AtomicU64,
    cancelled: AtomicU64,
    seconds: Sketch,
}

type Routes = HashMap<Method, HashMap<String, Arc<Cell>>>;

impl RequestTable {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            max_routes: AtomicUsize::new(256),
            in_flight: AtomicU64::new(0),
            routes: RwLock::default(),
            last: Mutex::new(None),
        }
    }

    pub(super) fn set_room(&self, n: usize) {
        self.max_routes.store(n.max(1), Ordering::Relaxed);
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that `took` so long; the route may be only guessed from the path.
    pub(super) fn end(&self, method: &Method, route: (&str, bool), end: End, took: Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let cell = self.cell(method, route, end);
        let add = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
        match end {
            End::Answered(status) => add(&cell.by_class[class_of(status)]),
            End::Failed => add(&cell.failed),
            End::Panicked => add(&cell.panicked),
            End::Cancelled => {
                add(&cell.cancelled);
                return;
            }
        };
        cell.seconds.record(took.as_secs_f64(), 1);
    }

    fn cell(&self, method: &Method, (route, guessed): (&str, bool), end: End) -> Arc<Cell> {
        let other = Method::from_bytes(b"OTHER").unwrap_or_default();
        let method = if is_usual(method) { method } else { &other };
        let find = |routes: &Routes, route: &str| routes.get(method)?.get(route).map(Arc::clone);
        let not_found = matches!(
            end,
            End::Answered(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
        );
        let fallback = if guessed && not_found {
            UNMATCHED
        } else {
            OTHER
        };
        {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            let cell = find(&routes, route).or_else(|| {
                let no_entry = fallback == UNMATCHED || self.is_full(&routes);
                find(&routes, fallback).filter(|_| no_entry)
            });
            if let Some(cell) = cell {
                return cell;
            }
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let route = match fallback {
            OTHER if !self.is_full(&routes) => cut_at(route, MAX_ROUTE_BYTES),
            // These come once per method, in addition to the others.
            _ => fallback.to_owned(),
        };
        let of_method = routes.entry(method.clone()).or_default();
        let cell = of_method.entry(route);
        Arc::clone(cell.or_insert_with(|| Arc::new(Cell::new())))
    }

    fn is_full(&self, routes: &Routes) -> bool {
        routes.values().map(HashMap::len).sum::<usize>() >= self.max_routes.load(Ordering::Relaxed)
    }

    fn cells(&self) -> Vec<(RouteCounts, Arc<Cell>)> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let mut cells: Vec<_> = routes
            .iter()
            .flat_map(|(method, routes)| routes.iter().map(move |entry| (method, entry)))
            .map(|(method, (route, cell))| (cell.counts(method, route), Arc::clone(cell)))
            .collect();
        cells.sort_by(|(a, _), (b, _)| (&a.route, &a.method).cmp(&(&b.route, &b.method)));
        cells
    }

    pub(super) fn counts(&self) -> Vec<RouteCounts> {
        self.cells().into_iter().map(|(counts, _)| counts).collect()
    }

    pub(super) fn into_probe(self: Arc<Self>, interval: Duration) -> Arc<dyn Probe> {
        Arc::new(RequestProbe {
            table: self,
            interval,
        })
    }

    /// What happened since the last time.
    fn look(&self, at: Timestamp) -> Vec<Measurement> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |metric: &str, value: f64| Measurement::of(&self.target, metric, at, value);
        let in_flight = self.in_flight.load(Ordering::Relaxed) as f64;
        let mut measurements = vec![of("http_requests_in_flight", in_flight)];
        let seconds = last
            .as_ref()
            .map_or(0.0, |last| at.since(last.at).as_secs_f64());
        if last.is_some() && seconds <= 0.0 {
            return measurements;
        }
        let cells = self.cells();
        let mut all = Interval::default();
        for (counts, cell) in &cells {
            let took = cell.seconds.take();
            let Some(last) = &*last else {
                continue;
            };
            let before = last
                .counts
                .get(&(counts.route.clone(), counts.method.clone()));
            let own = Interval::between(before, counts, took);
            all.add(&own);
            let labelled = |metric: &str, value| {
                of(metric, value)
                    .with("route", &*counts.route)
                    .with("method", &*counts.method)
            };
            own.give("http_route_", seconds, &mut |name, value| {
                measurements.push(labelled(name, value));
            });
            for (class, n) in own.by_class.iter().enumerate() {
                // A class that never occurred has no series.
                if counts.by_class[class] > 0 {
                    let rate = labelled("http_route_responses_rate", *n as f64 / seconds);
                    measurements.push(rate.with("class", format!("{}xx", class + 1)));
                }
            }
        }
        if last.is_some() {
            all.give("http_", seconds, &mut |name, value| {
                let metric = if name == "http_error_ratio" {
                    "error_ratio"
                } else {
                    name
                };
                measurements.push(of(metric, value));
            });
        }
        let counts = cells
            .into_iter()
            .map(|(counts, _)| ((counts.route.clone(), counts.method.clone()), counts))
            .collect();
        *last = Some(Look { at, counts });
        measurements
    }
}

/// What happened between two askings.
#[derive(Debug, Default)]
struct Interval {
    answered: u64,
    errors: u64,
    cancelled: u64,
    by_class: [u64; 5],
    took: Distribution,
}

impl Interval {
    fn between(before: Option<&RouteCounts>, now: &RouteCounts, took: Distribution) -> Self {
        let grown = |of: fn(&RouteCounts) -> u64| of(now) - before.map_or(0, of);
        Self {
            answered: grown(RouteCounts::answered),
            errors: grown(RouteCounts::errors),
            cancelled: grown(|counts| counts.cancelled),
            by_class: std::array::from_fn(|class| {
                now.by_class[class] - before.map_or(0, |before| before.by_class[class])
            }),
            took,
        }
    }

    fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.errors += other.errors;
        self.cancelled += other.cancelled;
        self.took.add(&other.took);
    }

    fn give(&self, prefix: &str, seconds: f64, give: &mut dyn FnMut(&str, f64)) {
        let mut put = |name: &str, value| give(&format!("{prefix}{name}"), value);
        put("requests_rate", self.answered as f64 / seconds);
        put("requests_cancelled_rate", self.cancelled as f64 / seconds);
        if self.answered > 0 {
            put("error_ratio", self.errors as f64 / self.answered as f64);
        }
        for (q, word) in QUANTILES {
            if let Some(value) = self.took.quantile(q) {
                put(&quantile_name("request_duration_seconds", word), value);
            }
        }
    }
}

impl Cell {
    fn new() -> Self {
        Self {
            by_class: std::array::from_fn(|_| AtomicU64::new(0)),
            failed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            seconds: Sketch::new(),
        }
    }

    fn counts(&self, method: &Method, route: &str) -> RouteCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RouteCounts {
            route: route.to_owned(),
            method: method.as_str().to_owned(),
            by_class: std::array::from_fn(|class| read(&self.by_class[class])),
            failed: read(&self.failed),
            panicked: read(&self.panicked),
            cancelled: read(&self.cancelled),
        }
    }
}

fn class_of(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, 5) - 1
}

fn is_usual(method: &Method) -> bool {
    const USUAL: [&str; 9] = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
    ];
    USUAL.contains(&method.as_str())
}

#[derive(Debug)]
struct RequestProbe {
    table: Arc<RequestTable>,
    interval: Duration,
}

#[async_trait]
impl Probe for RequestProbe {
    fn name(&self) -> &str {
        "requests"
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.table.target)
    }

    fn reports_health(&self) -> bool {
        false
    }

    async fn probe(&self, cx: &Context) -> Reading {
        Reading {
            measurements: self.table.look(cx.now()),
            signals: Vec::new(),
        }
    }

    fn interval(&self) -> Duration {
        self.interval
    }
}
