//! Runs: the execution of a plan, step by step, as the journal knows it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::error::ErrorReport;
use crate::id::{IdempotencyKey, PlanId, RunId};
use crate::port::FencingToken;
use crate::record::{
    AnsweredHandOver, EffectClass, HandOverAnswer, Inverse, Plan, RunCancellation,
};
use crate::time::Timestamp;

/// Forward or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepPhase {
    /// The step itself.
    Do,
    /// Its inverse.
    Undo,
}

/// Written before a step touches the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepIntent {
    /// Which step of the plan, from 0.
    pub step_idx: usize,
    /// Forward or back.
    pub phase: StepPhase,
    /// The how-manieth try, from 1.
    pub attempt: u32,
    /// By which the target recognizes a repetition.
    pub key: IdempotencyKey,
    /// What is known about doing it twice.
    pub effect: EffectClass,
    /// The state before, as far as the inverse or a probe needs it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub captured: Value,
    /// When it must be done.
    pub deadline: Timestamp,
}

/// Written after a step touched the world, or when nobody can tell whether it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepOutcome {
    /// It was done.
    Done {
        /// What it printed or returned, bounded and redacted.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        output: Value,
    },
    /// It was not done, or it failed on the way.
    Failed {
        /// Why.
        report: ErrorReport,
    },
    /// It may or may not have been done, and it must not be repeated.
    Unknown {
        /// Why nobody can tell.
        reason: String,
    },
    /// It was not needed.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// What the journal knows of one step in one phase.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Nothing was written.
    #[default]
    NotStarted,
    /// The intent is durable, the outcome is not: it may have happened.
    InFlight(StepIntent),
    /// The outcome is durable.
    Ended {
        /// The last intent; `None` if the step was skipped without one.
        intent: Option<StepIntent>,
        /// How it ended.
        outcome: StepOutcome,
    },
}

impl StepState {
    /// Whether it is known to have been done.
    pub fn is_done(&self) -> bool {
        matches!(
            self,
            Self::Ended {
                outcome: StepOutcome::Done { .. },
                ..
            }
        )
    }

    /// Whether nothing more needs to be done about it: done or skipped.
    pub fn is_settled(&self) -> bool {
        matches!(
            self,
            Self::Ended {
                outcome: StepOutcome::Done { .. } | StepOutcome::Skipped { .. },
                ..
            }
        )
    }

    /// Whether it may have touched the world.
    ///
    /// A skip says so of the last attempt only: after an earlier one it still may have.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::NotStarted => false,
            Self::InFlight(_) => true,
            Self::Ended {
                intent,
                outcome: StepOutcome::Skipped { .. },
            } => intent.as_ref().is_some_and(|intent| intent.attempt > 1),
            Self::Ended { intent, .. } => intent.is_some(),
        }
    }

    /// Whether it may have happened and another attempt is forbidden: nobody can tell, or it was
    /// interrupted on its way forward and is opaque.
    fn must_not_repeat(&self) -> bool {
        match self {
            Self::Ended {
                outcome: StepOutcome::Unknown { .. },
                ..
            } => true,
            Self::InFlight(intent) => {
                intent.phase == StepPhase::Do && intent.effect == EffectClass::Opaque
            }
            Self::NotStarted | Self::Ended { .. } => false,
        }
    }

    /// The state captured before the last attempt.
    pub fn captured(&self) -> Option<&Value> {
        match self {
            Self::NotStarted => None,
            Self::InFlight(intent) => Some(&intent.captured),
            Self::Ended { intent, .. } => intent.as_ref().map(|intent| &intent.captured),
        }
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> u32 {
        match self {
            Self::NotStarted => 0,
            Self::InFlight(intent) => intent.attempt,
            Self::Ended { intent, .. } => intent.as_ref().map_or(0, |intent| intent.attempt),
        }
    }
}

/// How a run or its undo ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Every step was done or was not needed.
    Completed,
    /// A step failed for good.
    Failed {
        /// Which step, from 0.
        step_idx: usize,
        /// Why.
        report: ErrorReport,
    },
    /// A step that must not be repeated may or may not have happened.
    Unknown {
        /// Which step, from 0.
        step_idx: usize,
        /// Why nobody can tell.
        reason: String,
    },
    /// It was stopped before it was through: kill switch, shutdown, lost lease, expired permit.
    Halted {
        /// By what.
        reason: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Failed { step_idx, report } => {
                write!(f, "step {} failed: {report}", step_idx + 1)
            }
            Self::Unknown { step_idx, reason } => {
                write!(f, "step {} unknown: {reason}", step_idx + 1)
            }
            Self::Halted { reason } => write!(f, "halted: {reason}"),
        }
    }
}

