//! What those say who are asked beside the store: authorizer, tenants, remediator, electorate.

use std::collections::BTreeSet;
use std::sync::Arc;

use homeostasis_core::policy::{Purpose, Testimony};
use homeostasis_core::port::{AccessRequest, Ballot, Permission, Tally, TenantPolicy};
use homeostasis_core::record::Plan;
use homeostasis_core::stage::Remediator;
use homeostasis_core::{ErrorReport, Incident, Target};

use crate::engine::calls;
use crate::engine::shared::Shared;

/// What those say who are asked beside the store.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) authorization: Testimony,
    pub(super) tenant: Option<TenantPolicy>,
    pub(super) preconditions: Testimony,
    pub(super) tally: Option<Tally>,
}

impl Outside {
    /// Asks everybody the gate wants to hear about `plan`.
    pub(super) async fn ask(
        shared: &Arc<Shared>,
        incident: &Incident,
        plan: &Plan,
        purpose: Purpose,
    ) -> Self {
        let mut outside = Self::ask_without_poll(shared, incident, plan, purpose).await;
        if purpose == Purpose::Execute && plan.risk() >= shared.policy.quorum.from_risk {
            outside.tally = tally(shared, plan).await;
        }
        outside
    }

    /// The same, but no vote is called for: a poll is something that happens.
    pub(super) async fn ask_without_poll(
        shared: &Arc<Shared>,
        incident: &Incident,
        plan: &Plan,
        purpose: Purpose,
    ) -> Self {
        if purpose == Purpose::Undo {
            // What was done may be taken back, whatever anybody says: nobody is waited for.
            return Self {
                authorization: Testimony::Yes,
                tenant: None,
                preconditions: Testimony::Yes,
                tally: None,
            };
        }
        Self {
            authorization: authorization(shared, plan).await,
            tenant: tenant_policy(shared).await,
            preconditions: if purpose == Purpose::Execute {
                preconditions(shared, incident, plan).await
            } else {
                Testimony::Yes
            },
            tally: None,
        }
    }
}

/// Calls somebody outside of the engine, within the deadline of a stage; failures are blamed.
async fn consult<T: Send + 'static>(
    shared: &Arc<Shared>,
    (stage, plugin): (&str, &str),
    call: impl Future<Output = Result<T, ErrorReport>> + Send + 'static,
) -> Result<T, ErrorReport> {
    let limit = shared.settings.stage_deadline;
    let answer = calls::call(&shared.tasks, shared.clock(), limit, call).await;
    if let Err(report) = &answer {
        shared.blame(stage, plugin, report);
    }
    answer
}

/// Whether the healer may execute on every service the plan names.
async fn authorization(shared: &Arc<Shared>, plan: &Plan) -> Testimony {
    let steps = plan.steps.iter().map(|step| &step.target);
    let services = steps.chain([&plan.target]).map(Target::service_name);
    let services: BTreeSet<String> = services.map(str::to_owned).collect();
    let asked = Arc::clone(shared);
    let answer = consult(shared, ("authorizer", "authorize"), async move {
        let guard = &asked.guard;
        let request = AccessRequest::new(&guard.healer, Permission::Execute, &asked.tenant)
            .within(&asked.environment);
        for service in &services {
            if let Err(refusal) = guard.authorizer.authorize(request.about(service)).await {
                return Ok(Some(refusal.to_string()));
            }
        }
        Ok(None)
    });
    testimony(answer.await)
}

async fn tenant_policy(shared: &Arc<Shared>) -> Option<TenantPolicy> {
    let asked = Arc::clone(shared);
    let answer = consult(shared, ("tenants", "policy"), async move {
        let policy = asked.guard.tenants.policy(&asked.tenant).await;
        policy.map_err(|error| error.report())
    });
    answer.await.ok().flatten()
}

/// Whether the remediator that made the plan still stands by it.
async fn preconditions(shared: &Arc<Shared>, incident: &Incident, plan: &Plan) -> Testimony {
    let made_by = |remediator: &&Arc<dyn Remediator>| remediator.name() == plan.remediator;
    let Some(remediator) = shared.stages.remediators.iter().find(made_by) else {
        return Testimony::Unknown(format!("there is no remediator {:?}", plan.remediator));
    };
    let (remediator, plan) = (Arc::clone(remediator), plan.clone());
    let name = plan.remediator.clone();
    let cx = shared.context(Some(incident), shared.settings.stage_deadline);
    let answer = consult(shared, ("remediator", &name), async move {
        let objection = remediator.objection(&cx, &plan).await;
        objection.map_err(|error| error.report())
    });
    testimony(answer.await)
}

async fn tally(shared: &Arc<Shared>, plan: &Plan) -> Option<Tally> {
    let asked = Arc::clone(shared);
    let ballot = Ballot {
        incident: plan.incident,
        plan_hash: plan.hash(),
        summary: shared.redacted(&plan.to_string()),
    };
    let answer = consult(shared, ("electorate", "poll"), async move {
        let tally = asked.guard.electorate.poll(&ballot).await;
        tally.map_err(|error| error.report())
    });
    answer.await.ok()
}

fn testimony(answer: Result<Option<String>, ErrorReport>) -> Testimony {
    match answer {
        Ok(None) => Testimony::Yes,
        Ok(Some(objection)) => Testimony::No(objection),
        Err(report) => Testimony::Unknown(report.to_string()),
    }
}
