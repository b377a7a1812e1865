//! The remediator of patches: candidates become plans.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::policy::{Permit, Reach, blast_radius};
use homeostasis_core::port::Redactor;
use homeostasis_core::record::{
    Candidate, Finding, Hypothesis, Outcome, PatchCandidate, PatchKind, Plan, PlanPatch, PlanStep,
    Retry,
};
use homeostasis_core::signal::ErrorEvent;
use homeostasis_core::stage::{
    ExecuteError, PatchCheck, PatchError, PatchRequest, PlanError, PlanRequest, Remediator, RunLog,
    Selection,
};
use homeostasis_core::{Context, Incident, PlanId, Target, Timestamp, Violations, async_trait};
use homeostasis_patch::{ChangeSet, Format, HandOver};
use homeostasis_remediate::action::{Action, ActionRegistry};
use homeostasis_remediate::run;
use serde_json::{Map, Value};

use super::apply_patch::{APPLY_PATCH, ApplyPatch, HAND_OVER_TIME};
use super::{PATCHES, Patching};

/// The longest diff that goes into a plan, in bytes: plans are journaled.
const MAX_DIFF_BYTES: usize = 64 * 1024;

/// How much is kept of what several patchers say of one change, in bytes.
const MAX_SAID_BYTES: usize = 4096;

/// How many kinds of errors patchers are told.
const MAX_ERRORS: usize = 16;

/// How long before an incident its errors may have begun.
const ERRORS_BEFORE: Duration = Duration::from_secs(60);

/// How much evidence a proposal quotes.
const MAX_EVIDENCE: usize = 8;

/// Plans from what patchers propose, and runs those plans.
#[derive(Debug)]
pub(crate) struct PatchRemediator {
    patching: Patching,
    actions: ActionRegistry,
    redactor: Arc<dyn Redactor>,
}

/// Settles what an earlier life was killed in.
#[derive(Debug)]
pub(crate) struct Recovery {
    way: Arc<dyn HandOver>,
    checks: Vec<Arc<dyn PatchCheck>>,
}

impl Recovery {
    /// Does it; what people must settle is logged. Each hand-over tries it again, and is refused
    /// where it cannot be done.
    pub(crate) async fn run(self) {
        for check in &self.checks {
            if let Err(error) = check.recover().await {
                let why = error.report().to_string();
                tracing::warn!(
                    check = check.name(),
                    why,
                    "something may be left of a killed life"
                );
            }
        }
        let work = move || {
            let way = self.way;
            match way.recover() {
                Ok(open) => {
                    for what in open {
                        tracing::error!(way = way.name(), what, "people must settle it");
                    }
                }
                Err(error) => tracing::error!(way = way.name(), %error, "recovery failed"),
            }
        };
        if let Err(error) = tokio::task::spawn_blocking(work).await {
            tracing::error!(%error, "recovery of patches failed");
        }
    }
}

impl PatchRemediator {
    /// With the actions of the host that follow a patch.
    pub(crate) fn new(
        patching: Patching,
        known: &ActionRegistry,
        redactor: Arc<dyn Redactor>,
        violations: &mut Violations,
    ) -> Option<Self> {
        let mut found = Violations::new();
        patching.check_against(known, &mut found);
        violations.absorb(found.into_result(()))?;
        let mut actions = ActionRegistry::default();
        let mut then = Vec::new();
        for (name, args) in &patching.then {
            if let Some(action) = known.get(name) {
                if actions.get(name).is_none() {
                    violations.absorb(actions.register(Arc::clone(action)))?;
                }
                let mut args = args.clone();
                action.spec().fill_defaults(&mut args);
                then.push((Arc::clone(action), args));
            }
        }
        let (root, way) = (patching.root.clone(), Arc::clone(&patching.way));
        let apply = ApplyPatch::new(root, way, patching.checks.clone(), then);
        violations.absorb(actions.register(apply))?;
        Some(Self {
            patching,
            actions,
            redactor,
        })
    }

    /// What settles what an earlier life was killed in.
    pub(crate) fn recovery(&self) -> Recovery {
        Recovery {
            way: Arc::clone(&self.patching.way),
            checks: self.patching.checks.clone(),
        }
    }

