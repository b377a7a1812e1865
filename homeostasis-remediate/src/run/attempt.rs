//! What forward and back have in common: time limits, back-off, stopping between steps.

use std::time::Duration;

use homeostasis_core::port::FencingToken;
use homeostasis_core::record::{PlanStep, Retry, StepIntent, StepPhase};
use homeostasis_core::stage::{ExecuteError, RunLog};
use homeostasis_core::{
    Clock, Context, Elapsed, ErrorKind, ErrorReport, IdempotencyKey, Timestamp, timeout,
};
use serde_json::Value;

use crate::action::{Action, ActionCall, ActionError};

/// One attempt at one step in one phase.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) step: &'a PlanStep,
    pub(super) step_idx: usize,
    pub(super) phase: StepPhase,
    pub(super) number: u32,
    pub(super) key: &'a IdempotencyKey,
    pub(super) captured: &'a Value,
    pub(super) token: Option<FencingToken>,
}

/// The token that fences a step: that of the run, if both are on the same service.
pub(super) fn token_for(step: &PlanStep, run: &RunLog<'_>) -> Option<FencingToken> {
    let same = step.target.service_name() == run.plan().target.service_name();
    same.then_some(run.state().token)
}

impl Attempt<'_> {
    /// How long it may take: the step's time, or what is left of the context's.
    pub(super) fn limit(&self, cx: &Context) -> Duration {
        cx.remaining()
            .map_or(self.step.timeout, |left| left.min(self.step.timeout))
    }

    pub(super) fn intent(&self, cx: &Context) -> StepIntent {
        StepIntent {
            step_idx: self.step_idx,
            phase: self.phase,
            attempt: self.number,
            key: self.key.clone(),
            effect: self.step.effect,
            captured: self.captured.clone(),
            deadline: cx.now() + self.limit(cx),
        }
    }

    fn call(&self, deadline: Timestamp) -> ActionCall<'_> {
        ActionCall::new(&self.step.target, &self.step.args, self.key)
            .with_captured(self.captured)
            .with_attempt(self.number)
            .with_deadline(deadline)
            .with_token(self.token)
    }

    /// Calls the action in the attempt's phase.
    pub(super) async fn perform(
        &self,
        cx: &Context,
        action: &dyn Action,
    ) -> Result<Result<Value, ActionError>, Elapsed> {
        let limit = self.limit(cx);
        let call = self.call(cx.now() + limit);
        match self.phase {
            StepPhase::Do => timeout(&**cx.clock(), limit, action.perform(cx, &call)).await,
            StepPhase::Undo => timeout(&**cx.clock(), limit, action.undo(cx, &call)).await,
        }
    }

    /// Asks the action whether an earlier attempt happened.
    pub(super) async fn probe(
        &self,
        cx: &Context,
        action: &dyn Action,
    ) -> crate::action::ProbeAnswer {
        let limit = self.step.timeout;
        let call = self.call(cx.now() + limit);
        timeout(&**cx.clock(), limit, action.probe(cx, &call))
            .await
            .unwrap_or_else(|Elapsed| {
                crate::action::ProbeAnswer::CannotTell(format!(
                    "asking whether it happened took longer than {limit:?}"
                ))
            })
    }

    /// Reads the state before.
    pub(super) async fn capture(
        &self,
        cx: &Context,
        action: &dyn Action,
    ) -> Result<Value, ErrorReport> {
        let limit = self.limit(cx);
        let call = self.call(cx.now() + limit);
        match timeout(&**cx.clock(), limit, action.capture(cx, &call)).await {
            Ok(Ok(captured)) => Ok(captured),
            Ok(Err(error)) => Err(error.report()),
            Err(Elapsed) => Err(ErrorReport::message(
                ErrorKind::Timeout,
                format!("reading the state before took longer than {limit:?}"),
            )),
        }
    }

    /// The report of an attempt that took too long.
    pub(super) fn too_long(&self, limit: Duration) -> ErrorReport {
        ErrorReport::message(
            ErrorKind::Timeout,
            format!("`{}` took longer than {limit:?}", self.step.action),
        )
    }
}

/// The wait after attempt `number`: full jitter below an exponentially growing limit.
///
/// Source: M. Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015 ("full jitter").
pub(super) fn backoff(
    cx: &Context,
    retry: &Retry,
    step_idx: usize,
    phase: StepPhase,
    number: u32,
) -> Duration {
    let doublings = number.saturating_sub(1).min(31);
    let limit = retry
        .backoff
        .saturating_mul(1 << doublings)
        .min(retry.max_backoff);
    let phase = u64::from(phase == StepPhase::Undo);
    let stream =
        0x5e7a_0000_0000_0000 ^ (phase << 40) ^ ((step_idx as u64) << 16) ^ u64::from(number);
    cx.rng(stream).jitter(limit)
}

/// Whether the run must stop before the next attempt: a request to stop leaves the run unfinished,
/// for recovery to take up.
pub(super) fn stop_requested(cx: &Context, during: &str) -> Result<(), ExecuteError> {
    if cx.cancellation().is_cancelled() {
        return Err(ExecuteError::Cancelled {
            during: during.to_owned(),
        });
    }
    if cx.remaining().is_some_and(|left| left.is_zero()) {
        return Err(ExecuteError::Timeout {
            during: during.to_owned(),
        });
    }
    Ok(())
}

/// What `step` comes to, unless somebody asks to stop before.
pub(super) async fn until_stopped<T>(
    cx: &Context,
    step: impl Future<Output = T>,
) -> Result<T, ExecuteError> {
    let mut step = std::pin::pin!(step);
    let mut cancelled = std::pin::pin!(cx.cancellation().cancelled());
    let ended = std::future::poll_fn(|task| {
        if let std::task::Poll::Ready(ended) = step.as_mut().poll(task) {
            return std::task::Poll::Ready(Some(ended));
        }
        cancelled.as_mut().poll(task).map(|()| None)
    });
    ended.await.ok_or_else(|| ExecuteError::Cancelled {
        during: "a step that only reads was under way".to_owned(),
    })
}

/// Waits, or ends early when somebody asks to stop.
pub(super) async fn pause(cx: &Context, wait: Duration) {
    let mut sleep = cx.clock().sleep(wait);
    let mut cancelled = std::pin::pin!(cx.cancellation().cancelled());
    std::future::poll_fn(|task| {
        if cancelled.as_mut().poll(task).is_ready() {
            return std::task::Poll::Ready(());
        }
        sleep.as_mut().poll(task)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homeostasis_core::ManualClock;

    use super::*;

    #[test]
    fn the_wait_grows_stays_below_its_limit_and_is_replayable() {
        let cx = Context::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 7);
        let retry = Retry {
            attempts: 50,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(8),
        };
        for number in 1..50 {
            let wait = backoff(&cx, &retry, 3, StepPhase::Do, number);
            let limit = Duration::from_secs(1 << (number - 1).min(3));
            assert!(wait < limit, "{number}: {wait:?}");
            assert_eq!(wait, backoff(&cx, &retry, 3, StepPhase::Do, number));
        }
        let waits = |phase| backoff(&cx, &retry, 3, phase, 9);
        assert_ne!(waits(StepPhase::Do), waits(StepPhase::Undo));
    }
}
