//! The healing cycle as a pure transition function: `(state, event) -> (state, effects)`.
//!
//! ```text
//!  opened ──> Diagnosing ──> Planning ──> Gating ──> Running ──> Verifying ──> Resolved ──> Closed
//!                               │          │  ^  │      │            │
//!                       no plan │ Deferred ┘  │  └ AwaitingApproval  │ failed
//!                               v             │ next plan            v
//!                             Stuck <─────────┴──────────────── Undoing
//!                               │
//!                               v
//!                           Escalated            Recommended (observe mode)
//! ```
//!
//! Effects follow from the state alone ([`Incident::effects`]), never from what led to it. So
//! recovery is: read the events, fold them, run the effects. Healing is level-triggered.

use std::time::Duration;

use crate::id::{IncidentId, PlanId, RunId, TenantId};
use crate::policy::{Approval, GateDecision};
use crate::record::{
    Anomaly, BlastRadius, Diagnosis, EventKind, Fingerprint, HealEvent, Outcome, Plan, Resolution,
    RunState, Severity, StepPhase, StepState, Verdict, VerdictKind,
};
use crate::target::Target;
use crate::time::Timestamp;

/// How often an uncertain verdict extends the watch before people are asked.
pub const MAX_WATCH_EXTENSIONS: u32 = 1;

/// How many anomalies an incident keeps; more are counted.
pub const MAX_ANOMALIES: usize = 64;

/// Where an incident stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Phase {
    /// The root cause is sought.
    Diagnosing,
    /// Remedies are sought.
    Planning,
    /// The gate is asked about a plan.
    Gating {
        /// Its position in [`Incident::plans`].
        plan_idx: usize,
    },
    /// People are asked about a plan.
    AwaitingApproval {
        /// Its position.
        plan_idx: usize,
        /// When silence becomes a refusal.
        expires: Timestamp,
    },
    /// A plan waits for its time.
    Deferred {
        /// Its position.
        plan_idx: usize,
        /// When it is due.
        until: Timestamp,
    },
    /// A plan is being executed.
    Running {
        /// Its run.
        run: RunId,
    },
    /// The outcome is watched.
    Verifying {
        /// Of which run.
        run: RunId,
        /// How often the watch was extended.
        extensions: u32,
    },
    /// A run is being taken back.
    Undoing {
        /// Which run.
        run: RunId,
    },
    /// What was to be done is said; nothing is touched.
    Recommended,
    /// The remedy is proven.
    Resolved {
        /// By which run.
        run: RunId,
    },
    /// The healer cannot go on by itself.
    Stuck {
        /// Why.
        reason: String,
    },
    /// People were called.
    Escalated,
    /// It is over.
    Closed {
        /// How it ended.
        resolution: Resolution,
    },
}

/// What the interpreter must do next.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Run the analyzers; answer with [`EventKind::Diagnosed`].
    Diagnose,
    /// Run the remediators' planning; answer with [`EventKind::Planned`].
    Plan,
    /// Ask the gate; answer with [`EventKind::Gated`], and with [`EventKind::RunOpened`] in the
    /// same commit if it permits.
    AskGate {
        /// About which plan.
        plan_idx: usize,
    },
    /// Ask people; answer with [`EventKind::ApprovalDecided`].
    AwaitApproval {
        /// About which plan.
        plan_idx: usize,
        /// When silence becomes a refusal.
        expires: Timestamp,
    },
    /// Wait; answer with [`EventKind::Woken`].
    WakeAt {
        /// For which plan.
        plan_idx: usize,
        /// Until when.
        until: Timestamp,
    },
    /// Execute or resume the run; answer with [`EventKind::RunEnded`].
    Execute {
        /// Which run.
        run: RunId,
    },
    /// Watch the outcome; answer with [`EventKind::Verified`].
    Verify {
        /// Of which run.
        run: RunId,
    },
    /// Take the run back; answer with [`EventKind::UndoEnded`].
    Undo {
        /// Which run.
        run: RunId,
    },
    /// Call people; answer with [`EventKind::Escalated`].
    Escalate {
        /// Why.
        reason: String,
    },
    /// Wait until the symptoms are gone; answer with [`EventKind::Closed`].
    WatchRecovery,
    /// Close; answer with [`EventKind::Closed`].
    Close {
        /// How it ended.
        resolution: Resolution,
    },
}

