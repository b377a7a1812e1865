//! Doing the steps of a permitted plan, in order or at once; again after a crash from where the log ends.

use homeostasis_core::policy::Permit;
use homeostasis_core::port::FencingToken;
use homeostasis_core::record::{EffectClass, Outcome, PlanStep, StepOutcome, StepPhase, StepState};
use homeostasis_core::stage::{ExecuteError, RunLog, RunLogError};
use homeostasis_core::{Context, ErrorKind, ErrorReport, IdempotencyKey};
use serde_json::Value;

use super::attempt::{Attempt, backoff, pause, stop_requested, token_for, until_stopped};
use super::parallel::{SharedLog, together};
use super::{MAX_RESUMES, refused, unwritten};
use crate::action::{Action, ActionError, ActionRegistry, ProbeAnswer, bounded};

/// Executes the plan of `run`, or resumes it: steps that ended are not done again. Steps that
/// begin together are in flight at the same time, each between its own intent and outcome.
///
/// The permit is redeemed before anything else. A step that fails ends the run with
/// [`Outcome::Failed`], a step of which nobody can tell whether it happened with
/// [`Outcome::Unknown`], the kill switch or an expired permit with [`Outcome::Halted`].
///
/// # Errors
/// - The permit does not cover the run.
/// - The journal refused or failed, or a newer lease exists.
/// - The context was cancelled or its deadline passed between two attempts.
///
/// In each case the run is unfinished, and calling this again with a new permit goes on.
///
/// # Cancel safety
/// Dropping the future is a crash: the run is unfinished, and the effect class of the step in
/// flight decides what happens to it.
pub async fn execute(
    actions: &ActionRegistry,
    cx: &Context,
    permit: Permit,
    run: &mut RunLog<'_>,
) -> Result<Outcome, ExecuteError> {
    if let Err(error) = run.redeem(permit) {
        return refused(error);
    }
    let (plan, run_id) = (run.plan(), run.state().run);
    let tokens: Vec<_> = plan.steps.iter().map(|step| token_for(step, run)).collect();
    let log = SharedLog::new(run);
    for group in plan.groups() {
        let steps: Vec<_> = group
            .map(|step_idx| Forward {
                cx,
                step: &plan.steps[step_idx],
                step_idx,
                key: IdempotencyKey::new(run_id, step_idx),
                token: tokens[step_idx],
            })
            .collect();
        let ends = together(steps.iter().map(|step| step.advance(actions, &log))).await;
        if let Some(outcome) = worst(ends)? {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Completed)
}

/// How steps that began together ended the run, if they did: what people must look at comes before
/// what was stopped, and that before what failed.
///
/// Each of them came to its own end before: a step in flight is never left because another failed.
fn worst(
    ends: Vec<Result<Option<Outcome>, ExecuteError>>,
) -> Result<Option<Outcome>, ExecuteError> {
    let mut worst: Option<Outcome> = None;
    let rank = |outcome: &Outcome| match outcome {
        Outcome::Unknown { .. } => 3,
        Outcome::Halted { .. } => 2,
        Outcome::Failed { .. } => 1,
        _ => 0,
    };
    for end in ends {
        if let Some(outcome) = end?
            && worst
                .as_ref()
                .is_none_or(|known| rank(known) < rank(&outcome))
        {
            worst = Some(outcome);
        }
    }
    Ok(worst)
}

struct Forward<'a> {
    cx: &'a Context,
    step: &'a PlanStep,
    step_idx: usize,
    key: IdempotencyKey,
    token: Option<FencingToken>,
}

/// What a failed attempt allows.
enum After {
    /// It was done after all, or the run is over.
    Over(Option<Outcome>),
    /// Another attempt may be made.
    Retry(ErrorReport),
}

