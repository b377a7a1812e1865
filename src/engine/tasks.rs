//! The engine's tasks: all that is spawned is known, and ends with the engine.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use homeostasis_core::{Clock, timeout};
use tokio::task::{AbortHandle, JoinSet};

/// How long tasks may take to notice that they were ended.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Tracks what was spawned.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    set: Mutex<JoinSet<()>>,
}

impl Tasks {
    /// Spawns on the runtime of the caller.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        while set.try_join_next().is_some() {}
        set.spawn(task)
    }

    /// Waits for all tasks, at most `grace`; then ends the rest. Returns how many had to be ended.
    pub(crate) async fn finish(&self, clock: &dyn Clock, grace: Duration) -> usize {
        let mut set = std::mem::take(&mut *self.set.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while set.join_next().await.is_some() {} };
        if timeout(clock, grace, all).await.is_ok() {
            return 0;
        }
        let left = set.len();
        set.abort_all();
        // One that blocks its thread cannot be ended: it is left behind and counted.
        let ended = async { while set.join_next().await.is_some() {} };
        let _ = timeout(clock, LAST_WAIT, ended).await;
        set.detach_all();
        left
    }
}

/// Ends a task when it is dropped: who waits for a task owns it.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
