//! Work that blocks its thread, one piece at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs blocking work of one probe off the async threads, at most one piece at a time: a disk that
/// hangs costs one thread and not one more with every asking.
#[derive(Debug, Default)]
pub(crate) struct Blocking {
    busy: Arc<AtomicBool>,
}

/// Whether nobody waits for the work any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Asks the work to stop when the future that waits for it is dropped.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Frees the place when the work has ended, however it ended.
struct Place(Arc<AtomicBool>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Blocking {
    /// Runs `work` on a thread for blocking work.
    ///
    /// Dropping the future asks the work to stop; it ends when it looks.
    ///
    /// # Errors
    /// In words, if the work of before still runs, or panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Stop) -> T + Send + 'static,
    ) -> Result<T, String> {
        if self.busy.swap(true, Ordering::Acquire) {
            return Err("hangs: the asking before this one has not come back yet".to_owned());
        }
        let place = Place(Arc::clone(&self.busy));
        let stop = Stop::default();
        let guard = StopOnDrop(stop.clone());
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&stop)
        })
        .await;
        drop(guard);
        done.map_err(|error| format!("probe failed: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn hung_work_occupies_one_thread_and_is_told_to_stop() {
        let blocking = Blocking::default();
        let (report, stopped) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        let hung = blocking.run(move |stop| {
            let _ = wait.recv();
            report.send(stop.is_asked()).unwrap();
        });
        // Polled once, then given up.
        assert!(futures_poll_once(hung).is_none());
        assert!(blocking.run(|_| ()).await.unwrap_err().starts_with("hangs"));
        drop(release);
        assert!(stopped.recv().unwrap());
        while blocking.run(|_| ()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    fn futures_poll_once<F: Future>(future: F) -> Option<F::Output> {
        let mut future = Box::pin(future);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
