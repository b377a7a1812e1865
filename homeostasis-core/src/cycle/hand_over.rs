//! Hand-over: a step nobody could tell about goes to people, and their answer brings the run back.

use serde_json::{Value, json};

use crate::cycle::{IllegalTransition, Incident, Phase};
use crate::error::{ErrorKind, ErrorReport};
use crate::id::RunId;
use crate::record::{
    AnsweredHandOver, EffectClass, HandOver, HandOverAnswer, HealEvent, Outcome, RunCancellation,
    RunState, StepOutcome, StepState,
};

impl Incident {
    /// The question that waits for a person: the last run ended because nobody can tell whether one
    /// of its steps happened, and people were called.
    pub fn hand_over(&self) -> Option<HandOver> {
        if self.phase != Phase::Escalated {
            return None;
        }
        let state = self.runs.last()?;
        let Some(Outcome::Unknown { step_idx, reason }) = &state.outcome else {
            return None;
        };
        matches!(
            state.steps.get(*step_idx)?,
            StepState::Ended {
                outcome: StepOutcome::Unknown { .. },
                ..
            }
        )
        .then(|| HandOver {
            incident: self.id,
            run: state.run,
            step_idx: *step_idx,
            question: u32::try_from(state.answers.len()).unwrap_or(u32::MAX),
            reason: reason.clone(),
        })
    }

    /// Applies an answer; the phase that follows it.
    pub(super) fn take_back(
        &mut self,
        event: &HealEvent,
        run: RunId,
        question: u32,
        mut given: AnsweredHandOver,
    ) -> Result<Phase, IllegalTransition> {
        let Some(asked) = self.hand_over() else {
            return Err(self.illegal(event, "no step waits for an answer"));
        };
        if (asked.run, asked.step_idx, asked.question) != (run, given.step_idx, question) {
            return Err(self.illegal(
                event,
                &format!(
                    "{} asks question {} about step {}",
                    asked.run,
                    asked.question,
                    asked.step_idx + 1
                ),
            ));
        }
        let at = event.at;
        let (answer, step_idx) = (given.answer, given.step_idx);
        let aborted = Outcome::Failed {
            step_idx,
            report: ErrorReport::message(
                ErrorKind::Cancelled,
                format!("aborted by {}: {}", given.by, given.reason),
            ),
        };
        let is_cancelled = |known: &RunState| known.cancelled.is_some();
        if given.answer == HandOverAnswer::Resume && self.run(run).is_some_and(is_cancelled) {
            return Err(self.illegal(
                event,
                "the run was cancelled, expected skip, mark done or abort",
            ));
        }
        let Some(state) = self.run_mut(run) else {
            return Err(self.illegal(event, "the run is unknown"));
        };
        if let Some(step) = state.steps.get_mut(step_idx) {
            let intent = match step {
                StepState::Ended { intent, .. } => intent.take(),
                _ => None,
            };
            given.captured = intent.as_ref().map(|intent| intent.captured.clone());
            *step = match answer {
                HandOverAnswer::Resume => StepState::NotStarted,
                HandOverAnswer::Skip => StepState::Ended {
                    intent: None,
                    outcome: StepOutcome::Skipped {
                        reason: format!("{}: {}", given.by, given.reason),
                    },
                },
                HandOverAnswer::MarkDone => StepState::Ended {
                    intent,
                    outcome: StepOutcome::Done {
                        output: json!({"marked_done_by": Value::from(given.by.as_str())}),
                    },
                },
                HandOverAnswer::Abort => StepState::Ended {
                    intent,
                    outcome: StepOutcome::Unknown {
                        reason: asked.reason,
                    },
                },
            };
        }
        state.answers.push(given);
        if answer == HandOverAnswer::Abort {
            return Ok(self.end_run(run, &aborted, at));
        }
        (state.outcome, state.ended_at) = (None, None);
        Ok(Phase::Running { run })
    }

    /// A person has a run taken back that stopped half way, or whose undo did: nobody else would.
    ///
    /// What was taken back stays so; what failed is tried anew. A step that nobody can tell about and
    /// that must not be repeated stands in the way.
    pub(super) fn reopen_undo(
        &mut self,
        event: &HealEvent,
        run: RunId,
        by: RunCancellation,
    ) -> Result<Phase, IllegalTransition> {
        let Some(state) = self.runs.last().filter(|state| state.run == run) else {
            return Err(self.illegal(event, "it is not the last run"));
        };
        let is_half_way = match (&state.outcome, &state.undo_outcome) {
            (_, Some(undone)) => *undone != Outcome::Completed,
            (Some(Outcome::Halted { .. }), None) => true,
            _ => false,
        };
        if !is_half_way {
            return Err(self.illegal(event, "neither it nor its undo stopped half way"));
        }
        if !self.can_undo(run) {
            return Err(self.illegal(event, "nothing of it can be taken back"));
        }
        let is_untold = |known: &StepState| match known {
            StepState::Ended {
                outcome: StepOutcome::Unknown { .. },
                ..
            } => true,
            StepState::InFlight(intent) => intent.effect == EffectClass::Opaque,
            _ => false,
        };
        if let Some(step_idx) = state.steps.iter().position(is_untold) {
            let reason = format!("nobody can tell whether step {} happened", step_idx + 1);
            return Err(self.illegal(event, &reason));
        }
        let Some(state) = self.run_mut(run) else {
            return Err(self.illegal(event, "the run is unknown"));
        };
        for back in &mut state.undo {
            let stays = match back {
                StepState::NotStarted | StepState::InFlight(_) => true,
                StepState::Ended { outcome, .. } => match outcome {
                    StepOutcome::Done { .. } | StepOutcome::Unknown { .. } => true,
                    // An undo that was begun and skipped ends it; one that never was is settled.
                    StepOutcome::Skipped { .. } => back.attempts() == 0,
                    StepOutcome::Failed { .. } => false,
                },
            };
            if !stays {
                *back = StepState::NotStarted;
            }
        }
        state.cancelled = Some(by);
        state.undo_outcome = None;
        Ok(Phase::Undoing { run })
    }
}
