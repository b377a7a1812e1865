//! The record of an incident: what is kept and learned from.

use std::time::Duration;

use homeostasis_core::record::{BlastRadius, Category, Severity, VerdictKind};
use homeostasis_core::{
    Confidence, Digest, IncidentId, PlanId, RunId, Target, TenantId, Timestamp,
};
use serde::{Deserialize, Serialize};

/// The version of the shape of [`IncidentRecord`].
pub const RECORD_VERSION: u32 = 1;

/// An incident as it is told afterwards; a projection of its events ([`project`](crate::project)).
///
/// What the journal does not know (users, revenue, the person on call) is `None`, never zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncidentRecord {
    /// The shape of this record: [`RECORD_VERSION`] when it was written.
    pub schema_version: u32,
    /// Which incident.
    pub incident_id: IncidentId,
    /// Whose.
    pub tenant: TenantId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When its last event happened.
    pub updated_at: Timestamp,
    /// How it was found.
    pub detection: Detection,
    /// What it was.
    pub classification: Classification,
    /// What was done, oldest first.
    pub remediation: Vec<Remediation>,
    /// Whom it hit.
    pub impact: Impact,
    /// How it ended; `None` while it is open.
    pub resolution: Option<ResolutionRecord>,
    /// The rest.
    pub metadata: Metadata,
}

/// By what kind of signal an incident was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DetectionMethod {
    /// A series, log or span deviated.
    AnomalyDetection,
    /// A health check failed.
    HealthCheck,
    /// A condition that somebody wrote down became true.
    Alert,
}

/// How an incident was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// By what kind of signal.
    pub method: DetectionMethod,
    /// By which detector.
    pub detector: String,
    /// In what.
    pub subject: String,
    /// When the trouble began, as far as the detectors can tell.
    pub since: Timestamp,
    /// When it was found.
    pub detected_at: Timestamp,
    /// From the beginning to the finding; `None` if no detector could tell when it began.
    pub time_to_detect: Option<Duration>,
    /// How bad it seemed at first.
    pub initial_severity: Severity,
}

/// What an incident was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// The family of the root cause; `None` if none was named.
    pub category: Option<Category>,
    /// The root cause; `None` if none was named.
    pub root_cause: Option<String>,
    /// Who had it.
    pub root_cause_target: Option<Target>,
    /// How sure the diagnosis was.
    pub confidence: Option<Confidence>,
    /// Why no cause was named, if none was.
    pub abstained: Option<String>,
    /// Everyone who had an anomaly.
    pub affected_components: Vec<Target>,
    /// How far it reached at last.
    pub blast_radius: BlastRadius,
    /// How bad it was at last.
    pub severity: Severity,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemediationOutcome {
    /// The verdict was success.
    Success,
    /// The verdict was partial success.
    PartialSuccess,
    /// The verdict was failed, or a step failed for good.
    Failed,
    /// It was halted, a step's fate is unknown, or no verdict could be given.
    Undecided,
}

impl From<VerdictKind> for RemediationOutcome {
    fn from(kind: VerdictKind) -> Self {
        match kind {
            VerdictKind::Success => Self::Success,
            VerdictKind::Partial => Self::PartialSuccess,
            VerdictKind::Failed => Self::Failed,
            VerdictKind::Uncertain => Self::Undecided,
        }
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remediation {
    /// Which run.
    pub run: RunId,
    /// Of which plan.
    pub plan: PlanId,
    /// The plan's hash.
    pub plan_hash: Digest,
    /// The plan in words.
    pub title: String,
    /// What limits and effectiveness are counted by.
    pub action_key: String,
    /// From which playbook.
    pub playbook_id: Option<String>,
    /// Its version.
    pub playbook_version: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When its last step ended; `None` while it goes on.
    pub ended_at: Option<Timestamp>,
    /// How long it took; `None` while it goes on.
    pub execution_time: Option<Duration>,
    /// What was attempted, in order; steps that were not reached are left out.
    pub steps_executed: Vec<StepRecord>,
    /// What came of it; `None` while it is not judged.
    pub outcome: Option<RemediationOutcome>,
    /// Whether taking it back was begun.
    pub rolled_back: bool,
    /// How often a process took it up again after another one died.
    pub resumed: u32,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name.
    pub name: String,
    /// Its action.
    pub action: String,
    /// On what.
    pub target: Target,
    /// How often it was tried.
    pub attempts: u32,
    /// How it ended: `done`, `failed`, `unknown`, `skipped`, or `in_flight`.
    pub outcome: String,
    /// Whether it was taken back.
    pub undone: bool,
}

/// Whom an incident hit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Impact {
    /// From its beginning to its close; `None` while it is open.
    pub duration: Option<Duration>,
    /// Which services had an anomaly.
    pub services_affected: Vec<String>,
    /// How many users; the journal does not know, hosts may fill it in.
    #[serde(default)]
    pub users_affected: Option<u64>,
    /// What it cost, in words with a currency; the journal does not know.
    #[serde(default)]
    pub revenue_impact: Option<String>,
}

/// By whom an incident was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolutionMethod {
    /// By a verified run.
    AutoRemediation,
    /// By itself, without a run.
    Recovered,
    /// By itself, after a run was taken back.
    Rollback,
    /// By a person.
    Manual,
}