/// An event that cannot follow the state it met. It is a defect or a damaged journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} (seq {seq}) of {incident} cannot follow {phase}: {reason}")]
pub struct IllegalTransition {
    /// Of which incident.
    pub incident: IncidentId,
    /// The event's tag.
    pub event: &'static str,
    /// Its place.
    pub seq: u64,
    /// The state it met.
    pub phase: String,
    /// What was wrong.
    pub reason: String,
}

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
    /// How many events it has.
    pub n_events: u64,
}

/// Applies `event` to `state` and says what must be done next.
///
/// `None` is the state before the first event.
///
/// # Errors
/// If the event cannot follow; the state is then unchanged and the event must not be stored.
pub fn transition(
    state: Option<Incident>,
    event: &HealEvent,
) -> Result<(Incident, Vec<Effect>), IllegalTransition> {
    let incident = match state {
        None => Incident::open(event)?,
        Some(mut incident) => {
            incident.apply(event)?;
            incident
        }
    };
    let effects = incident.effects();
    Ok((incident, effects))
}

/// Folds the events of one incident; `None` if there are none.
///
/// # Errors
/// If an event cannot follow the ones before it.
pub fn replay(events: &[HealEvent]) -> Result<Option<Incident>, IllegalTransition> {
    let mut state = None;
    for event in events {
        state = Some(transition(state, event)?.0);
    }
    Ok(state)
}

impl Incident {
    fn open(event: &HealEvent) -> Result<Self, IllegalTransition> {
        let EventKind::Opened {
            tenant,
            anomaly,
            severity,
            radius,
        } = &event.kind
        else {
            return Err(refuse(
                event,
                "nothing",
                "the first event must open the incident",
            ));
        };
        if event.seq != 0 {
            return Err(refuse(event, "nothing", "the first event must have seq 0"));
        }
        Ok(Self {
            id: event.incident,
            tenant: tenant.clone(),
            phase: Phase::Diagnosing,
            opened_at: event.at,
            since: anomaly.since.min(event.at),
            updated_at: event.at,
            severity: *severity,
            radius: *radius,
            anomalies: vec![(**anomaly).clone()],
            n_anomalies_dropped: 0,
            diagnosis: None,
            plans: Vec::new(),
            approvals: Vec::new(),
            runs: Vec::new(),
            verdicts: Vec::new(),
            blamed: Vec::new(),
            escalated: false,
            n_events: 1,
        })
    }

    /// Applies one event.
    ///
    /// # Errors
    /// If it cannot follow; the incident is then unchanged.
    pub fn apply(&mut self, event: &HealEvent) -> Result<(), IllegalTransition> {
        if event.incident != self.id {
            return Err(self.illegal(event, "it belongs to another incident"));
        }
        if event.seq != self.n_events {
            return Err(self.illegal(event, &format!("expected seq {}", self.n_events)));
        }
        if let Some(phase) = self.next(event)? {
            self.phase = phase;
        }
        self.n_events += 1;
        self.updated_at = self.updated_at.max(event.at);
        Ok(())
    }

    /// What must be done next; a function of the state alone.
    pub fn effects(&self) -> Vec<Effect> {
        vec![match &self.phase {
            Phase::Diagnosing => Effect::Diagnose,
            Phase::Planning => Effect::Plan,
            Phase::Gating { plan_idx } => Effect::AskGate {
                plan_idx: *plan_idx,
            },
            Phase::AwaitingApproval { plan_idx, expires } => Effect::AwaitApproval {
                plan_idx: *plan_idx,
                expires: *expires,
            },
            Phase::Deferred { plan_idx, until } => Effect::WakeAt {
                plan_idx: *plan_idx,
                until: *until,
            },
            Phase::Running { run } => Effect::Execute { run: *run },
            Phase::Verifying { run, .. } => Effect::Verify { run: *run },
            Phase::Undoing { run } => Effect::Undo { run: *run },
            Phase::Recommended | Phase::Escalated => Effect::WatchRecovery,
            Phase::Resolved { run } => Effect::Close {
                resolution: Resolution::Healed { run: *run },
            },
            Phase::Stuck { reason } => Effect::Escalate {
                reason: reason.clone(),
            },
            Phase::Closed { .. } => return Vec::new(),
        }]
    }

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

