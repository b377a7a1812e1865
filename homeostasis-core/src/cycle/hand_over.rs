//! Hand-over: a step nobody could tell about goes to people, and their answer brings the run back.

use serde_json::{Value, json};

use crate::cycle::{IllegalTransition, Incident, Phase};
use crate::error::{ErrorKind, ErrorReport};
use crate::id::RunId;
use crate::record::{
    AnsweredHandOver, HandOver, HandOverAnswer, HealEvent, Outcome, RunState, StepOutcome,
    StepState,
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
}
