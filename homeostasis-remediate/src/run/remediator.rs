//! The remediator that plans from playbooks.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use homeostasis_core::policy::Permit;
use homeostasis_core::port::{Effectiveness, KnowledgeBase, PastIncident};
use homeostasis_core::record::{Candidate, Outcome, Plan};
use homeostasis_core::stage::{
    ExecuteError, PlanError, PlanRequest, Remediator, RunLog, Selection,
};
use homeostasis_core::{Context, PlanId, Target};

use super::score::{History, parts};
use super::select::{Fit, fit, unmet};
use crate::action::ActionRegistry;
use crate::playbook::{Captures, CheckRegistry, PlanBinding, Playbook, PlaybookSet};

/// The name of [`PlaybookRemediator`] in plans, journal and configuration.
const NAME: &str = "playbooks";

/// Past incidents that are looked at for one that is open.
const MAX_SIMILAR: usize = 64;

/// Plans from playbooks and runs their steps.
///
/// Everything a trigger names must hold, and every pre-condition; unknown does not hold. The plan's
/// target is the diagnosed root cause. If the diagnosis abstained, only a playbook that an anomaly
/// asks for by name ([`playbook_hint`](homeostasis_core::record::Anomaly::playbook_hint)) applies,
/// to the target of that anomaly.
///
/// Plans are ordered by how closely their trigger fits: asked for by name or cause and service, then
/// cause, then category or condition, then the service alone where the playbook helped in similar
/// incidents, then the service alone. Among those that fit alike the score decides: 0.4 for
/// successes against this cause, 0.3 for not reaching beyond the trouble, 0.2 for being quick, 0.1
/// for having helped lately; then the lower risk, then the id.
/// [`select`](Remediator::select) says of each playbook whose trigger fits how it was weighed, or why
/// it was passed over.
///
/// Cheap to clone; all clones have the same playbooks.
#[derive(Debug, Clone)]
pub struct PlaybookRemediator {
    playbooks: Arc<RwLock<PlaybookSet>>,
    actions: Arc<ActionRegistry>,
    checks: CheckRegistry,
    knowledge: Option<Arc<dyn KnowledgeBase>>,
}

impl PlaybookRemediator {
    /// A remediator with these playbooks; `actions` and `checks` are those they were read with.
    pub fn new(
        playbooks: PlaybookSet,
        actions: impl Into<Arc<ActionRegistry>>,
        checks: CheckRegistry,
    ) -> Self {
        Self {
            playbooks: Arc::new(RwLock::new(playbooks)),
            actions: actions.into(),
            checks,
            knowledge: None,
        }
    }

    /// The same, choosing by what helped before.
    pub fn with_knowledge(mut self, knowledge: Arc<dyn KnowledgeBase>) -> Self {
        self.knowledge = Some(knowledge);
        self
    }

