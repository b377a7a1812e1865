//! From the journal to the record: pure, and rebuilt whenever one likes.

use std::collections::BTreeMap;

use homeostasis_core::cycle::{IllegalTransition, Phase, replay};
use homeostasis_core::record::{
    EventKind, HealEvent, Outcome, Plan, Resolution, RunState, Severity, StepOutcome, StepState,
    Subject,
};
use homeostasis_core::{Incident, RunId, Timestamp};

use crate::incident_record::{
    Classification, Detection, DetectionMethod, Impact, IncidentRecord, Metadata, RECORD_VERSION,
    Remediation, RemediationOutcome, ResolutionMethod, ResolutionRecord, StepRecord,
};

/// Why events are no incident.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// There are none.
    #[error("no events, expected those of one incident from its first")]
    Empty,
    /// One cannot follow the ones before it.
    #[error("the events are no legal history")]
    Illegal(#[from] IllegalTransition),
}

/// Tells an incident from its events, all of them, oldest first. O(events).
///
/// # Errors
/// If there are none, or they are not the legal history of one incident.
///
/// ```
/// use homeostasis::learn::{ProjectError, project};
/// assert!(matches!(project(&[]), Err(ProjectError::Empty)));
/// ```
pub fn project(events: &[HealEvent]) -> Result<IncidentRecord, ProjectError> {
    let incident = replay(events)?.ok_or(ProjectError::Empty)?;
    let times = Times::of(events, &incident);
    let first = &incident.anomalies[0];
    let remediation: Vec<_> = incident
        .runs
        .iter()
        .map(|run| remediation(&incident, run, &times))
        .collect();
    let resolution = resolution(&incident, &remediation, &times);
    let mut services: Vec<_> = incident
        .targets()
        .iter()
        .map(|target| target.service_name().to_owned())
        .collect();
    services.dedup();
    Ok(IncidentRecord {
        schema_version: RECORD_VERSION,
        incident_id: incident.id,
        tenant: incident.tenant.clone(),
        opened_at: incident.opened_at,
        updated_at: incident.updated_at,
        detection: Detection {
            method: match &first.subject {
                Subject::Health(_) => DetectionMethod::HealthCheck,
                Subject::Condition(_) => DetectionMethod::Alert,
                _ => DetectionMethod::AnomalyDetection,
            },
            detector: first.detector.clone(),
            subject: first.subject.to_string(),
            since: incident.since,
            detected_at: first.at,
            // A detector that cannot tell when it began says that it began when it was found.
            time_to_detect: (incident.since < first.at).then(|| first.at.since(incident.since)),
            initial_severity: times.initial_severity,
        },
        classification: classification(&incident),
        impact: Impact {
            duration: times.closed.map(|closed| closed.since(incident.since)),
            services_affected: services,
            users_affected: None,
            revenue_impact: None,
        },
        remediation,
        resolution,
        metadata: Metadata {
            escalated: incident.escalated,
            approval_asked: times.approval_asked,
            blamed: incident
                .blamed
                .iter()
                .map(|(stage, name)| format!("{stage} {name}"))
                .collect(),
            ..Metadata::default()
        },
    })
}

/// What only the events know.
struct Times {
    initial_severity: Severity,
    run_ended: BTreeMap<RunId, Timestamp>,
    closed: Option<Timestamp>,
    approval_asked: bool,
}

impl Times {
    fn of(events: &[HealEvent], incident: &Incident) -> Self {
        let mut times = Self {
            initial_severity: incident.severity,
            run_ended: BTreeMap::new(),
            closed: None,
            approval_asked: false,
        };
        for event in events {
            match &event.kind {
                EventKind::Opened { severity, .. } => times.initial_severity = *severity,
                EventKind::RunEnded { run, .. } => {
                    times.run_ended.insert(*run, event.at);
                }
                EventKind::ApprovalDecided { .. } => times.approval_asked = true,
                EventKind::Closed { .. } => times.closed = Some(event.at),
                _ => {}
            }
        }
        times
    }
}

fn classification(incident: &Incident) -> Classification {
    let diagnosis = incident.diagnosis.as_ref();
    let cause = diagnosis.and_then(|diagnosis| diagnosis.root_cause());
    Classification {
        category: cause.map(|cause| cause.category),
        root_cause: cause.map(|cause| cause.cause.clone()),
        root_cause_target: cause.map(|cause| cause.target.clone()),
        confidence: cause.map(|cause| cause.confidence),
        abstained: diagnosis.and_then(|diagnosis| diagnosis.abstained.clone()),
        affected_components: incident.targets(),
        blast_radius: incident.radius,
        severity: incident.severity,
    }
}

fn remediation(incident: &Incident, run: &RunState, times: &Times) -> Remediation {
    let plan = incident.plan(run.plan);
    let playbook = plan.and_then(|plan| plan.playbook.as_ref());
    let ended_at = times.run_ended.get(&run.run).copied();
    Remediation {
        run: run.run,
        plan: run.plan,
        plan_hash: run.plan_hash,
        title: plan.map_or_else(String::new, |plan| plan.title.clone()),
        action_key: plan.map_or_else(String::new, Plan::action_key),
        playbook_id: playbook.map(|playbook| playbook.id.clone()),
        playbook_version: playbook.map(|playbook| playbook.version.clone()),
        started_at: run.opened_at,
        ended_at,
        execution_time: ended_at.map(|ended| ended.since(run.opened_at)),
        steps_executed: plan.map_or_else(Vec::new, |plan| steps(plan, run)),
        outcome: outcome(incident, run),
        rolled_back: was_taken_back(incident, run),
        resumed: run.resumed,
    }
}

