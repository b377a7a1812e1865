//! The document of a healing: what was wrong, what was changed, what it passed, whether it helped.

use homeostasis_core::cycle::Phase;
use homeostasis_core::record::{
    Outcome, PatchCandidate, PatchKind, Plan, RecoveryStrategy, Resolution, RiskLevel, RunState,
    Severity, StepOutcome, StepState, VerdictKind,
};
use homeostasis_core::{Confidence, Digest, Incident, IncidentId, RunId, Target, Timestamp};
use homeostasis_patch::Receipt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PATCHES;
use super::apply_patch::{APPLY_PATCH, proposals};
use crate::engine::{EngineError, Homeostasis};

/// One file that a healing changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PatchedFile {
    /// The file, relative to the project.
    pub path: String,
    /// What kind of text it is.
    pub kind: PatchKind,
    /// Who proposed the change.
    pub patcher: String,
    /// What it changes for which inputs.
    pub explanation: String,
    /// What the program does after it for which inputs; empty if nobody says.
    #[serde(default)]
    pub behaviour: String,
    /// How it goes on where it failed before, if somebody says.
    #[serde(default)]
    pub recovery: Option<RecoveryStrategy>,
    /// How sure the patcher was.
    pub confidence: Confidence,
    /// How dangerous it is.
    pub risk: RiskLevel,
    /// The change, as a unified diff.
    pub diff: String,
}

/// Whether it helped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealingVerdict {
    /// The answer.
    pub kind: VerdictKind,
    /// When it was given.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// One run of a patch, from the error to the verdict, as a document for people and programs.
///
/// It is read from the journal alone: what is not in it did not happen or is not known yet.
///
/// Source: the project's source document on self-healing software, "Document Healing Activities".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealingEvent {
    /// The version of this format: [`HealingEvent::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The incident.
    pub incident: IncidentId,
    /// The run.
    pub run: RunId,
    /// How bad it was.
    pub severity: Severity,
    /// Who was ill.
    pub target: Target,
    /// When the trouble was found.
    pub detected_at: Timestamp,
    /// What was found first, in words.
    pub error: String,
    /// The cause that was named.
    pub cause: String,
    /// What is said of the cause.
    pub diagnosis: String,
    /// How sure the diagnosis was.
    pub confidence: Confidence,
    /// What it rests on.
    pub evidence: Vec<String>,
    /// The changes that were handed over; none if none was.
    pub files: Vec<PatchedFile>,
    /// The hash of what was handed over.
    pub patch_hash: Option<Digest>,
    /// What it passed.
    pub tests: Vec<String>,
    /// Why other candidates that were tried were not handed over.
    pub refused: Vec<String>,
    /// The way it went, and where it is.
    pub handed_over: Option<Receipt>,
    /// When the run began.
    pub started_at: Timestamp,
    /// When its steps came to an end.
    pub ended_at: Option<Timestamp>,
    /// How they did.
    pub outcome: Option<Outcome>,
    /// The last verdict.
    pub verdict: Option<HealingVerdict>,
    /// How the change was taken back, if it was.
    pub taken_back: Option<Outcome>,
    /// How the incident ended, if it did.
    pub resolution: Option<Resolution>,
}

impl HealingEvent {
    /// The version of the document that is written.
    pub const SCHEMA_VERSION: u32 = 1;

    /// The documents of an incident's runs that handed patches over or tried to, oldest first.
    pub fn of(incident: &Incident) -> Vec<Self> {
        let of_patches = incident.runs.iter().filter_map(|run| {
            let plan = incident.plans.iter().find(|plan| plan.id == run.plan)?;
            (plan.remediator == PATCHES).then(|| Self::of_run(incident, plan, run))
        });
        of_patches.collect()
    }

    fn of_run(incident: &Incident, plan: &Plan, run: &RunState) -> Self {
        let step = plan.steps.iter().position(|it| it.action == APPLY_PATCH);
        let tried = step.and_then(|idx| proposals(&plan.steps[idx].args).ok());
        let tried = tried.unwrap_or_default();
        let ended = step.and_then(|idx| run.steps.get(idx));
        let (output, failure) = match ended {
            Some(StepState::Ended { outcome, .. }) => match outcome {
                StepOutcome::Done { output } => (output.clone(), None),
                StepOutcome::Failed { report } => (Value::Null, Some(report.to_string())),
                _ => (Value::Null, None),
            },
            _ => (Value::Null, None),
        };
        let receipt: Option<Receipt> = serde_json::from_value(output["handed_over"].clone()).ok();
        let hash = receipt.as_ref().map(|receipt| receipt.hash);
        let chosen = tried.iter().find(|it| Some(it.hash()) == hash);
        let refused = items(&output["refused"]).filter_map(|it| it["why"].as_str());
        let tests = items(&output["tests"]).filter_map(Value::as_str);
        let cause = incident.diagnosis.as_ref().and_then(|it| it.root_cause());
        let first = incident.anomalies.first();
        let mut verdicts = incident.verdicts.iter().filter(|(of, _)| *of == run.run);
        Self {
            schema_version: Self::SCHEMA_VERSION,
            incident: incident.id,
            run: run.run,
            severity: incident.severity,
            target: plan.target.clone(),
            detected_at: incident.opened_at,
            error: first.map(|it| it.explanation.clone()).unwrap_or_default(),
            cause: cause.map(|it| it.cause.clone()).unwrap_or_default(),
            diagnosis: cause.map(|it| it.explanation.clone()).unwrap_or_default(),
            confidence: cause.map_or(Confidence::ZERO, |it| it.confidence),
            evidence: tried
                .first()
                .map(|it| it.evidence.clone())
                .unwrap_or_default(),
            files: chosen
                .iter()
                .flat_map(|proposal| proposal.patches.iter().map(PatchedFile::of))
                .collect(),
            patch_hash: hash,
            tests: tests.map(str::to_owned).collect(),
            refused: refused.map(str::to_owned).chain(failure).collect(),
            handed_over: receipt,
            started_at: run.opened_at,
            ended_at: run.ended_at,
            outcome: run.outcome.clone(),
            verdict: verdicts.next_back().map(|(_, verdict)| HealingVerdict {
                kind: verdict.kind,
                at: verdict.at,
                reason: verdict.reason.clone(),
            }),
            taken_back: run.undo_outcome.clone(),
            resolution: match &incident.phase {
                Phase::Closed { resolution } => Some(resolution.clone()),
                _ => None,
            },
        }
    }
}

impl PatchedFile {
    fn of(patch: &PatchCandidate) -> Self {
        Self {
            path: patch.path.clone(),
            kind: patch.kind,
            patcher: patch.patcher.clone(),
            explanation: patch.explanation.clone(),
            behaviour: patch.behaviour.clone(),
            recovery: patch.recovery,
            confidence: patch.confidence,
            risk: patch.risk,
            diff: patch.diff.clone(),
        }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

impl Homeostasis {
    /// The documents of the runs of an incident that handed patches over or tried to, oldest first.
    ///
    /// # Errors
    /// If the incident is unknown, its journal cannot be understood, or the store fails.
    pub async fn healing_events(&self, id: IncidentId) -> Result<Vec<HealingEvent>, EngineError> {
        Ok(HealingEvent::of(&self.incident(id).await?))
    }
}
