//! The table of transitions: which event may follow which phase, and what it changes.

use std::collections::BTreeSet;

use crate::cycle::{
    Acknowledgment, EscalationState, IllegalTransition, Incident, MAX_ANOMALIES,
    MAX_WATCH_EXTENSIONS, Phase, refuse,
};
use crate::id::{PlanId, RunId};
use crate::policy::{Approval, GateDecision};
use crate::record::{
    Anomaly, AnsweredHandOver, BlastRadius, EventKind, HealEvent, Inverse, Outcome, Resolution,
    RunCancellation, RunState, Severity, StepPhase, Verdict, VerdictKind,
};
use crate::time::Timestamp;

impl Incident {
    pub(super) fn open(event: &HealEvent) -> Result<Self, IllegalTransition> {
        let EventKind::Opened {
            tenant,
            anomaly,
            severity,
            radius,
            score,
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
            score: *score,
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
            escalation: EscalationState::default(),
            n_events: 1,
            permitted: None,
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
                    score,
                },
                _,
            ) => {
                self.join(anomaly, *severity, *radius);
                self.score = score.or(self.score);
                let rests = match self.phase {
                    Phase::AwaitingApproval { .. }
                    | Phase::Deferred { .. }
                    | Phase::Recommended
                    | Phase::Resolved { .. } => true,
                    Phase::Gating { .. } => self.permitted.is_none(),
                    _ => false,
                };
                if !(anomaly.needs_people && rests) {
                    return Ok(None);
                }
                // The gate would say so; but it may not be asked for long, or ever.
                for_people(&anomaly.explanation)
            }
            (
                EventKind::EscalationBegun { .. }
                | EventKind::Notified { .. }
                | EventKind::TriggerFired { .. }
                | EventKind::Acknowledged { .. },
                _,
            ) => {
                self.escalate(event)?;
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
            (EventKind::Planned { plans, .. }, Phase::Planning) => {
                // Which plan comes next, and what is taken back, is found by the plan's id.
                let mut ids = BTreeSet::new();
                if let Some(twice) = plans.iter().find(|plan| !ids.insert(plan.id)) {
                    return Err(self.illegal(event, &format!("{} comes twice", twice.id)));
                }
                // No room for more: an open incident is kept in memory, and its plans are most of it.
                self.plans.reserve_exact(plans.len());
                self.plans.clone_from(plans);
                self.try_plan(0, "no plan applies")
            }
            (EventKind::Gated { plan, record }, Phase::Gating { plan_idx }) => {
                let plan_idx = *plan_idx;
                self.expect_plan(event, plan_idx, *plan)?;
                self.permitted = (record.decision == GateDecision::Permitted).then_some(*plan);
                match &record.decision {
                    GateDecision::Permitted => Phase::Gating { plan_idx },
                    // They were asked for while the gate was.
                    _ if self.needs_people().is_some() => self.try_plan(plan_idx, ""),
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
                    roles,
                    reason,
                    given_at,
                },
                Phase::AwaitingApproval { plan_idx, .. },
            ) => {
                let plan_idx = *plan_idx;
                self.expect_plan(event, plan_idx, *plan)?;
                if self.plans[plan_idx].hash() != *plan_hash {
                    return Err(self.illegal(event, "the decision is on another plan"));
                }
                if *granted {
                    let approval = Approval::new(*plan_hash, by.clone(), event.at)
                        .given_at(given_at.unwrap_or(event.at));
                    self.approvals
                        .push(approval.with_roles(roles.iter().cloned()));
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
                if self.permitted != Some(*plan) {
                    return Err(self.illegal(event, "the gate did not permit the plan"));
                }
                if self.run(*run).is_some() {
                    return Err(self.illegal(event, "the run exists"));
                }
                self.permitted = None;
                for approval in &mut self.approvals {
                    approval.is_consumed |= approval.plan_hash == *plan_hash;
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
            (
                EventKind::HandOverAnswered {
                    run,
                    step_idx,
                    question,
                    answer,
                    by,
                    reason,
                },
                Phase::Escalated,
            ) => {
                let given = AnsweredHandOver::new(*step_idx, *answer, by, reason);
                self.take_back(event, *run, *question, given)?
            }
            (EventKind::RunCancelled { run, by, reason }, Phase::Running { run: open })
                if run == open =>
            {
                let state = self.run_mut(*run).filter(|state| state.cancelled.is_none());
                let Some(state) = state else {
                    return Err(self.illegal(event, "it is cancelled already"));
                };
                state.cancelled = Some(RunCancellation::new(by, reason));
                return Ok(None);
            }
            (EventKind::RunCancelled { run, by, reason }, Phase::Escalated) => {
                self.reopen_undo(event, *run, RunCancellation::new(by, reason))?
            }
            (EventKind::RunEnded { run, outcome }, Phase::Running { run: open }) if run == open => {
                self.expect_settled(event, *run, StepPhase::Do, outcome)?;
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
                self.expect_settled(event, *run, StepPhase::Undo, outcome)?;
                if let Some(state) = self.run_mut(*run) {
                    state.undo_outcome = Some(outcome.clone());
                }
                match outcome {
                    Outcome::Completed => self.after(*run, "every plan was tried"),
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

    /// Nobody is called twice by one level, whoever asked for it.
    fn escalate(&mut self, event: &HealEvent) -> Result<(), IllegalTransition> {
        let state = &mut self.escalation;
        match &event.kind {
            EventKind::EscalationBegun { policy } if state.begun_at.is_none() => {
                state.policy = Some(policy.clone());
                state.begun_at = Some(event.at);
            }
            EventKind::Notified {
                level,
                round,
                channels,
                ..
            } if state.begun_at.is_some() && !state.is_notified(*level, *round) => {
                state.notified.insert((*round, *level), event.at);
                state.channels.extend(channels.iter().cloned());
            }
            EventKind::TriggerFired {
                trigger, raise_to, ..
            } if !state.triggers.contains_key(trigger) => {
                state.triggers.insert(trigger.clone(), event.at);
                match raise_to {
                    Some(severity) => {
                        self.severity = self.severity.min(*severity);
                        state.raised_to = Some(self.severity);
                    }
                    None => state.hurry(),
                }
            }
            EventKind::Acknowledged { by, note } if state.acknowledged.is_none() => {
                state.acknowledged = Some(Acknowledgment {
                    by: by.clone(),
                    note: note.clone(),
                    at: event.at,
                });
            }
            _ => return Err(self.illegal(event, "it has happened, or the chain did not begin")),
        }
        Ok(())
    }

    fn join(&mut self, anomaly: &Anomaly, severity: Severity, radius: BlastRadius) {
        let raised_to = self.escalation.raised_to;
        self.severity = raised_to.map_or(severity, |raised| raised.min(severity));
        self.radius = radius;
        self.since = self.since.min(anomaly.since);
        // What needs people is never dropped: the last place is taken from what does not.
        if anomaly.needs_people
            && self.anomalies.len() == MAX_ANOMALIES
            && self.needs_people().is_none()
        {
            self.anomalies.pop();
            self.n_anomalies_dropped += 1;
        }
        if self.anomalies.len() < MAX_ANOMALIES {
            self.anomalies.push(anomaly.clone());
        } else {
            self.n_anomalies_dropped += 1;
        }
    }

    fn try_plan(&self, plan_idx: usize, otherwise: &str) -> Phase {
        if let Some(why) = self.needs_people() {
            for_people(why)
        } else if plan_idx < self.plans.len() {
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

    /// What follows a run that is over and taken back: the next plan, or people if one of them
    /// stopped it.
    fn after(&self, run: RunId, otherwise: &str) -> Phase {
        match self.run(run).and_then(RunState::stopped_by) {
            Some(stopped) => Phase::Stuck { reason: stopped },
            None => self.try_next_plan(run, otherwise),
        }
    }

    pub(super) fn end_run(&mut self, run: RunId, outcome: &Outcome, at: Timestamp) -> Phase {
        if let Some(state) = self.run_mut(run) {
            state.outcome = Some(outcome.clone());
            state.ended_at = Some(at);
        }
        // A run that was stopped while its last step was under way is taken back like any other.
        let is_stopped = self.run(run).is_some_and(|state| state.cancelled.is_some());
        match outcome {
            Outcome::Completed if !is_stopped => Phase::Verifying { run, extensions: 0 },
            Outcome::Completed | Outcome::Failed { .. } if self.can_undo(run) => {
                Phase::Undoing { run }
            }
            Outcome::Completed | Outcome::Failed { .. } => self.after(run, &outcome.to_string()),
            Outcome::Unknown { .. } | Outcome::Halted { .. } => Phase::Stuck {
                reason: outcome.to_string(),
            },
        }
    }

    fn judge(&self, run: RunId, verdict: &Verdict, extensions: u32) -> Phase {
        match verdict.kind {
            // They were asked for while it ran: the run healed something else.
            VerdictKind::Success => self
                .needs_people()
                .map_or(Phase::Resolved { run }, for_people),
            VerdictKind::Failed if self.can_undo(run) => Phase::Undoing { run },
            VerdictKind::Failed | VerdictKind::Partial => self.after(run, &verdict.to_string()),
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
    pub(super) fn can_undo(&self, run: RunId) -> bool {
        let Some(state) = self.run(run) else {
            return false;
        };
        let Some(plan) = self.plan(state.plan) else {
            return false;
        };
        let steps = plan.steps.iter().zip(&state.steps);
        steps.skip(state.undo_from(plan)).any(|(step, known)| {
            known.may_have_happened() && matches!(step.inverse, Inverse::Captured(_))
        })
    }

    /// An outcome is not believed: it is complete if the journal says so of every step.
    fn expect_settled(
        &self,
        event: &HealEvent,
        run: RunId,
        phase: StepPhase,
        outcome: &Outcome,
    ) -> Result<(), IllegalTransition> {
        if *outcome != Outcome::Completed {
            return Ok(());
        }
        let state = self.run(run);
        let Some((state, plan)) = state.and_then(|state| Some((state, self.plan(state.plan)?)))
        else {
            return Err(self.illegal(event, "the run has no plan"));
        };
        match state.unsettled(plan, phase) {
            Some(step_idx) => {
                let back = match phase {
                    StepPhase::Do => "",
                    StepPhase::Undo => "the undo of ",
                };
                let reason = format!("completed, but {back}step {} is not settled", step_idx + 1);
                Err(self.illegal(event, &reason))
            }
            None => Ok(()),
        }
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

    pub(super) fn illegal(&self, event: &HealEvent, reason: &str) -> IllegalTransition {
        refuse(event, &format!("{:?}", self.phase), reason)
    }
}

fn for_people(why: &str) -> Phase {
    Phase::Stuck {
        reason: format!("people are needed: {why}"),
    }
}