    /// Why a candidate is not worth a plan.
    fn objection_to(&self, candidate: &PatchCandidate) -> Option<String> {
        if let Some(broken) = candidate.violation() {
            return Some(broken);
        }
        // The policy decides by the kind, so the kind is not the patcher's word alone.
        let is_settings = Format::from_path(Path::new(&candidate.path)).is_some();
        if candidate.kind == PatchKind::Configuration && !is_settings {
            let path = &candidate.path;
            return Some(format!("{path:?} is called configuration, expected code"));
        }
        if candidate.risk > self.patching.max_risk {
            let (risk, wanted) = (candidate.risk, self.patching.max_risk);
            return Some(format!("its risk is {risk}, at most {wanted} is wanted"));
        }
        let n_bytes = candidate.diff.len();
        (n_bytes > MAX_DIFF_BYTES)
            .then(|| format!("a diff of {n_bytes} bytes, at most {MAX_DIFF_BYTES} are planned"))
    }

    /// The gate decides by the risk, so it is the highest of what the patcher says and what the
    /// checks find.
    async fn raise_risk(
        &self,
        cx: &Context,
        candidate: &mut PatchCandidate,
    ) -> Result<(), PatchError> {
        if candidate.violation().is_some() {
            // Passed over for that.
            return Ok(());
        }
        for check in &self.patching.checks {
            let found = check.risk(cx, candidate, &self.patching.root).await?;
            candidate.risk = candidate.risk.max(found.unwrap_or(candidate.risk));
        }
        Ok(())
    }

    /// What every patcher proposes, each text once, best first, and what was passed over.
    async fn candidates(
        &self,
        cx: &Context,
        request: PatchRequest<'_>,
    ) -> (Vec<PatchCandidate>, Vec<Candidate>) {
        let mut proposals: Vec<PatchCandidate> = Vec::new();
        let mut passed_over = Vec::new();
        for patcher in &self.patching.patchers {
            let proposed = match patcher.propose(cx, request).await {
                Ok(proposed) => proposed,
                Err(error) => {
                    let why = error.report().to_string();
                    tracing::warn!(patcher = patcher.name(), why, "it proposes nothing");
                    passed_over.push(Candidate::passed_over(patcher.name(), why));
                    continue;
                }
            };
            for candidate in proposed {
                let mut known = proposals.iter_mut();
                match known.find(|known| is_same_change(known, &candidate)) {
                    Some(known) => join(known, candidate),
                    None => proposals.push(candidate),
                }
            }
        }
        // Only now is known what all of them say of a text.
        let mut found = Vec::new();
        for mut candidate in proposals {
            if let Err(error) = self.raise_risk(cx, &mut candidate).await {
                let why = error.report().to_string();
                passed_over.push(Candidate::passed_over(name_of(&candidate), why));
                continue;
            }
            match self.objection_to(&candidate) {
                None => found.push(candidate),
                Some(why) => passed_over.push(Candidate::passed_over(name_of(&candidate), why)),
            }
        }
        // The sort is stable: within a patcher its own order counts among equals.
        found.sort_by(|a, b| {
            let by_confidence = b.confidence.cmp(&a.confidence);
            by_confidence.then_with(|| a.risk.cmp(&b.risk))
        });
        (found, passed_over)
    }

    /// A plan that tries these candidates of one kind in order.
    fn plan_of(
        &self,
        cx: &Context,
        request: PlanRequest<'_>,
        cause: &Hypothesis,
        candidates: &[PatchCandidate],
    ) -> Plan {
        let incident = request.incident.id;
        let best = candidates.first();
        let kind = best.map_or(PatchKind::Code, |best| best.kind);
        let proposals = candidates.iter().map(|candidate| {
            let mut proposal = ChangeSet::new(incident, cx.now(), [candidate.clone()]);
            proposal.why = said(cause);
            proposal.evidence = evidence(&cause.evidence);
            serde_json::to_value(proposal).unwrap_or_default()
        });
        let proposals: Vec<Value> = proposals.collect();
        let stream = match kind {
            PatchKind::Configuration => 0x9a7c_0000_0000_0001,
            _ => 0x9a7c_0000_0000_0002,
        };
        let id = PlanId::new(cx.now(), &mut cx.rng(stream));
        let title = match candidates {
            [one] => format!("{kind} patch of {}", one.path),
            many => format!("{kind} patch: the first of {} that passes", many.len()),
        };
        let target = cause.target.clone();
        let mut plan = Plan::new(id, incident, PATCHES, title, target.clone());
        plan.steps
            .push(self.apply_step(&target, candidates, proposals));
        for (name, args) in &self.patching.then {
            if let Some(action) = self.actions.get(name) {
                plan.steps.push(following(&**action, args.clone(), &target));
            }
        }
        let mut patches: BTreeMap<&str, PlanPatch> = BTreeMap::new();
        for candidate in candidates {
            let (path, risk) = (candidate.path.clone(), candidate.risk);
            let patch = PlanPatch { path, kind, risk };
            let known = patches.entry(&candidate.path).or_insert(patch);
            known.risk = known.risk.max(risk);
        }
        plan.patches = patches.into_values().collect();
        let targets: Vec<_> = plan.steps.iter().map(|step| step.target.clone()).collect();
        plan.radius = blast_radius(&targets, cx.topology(), Reach::default());
        // What people read before it counts, a branch or a file, needs nobody's word before it is made.
        let mut all = candidates.iter();
        let wants_review = all.any(|candidate| self.patching.wants_review(candidate));
        let needs_people = wants_review || self.patching.unproven(kind).is_some();
        plan.require_approval = needs_people && self.patching.way.is_live();
        plan.verification = self.patching.verification.clone();
        // Behind playbooks whose cause fits: those act sooner, a patch lasts longer.
        plan.fitness = best.map_or(0.0, |best| best.confidence.get() / 4.0);
        plan
    }