    /// The playbooks that are in force.
    pub fn playbooks(&self) -> PlaybookSet {
        let set = self.playbooks.read();
        set.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other playbooks in force, all at once: planning sees the old ones or the new ones, never
    /// some of each. A plan that was made and a run that was opened keep what they were made from.
    pub fn replace(&self, playbooks: PlaybookSet) {
        let mut set = self
            .playbooks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *set = playbooks;
    }

    /// The actions.
    pub fn actions(&self) -> &Arc<ActionRegistry> {
        &self.actions
    }

    /// The checks.
    pub fn checks(&self) -> &CheckRegistry {
        &self.checks
    }

    /// What is made of one playbook; `None` if its trigger does not fit.
    async fn weigh(
        &self,
        cx: &Context,
        playbook: &Playbook,
        request: PlanRequest<'_>,
        similar: &[PastIncident],
    ) -> Option<(Candidate, Option<Plan>)> {
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
        let fit = fit(cx, playbook.trigger(), hint.is_some(), cause, target)?;
        let passed_over = |why: String| {
            tracing::debug!(playbook = playbook.id(), %target, why, "passed over");
            Some((Candidate::passed_over(playbook.id(), why), None))
        };
        if let Some(unmet) = unmet(cx, playbook, &self.checks, target).await {
            return passed_over(format!("a pre-condition is not met: {unmet}"));
        }
        let binding = PlanBinding {
            id: plan_id(cx, playbook),
            incident: request.incident.id,
            remediator: NAME,
            target,
            topology: cx.topology(),
            fitness: 0.0,
            captures: Captures::Of(request.diagnosis),
        };
        let mut plan = match playbook.to_plan(&self.actions, binding) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::warn!(playbook = playbook.id(), %target, %error, "no plan can be made");
                return passed_over(format!("no plan can be made: {error}"));
            }
        };
        let did = match cause {
            Some(cause) => self.effectiveness(playbook.id(), &cause.cause).await,
            None => None,
        };
        let history = History::of(playbook.id(), similar, did);
        let fit = match fit {
            Fit::Service if history.did.successes > 0 => Fit::History,
            fit => fit,
        };
        let reach = request.incident.radius.level;
        let parts = parts(playbook, &plan, reach, &history, cx.now());
        plan.fitness = fit.fitness(parts.iter().map(|(_, share)| share).sum());
        let why = format!(
            "{}; it helped in {} of {} runs",
            fit.words(),
            history.did.successes,
            history.did.runs
        );
        let candidate = Candidate::weighed(playbook.id(), plan.fitness, why).made_of(parts);
        Some((candidate, Some(plan)))
    }

    /// Incidents like this one; none if nobody remembers.
    async fn similar(&self, request: PlanRequest<'_>) -> Vec<PastIncident> {
        let Some(knowledge) = &self.knowledge else {
            return Vec::new();
        };
        let cause = request.diagnosis.root_cause();
        let cause = cause.map(|cause| cause.cause.as_str());
        let found = knowledge.similar(request.incident.fingerprint(), cause, MAX_SIMILAR);
        found.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "nothing is known of similar incidents");
            Vec::new()
        })
    }

    async fn effectiveness(&self, playbook: &str, cause: &str) -> Option<Effectiveness> {
        let knowledge = self.knowledge.as_ref()?;
        match knowledge.effectiveness(playbook, cause).await {
            Ok(did) => Some(did),
            Err(error) => {
                tracing::warn!(playbook, cause, %error, "nothing is known of its runs");
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
        Ok(self.select(cx, request).await?.plans)
    }

    async fn select(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Selection, PlanError> {
        let (mut plans, mut considered, mut sources) = (Vec::new(), Vec::new(), Vec::new());
        let similar = self.similar(request).await;
        for playbook in self.playbooks().iter() {
            let weighed = self.weigh(cx, playbook, request, &similar).await;
            if let Some((candidate, plan)) = weighed {
                considered.push(candidate);
                if let Some(plan) = plan {
                    plans.push(plan);
                    sources.push((playbook.reference(), Arc::clone(playbook.text())));
                }
            }
        }
        // The sort is stable and the playbooks come by id.
        plans.sort_by(|a, b| {
            b.fitness
                .total_cmp(&a.fitness)
                .then_with(|| a.risk().cmp(&b.risk()))
        });
        Ok(Selection::new(plans, considered).made_from(sources))
    }

    async fn objection(&self, cx: &Context, plan: &Plan) -> Result<Option<String>, PlanError> {
        let playbooks = self.playbooks();
        let made_from = plan.playbook.as_ref();
        let Some(playbook) =
            made_from.and_then(|book| playbooks.iter().find(|it| it.id() == book.id))
        else {
            return Ok(Some("the playbook it was made from is gone".to_owned()));
        };
        Ok(unmet(cx, playbook, &self.checks, &plan.target).await)
    }

    fn known_names(&self) -> Option<BTreeSet<String>> {
        let actions = self.actions.names();
        let mut known: BTreeSet<_> = actions
            .flat_map(|name| [name.to_owned(), format!("{NAME}.{name}")])
            .collect();
        let playbooks = self.playbooks();
        known.extend(playbooks.iter().map(|playbook| playbook.id().to_owned()));
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
