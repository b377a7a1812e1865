//! The host's own telemetry: probes, the `tracing` layer, the panic hook.

use std::sync::Arc;

use homeostasis_core::NameError;
use homeostasis_signals::{HealthBoard, Probe, ProbeSchedule, ProbeTrigger, TracingLayer};

use crate::engine::Homeostasis;

impl Homeostasis {
    /// The same, asking each probe at its interval, on a task of its own.
    pub(crate) fn asking(mut self, probes: Vec<Arc<dyn Probe>>) -> Self {
        let empty = ProbeSchedule::new(self.sink());
        let schedule = probes.into_iter().fold(empty, ProbeSchedule::with);
        // Until each of them has answered nobody knows how its target is.
        for probe in schedule.probes() {
            if let Some(target) = probe.target().filter(|_| probe.reports_health()) {
                let board = &self.shared.health_board;
                board.expect(target.clone(), probe.name(), probe.tier());
            }
        }
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

    /// What the checks say now, and the engine itself as `homeostasis`/`engine`.
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn health_board(&self) -> HealthBoard {
        self.shared.health_board.clone()
    }

    /// The health endpoint: [`health_board`](Self::health_board) as a tower service to be mounted
    /// beside the host's own routes.
    #[cfg(feature = "endpoint")]
    #[cfg_attr(docsrs, doc(cfg(feature = "endpoint")))]
    pub fn health_service(&self) -> homeostasis_signals::HealthService {
        homeostasis_signals::HealthService::new(self.health_board(), self.clock())
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