fn steps(plan: &Plan, run: &RunState) -> Vec<StepRecord> {
    plan.steps
        .iter()
        .zip(&run.steps)
        .zip(&run.undo)
        .filter(|((_, state), _)| **state != StepState::NotStarted)
        .map(|((step, state), undo)| StepRecord {
            name: step.name.clone(),
            action: step.action.clone(),
            target: step.target.clone(),
            attempts: state.attempts(),
            outcome: step_outcome(state).to_owned(),
            undone: undo.is_done(),
        })
        .collect()
}

pub(crate) fn step_outcome(state: &StepState) -> &'static str {
    match state {
        StepState::NotStarted => "not_started",
        StepState::InFlight(_) => "in_flight",
        StepState::Ended { outcome, .. } => match outcome {
            StepOutcome::Done { .. } => "done",
            StepOutcome::Failed { .. } => "failed",
            StepOutcome::Unknown { .. } => "unknown",
            StepOutcome::Skipped { .. } => "skipped",
            _ => "other",
        },
    }
}

/// The last verdict decides; a run that did not get so far is judged by how it ended.
fn outcome(incident: &Incident, run: &RunState) -> Option<RemediationOutcome> {
    let verdict = incident
        .verdicts
        .iter()
        .rev()
        .find(|(judged, _)| *judged == run.run)
        .map(|(_, verdict)| RemediationOutcome::from(verdict.kind));
    verdict.or(match &run.outcome {
        Some(Outcome::Failed { .. }) => Some(RemediationOutcome::Failed),
        Some(Outcome::Unknown { .. } | Outcome::Halted { .. }) => {
            Some(RemediationOutcome::Undecided)
        }
        // How it ended says nothing of whether it helped, or nothing that this version can read.
        Some(_) | None => None,
    })
}

fn was_taken_back(incident: &Incident, run: &RunState) -> bool {
    run.undo_outcome.is_some()
        || run.undo.iter().any(|state| *state != StepState::NotStarted)
        || incident.phase == Phase::Undoing { run: run.run }
}

fn resolution(
    incident: &Incident,
    remediation: &[Remediation],
    times: &Times,
) -> Option<ResolutionRecord> {
    let (Phase::Closed { resolution }, Some(closed_at)) = (&incident.phase, times.closed) else {
        return None;
    };
    let healed = matches!(resolution, Resolution::Healed { .. });
    Some(ResolutionRecord {
        resolution_method: match resolution {
            Resolution::Healed { .. } => ResolutionMethod::AutoRemediation,
            Resolution::Manual { .. } => ResolutionMethod::Manual,
            Resolution::Recovered if remediation.last().is_some_and(|run| run.rolled_back) => {
                ResolutionMethod::Rollback
            }
            Resolution::Recovered => ResolutionMethod::Recovered,
        },
        closed_at,
        time_to_resolution: closed_at.since(incident.opened_at),
        verification_passed: healed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use homeostasis_core::record::Category;
    use std::time::Duration;

    #[test]
    fn a_healed_incident_is_told_with_its_times() {
        let record = project(&fixture::healed(1, 0)).unwrap();
        assert_eq!(record.detection.method, DetectionMethod::AnomalyDetection);
        assert_eq!(
            record.detection.time_to_detect,
            Some(Duration::from_secs(20))
        );
        assert_eq!(
            record.classification.root_cause.as_deref(),
            Some("process_down")
        );
        assert_eq!(
            record.classification.category,
            Some(Category::ApplicationError)
        );
        assert_eq!(record.remediation.len(), 1);
        let run = &record.remediation[0];
        assert_eq!(run.execution_time, Some(Duration::from_secs(10)));
        assert_eq!(run.outcome, Some(RemediationOutcome::Success));
        assert_eq!(run.playbook_id.as_deref(), Some("restart-1"));
        assert_eq!((run.steps_executed.len(), run.rolled_back), (1, false));
        assert_eq!(run.steps_executed[0].outcome, "done");
        let resolution = record.resolution.as_ref().unwrap();
        assert_eq!(
            resolution.resolution_method,
            ResolutionMethod::AutoRemediation
        );
        assert_eq!(resolution.time_to_resolution, Duration::from_secs(50));
        assert_eq!(record.impact.duration, Some(Duration::from_secs(70)));
        assert!(record.is_auto_remediated());
    }

    #[test]
    fn a_run_taken_back_and_an_escalation_are_told() {
        let record = project(&fixture::taken_back(1, 0)).unwrap();
        let run = &record.remediation[0];
        assert_eq!(run.outcome, Some(RemediationOutcome::Failed));
        assert!(run.rolled_back && run.steps_executed[0].undone);
        assert!(record.metadata.escalated && record.is_closed());
        let resolution = record.resolution.as_ref().unwrap();
        assert_eq!(resolution.resolution_method, ResolutionMethod::Manual);
        assert!(!resolution.verification_passed && !record.is_auto_remediated());
    }

    #[test]
    fn an_open_incident_has_no_end_and_an_unknown_beginning_no_time_to_detect() {
        let record = project(&fixture::open(1, 0)).unwrap();
        assert!(!record.is_closed());
        assert_eq!(record.impact.duration, None);
        assert_eq!(record.detection.time_to_detect, None);
        assert_eq!(record.classification.root_cause, None);
    }

    #[test]
    fn any_beginning_of_a_history_can_be_told_and_a_hole_cannot() {
        for events in [fixture::healed(1, 0), fixture::taken_back(1, 0)] {
            for n in 1..=events.len() {
                let record = project(&events[..n]).unwrap();
                assert_eq!(record.is_closed(), n == events.len());
            }
            let mut hole = events.clone();
            hole.remove(2);
            assert!(matches!(project(&hole), Err(ProjectError::Illegal(_))));
        }
    }
}