/// How an incident ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolutionRecord {
    /// By whom.
    pub resolution_method: ResolutionMethod,
    /// When.
    pub closed_at: Timestamp,
    /// From the finding to the close.
    pub time_to_resolution: Duration,
    /// Whether a verdict of success stands behind it.
    pub verification_passed: bool,
}

/// What else is known.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// Where it happened; the journal does not know, hosts may fill it in.
    #[serde(default)]
    pub environment: Option<String>,
    /// Who was on call; the journal does not know.
    #[serde(default)]
    pub on_call_engineer: Option<String>,
    /// Whether people were called.
    pub escalated: bool,
    /// Whether a person decided on a plan.
    pub approval_asked: bool,
    /// Whether a report was written for it.
    #[serde(default)]
    pub post_mortem_created: bool,
    /// Plug-ins that failed on the way, as `stage name`.
    #[serde(default)]
    pub blamed: Vec<String>,
}

/// A line that is no incident record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// It is not JSON or lacks fields.
    #[error("line {line}: not an incident record")]
    Malformed {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by a newer version.
    #[error("line {line}: schema_version = {found}, expected at most {RECORD_VERSION}")]
    Version {
        /// Which line, from 1.
        line: usize,
        /// The version found.
        found: u32,
    },
}

impl IncidentRecord {
    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.resolution.is_some()
    }

    /// Whether a verified run ended it and no person had to do anything.
    pub fn is_auto_remediated(&self) -> bool {
        let healed = self.resolution.as_ref().is_some_and(|resolution| {
            resolution.resolution_method == ResolutionMethod::AutoRemediation
        });
        healed && !self.metadata.escalated && !self.metadata.approval_asked
    }

    /// One line of JSON, without its end.
    ///
    /// # Errors
    /// If a number is not finite; JSON cannot hold it.
    pub fn to_json_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The records of JSON lines; empty lines are passed over.
    ///
    /// # Errors
    /// The first line that is no record, with its number.
    pub fn from_json_lines(text: &str) -> Result<Vec<Self>, LineError> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let mut records = Vec::new();
        for (idx, text) in text.lines().enumerate() {
            let line = idx + 1;
            if text.trim().is_empty() {
                continue;
            }
            let malformed = |source| LineError::Malformed { line, source };
            let Version { schema_version } = serde_json::from_str(text).map_err(malformed)?;
            if schema_version > RECORD_VERSION {
                return Err(LineError::Version {
                    line,
                    found: schema_version,
                });
            }
            records.push(serde_json::from_str(text).map_err(malformed)?);
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, project};

    #[test]
    fn records_read_back_from_their_json_lines() {
        let records = [
            fixture::healed(1, 0),
            fixture::taken_back(2, 500),
            fixture::open(3, 900),
        ]
        .map(|events| project(&events).unwrap());
        let text: String = records
            .iter()
            .map(|record| record.to_json_line().unwrap() + "\n\n")
            .collect();
        assert_eq!(IncidentRecord::from_json_lines(&text).unwrap(), records);
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = project(&fixture::healed(1, 0))
            .unwrap()
            .to_json_line()
            .unwrap();
        let newer = good.replace("\"schema_version\":1", "\"schema_version\":9");
        assert_ne!(newer, good);
        let error = IncidentRecord::from_json_lines(&format!("{good}\n{newer}")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: schema_version = 9, expected at most 1"
        );
        let error = IncidentRecord::from_json_lines("\n{}").unwrap_err();
        assert_eq!(error.to_string(), "line 2: not an incident record");
    }

    #[test]
    fn public_types_cross_threads() {
        fn check<T: Send + Sync + 'static>() {}
        check::<IncidentRecord>();
        check::<LineError>();
        check::<crate::ProjectError>();
        check::<crate::Kpis>();
    }
}