/// Whether a plan is taken back when it did not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoPolicy {
    /// What can be taken back is taken back, last step first.
    Reverse,
    /// Nothing was done that could be taken back.
    NothingToUndo,
}

/// What the journal knows of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Its id.
    pub run: RunId,
    /// Of which plan.
    pub plan: PlanId,
    /// The plan's hash when it was permitted.
    pub plan_hash: Digest,
    /// The lease it holds at present.
    pub token: FencingToken,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it came to its outcome, if it did.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// The steps forward, one for each step of the plan.
    pub steps: Vec<StepState>,
    /// The steps back, one for each step of the plan.
    pub undo: Vec<StepState>,
    /// How often a process took it up again after another one died.
    pub resumed: u32,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
    /// How its undo ended, if there was one and it ended.
    pub undo_outcome: Option<Outcome>,
    /// What people answered about steps that were handed over to them, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<AnsweredHandOver>,
    /// Who stopped it, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<RunCancellation>,
    /// The steps forward in the order of their first intents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<usize>,
}

impl RunState {
    /// A run whose steps have not started.
    pub fn new(
        run: RunId,
        plan: PlanId,
        plan_hash: Digest,
        n_steps: usize,
        token: FencingToken,
        at: Timestamp,
    ) -> Self {
        Self {
            run,
            plan,
            plan_hash,
            token,
            opened_at: at,
            ended_at: None,
            steps: vec![StepState::NotStarted; n_steps],
            undo: vec![StepState::NotStarted; n_steps],
            resumed: 0,
            outcome: None,
            undo_outcome: None,
            answers: Vec::new(),
            cancelled: None,
            begun: Vec::new(),
        }
    }

    /// The steps of `phase`.
    pub fn phase(&self, phase: StepPhase) -> &[StepState] {
        match phase {
            StepPhase::Do => &self.steps,
            StepPhase::Undo => &self.undo,
        }
    }

    /// What was captured before step `step_idx` was first tried; it is kept when people have the step
    /// done again.
    pub fn captured(&self, step_idx: usize) -> Option<&Value> {
        let known = self.steps.get(step_idx).and_then(StepState::captured);
        known.or_else(|| {
            let mut answers = self.answers.iter().rev();
            answers
                .find(|given| given.step_idx == step_idx)
                .and_then(|given| given.captured.as_ref())
        })
    }

    /// Remembers the order in which steps first began.
    pub(crate) fn note_begun(&mut self, intent: &StepIntent) {
        if intent.phase == StepPhase::Do && !self.begun.contains(&intent.step_idx) {
            self.begun.push(intent.step_idx);
        }
    }

    /// In words who stopped it: a cancellation, or an abort as the last answer.
    pub fn stopped_by(&self) -> Option<String> {
        if let Some(RunCancellation { by, reason }) = &self.cancelled {
            return Some(format!("cancelled by {by}: {reason}"));
        }
        let last = self.answers.last()?;
        (last.answer == HandOverAnswer::Abort)
            .then(|| format!("aborted by {}: {}", last.by, last.reason))
    }

    /// The first step of `plan` that an undo of this run may take back: what comes up to the last
    /// [pivot](crate::record::PlanStep::pivot) that was done stays.
    pub fn undo_from(&self, plan: &Plan) -> usize {
        let mut pairs = plan.steps.iter().zip(&self.steps);
        let pivot = pairs.rposition(|(step, known)| step.pivot && known.is_done());
        pivot.map_or(0, |step_idx| step_idx + 1)
    }

    /// The first step because of which `phase` of this run of `plan` is not
    /// [completed](Outcome::Completed); `None` if it is.
    ///
    /// Forward every step must be done or skipped. Back every step that may have happened and has a
    /// captured inverse must have its undo done or skipped, from [`undo_from`](Self::undo_from) on. An
    /// executor that claims completion against this is wrong.
    pub fn unsettled(&self, plan: &Plan, phase: StepPhase) -> Option<usize> {
        match phase {
            StepPhase::Do => self.steps.iter().position(|step| !step.is_settled()),
            StepPhase::Undo => {
                let from = self.undo_from(plan);
                let pairs = plan.steps.iter().zip(self.steps.iter().zip(&self.undo));
                let mut pairs = pairs.enumerate().skip(from);
                let open = pairs.find(|(_, (step, (forward, back)))| {
                    matches!(step.inverse, Inverse::Captured(_))
                        && forward.may_have_happened()
                        && !back.is_settled()
                });
                open.map(|(step_idx, _)| step_idx)
            }
        }
    }

