//! A named value on its way to a sink.

use homeostasis_core::signal::{Labels, SeriesKey, SignalSink};
use homeostasis_core::{Target, Timestamp};

/// One value of a series that is not interned yet: what probes and scrapes give.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Which series.
    pub key: SeriesKey,
    /// When.
    pub at: Timestamp,
    /// How much; NaN says "measured, no value".
    pub value: f64,
}

impl Measurement {
    /// A value of `metric` about `target`.
    pub fn of(target: &Target, metric: impl Into<String>, at: Timestamp, value: f64) -> Self {
        let mut key = SeriesKey::new(metric);
        label_target(&mut key.labels, target);
        Self { key, at, value }
    }

    /// The same with one label more.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.key.labels.insert(name.into(), value.into());
        self
    }

    /// Records it.
    pub fn record(&self, sink: &dyn SignalSink) {
        sink.sample_of(&self.key, self.at, self.value);
    }
}

/// Makes `labels` name `target`; a target that is a whole service may have its instances told apart.
pub(crate) fn label_target(labels: &mut Labels, target: &Target) {
    labels.insert("service".to_owned(), target.service_name().to_owned());
    if let Some(instance) = target.instance_name() {
        labels.insert("instance".to_owned(), instance.to_owned());
    }
}
