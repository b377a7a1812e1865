//! For the tests of the kit.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;

use homeostasis_core::{Clock, ManualClock};

use super::observer::{ResilienceEvent, ResilienceObserver};

/// Keeps what happened, as text.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Vec<String>>);

impl Log {
    pub(super) fn has(&self, text: &str) -> bool {
        self.0
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains(text))
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl ResilienceObserver for Log {
    fn observe(&self, name: &str, event: &ResilienceEvent<'_>) {
        self.0.lock().unwrap().push(format!("{name}: {event:?}"));
    }
}

/// Runs `future`, and moves the clock to its next sleeper whenever it waits.
pub(super) async fn advancing<F: Future>(clock: &ManualClock, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|task| {
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(task) {
                return Poll::Ready(output);
            }
            let Some(at) = clock.next_wake() else {
                return Poll::Pending;
            };
            clock.advance(at.since(clock.now()));
        }
    })
    .await
}

/// Polls `future` once; it must not be ready.
pub(super) async fn begin<F: Future + Unpin>(future: &mut F) {
    let pending = poll_fn(|task| Poll::Ready(pin!(&mut *future).poll(task).is_pending())).await;
    assert!(pending, "it was ready at once");
}
