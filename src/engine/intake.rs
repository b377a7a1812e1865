//! The intake: a bounded, lock-free queue between the host's hot path and the engine.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use homeostasis_core::Timestamp;
use homeostasis_core::signal::{
    Change, HealthReport, LogRecord, Sample, SeriesCatalog, SeriesId, Signal, SignalBatch,
    SignalSink, SpanRecord,
};

use crate::engine::flood::Flood;

/// Queues signals until the engine takes them.
///
/// Recording is a clock-free push into a ring: no lock, no wait, and for samples no allocation.
/// When a ring is full the oldest entry makes room and is counted as lost. Health reports and changes
/// are few and each may decide a diagnosis: they have a ring of their own, out of which no number of
/// records can push them. Floods of log records are sampled before the ring.
#[derive(Debug)]
pub(crate) struct Intake {
    catalog: SeriesCatalog,
    samples: ArrayQueue<Sample>,
    records: ArrayQueue<Signal>,
    /// Health reports, changes, and whatever is new to us.
    rare: ArrayQueue<Signal>,
    flood: Flood,
    lost_samples: AtomicU64,
    lost_records: AtomicU64,
}

/// What was taken in one go.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) samples: Vec<Sample>,
    pub(crate) logs: Vec<LogRecord>,
    pub(crate) spans: Vec<SpanRecord>,
    pub(crate) changes: Vec<Change>,
    pub(crate) health: Vec<HealthReport>,
}

impl Batch {
    pub(crate) fn as_signals<'a>(&'a self, catalog: &'a SeriesCatalog) -> SignalBatch<'a> {
        SignalBatch::empty(catalog)
            .with_samples(&self.samples)
            .with_logs(&self.logs)
            .with_spans(&self.spans)
            .with_changes(&self.changes)
            .with_health(&self.health)
    }
}

impl Intake {
    /// At most this many signals are taken at once, so that one turn of the engine stays short.
    const MAX_BATCH: usize = 65_536;

    pub(crate) fn new(
        catalog: SeriesCatalog,
        samples: usize,
        records: usize,
        flood: Flood,
    ) -> Self {
        Self {
            catalog,
            samples: ArrayQueue::new(samples.max(1)),
            records: ArrayQueue::new(records.max(1)),
            rare: ArrayQueue::new(records.max(1)),
            flood,
            lost_samples: AtomicU64::new(0),
            lost_records: AtomicU64::new(0),
        }
    }

    /// Takes what is there; the rest stays for the next call.
    pub(crate) fn take(&self, now: Timestamp) -> Batch {
        let mut batch = Batch::default();
        let outputs = (&mut batch.logs, &mut batch.samples);
        self.flood.turn(now, &self.catalog, outputs);
        batch
            .samples
            .extend(std::iter::from_fn(|| self.samples.pop()).take(Self::MAX_BATCH));
        let rare = std::iter::from_fn(|| self.rare.pop()).take(Self::MAX_BATCH);
        let records = std::iter::from_fn(|| self.records.pop()).take(Self::MAX_BATCH);
        for signal in rare.chain(records) {
            match signal {
                Signal::Sample(sample) => batch.samples.push(sample),
                Signal::Log(record) => batch.logs.push(record),
                Signal::Span(span) => batch.spans.push(span),
                Signal::Change(change) => batch.changes.push(change),
                Signal::Health(report) => batch.health.push(report),
                other => self.count_lost_record(&other),
            }
        }
        batch
    }

    pub(crate) fn depth(&self) -> usize {
        self.samples.len() + self.records.len() + self.rare.len()
    }

    pub(crate) fn lost(&self) -> (u64, u64) {
        (
            self.lost_samples.load(Ordering::Relaxed),
            self.lost_records.load(Ordering::Relaxed),
        )
    }

    /// How many log records were left to others that carry their weight.
    pub(crate) fn suppressed(&self) -> u64 {
        self.flood.suppressed()
    }

    fn count_lost_record(&self, lost: &Signal) {
        let n = match lost {
            Signal::Log(record) => u64::from(record.weight),
            _ => 1,
        };
        self.lost_records.fetch_add(n, Ordering::Relaxed);
    }

    fn record(&self, signal: Signal) {
        let ring = match signal {
            Signal::Log(_) | Signal::Span(_) => &self.records,
            _ => &self.rare,
        };
        if let Some(lost) = ring.force_push(signal) {
            self.count_lost_record(&lost);
        }
    }
}

impl SignalSink for Intake {
    fn sample(&self, series: SeriesId, at: Timestamp, value: f64) {
        if self
            .samples
            .force_push(Sample { series, at, value })
            .is_some()
        {
            self.lost_samples.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn signal(&self, signal: Signal) {
        match signal {
            Signal::Sample(Sample { series, at, value }) => self.sample(series, at, value),
            Signal::Log(record) => {
                if let Some(record) = self.flood.admit(record) {
                    self.record(Signal::Log(record));
                }
            }
            other => self.record(other),
        }
    }

    fn catalog(&self) -> &SeriesCatalog {
        &self.catalog
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FloodSettings;
    use homeostasis_core::Target;
    use homeostasis_core::signal::{ChangeKind, HealthState, Level, SeriesKey};

    #[test]
    fn under_overload_the_newest_wins_and_the_loss_is_counted() {
        let flood = Flood::new(&FloodSettings::default());
        let intake = Intake::new(SeriesCatalog::default(), 3, 1, flood);
        let key = SeriesKey::new("m");
        for i in 0..5_u32 {
            intake.sample_of(&key, Timestamp::from_secs(i64::from(i)), f64::from(i));
        }
        for text in ["old", "new"] {
            intake.signal(Signal::Log(LogRecord::new(
                Timestamp::EPOCH,
                Level::Info,
                text,
            )));
        }
        let batch = intake.take(Timestamp::EPOCH);
        let values: Vec<_> = batch.samples.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [2.0, 3.0, 4.0]);
        assert_eq!(batch.logs[0].message, "new");
        assert_eq!(intake.lost(), (2, 1));
        assert_eq!(intake.depth(), 0);
    }

    #[test]
    fn no_number_of_records_pushes_out_a_health_report_or_a_change() {
        let flood = Flood::new(&FloodSettings::default());
        let intake = Intake::new(SeriesCatalog::default(), 1, 2, flood);
        let at = Timestamp::EPOCH;
        let target = || Target::service("shop").unwrap();
        let report = HealthReport::new(at, target(), "http", HealthState::Unhealthy);
        intake.signal(Signal::Health(report.clone()));
        let change = Change::new(at, ChangeKind::Config, target(), "new limits");
        intake.signal(Signal::Change(change.clone()));
        for _ in 0..100 {
            let record = LogRecord::new(at, Level::Error, "no route");
            intake.signal(Signal::Log(record));
            let span = SpanRecord::new(at, std::time::Duration::ZERO, "GET");
            intake.signal(Signal::Span(span));
        }
        assert_eq!(intake.depth(), 4);
        let batch = intake.take(at);
        assert_eq!((batch.health, batch.changes), (vec![report], vec![change]));
        assert_eq!(batch.logs.len() + batch.spans.len(), 2);
        // Their own ring is bounded too, and what it loses is counted.
        let (_, lost) = intake.lost();
        for _ in 0..3 {
            let change = Change::new(at, ChangeKind::Config, target(), "again");
            intake.signal(Signal::Change(change));
        }
        assert_eq!(intake.lost().1, lost + 1);
        assert_eq!(intake.take(at).changes.len(), 2);
    }
}
