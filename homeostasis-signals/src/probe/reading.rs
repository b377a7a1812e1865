//! What a probe found.

use homeostasis_core::signal::{HealthReport, Signal, SignalSink};

use crate::measurement::Measurement;

/// What one asking of one probe gave, complete or not at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Values of series.
    pub measurements: Vec<Measurement>,
    /// Everything else: health reports, log records, changes.
    pub signals: Vec<Signal>,
}

impl Reading {
    /// The same with one value more.
    pub fn measured(mut self, measurement: Measurement) -> Self {
        self.measurements.push(measurement);
        self
    }

    /// The same with one health report more.
    pub fn reporting(mut self, report: HealthReport) -> Self {
        self.signals.push(Signal::Health(report));
        self
    }

    /// The health reports in it.
    pub fn reports(&self) -> impl Iterator<Item = &HealthReport> {
        self.signals.iter().filter_map(|signal| match signal {
            Signal::Health(report) => Some(report),
            _ => None,
        })
    }

    /// Whether any report in it says that its target does not do its work.
    pub fn is_failure(&self) -> bool {
        self.reports().any(|report| !report.is_up())
    }

    /// What of it is not the answer itself: log records, spans and changes, which are read once.
    pub(super) fn into_records(mut self) -> Vec<Signal> {
        self.signals
            .retain(|signal| !matches!(signal, Signal::Health(_) | Signal::Sample(_)));
        self.signals
    }

    /// The health reports in it, to be completed.
    pub(super) fn reports_mut(&mut self) -> impl Iterator<Item = &mut HealthReport> {
        self.signals.iter_mut().filter_map(|signal| match signal {
            Signal::Health(report) => Some(report),
            _ => None,
        })
    }

    /// The first value of `metric` in it.
    pub fn value(&self, metric: &str) -> Option<f64> {
        self.measurements
            .iter()
            .find(|measurement| measurement.key.metric == metric)
            .map(|measurement| measurement.value)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.measurements.is_empty() && self.signals.is_empty()
    }

    /// Writes all of it into `sink`: values first, so that whoever reacts to a report finds them.
    pub fn record(self, sink: &dyn SignalSink) {
        for measurement in &self.measurements {
            measurement.record(sink);
        }
        for signal in self.signals {
            sink.signal(signal);
        }
    }
}
