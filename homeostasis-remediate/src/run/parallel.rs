//! What steps that run at once share: the log, and the wait until each of them ended.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use homeostasis_core::Timestamp;
use homeostasis_core::record::{StepIntent, StepOutcome, StepPhase, StepState};
use homeostasis_core::stage::{RunLog, RunLogError};
use serde_json::Value;

/// The log of a run, shared by the steps that are in flight. It is held only while something is
/// written to it, never during an effect.
#[derive(Debug)]
pub(super) struct SharedLog<'a, 'log> {
    held: Mutex<Held<'a, 'log>>,
    expires: Option<Timestamp>,
}

#[derive(Debug)]
struct Held<'a, 'log> {
    /// `None` while a step writes.
    log: Option<&'a mut RunLog<'log>>,
    waiting: Vec<Waker>,
}

impl<'a, 'log> SharedLog<'a, 'log> {
    /// The log of a run whose permit was redeemed.
    pub(super) fn new(log: &'a mut RunLog<'log>) -> Self {
        Self {
            expires: log.expires(),
            held: Mutex::new(Held {
                log: Some(log),
                waiting: Vec::new(),
            }),
        }
    }

    /// When no further step may start.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// What the journal knows of a step forward.
    pub(super) async fn step(&self, step_idx: usize) -> StepState {
        let turn = self.turn().await;
        let known = turn
            .log
            .as_ref()
            .map(|log| log.step(StepPhase::Do, step_idx));
        known.cloned().unwrap_or_default()
    }

    /// What was captured before a step was first tried.
    pub(super) async fn captured(&self, step_idx: usize) -> Option<Value> {
        let turn = self.turn().await;
        let log = turn.log.as_ref()?;
        log.state().captured(step_idx).cloned()
    }

    pub(super) async fn intend(&self, intent: StepIntent) -> Result<(), RunLogError> {
        let step_idx = intent.step_idx;
        match &mut self.turn().await.log {
            Some(log) => log.intend(intent).await,
            None => Err(lost(step_idx)),
        }
    }

    pub(super) async fn end(
        &self,
        phase: StepPhase,
        step_idx: usize,
        outcome: StepOutcome,
    ) -> Result<(), RunLogError> {
        match &mut self.turn().await.log {
            Some(log) => log.end(phase, step_idx, outcome).await,
            None => Err(lost(step_idx)),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held<'a, 'log>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other step writes.
    async fn turn(&self) -> Turn<'_, 'a, 'log> {
        std::future::poll_fn(|task| {
            let mut held = self.held();
            if let Some(log) = held.log.take() {
                return Poll::Ready(Turn {
                    log: Some(log),
                    of: self,
                });
            }
            held.waiting.push(task.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// The log while one step writes to it; given back when it is dropped.
#[derive(Debug)]
struct Turn<'t, 'a, 'log> {
    log: Option<&'a mut RunLog<'log>>,
    of: &'t SharedLog<'a, 'log>,
}

impl Drop for Turn<'_, '_, '_> {
    fn drop(&mut self) {
        let waiting = {
            let mut held = self.of.held();
            held.log = self.log.take();
            std::mem::take(&mut held.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A turn always has the log: this is no panic in case it has not.
fn lost(step_idx: usize) -> RunLogError {
    RunLogError::Sequence {
        step_idx,
        reason: "the log of the run is gone".to_owned(),
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