    fn apply_step(
        &self,
        target: &Target,
        candidates: &[PatchCandidate],
        proposals: Vec<Value>,
    ) -> PlanStep {
        let mut step = PlanStep::new("test and hand over", APPLY_PATCH, target.clone());
        step.args.insert("proposals".to_owned(), proposals.into());
        if let Some(action) = self.actions.get(APPLY_PATCH) {
            step.effect = action.effect(&step.args);
            step.inverse = action.inverse(&step.args);
        }
        let risks = candidates.iter().map(|candidate| candidate.risk);
        step.risk = risks.max().unwrap_or(step.risk);
        step.watches = self.patching.test_time;
        step.timeout = self.patching.test_time.saturating_add(HAND_OVER_TIME);
        step.retry = Retry {
            attempts: 3,
            ..Retry::default()
        };
        step
    }

    /// The best candidates of one kind that a plan may hold; the others are said to be passed over.
    fn choose(
        &self,
        cx: &Context,
        request: PlanRequest<'_>,
        cause: &Hypothesis,
        of_kind: impl Iterator<Item = PatchCandidate>,
        considered: &mut Vec<Candidate>,
    ) -> Vec<PatchCandidate> {
        let most = if self.patching.checks.is_empty() {
            1
        } else {
            self.patching.max_candidates
        };
        let mut chosen = Vec::new();
        for candidate in of_kind {
            let one = std::slice::from_ref(&candidate);
            let why = if chosen.len() == most {
                format!("{most} others come first")
            } else if let Some(place) = self
                .plan_of(cx, request, cause, one)
                .secret_parameter(&*self.redactor)
            {
                // What the journal must not hold would stop the others, too.
                format!("a secret in {place}, which no plan may hold")
            } else {
                chosen.push(candidate);
                continue;
            };
            considered.push(Candidate::passed_over(name_of(&candidate), why));
        }
        chosen
    }
}

/// A step of the host's own after the patch.
fn following(action: &dyn Action, mut args: Map<String, Value>, target: &Target) -> PlanStep {
    let spec = action.spec();
    spec.fill_defaults(&mut args);
    let name = format!("then {}", action.name());
    let mut step = PlanStep::new(name, action.name(), action.touches(target, &args));
    step.effect = action.effect(&args);
    step.risk = spec.risk;
    step.inverse = action.inverse(&args);
    step.watches = action.watches(&args);
    step.timeout = spec.default_timeout.saturating_add(step.watches);
    step.args = args;
    step
}

/// Whether both make the same text of the same text.
fn is_same_change(one: &PatchCandidate, other: &PatchCandidate) -> bool {
    (&one.path, &one.base, &one.diff) == (&other.path, &other.base, &other.diff)
}

/// Makes one candidate of two of the same change: the worst that is said of it counts, and the reasons of
/// both are kept. It stays that of whoever proposed it first, and is as sure as the surer of them.
fn join(known: &mut PatchCandidate, other: PatchCandidate) {
    known.risk = known.risk.max(other.risk);
    known.requires_review |= other.requires_review;
    // Who does not say it may know something worse.
    known.recovery = known.recovery.zip(other.recovery).map(|(a, b)| a.max(b));
    // Code is what more is asked of.
    known.kind = known.kind.max(other.kind);
    known.confidence = known.confidence.max(other.confidence);
    for (said, added) in [
        (&mut known.explanation, &other.explanation),
        (&mut known.behaviour, &other.behaviour),
    ] {
        let fits = said.len() + added.len() <= MAX_SAID_BYTES;
        if said.is_empty() {
            said.clone_from(added);
        } else if !said.contains(added.as_str()) && fits {
            said.extend(["; ", &other.patcher, " says: ", added]);
        }
    }
    if known.template.is_empty() {
        known.template = other.template;
    }
}

