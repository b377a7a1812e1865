//! What a detector is shown.

use std::time::Duration;

use super::{N_INSTANTS, START, ask, now};
use crate::record::Anomaly;
use crate::rng::Rng;
use crate::signal::{
    Change, ChangeKind, HealthReport, HealthState, Level, LogRecord, LogTemplate, Sample,
    SeriesCatalog, SeriesId, SeriesKey, SignalBatch, SpanRecord,
};
use crate::stage::Detector;
use crate::target::Target;
use crate::time::Timestamp;

/// What happens at one instant.
#[derive(Debug, Clone, Default)]
pub(super) struct Instant {
    samples: Vec<Sample>,
    logs: Vec<LogRecord>,
    spans: Vec<SpanRecord>,
    changes: Vec<Change>,
    health: Vec<HealthReport>,
}

impl Instant {
    pub(super) fn batch<'a>(&'a self, catalog: &'a SeriesCatalog) -> SignalBatch<'a> {
        SignalBatch::empty(catalog)
            .with_samples(&self.samples)
            .with_logs(&self.logs)
            .with_spans(&self.spans)
            .with_changes(&self.changes)
            .with_health(&self.health)
    }

    /// Spoils some of the signals.
    pub(super) fn corrupt(&mut self, foreign: SeriesId, rng: &mut Rng) {
        let values = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            -0.0,
            1e300,
        ];
        let times = [
            Timestamp::from_nanos(i64::MIN),
            Timestamp::EPOCH,
            START,
            Timestamp::MAX,
        ];
        let mut late = Vec::new();
        for sample in &mut self.samples {
            let original = *sample;
            match rng.below(12) {
                0..=2 => sample.value = pick(&values, rng),
                3 => late.push(original),
                4 => sample.at = pick(&times, rng),
                5 => {
                    sample.at = sample.at - rng.jitter(Duration::from_secs(600));
                    late.push(original);
                }
                _ => {}
            }
        }
        self.samples.extend(late);
        self.samples.push(Sample {
            series: foreign,
            at: START,
            value: 1.0,
        });
        let doubled: Vec<HealthReport> = self.health.clone();
        for report in &mut self.health {
            if rng.below(4) == 0 {
                report.at = pick(&times, rng);
            }
        }
        self.health.extend(doubled);
        for log in &mut self.logs {
            if rng.below(2) == 0 {
                log.at = pick(&times, rng);
                log.message = "\u{0}\u{202e}%s{}\n".repeat(20);
            }
        }
        for span in &mut self.spans {
            if rng.below(2) == 0 {
                (span.at, span.duration) = (pick(&times, rng), Duration::MAX);
            }
        }
    }
}

fn pick<T: Copy>(all: &[T], rng: &mut Rng) -> T {
    all[usize::try_from(rng.below(all.len() as u64)).unwrap_or(0)]
}

/// What a detector is shown.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) catalog: SeriesCatalog,
    instants: Vec<Instant>,
}

impl Story {
    pub(super) fn new(series: &[SeriesKey]) -> Self {
        let catalog = SeriesCatalog::default();
        let mut rng = Rng::from_seed(11);
        let services = ["gateway", "orders", "database"];
        let target = |service: &str| Target::service(service).expect("a valid name");
        let mut instants = Vec::with_capacity(N_INSTANTS);
        for idx in 0..N_INSTANTS {
            let at = now(idx);
            let mut now = Instant::default();
            for key in series {
                for (turn, service) in services.iter().enumerate() {
                    let is_fixed = key.labels.contains_key("service");
                    if is_fixed && turn > 0 {
                        continue;
                    }
                    let key = if is_fixed {
                        key.clone()
                    } else {
                        key.clone().with("service", *service)
                    };
                    now.samples.push(Sample {
                        series: catalog.intern(&key),
                        at,
                        value: level(&key.metric, idx, turn) * (1.0 + 0.02 * rng.unit()),
                    });
                }
            }
            for (turn, service) in services.iter().enumerate() {
                let target = target(service);
                let is_down = (turn == 1 && (300..340).contains(&idx)) || idx % 97 == turn;
                let state = match (is_down, idx % 2) {
                    (false, _) => HealthState::Healthy,
                    (true, 0) => HealthState::Unhealthy,
                    (true, _) => HealthState::Critical,
                };
                now.health
                    .push(HealthReport::new(at, target.clone(), "http", state));
                let n_errors = if is_down {
                    10
                } else {
                    usize::from(idx % 50 == 0)
                };
                for error in 0..n_errors {
                    let message = format!("connection to 10.0.0.{error} refused");
                    let mut record = LogRecord::new(at, Level::Error, message);
                    record.template = Some(LogTemplate::new(1, "connection to <*> refused"));
                    now.logs.push(record.of(target.clone()));
                }
                let millis = if is_down { 3000 } else { 20 + rng.below(5) };
                let span = SpanRecord::new(at, Duration::from_millis(millis), "GET /orders");
                now.spans.push(span.of(target.clone()));
                if idx == 299 && turn == 1 {
                    let change = Change::new(at, ChangeKind::Deploy, target, "v1 -> v2");
                    now.changes.push(change);
                }
            }
            instants.push(now);
        }
        Self { catalog, instants }
    }

    /// What happens at one instant.
    pub(super) fn batch(&self, idx: usize) -> SignalBatch<'_> {
        self.instants[idx].batch(&self.catalog)
    }

    pub(super) fn clone_instant(&self, idx: usize) -> Instant {
        self.instants[idx].clone()
    }

    /// Shows some instants as one batch.
    pub(super) fn show(
        &self,
        detector: &mut impl Detector,
        range: std::ops::Range<usize>,
    ) -> Vec<Anomaly> {
        let (mut all, last) = (Instant::default(), range.end - 1);
        for instant in &self.instants[range] {
            let instant = instant.clone();
            all.samples.extend(instant.samples);
            all.logs.extend(instant.logs);
            all.spans.extend(instant.spans);
            all.changes.extend(instant.changes);
            all.health.extend(instant.health);
        }
        ask(detector, now(last), all.batch(&self.catalog))
    }
}

/// The level of a metric of the service `turn` at instant `idx`: steady at first; the first service has outliers, the
/// second a shift by a factor of 40 and back, the third grows without end; shortly before the end all fall below zero.
fn level(metric: &str, idx: usize, turn: usize) -> f64 {
    let base = match metric {
        "up" => 1.0,
        _ if metric.ends_with("_bytes") => 2e8,
        _ if metric.ends_with("_ratio") => 0.02,
        _ if metric.ends_with("_seconds") => 0.05,
        _ => 20.0,
    };
    let factor = match turn {
        _ if idx >= N_INSTANTS - 20 => -1.0,
        0 if idx > 100 && idx.is_multiple_of(83) => 25.0,
        1 if (300..380).contains(&idx) => 40.0,
        2 if idx > 150 => 1.0 + (idx - 150) as f64 / 30.0,
        _ => 1.0,
    };
    base * factor
}
