//! Detectors inside a detector: asked together, and none of them takes the others with it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use homeostasis_core::record::Anomaly;
use homeostasis_core::signal::SignalBatch;
use homeostasis_core::stage::{DetectError, Detector};
use homeostasis_core::{Context, timeout};

/// What is heard of members and not yet used is kept up to this; only calls that are dropped leave something.
const MAX_HEARD: usize = 4096;

/// What a future gives, or that it panicked.
pub(crate) async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // What panicked is not polled again: nobody sees a broken future.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

/// Shows `batch` to all members; what each finds goes into `heard` with its position as soon as it answers.
///
/// One that panics, or does not answer in three quarters of the time that is left, has failed; the others are heard.
/// If the call is dropped, `heard` has what was found until then.
/// Returns why each failed, in their order.
pub(crate) async fn ask<'a>(
    members: impl Iterator<Item = &'a mut Box<dyn Detector>>,
    cx: &Context,
    batch: SignalBatch<'_>,
    heard: &mut Vec<(usize, Anomaly)>,
) -> Vec<Option<DetectError>> {
    heard.drain(..heard.len().saturating_sub(MAX_HEARD));
    let mut asked: Vec<_> = members
        .map(|member| {
            let its = async move {
                let batch = batch.filtered(member.interest());
                member.detect(cx, batch).await
            };
            Some(Box::pin(caught(its)))
        })
        .collect();
    let mut failed: Vec<_> = asked.iter().map(|_| None).collect();
    let all = poll_fn(|task| {
        for (i, (place, failed)) in asked.iter_mut().zip(&mut failed).enumerate() {
            let Some(future) = place else { continue };
            let Poll::Ready(answer) = future.as_mut().poll(task) else {
                continue;
            };
            *place = None;
            match answer {
                Some(Ok(found)) => heard.extend(found.into_iter().map(|anomaly| (i, anomaly))),
                Some(Err(error)) => *failed = Some(error),
                None => *failed = Some(DetectError::invalid("member", "it panicked")),
            }
        }
        if asked.iter().all(Option::is_none) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let in_time = match cx.remaining() {
        None => {
            all.await;
            true
        }
        // The rest is for what is made of it.
        Some(left) => timeout(&**cx.clock(), left * 3 / 4, all).await.is_ok(),
    };
    if !in_time {
        for (place, failed) in asked.iter().zip(&mut failed) {
            if place.is_some() {
                *failed = Some(DetectError::Timeout {
                    during: "a member's detection".to_owned(),
                });
            }
        }
    }
    failed
}