fn name_of(candidate: &PatchCandidate) -> String {
    let hash = candidate.hash().short();
    format!("{}: {} ({hash})", candidate.patcher, candidate.path)
}

fn said(cause: &Hypothesis) -> String {
    if cause.explanation.is_empty() {
        cause.to_string()
    } else {
        format!("{cause}: {}", cause.explanation)
    }
}

fn evidence(findings: &[Finding]) -> Vec<String> {
    let proofs = findings.iter().flat_map(|finding| &finding.proofs);
    let statements = proofs.map(|proof| proof.statement.clone());
    statements.take(MAX_EVIDENCE).collect()
}

/// The errors in the logs of the cause's target, each kind once as it was seen last; the most
/// frequent first, among equals the latest.
///
/// Those of the incident count, and if there is none, those of [`ERRORS_BEFORE`] it.
fn errors_of(cx: &Context, incident: &Incident, target: &Target) -> Vec<ErrorEvent> {
    let from = incident.since - ERRORS_BEFORE;
    let mut records = cx.observations().logs(Some(target), from, cx.now());
    records.retain(|record| record.error.is_some());
    if records.iter().any(|record| record.at >= incident.since) {
        records.retain(|record| record.at >= incident.since);
    }
    let mut kinds: BTreeMap<String, (u64, Timestamp, ErrorEvent)> = BTreeMap::new();
    for record in records {
        let Some(error) = record.error else { continue };
        let key = if error.fingerprint.is_empty() {
            format!("{} {}", error.kind, error.message)
        } else {
            error.fingerprint.clone()
        };
        let n_before = kinds.get(&key).map_or(0, |(n, ..)| *n);
        kinds.insert(key, (n_before + 1, record.at, *error));
    }
    let mut kinds: Vec<_> = kinds.into_values().collect();
    kinds.sort_by_key(|(n, at, _)| Reverse((*n, *at)));
    let errors = kinds.into_iter().map(|(_, _, error)| error);
    errors.take(MAX_ERRORS).collect()
}

#[async_trait]
impl Remediator for PatchRemediator {
    fn name(&self) -> &str {
        PATCHES
    }

    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        Ok(self.select(cx, request).await?.plans)
    }

    async fn select(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Selection, PlanError> {
        let Some(cause) = request.diagnosis.root_cause() else {
            return Ok(Selection::default());
        };
        let errors = errors_of(cx, request.incident, &cause.target);
        let asked = PatchRequest::new(request.incident, request.diagnosis, &self.patching.root)
            .with_errors(&errors);
        let (found, mut considered) = self.candidates(cx, asked).await;
        let mut plans = Vec::new();
        for kind in [PatchKind::Configuration, PatchKind::Code] {
            let of_kind = found.iter().filter(|candidate| candidate.kind == kind);
            let chosen = self.choose(cx, request, cause, of_kind.cloned(), &mut considered);
            if chosen.is_empty() {
                continue;
            }
            let plan = self.plan_of(cx, request, cause, &chosen);
            for candidate in &chosen {
                let mut why = format!("it treats {} of {}", cause.cause, cause.target);
                let unproven = self.patching.unproven(kind);
                if let Some(unproven) = unproven.filter(|_| self.patching.way.is_live()) {
                    why.push_str("; people must approve it: ");
                    why.push_str(&unproven);
                }
                considered.push(Candidate::weighed(name_of(candidate), plan.fitness, why));
            }
            plans.push(plan);
        }
        Ok(Selection::new(plans, considered))
    }

    fn known_names(&self) -> Option<BTreeSet<String>> {
        let names = self.actions.names();
        let names = names.flat_map(|name| [name.to_owned(), format!("{PATCHES}.{name}")]);
        Some(names.collect())
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        log: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        run::execute(&self.actions, cx, permit, log).await
    }

    async fn undo(
        &self,
        cx: &Context,
        permit: Permit,
        log: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        run::undo(&self.actions, cx, permit, log).await
    }
}
