//! The remediator that plans from playbooks.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::policy::Permit;
use homeostasis_core::record::{Outcome, Plan};
use homeostasis_core::stage::{ExecuteError, PlanError, PlanRequest, Remediator, RunLog};
use homeostasis_core::{Context, PlanId, Target};

use super::select::{fitness, unmet};
use crate::action::ActionRegistry;
use crate::playbook::{Captures, CheckRegistry, PlanBinding, Playbook, PlaybookSet};

/// The name of [`PlaybookRemediator`] in plans, journal and configuration.
const NAME: &str = "playbooks";

/// Plans from playbooks and runs their steps.
///
/// Everything a trigger names must hold, and every pre-condition; unknown does not hold. The plan's
/// target is the diagnosed root cause. If the diagnosis abstained, only a playbook that an anomaly
/// asks for by name ([`playbook_hint`](homeostasis_core::record::Anomaly::playbook_hint)) applies,
/// to the target of that anomaly. Plans are ordered by how specific their trigger is, then by risk,
/// least first, then by id.
#[derive(Debug, Clone)]
pub struct PlaybookRemediator {
    playbooks: PlaybookSet,
    actions: Arc<ActionRegistry>,
    checks: CheckRegistry,
}

impl PlaybookRemediator {
    /// A remediator with these playbooks; `actions` and `checks` are those they were read with.
    pub fn new(
        playbooks: PlaybookSet,
        actions: impl Into<Arc<ActionRegistry>>,
        checks: CheckRegistry,
    ) -> Self {
        Self {
            playbooks,
            actions: actions.into(),
            checks,
        }
    }

    /// The playbooks.
    pub fn playbooks(&self) -> &PlaybookSet {
        &self.playbooks
    }

    async fn plan_of(
        &self,
        cx: &Context,
        playbook: &Playbook,
        request: PlanRequest<'_>,
    ) -> Option<Plan> {
        let hint = request
            .incident
            .anomalies
            .iter()
            .find(|anomaly| anomaly.playbook_hint.as_deref() == Some(playbook.id()));
        let cause = request.diagnosis.root_cause();
        let target: &Target = match (cause, hint) {
            (Some(cause), _) => &cause.target,
            (None, Some(anomaly)) => &anomaly.target,
            (None, None) => return None,
        };
        let fitness = fitness(cx, playbook.trigger(), hint.is_some(), cause, target)?;
        if let Some(unmet) = unmet(cx, playbook, &self.checks, target).await {
            tracing::debug!(playbook = playbook.id(), %target, unmet, "a pre-condition is not met");
            return None;
        }
        let binding = PlanBinding {
            id: plan_id(cx, playbook),
            incident: request.incident.id,
            remediator: NAME,
            target,
            topology: cx.topology(),
            fitness,
            captures: Captures::Of(request.diagnosis),
        };
        match playbook.to_plan(&self.actions, binding) {
            Ok(plan) => Some(plan),
            Err(error) => {
                tracing::warn!(playbook = playbook.id(), %target, %error, "no plan can be made");
                None
            }
        }
    }
}

/// The plan's id: from the context's chance, in a stream of the playbook's own.
fn plan_id(cx: &Context, playbook: &Playbook) -> PlanId {
    let hash = playbook.hash();
    let stream = hash.as_bytes()[..8]
        .iter()
        .fold(0, |stream, byte| (stream << 8) | u64::from(*byte));
    PlanId::new(cx.now(), &mut cx.rng(stream))
}

#[async_trait]
impl Remediator for PlaybookRemediator {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        let mut plans = Vec::new();
        for playbook in self.playbooks.iter() {
            plans.extend(self.plan_of(cx, playbook, request).await);
        }
        // The sort is stable and the playbooks come by id.
        plans.sort_by(|a, b| {
            b.fitness
                .total_cmp(&a.fitness)
                .then_with(|| a.risk().cmp(&b.risk()))
        });
        Ok(plans)
    }

    async fn objection(&self, cx: &Context, plan: &Plan) -> Result<Option<String>, PlanError> {
        let made_from = plan.playbook.as_ref();
        let book = made_from.and_then(|book| self.playbooks.iter().find(|it| it.id() == book.id));
        let Some(playbook) = book else {
            return Ok(Some("the playbook it was made from is gone".to_owned()));
        };
        Ok(unmet(cx, playbook, &self.checks, &plan.target).await)
    }

    fn known_names(&self) -> Option<BTreeSet<String>> {
        let actions = self.actions.names();
        let mut known: BTreeSet<_> = actions
            .flat_map(|name| [name.to_owned(), format!("{NAME}.{name}")])
            .collect();
        known.extend(
            self.playbooks
                .iter()
                .map(|playbook| playbook.id().to_owned()),
        );
        Some(known)
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        super::execute(&self.actions, cx, permit, run).await
    }

    async fn undo(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        super::undo(&self.actions, cx, permit, run).await
    }
}
