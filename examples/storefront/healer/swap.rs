//! The hot swap of the labels: a worker with the source as it is now takes over from the one that
//! runs.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::port::{MemoryRouter, TrafficRouter, Weights};
use homeostasis::core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis::core::{Context, ErrorKind, async_trait};
use homeostasis::remediate::action::{
    Action, ActionCall, ActionError, ActionSpec, ProcessSupervisor,
};
use serde_json::{Value, json};

use crate::BoxError;
use crate::deployment::{ServiceName, Slot};
use crate::front::Traffic;
use crate::http::{Call, Client};
use crate::labels::{LabelWorker, LabelsSpec};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// How long the new worker may take to answer, and the old one to finish.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the worker in the slot without traffic, waits until it answers, gives it all traffic, and
/// stops the other one when its last request is answered. Doing it again does no harm: afterwards a
/// worker runs that was started later.
#[derive(Debug)]
pub(super) struct SwapWorker {
    spec: ActionSpec,
    workers: Vec<LabelWorker>,
    router: Arc<MemoryRouter>,
    supervisor: ProcessSupervisor,
    client: Client,
}

impl SwapWorker {
    pub(super) const NAME: &str = "swap_worker";

    pub(super) fn new(
        labels: &LabelsSpec,
        traffic: &Traffic,
        supervisor: &ProcessSupervisor,
    ) -> Self {
        Self {
            spec: ActionSpec::new("replace the worker by one with the present source")
                .with_effect(EffectClass::Idempotent)
                .with_risk(RiskLevel::Low)
                .with_inverse(Inverse::Nothing)
                .with_timeout(2 * PATIENCE),
            workers: labels.workers.clone(),
            router: Arc::clone(&traffic.router),
            supervisor: supervisor.clone(),
            client: Client::default(),
        }
    }

    async fn answers(&self, worker: &LabelWorker) -> bool {
        let call = Call::get(worker.address, "/healthz");
        let asked = self.client.send(&call).await;
        asked.is_ok_and(|answer| answer.status.is_success())
    }
}

fn failed(error: impl Into<BoxError>) -> ActionError {
    ActionError::transient("swapping the worker", error)
}

fn late(what: String) -> ActionError {
    let source = format!("not within {PATIENCE:?}");
    ActionError::not_begun(what, ErrorKind::Timeout, source).begun()
}

#[async_trait]
impl Action for SwapWorker {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    async fn perform(&self, cx: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        let service = ServiceName::Labels.as_str();
        let weights = self.router.weights(service).await;
        let weights = weights.map_err(failed)?;
        let has_traffic = |slot: Slot| {
            let mut all = weights.iter().flat_map(Weights::iter);
            all.any(|(name, weight)| name == slot.as_str() && weight > 0)
        };
        let [from, to] = match Slot::ALL.into_iter().find(|slot| !has_traffic(*slot)) {
            Some(idle) => [idle.other(), idle],
            None => return Err(ActionError::invalid(service, "both slots have traffic")),
        };
        let mut workers = self.workers.iter();
        let worker = workers.find(|it| it.slot == to);
        let worker = worker.ok_or_else(|| ActionError::invalid(service, "no such slot"))?;
        let process = |slot: Slot| slot.process_of(ServiceName::Labels);
        // What an earlier attempt left there may have read an older source.
        let stopped = self.supervisor.stop(&process(to)).await;
        stopped.map_err(failed)?;
        let started = self.supervisor.start(&process(to)).await;
        started.map_err(failed)?;
        let begun = cx.now();
        while !self.answers(worker).await {
            if cx.now().since(begun) > PATIENCE {
                return Err(late(format!("the first answer of {}", process(to))));
            }
            cx.clock().sleep(LOOK).await;
        }
        let all = Weights::new([(to.as_str(), 1), (from.as_str(), 0)]);
        let all = all.map_err(failed)?;
        let shifted = self.router.set_weights(service, &all).await;
        shifted.map_err(failed)?;
        let begun = cx.now();
        while !matches!(
            self.router.in_flight(service, from.as_str()).await,
            Ok(None | Some(0))
        ) {
            if cx.now().since(begun) > PATIENCE {
                return Err(late(format!("the last answer of {}", process(from))));
            }
            cx.clock().sleep(LOOK).await;
        }
        let stopped = self.supervisor.stop(&process(from)).await;
        stopped.map_err(failed)?;
        Ok(json!({"from": from.as_str(), "to": to.as_str()}))
    }
}
