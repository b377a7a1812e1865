//! Where captured signals go.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::signal::{Sample, SeriesCatalog, SeriesId, SeriesKey, Signal};
use crate::time::Timestamp;

/// The intake of the engine, as capture and probes see it.
///
/// *Guarantees:* no call blocks, waits or panics; when the queue is full the oldest signal is
/// dropped and counted. [`SignalSink::sample`] does not allocate and takes no lock.
pub trait SignalSink: fmt::Debug + Send + Sync {
    /// Records a measurement of an interned series.
    fn sample(&self, series: SeriesId, at: Timestamp, value: f64);

    /// Records anything else (a sample too).
    fn signal(&self, signal: Signal);

    /// The names of the series.
    fn catalog(&self) -> &SeriesCatalog;

    /// Interns `key` and records a measurement of it; for sources that are not hot.
    fn sample_of(&self, key: &SeriesKey, at: Timestamp, value: f64) {
        self.sample(self.catalog().intern(key), at, value);
    }
}

impl<T: SignalSink + ?Sized> SignalSink for Arc<T> {
    fn sample(&self, series: SeriesId, at: Timestamp, value: f64) {
        (**self).sample(series, at, value);
    }

    fn signal(&self, signal: Signal) {
        (**self).signal(signal);
    }

    fn catalog(&self) -> &SeriesCatalog {
        (**self).catalog()
    }
}

/// A sink that keeps everything, for tests and offline work. Unbounded.
///
/// ```
/// use homeostasis::core::signal::{SeriesKey, SignalSink, VecSink};
/// use homeostasis::core::Timestamp;
/// let sink = VecSink::default();
/// sink.sample_of(&SeriesKey::new("up"), Timestamp::EPOCH, 1.0);
/// assert_eq!(sink.take().len(), 1);
/// ```
#[derive(Debug, Default)]
pub struct VecSink {
    catalog: SeriesCatalog,
    signals: Mutex<Vec<Signal>>,
}

impl VecSink {
    /// Everything so far; the sink is empty afterwards.
    pub fn take(&self) -> Vec<Signal> {
        std::mem::take(&mut *self.signals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SignalSink for VecSink {
    fn sample(&self, series: SeriesId, at: Timestamp, value: f64) {
        self.signal(Signal::Sample(Sample { series, at, value }));
    }

    fn signal(&self, signal: Signal) {
        self.signals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(signal);
    }

    fn catalog(&self) -> &SeriesCatalog {
        &self.catalog
    }
}
