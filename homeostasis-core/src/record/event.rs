//! Events: what is appended to the journal, and the only way an incident changes.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{BoxError, ErrorKind, ErrorReport};
use crate::id::{IncidentId, NodeId, PlanId, RunId, TenantId};
use crate::policy::{GateRecord, SeverityScore};
use crate::port::{FencingToken, Role};
use crate::record::{
    Anomaly, BlastRadius, Candidate, Diagnosis, HandOverAnswer, Outcome, Plan, Severity,
    StepIntent, StepOutcome, StepPhase, Verdict,
};
use crate::time::Timestamp;

/// The version of the shape of [`HealEvent`]; it grows when a reader must know.
pub const SCHEMA_VERSION: u32 = 1;

/// Stored text that is not an event this version can read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Another version of the healer wrote it, in a shape this one does not know.
    #[error("schema_version = {found}, expected 1 to {SCHEMA_VERSION}")]
    Version {
        /// What it says.
        found: u64,
    },
    /// It is not JSON, or not an event.
    #[error("not an event of the journal")]
    Malformed(#[source] BoxError),
}

impl EventError {
    /// What may be done next: reading again changes nothing.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Permanent
    }
}

/// How an incident ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// A plan was executed and verified.
    Healed {
        /// Which run.
        run: RunId,
    },
    /// The symptoms went away by themselves.
    Recovered,
    /// A person closed it.
    Manual {
        /// Who.
        by: String,
        /// What they said.
        note: String,
    },
}

