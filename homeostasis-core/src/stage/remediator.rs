//! Remediators: from a diagnosis to plans, and from a permitted plan to effects.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::cycle::Incident;
use crate::error::stage_error;
use crate::policy::Permit;
use crate::record::{Candidate, Diagnosis, Outcome, PatchCandidate, Plan, PlaybookRef};
use crate::stage::RunLog;

stage_error!(
    /// Why a remediator made no plan.
    PlanError
);
stage_error!(
    /// Why a run could not be carried to an outcome: it stays unfinished, and recovery takes it up.
    ExecuteError
);

/// What a remediator plans for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PlanRequest<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// Why it happened, or an abstention.
    pub diagnosis: &'a Diagnosis,
    /// Patches that passed their tests.
    pub patches: &'a [PatchCandidate],
}

impl<'a> PlanRequest<'a> {
    /// A request without patches.
    pub fn new(incident: &'a Incident, diagnosis: &'a Diagnosis) -> Self {
        Self {
            incident,
            diagnosis,
            patches: &[],
        }
    }
}

/// What a remediator would do, and what it weighed.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Selection {
    /// What could be done, best first.
    pub plans: Vec<Plan>,
    /// What was weighed, the plans among it; empty if the remediator does not say.
    pub considered: Vec<Candidate>,
    /// The texts that plans were made from. The engine keeps each under its hash, so that a past
    /// run can be shown with the text it ran.
    pub sources: Vec<(PlaybookRef, Arc<str>)>,
}

impl Selection {
    /// These plans, made of these candidates.
    pub fn new(plans: Vec<Plan>, considered: Vec<Candidate>) -> Self {
        Self {
            plans,
            considered,
            sources: Vec::new(),
        }
    }

    /// The same with the texts that the plans were made from.
    pub fn made_from(mut self, sources: Vec<(PlaybookRef, Arc<str>)>) -> Self {
        self.sources = sources;
        self
    }
}

/// Plans remedies, and carries permitted ones out.
///
/// # Expected flow
/// [`plan`](Remediator::plan) returns data. The gate decides. With its permit,
/// [`execute`](Remediator::execute) redeems it at the run log and does the steps, each between an
/// intent and an outcome in the log. If the verdict is bad, [`undo`](Remediator::undo) takes back
/// what was done.
///
/// # Guarantees
/// Never two runs on one target at a time. The log refuses an intent without a redeemed permit,
/// after the expiry, with the kill switch engaged, or under a lease that is no longer the newest.
///
/// # Assumptions
/// `plan` has no effects. `execute` is replay-safe: called again after a crash it finds what the log
/// knows ([`RunLog::step`]) and acts by each step's effect class: repeat, probe, or leave alone.
/// `undo` tolerates that `execute` never ran or half ran, and that undo itself half ran.
/// [`Outcome::Completed`] is claimed only when the log says so of the steps
/// ([`RunState::unsettled`](crate::record::RunState::unsettled)); the cycle refuses it otherwise.
#[async_trait]
#[diagnostic::on_unimplemented(note = "implement `Remediator` with `#[async_trait]`")]
pub trait Remediator: fmt::Debug + Send + Sync {
    /// Stable; used in configuration, journal, metrics and blame.
    fn name(&self) -> &str;

    /// What could be done, best first; nothing if nothing fits.
    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError>;

    /// What of that which `plan` was made under holds no longer, in words. Asked right before the
    /// gate, which may be long after the plan was made; it has no effects.
    async fn objection(&self, _cx: &Context, _plan: &Plan) -> Result<Option<String>, PlanError> {
        Ok(None)
    }

    /// The names of all playbooks and actions its plans may have, if it can tell: what a policy
    /// names and nobody has is told at the start.
    fn known_names(&self) -> Option<BTreeSet<String>> {
        None
    }

    /// The same with what was weighed and passed over; the engine asks this, and keeps the answer on
    /// the incident. A remediator that does not say only plans.
    async fn select(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Selection, PlanError> {
        let plans = self.plan(cx, request).await?;
        Ok(Selection::new(plans, Vec::new()))
    }

    /// Does it.
    ///
    /// # Errors
    /// Only if the run could not be brought to an outcome; a failed step is an [`Outcome`].
    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError>;

    /// Takes it back, last step first.
    ///
    /// # Errors
    /// As for [`execute`](Remediator::execute).
    async fn undo(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError>;
}

const _: fn(&dyn Remediator) = |_| {};

#[async_trait]
impl<T: Remediator + ?Sized> Remediator for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        (**self).plan(cx, request).await
    }

    async fn objection(&self, cx: &Context, plan: &Plan) -> Result<Option<String>, PlanError> {
        (**self).objection(cx, plan).await
    }

    fn known_names(&self) -> Option<BTreeSet<String>> {
        (**self).known_names()
    }

    async fn select(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Selection, PlanError> {
        (**self).select(cx, request).await
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        (**self).execute(cx, permit, run).await
    }

    async fn undo(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        (**self).undo(cx, permit, run).await
    }
}
