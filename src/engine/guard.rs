//! The guard around plug-ins: deadline, panic isolation, and a report of who did what.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use homeostasis_core::{Clock, ErrorKind, ErrorReport, timeout};

/// Turns a panic of the inner future into a value.
#[derive(Debug)]
struct CatchPanic<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, ErrorReport>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        // A plug-in that panicked is skipped and its future is dropped: nobody sees broken state.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => {
                let message = format!("panicked: {}", panic_message(panic.as_ref()));
                Poll::Ready(Err(ErrorReport::message(ErrorKind::Permanent, message)))
            }
        }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Runs a future of ours; a panic is an error.
pub(crate) async fn catch_panic<F: Future>(future: F) -> Result<F::Output, ErrorReport> {
    CatchPanic(Box::pin(future)).await
}

/// Runs one call of a plug-in: at most `limit`, and a panic is an error.
///
/// A future that is pending past the limit is dropped. One that blocks its thread cannot be
/// dropped; who calls it does so on a task of its own.
pub(crate) async fn call<T>(
    clock: &dyn Clock,
    limit: Duration,
    plugin: impl Future<Output = Result<T, ErrorReport>>,
) -> Result<T, ErrorReport> {
    match timeout(clock, limit, CatchPanic(Box::pin(plugin))).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(panic),
        Err(_) => Err(ErrorReport::message(
            ErrorKind::Timeout,
            format!("gave no answer within {limit:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimulatedClock;
    use homeostasis_core::Timestamp;

    #[tokio::test(start_paused = true)]
    async fn a_panic_and_a_hang_become_reports() {
        let clock = SimulatedClock::starting_at(Timestamp::EPOCH);
        let limit = Duration::from_secs(1);
        let panicked: Result<(), _> = call(&clock, limit, async { panic!("boom {}", 1) }).await;
        assert_eq!(panicked.unwrap_err().message, "panicked: boom 1");
        let hung: Result<(), _> = call(&clock, limit, std::future::pending()).await;
        assert_eq!(hung.unwrap_err().kind, ErrorKind::Timeout);
        assert_eq!(call(&clock, limit, async { Ok(1) }).await, Ok(1));
    }
}