/// One change of an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealEvent {
    /// The shape of this record: [`SCHEMA_VERSION`] when it was written.
    pub schema_version: u32,
    /// Of which incident.
    pub incident: IncidentId,
    /// Its place in the incident, from 0.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Which copy of the healer wrote it.
    pub node: NodeId,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The first anomaly opened the incident.
    Opened {
        /// Whose incident it is.
        tenant: TenantId,
        /// What was found.
        anomaly: Box<Anomaly>,
        /// How bad.
        severity: Severity,
        /// How far.
        radius: BlastRadius,
        /// The arithmetic behind the severity, if the writer kept it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        score: Option<SeverityScore>,
    },
    /// Another anomaly belongs to it.
    AnomalyJoined {
        /// What was found.
        anomaly: Box<Anomaly>,
        /// How bad the incident now is.
        severity: Severity,
        /// How far it now reaches.
        radius: BlastRadius,
        /// The arithmetic behind the severity, if the writer kept it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        score: Option<SeverityScore>,
    },
    /// A plug-in panicked, hung, failed or broke its post-condition; it was skipped.
    Blamed {
        /// The stage: `detector`, `analyzer` …
        stage: String,
        /// Its name.
        plugin: String,
        /// What it did.
        report: ErrorReport,
    },
    /// The root cause was named, or an abstention.
    Diagnosed {
        /// The result.
        diagnosis: Diagnosis,
    },
    /// What could be done, best first; may be empty.
    Planned {
        /// The plans.
        plans: Vec<Plan>,
        /// What was weighed, the chosen and the passed over, if the remediators said so.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        considered: Vec<Candidate>,
    },
    /// The gate answered.
    Gated {
        /// About which plan.
        plan: PlanId,
        /// Every answer with its numbers.
        record: GateRecord,
    },
    /// A person, or the expiry, decided on a plan.
    ApprovalDecided {
        /// Which plan.
        plan: PlanId,
        /// The hash that was decided on.
        plan_hash: Digest,
        /// Whether it may run.
        granted: bool,
        /// Who decided.
        by: String,
        /// What they are, if they proved it with a token.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        roles: BTreeSet<Role>,
        /// What they said.
        reason: String,
        /// When they said it, by the clock of who passed it on; none if that was the engine itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        given_at: Option<Timestamp>,
    },
    /// The time of a deferred plan has come.
    Woken {
        /// Which plan.
        plan: PlanId,
    },
    /// The effects of a permitted plan begin.
    RunOpened {
        /// Its id.
        run: RunId,
        /// Of which plan.
        plan: PlanId,
        /// The permitted hash.
        plan_hash: Digest,
        /// The lease on the target.
        token: FencingToken,
    },
    /// After a crash or a hand-over a process took the run up again.
    RunResumed {
        /// Which run.
        run: RunId,
        /// The new lease.
        token: FencingToken,
    },
    /// A step is about to touch the world.
    StepIntended {
        /// Of which run.
        run: RunId,
        /// Which step, how, with which key.
        intent: StepIntent,
    },
    /// A step came to an end.
    StepEnded {
        /// Of which run.
        run: RunId,
        /// Which step, from 0.
        step_idx: usize,
        /// Forward or back.
        phase: StepPhase,
        /// How.
        outcome: StepOutcome,
    },
    /// The run came to an end.
    RunEnded {
        /// Which run.
        run: RunId,
        /// How.
        outcome: Outcome,
    },
    /// A verdict was given.
    Verified {
        /// On which run.
        run: RunId,
        /// The verdict.
        verdict: Verdict,
    },
    /// The undo of a run came to an end.
    UndoEnded {
        /// Which run.
        run: RunId,
        /// How.
        outcome: Outcome,
    },
    /// It was handed to people.
    Escalated {
        /// Why.
        reason: String,
    },
    /// The chain of a policy began: its delays count from here.
    EscalationBegun {
        /// Its name.
        policy: String,
    },
    /// A level of the chain was called; the messages are durable with this event.
    Notified {
        /// Which, from 1; 0 is whom a playbook named.
        level: u32,
        /// In which round of the chain, from 0.
        round: u32,
        /// Through which channels.
        channels: Vec<String>,
        /// People or roles.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        to: Vec<String>,
        /// Why.
        reason: String,
    },
    /// Something made it graver, or calls the next level at once.
    TriggerFired {
        /// Its name.
        trigger: String,
        /// Why.
        reason: String,
        /// How severe it is now at least; `None` calls the next level.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        raise_to: Option<Severity>,
    },
    /// A person took it on.
    Acknowledged {
        /// Who.
        by: String,
        /// What they said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },
    /// A person answered about a step of which nobody could tell whether it happened.
    HandOverAnswered {
        /// Of which run.
        run: RunId,
        /// Which step, from 0.
        step_idx: usize,
        /// Which question of this run, from 0: an answer counts for one question only.
        question: u32,
        /// What is to be done.
        answer: HandOverAnswer,
        /// Who says so.
        by: String,
        /// Why.
        reason: String,
    },
    /// A person stopped a run: no step begins any more, and what can be taken back is.
    RunCancelled {
        /// Which run.
        run: RunId,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// It is over.
    Closed {
        /// How it ended.
        resolution: Resolution,
    },
}

impl HealEvent {
    /// Reads what was stored, and refuses a version this one does not know even if it would fit:
    /// what it leaves out may be what matters.
    ///
    /// ```
    /// use homeostasis::core::record::{EventError, HealEvent};
    /// let newer = r#"{"schema_version":9,"event":"foreseen"}"#;
    /// let error = HealEvent::from_json(newer).unwrap_err();
    /// assert!(matches!(error, EventError::Version { found: 9 }));
    /// ```
    ///
    /// # Errors
    /// - [`EventError::Version`] if `schema_version` is 0 or above [`SCHEMA_VERSION`].
    /// - [`EventError::Malformed`] if it is not JSON, or not an event.
    pub fn from_json(json: impl AsRef<[u8]>) -> Result<Self, EventError> {
        #[derive(Deserialize)]
        struct Head {
            schema_version: u64,
        }
        let json = json.as_ref();
        let read: Result<Self, _> = serde_json::from_slice(json);
        // A newer event may fail on a tag that does not exist here: its version says why.
        let version = match &read {
            Ok(event) => Some(u64::from(event.schema_version)),
            Err(_) => serde_json::from_slice(json)
                .ok()
                .map(|head: Head| head.schema_version),
        };
        match version {
            Some(found) if !(1..=u64::from(SCHEMA_VERSION)).contains(&found) => {
                Err(EventError::Version { found })
            }
            _ => read.map_err(|error| EventError::Malformed(error.into())),
        }
    }
}

impl EventKind {
    /// The tag under which it is serialized.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::AnomalyJoined { .. } => "anomaly_joined",
            Self::Blamed { .. } => "blamed",
            Self::Diagnosed { .. } => "diagnosed",
            Self::Planned { .. } => "planned",
            Self::Gated { .. } => "gated",
            Self::ApprovalDecided { .. } => "approval_decided",
            Self::Woken { .. } => "woken",
            Self::RunOpened { .. } => "run_opened",
            Self::RunResumed { .. } => "run_resumed",
            Self::StepIntended { .. } => "step_intended",
            Self::StepEnded { .. } => "step_ended",
            Self::RunEnded { .. } => "run_ended",
            Self::Verified { .. } => "verified",
            Self::UndoEnded { .. } => "undo_ended",
            Self::Escalated { .. } => "escalated",
            Self::EscalationBegun { .. } => "escalation_begun",
            Self::Notified { .. } => "notified",
            Self::TriggerFired { .. } => "trigger_fired",
            Self::Acknowledged { .. } => "acknowledged",
            Self::HandOverAnswered { .. } => "hand_over_answered",
            Self::RunCancelled { .. } => "run_cancelled",
            Self::Closed { .. } => "closed",
        }
    }
}

