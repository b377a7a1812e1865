//! Taking a run back: captured inverses, last step first.

use homeostasis_core::policy::Permit;
use homeostasis_core::record::{
    EffectClass, Inverse, Outcome, PlanStep, StepOutcome, StepPhase, StepState,
};
use homeostasis_core::stage::{ExecuteError, RunLog};
use homeostasis_core::{Context, ErrorKind, ErrorReport, IdempotencyKey};

use super::attempt::{Attempt, backoff, pause, stop_requested, token_for};
use super::{MAX_RESUMES, MIN_UNDO_ATTEMPTS, ORDERED_UNDO_ATTEMPTS, refused, unwritten};
use crate::action::{Action, ActionRegistry, bounded};

/// Takes back every step of `run` that may have happened and has a captured inverse, in the reverse
/// order of their first intents;
/// resumes where an earlier undo stopped.
///
/// What comes up to the last pivot that was done stays as it is.
/// Steps that cannot be taken back are recorded as skipped with the reason. The first step that
/// cannot be undone although it should ends the undo with [`Outcome::Failed`]: what came before it
/// may depend on it, and people must look.
///
/// # Errors
/// As for [`execute`](super::execute).
pub async fn undo(
    actions: &ActionRegistry,
    cx: &Context,
    permit: Permit,
    run: &mut RunLog<'_>,
) -> Result<Outcome, ExecuteError> {
    if let Err(error) = run.redeem(permit) {
        return refused(error);
    }
    let plan = run.plan();
    // Steps that ran at once may share what they touch: what was begun last captured last. A run
    // that was journaled without the order has its steps taken back last first.
    let mut order: Vec<usize> = (run.state().undo_from(plan)..plan.steps.len()).collect();
    let begun = run.state().begun.clone();
    order.sort_by_key(|step_idx| begun.iter().position(|begun| begun == step_idx));
    for step_idx in order.into_iter().rev() {
        let Some(step) = plan.steps.get(step_idx) else {
            continue;
        };
        if !run.step(StepPhase::Do, step_idx).may_have_happened() {
            continue;
        }
        let back = Back {
            cx,
            step,
            step_idx,
            key: IdempotencyKey::undo(run.state().run, step_idx),
        };
        if let Some(outcome) = back.advance(actions, run).await? {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Completed)
}

struct Back<'a> {
    cx: &'a Context,
    step: &'a PlanStep,
    step_idx: usize,
    key: IdempotencyKey,
}

impl Back<'_> {
    /// Brings the undo of the step to an end; `None` if the one before may follow.
    async fn advance(
        &self,
        actions: &ActionRegistry,
        run: &mut RunLog<'_>,
    ) -> Result<Option<Outcome>, ExecuteError> {
        let known = run.step(StepPhase::Undo, self.step_idx).clone();
        if let StepState::Ended {
            intent: Some(_),
            outcome: StepOutcome::Skipped { reason },
        } = &known
        {
            return Ok(Some(Outcome::Halted {
                reason: reason.clone(),
            }));
        }
        if known.is_settled() {
            return Ok(None);
        }
        match &self.step.inverse {
            Inverse::Nothing => return Ok(None),
            Inverse::Irreversible(why) => {
                let reason = format!("it cannot be taken back: {why}");
                self.end(run, StepOutcome::Skipped { reason }).await?;
                return Ok(None);
            }
            Inverse::Captured(_) => {}
        }
        let in_flight = matches!(known, StepState::InFlight(_));
        let is_ordered = run.plan().ordered_by.is_some();
        // Between two versions nothing rests: whoever shares the requests may be away for minutes.
        let at_least = if is_ordered && self.step.effect == EffectClass::Idempotent {
            ORDERED_UNDO_ATTEMPTS
        } else {
            MIN_UNDO_ATTEMPTS
        };
        let allowed = self.step.retry.attempts.max(at_least);
        match &known {
            StepState::Ended {
                outcome: StepOutcome::Unknown { reason },
                ..
            } => {
                return Ok(Some(Outcome::Unknown {
                    step_idx: self.step_idx,
                    reason: reason.clone(),
                }));
            }
            StepState::Ended {
                outcome: StepOutcome::Failed { report },
                ..
            } if !report.kind.is_retryable() || known.attempts() >= allowed => {
                return Ok(Some(self.failed(report.clone())));
            }
            StepState::InFlight(_) if known.attempts() >= allowed.saturating_add(MAX_RESUMES) => {
                let reason = format!("{} attempts ended without an outcome", known.attempts());
                let outcome = StepOutcome::Unknown {
                    reason: reason.clone(),
                };
                self.end(run, outcome).await?;
                return Ok(Some(Outcome::Unknown {
                    step_idx: self.step_idx,
                    reason,
                }));
            }
            _ => {}
        }
        let Some(action) = actions.get(&self.step.action) else {
            let missing = format!("no action `{}` is registered", self.step.action);
            let report = ErrorReport::message(ErrorKind::Permanent, missing);
            if in_flight {
                let report = report.clone();
                self.end(run, StepOutcome::Failed { report }).await?;
            }
            return Ok(Some(self.failed(report)));
        };
        self.attempts(&**action, known.attempts(), allowed, run)
            .await
    }

    async fn attempts(
        &self,
        action: &dyn Action,
        mut number: u32,
        allowed: u32,
        run: &mut RunLog<'_>,
    ) -> Result<Option<Outcome>, ExecuteError> {
        let captured = run
            .step(StepPhase::Do, self.step_idx)
            .captured()
            .cloned()
            .unwrap_or_default();
        loop {
            stop_requested(
                self.cx,
                &format!("taking back step {} was due", self.step_idx + 1),
            )?;
            number += 1;
            let attempt = Attempt {
                step: self.step,
                step_idx: self.step_idx,
                phase: StepPhase::Undo,
                number,
                key: &self.key,
                captured: &captured,
                token: token_for(self.step, run),
            };
            if let Err(error) = run.intend(attempt.intent(self.cx)).await {
                return refused(error).map(Some);
            }
            let limit = attempt.limit(self.cx);
            let report = match attempt.perform(self.cx, action).await {
                Ok(Ok(output)) => {
                    let output = bounded(output);
                    self.end(run, StepOutcome::Done { output }).await?;
                    return Ok(None);
                }
                Ok(Err(error)) => error.report(),
                Err(_) => attempt.too_long(limit),
            };
            let outcome = StepOutcome::Failed {
                report: report.clone(),
            };
            self.end(run, outcome).await?;
            let wait = backoff(
                self.cx,
                &self.step.retry,
                self.step_idx,
                StepPhase::Undo,
                number,
            );
            let too_late = run
                .expires()
                .is_some_and(|expires| self.cx.now() + wait >= expires);
            if !report.kind.is_retryable() || number >= allowed || too_late {
                return Ok(Some(self.failed(report)));
            }
            pause(self.cx, wait).await;
        }
    }

    async fn end(&self, run: &mut RunLog<'_>, outcome: StepOutcome) -> Result<(), ExecuteError> {
        run.end(StepPhase::Undo, self.step_idx, outcome)
            .await
            .map_err(unwritten)
    }

    fn failed(&self, report: ErrorReport) -> Outcome {
        Outcome::Failed {
            step_idx: self.step_idx,
            report,
        }
    }
}
