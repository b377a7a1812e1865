//! Work that blocks its thread, one piece at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::asking::message_of;

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

    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks the work to stop when the future that waits for it is dropped.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.ask();
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
    /// Runs `work` on a thread that ends with it.
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
        // A thread of its own: the runtime, when it is dropped, waits for its blocking threads, and a
        // disk that hangs would keep the host from exiting.
        let (done, result) = oneshot::channel();
        std::thread::Builder::new()
            .name("homeostasis-probe".to_owned())
            .spawn(move || {
                let output = catch_unwind(AssertUnwindSafe(|| work(&stop)));
                // Before the answer: who has it may ask again at once.
                drop(place);
                let _ = done.send(output);
            })
            .map_err(|error| format!("probe failed: no thread for it: {error}"))?;
        let result = result.await;
        drop(guard);
        result
            .map_err(|_| "probe failed: its thread ended early".to_owned())?
            .map_err(|payload| format!("probe failed: panicked: {}", message_of(&*payload)))
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

    #[test]
    fn hung_work_does_not_keep_the_runtime_from_ending() {
        let (release, wait) = mpsc::channel::<()>();
        let (report, ended) = mpsc::channel();
        let host = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            let blocking = Blocking::default();
            runtime.block_on(async {
                let hung = blocking.run(move |_| wait.recv().is_ok());
                assert!(futures_poll_once(hung).is_none());
            });
            drop(runtime);
            report.send(()).unwrap();
        });
        let in_time = ended.recv_timeout(std::time::Duration::from_secs(10));
        drop(release);
        host.join().unwrap();
        in_time.unwrap();
    }

    #[tokio::test]
    async fn work_that_panics_is_told_and_frees_the_place() {
        let blocking = Blocking::default();
        let panicked: Result<(), String> = blocking.run(|_| panic!("broken")).await;
        assert!(panicked.unwrap_err().ends_with("panicked: broken"));
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
