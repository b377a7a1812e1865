//! Calls of plug-ins: each on a task of its own, within a deadline, checked.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::{Clock, ErrorKind, ErrorReport};

use crate::engine::guard;
use crate::engine::tasks::{AbortOnDrop, Tasks};

/// Calls a plug-in on a task of its own, so that one that blocks its thread blocks no other.
pub(crate) async fn call<T: Send + 'static>(
    tasks: &Tasks,
    clock: &Arc<dyn Clock>,
    limit: Duration,
    plugin: impl Future<Output = Result<T, ErrorReport>> + Send + 'static,
) -> Result<T, ErrorReport> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let its_clock = Arc::clone(clock);
    let task = tasks.spawn(async move {
        // Nobody waits any more if the engine gave up on the call.
        let _ = sender.send(guard::call(&*its_clock, limit, plugin).await);
    });
    let _owned = AbortOnDrop(task);
    let answer = async {
        receiver.await.unwrap_or_else(|_| {
            Err(ErrorReport::message(
                ErrorKind::Cancelled,
                "the engine shut down",
            ))
        })
    };
    // The margin is for plug-ins that block: their own deadline cannot fire.
    let limit = limit.saturating_add(Duration::from_secs(1));
    guard::call(&**clock, limit, answer).await
}

/// Refuses an answer in which one item breaks its post-condition.
pub(crate) fn check<T>(
    items: Vec<T>,
    violation: impl Fn(&T) -> Option<String>,
) -> Result<Vec<T>, ErrorReport> {
    match items.iter().find_map(violation) {
        Some(broken) => Err(ErrorReport::message(
            ErrorKind::Permanent,
            format!("broke its post-condition: {broken}"),
        )),
        None => Ok(items),
    }
}

/// Polls all calls at once and gives their answers in the order of the calls.
pub(crate) async fn join<F: Future + Unpin>(calls: Vec<(String, F)>) -> Vec<(String, F::Output)> {
    let mut slots: Vec<_> = calls
        .into_iter()
        .map(|(name, call)| (name, call, None))
        .collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (_, call, answer) in slots.iter_mut().filter(|(_, _, answer)| answer.is_none()) {
            match std::pin::Pin::new(call).poll(cx) {
                std::task::Poll::Ready(output) => *answer = Some(output),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    slots
        .into_iter()
        .filter_map(|(name, _, answer)| Some((name, answer?)))
        .collect()
}
