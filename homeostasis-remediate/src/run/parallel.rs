//! What steps that run at once share: the log, and the wait until each of them ended.

use std::pin::Pin;
use std::task::Poll;

use homeostasis_core::Timestamp;
use homeostasis_core::record::{StepIntent, StepOutcome, StepPhase, StepState};
use homeostasis_core::stage::{RunLog, RunLogError};
use tokio::sync::Mutex;

/// The log of a run, shared by the steps that are in flight. It is held only while something is
/// written to it, never during an effect.
#[derive(Debug)]
pub(super) struct SharedLog<'a, 'log> {
    log: Mutex<&'a mut RunLog<'log>>,
    expires: Option<Timestamp>,
}

impl<'a, 'log> SharedLog<'a, 'log> {
    /// The log of a run whose permit was redeemed.
    pub(super) fn new(log: &'a mut RunLog<'log>) -> Self {
        let expires = log.expires();
        Self {
            log: Mutex::new(log),
            expires,
        }
    }

    /// When no further step may start.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// What the journal knows of a step forward.
    pub(super) async fn step(&self, step_idx: usize) -> StepState {
        self.log.lock().await.step(StepPhase::Do, step_idx).clone()
    }

    pub(super) async fn intend(&self, intent: StepIntent) -> Result<(), RunLogError> {
        self.log.lock().await.intend(intent).await
    }

    pub(super) async fn end(
        &self,
        phase: StepPhase,
        step_idx: usize,
        outcome: StepOutcome,
    ) -> Result<(), RunLogError> {
        self.log.lock().await.end(phase, step_idx, outcome).await
    }
}

/// Drives `futures` at the same time until all of them ended; their results are in their order.
pub(super) async fn together<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|task| {
        for (future, result) in pending.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(value) = Pin::new(future).poll(task)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}