impl Forward<'_> {
    /// Brings the step to an end; `None` if the next one may follow.
    async fn advance(
        &self,
        actions: &ActionRegistry,
        run: &SharedLog<'_, '_>,
    ) -> Result<Option<Outcome>, ExecuteError> {
        let known = run.step(self.step_idx).await;
        if let StepState::Ended { intent, outcome } = &known {
            match outcome {
                StepOutcome::Skipped { reason } if intent.is_some() => {
                    // The log itself skips a step when the kill switch falls between intent and effect.
                    return Ok(Some(Outcome::Halted {
                        reason: reason.clone(),
                    }));
                }
                StepOutcome::Done { .. } | StepOutcome::Skipped { .. } => return Ok(None),
                StepOutcome::Unknown { reason } => return Ok(Some(self.unknown(reason.clone()))),
                StepOutcome::Failed { report }
                    if self.step.effect == EffectClass::Opaque
                        || !report.kind.is_retryable()
                        || known.attempts() >= self.step.retry.attempts.max(1) =>
                {
                    return Ok(Some(self.failed(report.clone())));
                }
                StepOutcome::Failed { .. } => {}
                // A newer version wrote it: whether the step may be repeated cannot be told.
                other => {
                    let reason = format!("its outcome cannot be read: {other:?}");
                    return Ok(Some(self.unknown(reason)));
                }
            }
        }
        let Some(action) = actions.get(&self.step.action) else {
            let missing = format!("no action `{}` is registered", self.step.action);
            if matches!(known, StepState::InFlight(_)) {
                return self.end_unknown(run, missing).await.map(Some);
            }
            return Ok(Some(
                self.failed(ErrorReport::message(ErrorKind::Permanent, missing)),
            ));
        };
        self.attempts(&**action, known, run).await
    }

    async fn attempts(
        &self,
        action: &dyn Action,
        known: StepState,
        run: &SharedLog<'_, '_>,
    ) -> Result<Option<Outcome>, ExecuteError> {
        let mut number = known.attempts();
        let mut captured = run.captured(self.step_idx).await;
        if self.step.effect == EffectClass::Read && known == StepState::NotStarted {
            // People have it done again: there is nothing to take back, and it looks afresh.
            captured = None;
        }
        let mut last_report = match &known {
            StepState::Ended {
                outcome: StepOutcome::Failed { report },
                ..
            } => Some(report.clone()),
            _ => None,
        };
        if known.may_have_happened() {
            let before = captured.clone().unwrap_or_default();
            let in_flight = matches!(known, StepState::InFlight(_));
            if let Some(over) = self
                .settle_leftover(action, number, &before, in_flight, run)
                .await?
            {
                return Ok(over);
            }
        }
        loop {
            stop_requested(self.cx, &format!("step {} was due", self.step_idx + 1))?;
            number += 1;
            let before = match captured.take() {
                Some(before) => before,
                None => match self
                    .attempt(number, &Value::Null)
                    .capture(self.cx, action)
                    .await
                {
                    Ok(before) => before,
                    Err(report) => match self.wait(number, report, run).await {
                        Ok(()) => continue,
                        Err(report) => return Ok(Some(self.failed(report))),
                    },
                },
            };
            let attempt = self.attempt(number, &before);
            if let Err(error) = run.intend(attempt.intent(self.cx)).await {
                return match (error, last_report) {
                    // The step failed, and there was no time left for another attempt.
                    (RunLogError::Expired { .. }, Some(report)) => Ok(Some(self.failed(report))),
                    (error, _) => refused(error).map(Some),
                };
            }
            match self.try_once(action, &attempt, run).await? {
                After::Over(over) => return Ok(over),
                After::Retry(report) => match self.wait(number, report, run).await {
                    Ok(()) => {}
                    Err(report) => return Ok(Some(self.failed(report))),
                },
            }
            last_report = match run.step(self.step_idx).await {
                StepState::Ended {
                    outcome: StepOutcome::Failed { report },
                    ..
                } => Some(report),
                _ => None,
            };
            captured = Some(before);
        }
    }

    /// Decides about an attempt whose outcome was not recorded, or that failed on the way before
    /// the process died. `None`: another attempt may be made.
    async fn settle_leftover(
        &self,
        action: &dyn Action,
        number: u32,
        captured: &Value,
        in_flight: bool,
        run: &SharedLog<'_, '_>,
    ) -> Result<Option<Option<Outcome>>, ExecuteError> {
        // What was intended counts, not what the present version of the action says of itself.
        match self.step.effect {
            EffectClass::Opaque => {
                let reason =
                    "an attempt was interrupted; it may have happened and must not be repeated";
                return self
                    .end_unknown(run, reason.to_owned())
                    .await
                    .map(|end| Some(Some(end)));
            }
            EffectClass::Probeable => {
                match self.attempt(number, captured).probe(self.cx, action).await {
                    ProbeAnswer::Happened(output) => {
                        // A failure on record needs a new intent before it can become done.
                        let again = self.attempt(number + 1, captured).intent(self.cx);
                        if !in_flight && let Err(error) = run.intend(again).await {
                            return refused(error).map(|end| Some(Some(end)));
                        }
                        self.end(
                            run,
                            StepOutcome::Done {
                                output: bounded(output),
                            },
                        )
                        .await?;
                        return Ok(Some(None));
                    }
                    ProbeAnswer::DidNot => {}
                    ProbeAnswer::CannotTell(reason) if in_flight => {
                        return self
                            .end_unknown(run, reason)
                            .await
                            .map(|end| Some(Some(end)));
                    }
                    ProbeAnswer::CannotTell(reason) => {
                        return Ok(Some(Some(self.unknown(reason))));
                    }
                }
            }
            EffectClass::Read | EffectClass::Idempotent | EffectClass::Keyed => {}
        }
        let allowed = self.step.retry.attempts.max(1).saturating_add(MAX_RESUMES);
        if in_flight && number >= allowed {
            let reason = format!("{number} attempts ended without an outcome");
            if self.step.effect == EffectClass::Read {
                // Nobody has to be asked whether it happened: it touches nothing.
                let report = ErrorReport::message(ErrorKind::Permanent, reason);
                let outcome = StepOutcome::Failed {
                    report: report.clone(),
                };
                self.end(run, outcome).await?;
                return Ok(Some(Some(self.failed(report))));
            }
            return self
                .end_unknown(run, reason)
                .await
                .map(|end| Some(Some(end)));
        }
        Ok(None)
    }

    /// Performs one intended attempt and records how it ended.
    async fn try_once(
        &self,
        action: &dyn Action,
        attempt: &Attempt<'_>,
        run: &SharedLog<'_, '_>,
    ) -> Result<After, ExecuteError> {
        let limit = attempt.limit(self.cx);
        let performed = match self.step.effect {
            // What touches nothing is left where it is, for recovery to repeat.
            EffectClass::Read => until_stopped(self.cx, attempt.perform(self.cx, action)).await?,
            _ => attempt.perform(self.cx, action).await,
        };
        let (report, may_have_begun, in_time) = match performed {
            Ok(Ok(output)) => {
                self.end(
                    run,
                    StepOutcome::Done {
                        output: bounded(output),
                    },
                )
                .await?;
                return Ok(After::Over(None));
            }
            Ok(Err(ActionError::Undecided { reason })) => {
                let outcome = self.end_unknown(run, reason).await?;
                return Ok(After::Over(Some(outcome)));
            }
            Ok(Err(error)) => (error.report(), error.may_have_begun(), true),
            Err(_) => (attempt.too_long(limit), true, false),
        };
        let mut may_repeat = true;
        if may_have_begun {
            match self.step.effect {
                EffectClass::Read | EffectClass::Idempotent | EffectClass::Keyed => {}
                EffectClass::Opaque if in_time => may_repeat = false,
                EffectClass::Opaque => {
                    let reason = format!("{report}; it may have happened and must not be repeated");
                    let outcome = self.end_unknown(run, reason).await?;
                    return Ok(After::Over(Some(outcome)));
                }
                EffectClass::Probeable => match attempt.probe(self.cx, action).await {
                    ProbeAnswer::Happened(output) => {
                        self.end(
                            run,
                            StepOutcome::Done {
                                output: bounded(output),
                            },
                        )
                        .await?;
                        return Ok(After::Over(None));
                    }
                    ProbeAnswer::DidNot => {}
                    ProbeAnswer::CannotTell(reason) => {
                        let reason = format!("{report}; {reason}");
                        let outcome = self.end_unknown(run, reason).await?;
                        return Ok(After::Over(Some(outcome)));
                    }
                },
            }
        }
        self.end(
            run,
            StepOutcome::Failed {
                report: report.clone(),
            },
        )
        .await?;
        if may_repeat && report.kind.is_retryable() {
            Ok(After::Retry(report))
        } else {
            Ok(After::Over(Some(self.failed(report))))
        }
    }

    /// Waits before the attempt after `number`; gives the report back if there is none.
    async fn wait(
        &self,
        number: u32,
        report: ErrorReport,
        run: &SharedLog<'_, '_>,
    ) -> Result<(), ErrorReport> {
        if !report.kind.is_retryable() || number >= self.step.retry.attempts.max(1) {
            return Err(report);
        }
        let wait = backoff(
            self.cx,
            &self.step.retry,
            self.step_idx,
            StepPhase::Do,
            number,
        );
        if run
            .expires()
            .is_some_and(|expires| self.cx.now() + wait >= expires)
        {
            return Err(report);
        }
        pause(self.cx, wait).await;
        Ok(())
    }

    fn attempt<'b>(&'b self, number: u32, captured: &'b Value) -> Attempt<'b> {
        Attempt {
            step: self.step,
            step_idx: self.step_idx,
            phase: StepPhase::Do,
            number,
            key: &self.key,
            captured,
            token: self.token,
        }
    }

    async fn end(&self, run: &SharedLog<'_, '_>, outcome: StepOutcome) -> Result<(), ExecuteError> {
        run.end(StepPhase::Do, self.step_idx, outcome)
            .await
            .map_err(unwritten)
    }

    async fn end_unknown(
        &self,
        run: &SharedLog<'_, '_>,
        reason: String,
    ) -> Result<Outcome, ExecuteError> {
        let outcome = self.unknown(reason.clone());
        self.end(run, StepOutcome::Unknown { reason }).await?;
        Ok(outcome)
    }

    fn unknown(&self, reason: String) -> Outcome {
        Outcome::Unknown {
            step_idx: self.step_idx,
            reason,
        }
    }

    fn failed(&self, report: ErrorReport) -> Outcome {
        Outcome::Failed {
            step_idx: self.step_idx,
            report,
        }
    }
}
