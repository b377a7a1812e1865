//! The incident: the fold of its events.

use std::time::Duration;

use crate::cycle::{EscalationState, Phase};
use crate::id::{IncidentId, PlanId, RunId, TenantId};
use crate::policy::{Approval, SeverityScore};
use crate::record::{
    Anomaly, BlastRadius, Diagnosis, Fingerprint, Plan, RunState, Severity, Verdict,
};
use crate::target::Target;
use crate::time::Timestamp;

/// How many anomalies an incident keeps; more are counted.
pub const MAX_ANOMALIES: usize = 64;

/// The state of an incident: the fold of its events.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Where it stands.
    pub phase: Phase,
    /// When the first anomaly was found.
    pub opened_at: Timestamp,
    /// When the trouble began, as far as the detectors can tell.
    pub since: Timestamp,
    /// When the last event happened.
    pub updated_at: Timestamp,
    /// How bad.
    pub severity: Severity,
    /// The arithmetic behind the severity, if it was kept.
    pub score: Option<SeverityScore>,
    /// How far.
    pub radius: BlastRadius,
    /// What was found, oldest first; at most [`MAX_ANOMALIES`].
    pub anomalies: Vec<Anomaly>,
    /// How many anomalies joined beyond those kept.
    pub n_anomalies_dropped: u64,
    /// Why it happened, once that is known.
    pub diagnosis: Option<Diagnosis>,
    /// What could be done, best first.
    pub plans: Vec<Plan>,
    /// The approvals given.
    pub approvals: Vec<Approval>,
    /// What was executed, oldest first.
    pub runs: Vec<RunState>,
    /// Verdicts, oldest first.
    pub verdicts: Vec<(RunId, Verdict)>,
    /// Who was skipped: stage and name.
    pub blamed: Vec<(String, String)>,
    /// Whether people were called.
    pub escalated: bool,
    /// Who was called about it and who took it on.
    pub escalation: EscalationState,
    /// How many events it has.
    pub n_events: u64,
    /// Which plan the gate permitted last, until its run is opened.
    pub(super) permitted: Option<PlanId>,
}

impl Incident {
    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// Whether effects may be in the world that nobody has judged or taken back yet.
    pub fn is_in_flight(&self) -> bool {
        matches!(
            self.phase,
            Phase::Running { .. } | Phase::Verifying { .. } | Phase::Undoing { .. }
        )
    }

    /// What the first anomaly is recognized by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.anomalies[0].fingerprint()
    }

    /// Why only people may act on it, if a detector said so: the first such anomaly in words.
    pub fn needs_people(&self) -> Option<&str> {
        let needing = self.anomalies.iter().find(|anomaly| anomaly.needs_people);
        needing.map(|anomaly| anomaly.explanation.as_str())
    }

    /// Whether somebody ordered what is done, and there is no trouble that could go away.
    pub fn is_ordered(&self) -> bool {
        self.plans.iter().any(|plan| plan.ordered_by.is_some())
    }

    /// Whether `anomaly` is one of those kept.
    pub fn has(&self, fingerprint: Fingerprint) -> bool {
        self.anomalies
            .iter()
            .any(|anomaly| anomaly.fingerprint() == fingerprint)
    }

    /// Everyone who has an anomaly, each once.
    pub fn targets(&self) -> Vec<Target> {
        let mut targets: Vec<_> = self
            .anomalies
            .iter()
            .map(|anomaly| anomaly.target.clone())
            .collect();
        targets.sort();
        targets.dedup();
        targets
    }

    /// The plan with this id.
    pub fn plan(&self, id: PlanId) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.id == id)
    }

    /// The run with this id.
    pub fn run(&self, id: RunId) -> Option<&RunState> {
        self.runs.iter().find(|run| run.run == id)
    }

    /// How long it has lasted at `now`.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.opened_at)
    }

    pub(super) fn run_mut(&mut self, id: RunId) -> Option<&mut RunState> {
        self.runs.iter_mut().find(|run| run.run == id)
    }
}
