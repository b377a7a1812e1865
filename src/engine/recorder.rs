//! The recorder: the host's hot path into the engine.

use std::sync::Arc;

use homeostasis_core::signal::{LogRecord, SeriesId, SeriesKey, Signal, SignalSink, SpanRecord};
use homeostasis_core::{Clock, Timestamp};

use crate::engine::Intake;

/// Records signals of the host. Cheap to clone; no call blocks, waits or fails.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use homeostasis::{Homeostasis, core::signal::SeriesKey};
/// let healer = Homeostasis::empty().start().await?;
/// let depth = healer.recorder().series(&SeriesKey::new("queue_depth").with("service", "orders"));
/// depth.record(17.0);
/// # healer.shutdown().await;
/// # Ok::<(), homeostasis::StartError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Recorder {
    intake: Arc<Intake>,
    clock: Arc<dyn Clock>,
}

impl Recorder {
    pub(crate) fn new(intake: Arc<Intake>, clock: Arc<dyn Clock>) -> Self {
        Self { intake, clock }
    }

    /// The handle of a series; make it once, record often.
    pub fn series(&self, key: &SeriesKey) -> Series {
        Series {
            id: self.intake.catalog().intern(key),
            recorder: self.clone(),
        }
    }

    /// Records a log record.
    pub fn log(&self, record: LogRecord) {
        self.intake.signal(Signal::Log(record));
    }

    /// Records a finished span.
    pub fn span(&self, span: SpanRecord) {
        self.intake.signal(Signal::Span(span));
    }

    /// Records anything.
    pub fn signal(&self, signal: Signal) {
        self.intake.signal(signal);
    }

    /// The present, by the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// One series to record into. Recording neither allocates nor locks nor waits.
#[derive(Debug, Clone)]
pub struct Series {
    id: SeriesId,
    recorder: Recorder,
}

impl Series {
    /// Records `value` now.
    pub fn record(&self, value: f64) {
        self.record_at(self.recorder.clock.now(), value);
    }

    /// Records `value` at `at`.
    pub fn record_at(&self, at: Timestamp, value: f64) {
        self.recorder.intake.sample(self.id, at, value);
    }
}
