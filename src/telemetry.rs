//! The host's own telemetry: probes, the `tracing` layer, the panic hook.

use std::sync::Arc;

use homeostasis_core::NameError;
use homeostasis_signals::{Probe, ProbeSchedule, ProbeTrigger, TracingLayer};

use crate::engine::Homeostasis;

impl Homeostasis {
    /// The same, asking each probe at its interval, on a task of its own.
    pub(crate) fn asking(mut self, probes: Vec<Arc<dyn Probe>>) -> Self {
        let empty = ProbeSchedule::new(self.sink());
        let schedule = probes.into_iter().fold(empty, ProbeSchedule::with);
        self.trigger = schedule.trigger();
        for task in schedule.into_tasks(&self.context()) {
            self.spawn(task);
        }
        self
    }

    /// Asks the probes of this healer out of turn.
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn probe_trigger(&self) -> ProbeTrigger {
        self.trigger.clone()
    }

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