    #[expect(
        clippy::too_many_lines,
        reason = "the table of transitions reads best in one place"
    )]
    fn next(&mut self, event: &HealEvent) -> Result<Option<Phase>, IllegalTransition> {
        let phase = match (&event.kind, &self.phase) {
            (_, Phase::Closed { .. }) => return Err(self.illegal(event, "it is closed")),
            (
                EventKind::AnomalyJoined {
                    anomaly,
                    severity,
                    radius,
                },
                _,
            ) => {
                self.join(anomaly, *severity, *radius);
                return Ok(None);
            }
            (EventKind::Blamed { stage, plugin, .. }, _) => {
                let culprit = (stage.clone(), plugin.clone());
                if !self.blamed.contains(&culprit) {
                    self.blamed.push(culprit);
                }
                return Ok(None);
            }
            (
                EventKind::Closed {
                    resolution: Resolution::Healed { run },
                },
                Phase::Resolved { run: resolved },
            ) if run == resolved => Phase::Closed {
                resolution: Resolution::Healed { run: *run },
            },
            (
                EventKind::Closed {
                    resolution: Resolution::Healed { .. },
                },
                _,
            ) => {
                return Err(self.illegal(event, "no verdict says that this run healed it"));
            }
            (EventKind::Closed { resolution }, _) if !self.is_in_flight() => Phase::Closed {
                resolution: resolution.clone(),
            },
            (EventKind::Closed { .. }, _) => {
                return Err(self.illegal(event, "effects are in flight"));
            }
            (EventKind::Diagnosed { diagnosis }, Phase::Diagnosing) => {
                self.diagnosis = Some(diagnosis.clone());
                Phase::Planning
            }
            (EventKind::Planned { plans }, Phase::Planning) => {
                self.plans.clone_from(plans);
                self.try_plan(0, "no plan applies")
            }
            (EventKind::Gated { plan, record }, Phase::Gating { plan_idx }) => {
                let plan_idx = *plan_idx;
                self.expect_plan(event, plan_idx, *plan)?;
                match &record.decision {
                    GateDecision::Permitted => Phase::Gating { plan_idx },
                    GateDecision::NeedsApproval { expires, .. } => Phase::AwaitingApproval {
                        plan_idx,
                        expires: *expires,
                    },
                    GateDecision::Deferred { until } => Phase::Deferred {
                        plan_idx,
                        until: *until,
                    },
                    GateDecision::Recommended => Phase::Recommended,
                    GateDecision::Refused => self.try_plan(plan_idx + 1, &record.reason()),
                    GateDecision::Escalated => Phase::Stuck {
                        reason: record.reason(),
                    },
                }
            }
            (
                EventKind::ApprovalDecided {
                    plan,
                    plan_hash,
                    granted,
                    by,
                    reason,
                },
                Phase::AwaitingApproval { plan_idx, .. },
            ) => {
                let plan_idx = *plan_idx;
                self.expect_plan(event, plan_idx, *plan)?;
                if self.plans[plan_idx].hash() != *plan_hash {
                    return Err(self.illegal(event, "the decision is on another plan"));
                }
                if *granted {
                    self.approvals.push(Approval {
                        plan_hash: *plan_hash,
                        by: by.clone(),
                    });
                    Phase::Gating { plan_idx }
                } else {
                    self.try_plan(plan_idx + 1, &format!("denied by {by}: {reason}"))
                }
            }
            (EventKind::Woken { plan }, Phase::Deferred { plan_idx, .. }) => {
                let plan_idx = *plan_idx;
                self.expect_plan(event, plan_idx, *plan)?;
                Phase::Gating { plan_idx }
            }
            (
                EventKind::RunOpened {
                    run,
                    plan,
                    plan_hash,
                    token,
                },
                Phase::Gating { plan_idx },
            ) => {
                let plan_idx = *plan_idx;
                self.expect_plan(event, plan_idx, *plan)?;
                let permitted = &self.plans[plan_idx];
                if permitted.hash() != *plan_hash {
                    return Err(self.illegal(event, "the permit was for another plan"));
                }
                if self.run(*run).is_some() {
                    return Err(self.illegal(event, "the run exists"));
                }
                self.runs.push(RunState::new(
                    *run,
                    *plan,
                    *plan_hash,
                    permitted.steps.len(),
                    *token,
                    event.at,
                ));
                Phase::Running { run: *run }
            }
            (
                EventKind::RunResumed { run, token },
                Phase::Running { run: open } | Phase::Undoing { run: open },
            ) if run == open => {
                let state = self.run_mut(*run);
                if let Some(state) = state {
                    if *token <= state.token {
                        return Err(
                            self.illegal(event, "its lease is not newer than the one before")
                        );
                    }
                    state.token = *token;
                    state.resumed += 1;
                }
                return Ok(None);
            }
            (
                EventKind::StepIntended { .. } | EventKind::StepEnded { .. },
                Phase::Running { .. } | Phase::Undoing { .. },
            ) => {
                self.step(event)?;
                return Ok(None);
            }
            (EventKind::RunEnded { run, outcome }, Phase::Running { run: open }) if run == open => {
                self.end_run(*run, outcome, event.at)
            }
            (
                EventKind::Verified { run, verdict },
                Phase::Verifying {
                    run: open,
                    extensions,
                },
            ) if run == open => {
                let extensions = *extensions;
                self.verdicts.push((*run, verdict.clone()));
                self.judge(*run, verdict, extensions)
            }
            (EventKind::UndoEnded { run, outcome }, Phase::Undoing { run: open })
                if run == open =>
            {
                if let Some(state) = self.run_mut(*run) {
                    state.undo_outcome = Some(outcome.clone());
                }
                match outcome {
                    Outcome::Completed => self.try_next_plan(*run, "every plan was tried"),
                    other => Phase::Stuck {
                        reason: format!("taking it back did not work: {other}"),
                    },
                }
            }
            (EventKind::Escalated { .. }, Phase::Stuck { .. }) => {
                self.escalated = true;
                Phase::Escalated
            }
            _ => return Err(self.illegal(event, "it is not expected here")),
        };
        Ok(Some(phase))
    }

    fn join(&mut self, anomaly: &Anomaly, severity: Severity, radius: BlastRadius) {
        self.severity = severity;
        self.radius = radius;
        self.since = self.since.min(anomaly.since);
        if self.anomalies.len() < MAX_ANOMALIES {
            self.anomalies.push(anomaly.clone());
        } else {
            self.n_anomalies_dropped += 1;
        }
    }

    fn try_plan(&self, plan_idx: usize, otherwise: &str) -> Phase {
        if plan_idx < self.plans.len() {
            Phase::Gating { plan_idx }
        } else {
            Phase::Stuck {
                reason: otherwise.to_owned(),
            }
        }
    }

    fn try_next_plan(&self, run: RunId, otherwise: &str) -> Phase {
        let tried = self
            .run(run)
            .and_then(|state| self.plans.iter().position(|plan| plan.id == state.plan));
        self.try_plan(
            tried.map_or(self.plans.len(), |plan_idx| plan_idx + 1),
            otherwise,
        )
    }

    fn end_run(&mut self, run: RunId, outcome: &Outcome, at: Timestamp) -> Phase {
        if let Some(state) = self.run_mut(run) {
            state.outcome = Some(outcome.clone());
            state.ended_at = Some(at);
        }
        match outcome {
            Outcome::Completed => Phase::Verifying { run, extensions: 0 },
            Outcome::Failed { .. } if self.can_undo(run) => Phase::Undoing { run },
            Outcome::Failed { .. } => self.try_next_plan(run, &outcome.to_string()),
            Outcome::Unknown { .. } | Outcome::Halted { .. } => Phase::Stuck {
                reason: outcome.to_string(),
            },
        }
    }

    fn judge(&self, run: RunId, verdict: &Verdict, extensions: u32) -> Phase {
        match verdict.kind {
            VerdictKind::Success => Phase::Resolved { run },
            VerdictKind::Failed if self.can_undo(run) => Phase::Undoing { run },
            VerdictKind::Failed | VerdictKind::Partial => {
                self.try_next_plan(run, &verdict.to_string())
            }
            VerdictKind::Uncertain if extensions < MAX_WATCH_EXTENSIONS => Phase::Verifying {
                run,
                extensions: extensions + 1,
            },
            VerdictKind::Uncertain => Phase::Stuck {
                reason: verdict.to_string(),
            },
        }
    }

    /// Whether anything that may have happened in `run` can be taken back.
    fn can_undo(&self, run: RunId) -> bool {
        let Some(state) = self.run(run) else {
            return false;
        };
        let Some(plan) = self.plan(state.plan) else {
            return false;
        };
        plan.steps.iter().zip(&state.steps).any(|(step, known)| {
            known.may_have_happened() && matches!(step.inverse, crate::record::Inverse::Captured(_))
        })
    }

    fn step(&mut self, event: &HealEvent) -> Result<(), IllegalTransition> {
        let undoing = matches!(self.phase, Phase::Undoing { .. });
        let (Phase::Running { run: open } | Phase::Undoing { run: open }) = &self.phase else {
            return Err(self.illegal(event, "no run is open"));
        };
        let open = *open;
        let (run, phase, step_idx) = match &event.kind {
            EventKind::StepIntended { run, intent } => (*run, intent.phase, intent.step_idx),
            EventKind::StepEnded {
                run,
                step_idx,
                phase,
                ..
            } => (*run, *phase, *step_idx),
            _ => return Err(self.illegal(event, "it is no step")),
        };
        if run != open || undoing != (phase == StepPhase::Undo) {
            return Err(self.illegal(event, "another run or phase is open"));
        }
        let known = self
            .run(run)
            .and_then(|state| state.phase(phase).get(step_idx))
            .cloned();
        let Some(known) = known else {
            return Err(self.illegal(event, "the plan has no such step"));
        };
        let next = match (&event.kind, known) {
            (EventKind::StepIntended { intent, .. }, known)
                if intent.attempt > known.attempts() && !known.is_settled() =>
            {
                StepState::InFlight(intent.clone())
            }
            (EventKind::StepEnded { outcome, .. }, StepState::InFlight(intent)) => {
                StepState::Ended {
                    intent: Some(intent),
                    outcome: outcome.clone(),
                }
            }
            (
                EventKind::StepEnded {
                    outcome: outcome @ crate::record::StepOutcome::Skipped { .. },
                    ..
                },
                StepState::NotStarted,
            ) => StepState::Ended {
                intent: None,
                outcome: outcome.clone(),
            },
            _ => return Err(self.illegal(event, "intent and outcome are out of order")),
        };
        if let Some(slot) = self
            .run_mut(run)
            .and_then(|state| state.phase_mut(phase).get_mut(step_idx))
        {
            *slot = next;
        }
        Ok(())
    }

    fn run_mut(&mut self, id: RunId) -> Option<&mut RunState> {
        self.runs.iter_mut().find(|run| run.run == id)
    }

    fn expect_plan(
        &self,
        event: &HealEvent,
        plan_idx: usize,
        id: PlanId,
    ) -> Result<(), IllegalTransition> {
        if self.plans.get(plan_idx).is_some_and(|plan| plan.id == id) {
            Ok(())
        } else {
            Err(self.illegal(event, "it is about another plan"))
        }
    }

    fn illegal(&self, event: &HealEvent, reason: &str) -> IllegalTransition {
        refuse(event, &format!("{:?}", self.phase), reason)
    }
}

fn refuse(event: &HealEvent, phase: &str, reason: &str) -> IllegalTransition {
    IllegalTransition {
        incident: event.incident,
        event: event.kind.name(),
        seq: event.seq,
        phase: phase.to_owned(),
        reason: reason.to_owned(),
    }
}