impl fmt::Display for HealEvent {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            EventKind::Opened {
                anomaly,
                severity,
                radius,
                score,
                ..
            } => {
                write!(f, "opened {severity}, {radius}: {anomaly}")?;
                match score {
                    Some(score) => write!(f, " [{score}]"),
                    None => Ok(()),
                }
            }
            EventKind::AnomalyJoined { anomaly, .. } => write!(f, "also {anomaly}"),
            EventKind::Blamed {
                stage,
                plugin,
                report,
            } => write!(f, "skipped {stage} {plugin}: {report}"),
            EventKind::Diagnosed { diagnosis } => {
                write!(f, "diagnosed {}", diagnosis.headline())
            }
            EventKind::Planned { plans, .. } if plans.is_empty() => f.write_str("no plan applies"),
            EventKind::Planned { plans, .. } => {
                let titles: Vec<_> = plans.iter().map(|plan| plan.title.as_str()).collect();
                write!(f, "planned {}", titles.join(", then "))
            }
            EventKind::Gated { record, .. } => write!(f, "gate: {record}"),
            EventKind::ApprovalDecided {
                granted,
                by,
                reason,
                ..
            } => {
                write!(
                    f,
                    "{} by {by}: {reason}",
                    if *granted { "approved" } else { "denied" }
                )
            }
            EventKind::Woken { .. } => f.write_str("the deferred plan is due"),
            EventKind::RunOpened { run, token, .. } => write!(f, "{run} opened with lease {token}"),
            EventKind::RunResumed { run, token } => write!(f, "{run} resumed with lease {token}"),
            EventKind::StepIntended { intent, .. } => write!(
                f,
                "{} step {}, attempt {}",
                if intent.phase == StepPhase::Do {
                    "doing"
                } else {
                    "undoing"
                },
                intent.step_idx + 1,
                intent.attempt
            ),
            EventKind::StepEnded {
                step_idx, outcome, ..
            } => {
                write!(f, "step {} ", step_idx + 1)?;
                match outcome {
                    StepOutcome::Done { .. } => f.write_str("done"),
                    StepOutcome::Failed { report } => write!(f, "failed: {report}"),
                    StepOutcome::Unknown { reason } => write!(f, "unknown: {reason}"),
                    StepOutcome::Skipped { reason } => write!(f, "skipped: {reason}"),
                }
            }
            EventKind::RunEnded { outcome, .. } => write!(f, "run {outcome}"),
            EventKind::Verified { verdict, .. } => write!(f, "verdict {verdict}"),
            EventKind::UndoEnded { outcome, .. } => write!(f, "undo {outcome}"),
            EventKind::Escalated { reason } => write!(f, "escalated: {reason}"),
            EventKind::EscalationBegun { .. }
            | EventKind::Notified { .. }
            | EventKind::TriggerFired { .. }
            | EventKind::Acknowledged { .. } => escalation(&self.kind, f),
            EventKind::HandOverAnswered {
                step_idx,
                answer,
                by,
                reason,
                ..
            } => write!(
                f,
                "step {} handed back by {by}: {answer}: {reason}",
                step_idx + 1
            ),
            EventKind::RunCancelled { run, by, reason } => {
                write!(f, "{run} cancelled by {by}: {reason}")
            }
            EventKind::Closed { resolution } => match resolution {
                Resolution::Healed { run } => write!(f, "closed, healed by {run}"),
                Resolution::Recovered => f.write_str("closed, recovered by itself"),
                Resolution::Manual { by, note } => write!(f, "closed by {by}: {note}"),
            },
        }
    }
}

/// One line about who was called and why.
fn escalation(kind: &EventKind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match kind {
        EventKind::EscalationBegun { policy } => write!(f, "escalation by policy {policy}"),
        EventKind::Notified {
            level,
            round,
            channels,
            to,
            reason,
        } => {
            write!(f, "level {level}")?;
            if *round > 0 {
                write!(f, ", round {}", round + 1)?;
            }
            if !to.is_empty() {
                write!(f, ": {}", to.join(", "))?;
            }
            write!(f, " called through {}: {reason}", channels.join(", "))
        }
        EventKind::TriggerFired {
            trigger,
            reason,
            raise_to,
        } => match raise_to {
            Some(severity) => write!(f, "{trigger} makes it {severity}: {reason}"),
            None => write!(f, "{trigger} calls the next level: {reason}"),
        },
        EventKind::Acknowledged { by, note } if note.is_empty() => {
            write!(f, "acknowledged by {by}")
        }
        EventKind::Acknowledged { by, note } => write!(f, "acknowledged by {by}: {note}"),
        other => f.write_str(other.name()),
    }
}

#[cfg(test)]
mod tests;