    /// Why `intent` may not follow what is known of this run of `plan`; `None` if it may.
    ///
    /// The intent says of the step what the permitted plan says, a settled step is not done again,
    /// attempts count up, a step that must not be repeated is not, and only what may have happened
    /// is taken back.
    pub(crate) fn objection(&self, plan: &Plan, intent: &StepIntent) -> Option<String> {
        if let (StepPhase::Do, Some(cancelled)) = (intent.phase, &self.cancelled) {
            return Some(format!("the run was cancelled by {}", cancelled.by));
        }
        let known = self.phase(intent.phase).get(intent.step_idx);
        let (Some(known), Some(step)) = (known, plan.steps.get(intent.step_idx)) else {
            return Some(format!(
                "expected a step of the plan, which has {}",
                plan.steps.len()
            ));
        };
        // Recovery decides by the class whether to repeat, and the target by the key.
        if intent.effect != step.effect {
            return Some(format!(
                "effect {}, expected the plan's {}",
                intent.effect, step.effect
            ));
        }
        let key = match intent.phase {
            StepPhase::Do => IdempotencyKey::new(self.run, intent.step_idx),
            StepPhase::Undo => IdempotencyKey::undo(self.run, intent.step_idx),
        };
        if intent.key != key {
            return Some(format!("key {}, expected {key}", intent.key));
        }
        if known.is_settled() {
            return Some("it is settled".to_owned());
        }
        if intent.attempt <= known.attempts() {
            return Some(format!(
                "attempt {}, expected more than {}",
                intent.attempt,
                known.attempts()
            ));
        }
        if known.must_not_repeat() {
            return Some("it may have happened and must not be repeated".to_owned());
        }
        if intent.phase == StepPhase::Undo && intent.step_idx < self.undo_from(plan) {
            return Some("a pivot after it was done: it stays".to_owned());
        }
        let undoes_nothing = intent.phase == StepPhase::Undo
            && !self
                .steps
                .get(intent.step_idx)
                .is_some_and(StepState::may_have_happened);
        undoes_nothing.then(|| "it did not happen, there is nothing to take back".to_owned())
    }

    pub(crate) fn phase_mut(&mut self, phase: StepPhase) -> &mut [StepState] {
        match phase {
            StepPhase::Do => &mut self.steps,
            StepPhase::Undo => &mut self.undo,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::IncidentId;
    use crate::record::PlanStep;
    use crate::target::Target;

    #[test]
    fn what_comes_up_to_a_pivot_that_was_done_is_not_taken_back() {
        let target = Target::service("orders").unwrap();
        let (id, incident) = (PlanId::from_u128(1), IncidentId::from_u128(2));
        let mut plan = Plan::new(id, incident, "rollouts", "shift", target.clone());
        for _ in 0..3 {
            let mut step = PlanStep::new("shift", "shift", target.clone());
            step.effect = EffectClass::Idempotent;
            step.inverse = Inverse::Captured("the weights before".to_owned());
            plan.steps.push(step);
        }
        plan.steps[1].pivot = true;
        let run = RunId::from_u128(3);
        let at = Timestamp::EPOCH;
        let mut state = RunState::new(run, id, plan.hash(), 3, FencingToken::new(1), at);
        let intent = |step_idx, phase| StepIntent {
            step_idx,
            phase,
            attempt: 1,
            key: match phase {
                StepPhase::Do => IdempotencyKey::new(run, step_idx),
                StepPhase::Undo => IdempotencyKey::undo(run, step_idx),
            },
            effect: EffectClass::Idempotent,
            captured: Value::Null,
            deadline: at,
        };
        let ended = |step_idx, outcome| StepState::Ended {
            intent: Some(intent(step_idx, StepPhase::Do)),
            outcome,
        };
        let done = |step_idx| {
            let output = Value::Null;
            ended(step_idx, StepOutcome::Done { output })
        };
        let back = intent(0, StepPhase::Undo);
        state.steps[0] = done(0);
        assert_eq!(state.unsettled(&plan, StepPhase::Undo), Some(0));
        // A pivot that failed, or of which nobody can tell, holds nothing back.
        let reason = "it died".to_owned();
        state.steps[1] = ended(1, StepOutcome::Unknown { reason });
        assert_eq!(state.undo_from(&plan), 0);
        assert_eq!(state.objection(&plan, &back), None);
        state.steps[1] = done(1);
        assert_eq!(state.undo_from(&plan), 2);
        assert_eq!(state.unsettled(&plan, StepPhase::Undo), None);
        let objection = state.objection(&plan, &back).unwrap();
        assert!(objection.contains("pivot"), "{objection}");
        state.steps[2] = StepState::InFlight(intent(2, StepPhase::Do));
        assert_eq!(state.unsettled(&plan, StepPhase::Undo), Some(2));
        assert_eq!(state.objection(&plan, &intent(2, StepPhase::Undo)), None);
    }
}
