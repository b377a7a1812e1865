//! A handle to one series for hot paths.

use std::sync::Arc;

use homeostasis_core::signal::{SeriesId, SeriesKey, SignalSink};
use homeostasis_core::{Clock, Timestamp};

/// One series, interned once and then recorded without allocation or lock.
///
/// A record is a reading of the clock and one push into the sink's queue.
/// Clones share the series; a handle may be kept in a `static` or a struct field.
///
/// A gauge records its value; a counter's owner records the rate or feeds a scrape, since the
/// engine does not guess which of its series are cumulative.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::signal::{SeriesKey, Signal, VecSink};
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::signals::SeriesHandle;
///
/// let sink = Arc::new(VecSink::default());
/// let clock = Arc::new(ManualClock::new(Timestamp::from_secs(7)));
/// let depth = SeriesHandle::new(sink.clone(), clock, &SeriesKey::new("queue_depth").with("service", "orders"));
/// depth.record(3.0);
/// assert!(matches!(sink.take()[..], [Signal::Sample(s)] if s.value == 3.0 && s.at == Timestamp::from_secs(7)));
/// ```
#[derive(Debug, Clone)]
pub struct SeriesHandle {
    sink: Arc<dyn SignalSink>,
    clock: Arc<dyn Clock>,
    id: SeriesId,
}

impl SeriesHandle {
    /// The handle of `key`; interns it (takes the catalog's lock, may allocate).
    pub fn new(sink: Arc<dyn SignalSink>, clock: Arc<dyn Clock>, key: &SeriesKey) -> Self {
        let id = sink.catalog().intern(key);
        Self { sink, clock, id }
    }

    /// Records `value` as measured now; NaN says "measured, no value".
    pub fn record(&self, value: f64) {
        self.record_at(self.clock.now(), value);
    }

    /// Records `value` as measured at `at`.
    pub fn record_at(&self, at: Timestamp, value: f64) {
        self.sink.sample(self.id, at, value);
    }

    /// The series.
    pub fn series(&self) -> SeriesId {
        self.id
    }
}
