//! The host's own telemetry: probes, the `tracing` layer, the panic hook.

use std::sync::Arc;

use homeostasis_core::NameError;
use homeostasis_signals::{Probe, ProbeSchedule, TracingLayer};

use crate::engine::Homeostasis;

/// Asks each probe at its interval, on a task of its own.
pub(crate) fn ask_probes(healer: &Homeostasis, probes: Vec<Arc<dyn Probe>>) {
    let schedule = probes
        .into_iter()
        .fold(ProbeSchedule::new(healer.sink()), ProbeSchedule::with);
    for task in schedule.into_tasks(&healer.context()) {
        healer.spawn(task);
    }
}

impl Homeostasis {
    /// A layer for `tracing_subscriber` that brings the host's own events and spans to the healer,
    /// as those of `service`.
    ///
    /// # Errors
    /// If `service` is no name.
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn tracing_layer(&self, service: impl Into<String>) -> Result<TracingLayer, NameError> {
        TracingLayer::new(self.sink(), self.clock()).service(service)
    }
}
