//! A shop of three services: web calls orders, orders calls stock.

use std::collections::BTreeSet;
use std::time::Duration;

use homeostasis_core::signal::{Level, LogRecord, LogTemplate, SpanRecord};
use homeostasis_core::{Target, Timestamp};
use homeostasis_rca::{Activity, EvidenceBundle, EvidenceSeries, SeriesKind, Worse};

/// When it begins, in seconds.
pub(crate) const ONSET: i64 = 7200;

const SERVICES: [&str; 3] = ["web", "orders", "stock"];
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// A little noise that repeats.
pub(crate) fn noise(i: i64) -> f64 {
    f64::from(u8::try_from((i * 37).rem_euclid(11)).expect("less than 11")) / 11.0
}

/// The shop, and what is wrong with whom.
#[derive(Debug, Default)]
pub(crate) struct Shop {
    busy: BTreeSet<&'static str>,
    odd: BTreeSet<&'static str>,
    delayed: BTreeSet<&'static str>,
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The processor of `service` is busy.
    pub(crate) fn busy(mut self, service: &'static str) -> Self {
        self.busy.insert(service);
        self
    }

    /// `service` logs something that it never did.
    pub(crate) fn odd(mut self, service: &'static str) -> Self {
        self.odd.insert(service);
        self
    }

    /// Calls of and to `service` take their time.
    pub(crate) fn delayed(mut self, service: &'static str) -> Self {
        self.delayed.insert(service);
        self
    }

    pub(crate) fn bundle(&self) -> EvidenceBundle {
        let mut bundle = EvidenceBundle::new(at(ONSET), at(ONSET + 300));
        for (idx, service) in (0_i64..).zip(SERVICES) {
            let ill = if self.busy.contains(service) {
                8.0
            } else {
                0.0
            };
            bundle.series.push(EvidenceSeries {
                service: service.to_owned(),
                callee: None,
                metric: "cpu_usage_ratio".to_owned(),
                kind: SeriesKind::Cpu,
                worse: Worse::Up,
                calm: (0..400).map(|i| 0.1 + 0.05 * noise(i + idx)).collect(),
                points: (0..5)
                    .map(|i| (at(ONSET + 60 * i), 0.1 + 0.05 * noise(i + idx) + ill))
                    .collect(),
            });
        }
        let calm = Self::new();
        bundle.calm = (1..=3).map(|i| calm.minute(ONSET - 60 * (i + 1))).collect();
        bundle.slices = (0..3).map(|i| self.minute(ONSET + 60 * i)).collect();
        bundle
    }

    fn minute(&self, from: i64) -> Activity {
        let (spans, logs) = self.records(from);
        Activity::of(at(from), at(from) + MINUTE, &spans, &logs)
    }

    /// Thirty requests in the minute from `from`.
    pub(crate) fn records(&self, from: i64) -> (Vec<SpanRecord>, Vec<LogRecord>) {
        let (mut spans, mut logs) = (Vec::new(), Vec::new());
        for request in 0..30_u64 {
            for (idx, service) in (0_u64..).zip(SERVICES) {
                let target = Target::service(service).expect("a valid name");
                let when = at(from) + Duration::from_secs(request);
                // Time is lost between a span and the next one, so that all above are longer.
                let below = SERVICES.windows(2).zip(0_u64..);
                let lost = below.filter(|(call, place)| {
                    *place >= idx && call.iter().any(|it| self.delayed.contains(*it))
                });
                let jitter = (request * 37 + from.unsigned_abs() * 7) % 1009;
                let micros =
                    9000 - 2000 * idx + jitter * (2 - idx) + lost.map(|_| 40_000).sum::<u64>();
                let mut span =
                    SpanRecord::new(when, Duration::from_micros(micros), "GET").of(target.clone());
                span.trace = Some(format!("t{request}"));
                span.span = 1000 * from.unsigned_abs() + 10 * request + idx + 1;
                span.parent = if idx == 0 { 0 } else { span.span - 1 };
                let (id, text) = if self.odd.contains(service) {
                    (100 + idx, "nothing left to reserve")
                } else {
                    (idx, "all is well")
                };
                let mut log = LogRecord::new(when, Level::Info, text).of(target);
                log.template = Some(LogTemplate::new(id, text));
                log.correlation.clone_from(&span.trace);
                log.fields.insert("span_id", format!("{:x}", span.span));
                spans.push(span);
                logs.push(log);
            }
        }
        (spans, logs)
    }
}
