//! Waits for many futures in one, and polls only those that woke.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use homeostasis_core::BoxFuture;

/// The waker of whoever polls the join.
type Parent = Arc<Mutex<Option<Waker>>>;

#[derive(Debug)]
struct TaskWaker {
    woken: AtomicBool,
    parent: Parent,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let parent = self
            .parent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

/// Completes once all of `tasks` have. They run in turn on the polling thread.
pub(super) async fn join_all(tasks: Vec<BoxFuture<'static, ()>>) {
    let parent = Parent::default();
    let mut open: Vec<_> = tasks
        .into_iter()
        .map(|task| {
            let waker = Arc::new(TaskWaker {
                woken: AtomicBool::new(true),
                parent: Arc::clone(&parent),
            });
            (task, Waker::from(Arc::clone(&waker)), waker)
        })
        .collect();
    poll_fn(move |cx| {
        // First the waker, then the flags: a wake in between is then seen by one of them.
        *parent.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        open.retain_mut(|(task, waker, state)| {
            !state.woken.swap(false, Ordering::AcqRel)
                || task
                    .as_mut()
                    .poll(&mut Context::from_waker(waker))
                    .is_pending()
        });
        if open.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use homeostasis_core::{Clock, ManualClock, Timestamp};

    use super::*;

    #[tokio::test]
    async fn only_what_woke_is_polled() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let polls = Arc::new(AtomicUsize::new(0));
        let task = |secs: u64| -> BoxFuture<'static, ()> {
            let mut sleep = clock.sleep(Duration::from_secs(secs));
            let polls = Arc::clone(&polls);
            Box::pin(poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::SeqCst);
                sleep.as_mut().poll(cx)
            }))
        };
        let mut all = Box::pin(join_all((1..=10).map(task).collect()));
        for secs in 1..=10 {
            assert!(poll_fn(|cx| Poll::Ready(all.as_mut().poll(cx).is_pending())).await);
            assert_eq!(polls.load(Ordering::SeqCst), 9 + secs);
            clock.advance(Duration::from_secs(1));
        }
        all.await;
        assert_eq!(polls.load(Ordering::SeqCst), 20);
        join_all(Vec::new()).await;
    }
}
