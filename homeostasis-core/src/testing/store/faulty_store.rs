//! A store that fails when it is told to, and goes on afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::port::{Commit, Store, StoreError, Version};

use super::hooked_store::{HookedStore, WriteHook};

/// Which commits fail; at first none.
#[derive(Debug, Default)]
pub struct Faults {
    refuses: AtomicBool,
    refuses_once: AtomicBool,
    refused_event: Mutex<Option<&'static str>>,
    lies_once: AtomicBool,
}

/// Commits that fail on demand, as on a full disk; reads and other writes get through.
///
/// ```
/// use homeostasis::core::port::{Commit, MemoryStore, Store};
/// use homeostasis::core::testing::store::FaultyStore;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let store = FaultyStore::new(MemoryStore::default(), Default::default());
/// store.hook().refuse(true);
/// assert!(store.commit(Commit::default()).await.is_err());
/// store.hook().refuse(false);
/// assert!(store.commit(Commit::default()).await.is_ok());
/// # }
/// ```
pub type FaultyStore<S> = HookedStore<S, Faults>;

impl Faults {
    /// Whether every commit fails and nothing of it is made.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// The next commit fails and nothing of it is made.
    pub fn refuse_once(&self) {
        self.refuses_once.store(true, Ordering::SeqCst);
    }

    /// Commits that hold an event of this kind fail; `None` for no kind.
    pub fn refuse_event(&self, kind: Option<&'static str>) {
        *self
            .refused_event
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = kind;
    }

    /// The next commit is made, and its caller is told that it failed.
    pub fn lie_once(&self) {
        self.lies_once.store(true, Ordering::SeqCst);
    }

    fn is_refused(&self, commit: &Commit) -> bool {
        let kind = *self
            .refused_event
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.refuses.load(Ordering::SeqCst)
            || self.refuses_once.swap(false, Ordering::SeqCst)
            || kind.is_some_and(|kind| commit.events.iter().any(|event| event.kind.name() == kind))
    }
}

fn failed() -> StoreError {
    StoreError::Io {
        what: "commit".to_owned(),
        source: "no space left".into(),
    }
}

#[async_trait]
impl WriteHook for Faults {
    async fn commit(&self, inner: &dyn Store, commit: Commit) -> Result<Version, StoreError> {
        if self.is_refused(&commit) {
            return Err(failed());
        }
        let committed = inner.commit(commit).await;
        if self.lies_once.swap(false, Ordering::SeqCst) {
            return Err(failed());
        }
        committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::MemoryStore;
    use crate::testing::store::conformance;
    use crate::time::Timestamp;

    #[tokio::test]
    async fn without_faults_it_conforms() {
        conformance(async || FaultyStore::new(MemoryStore::default(), Faults::default())).await;
    }

    #[tokio::test]
    async fn a_refused_commit_is_not_made_and_one_that_is_lied_about_is() {
        let store = FaultyStore::new(MemoryStore::default(), Faults::default());
        let hit = || Commit::default().hit("k", Timestamp::EPOCH);
        let hits = async || store.hits("k", Timestamp::EPOCH).await.unwrap();
        store.hook().refuse_once();
        assert!(store.commit(hit()).await.is_err());
        assert_eq!(hits().await, 0);
        store.hook().lie_once();
        assert!(store.commit(hit()).await.is_err());
        assert_eq!(hits().await, 1);
        store.commit(hit()).await.unwrap();
        assert_eq!(hits().await, 2);
    }
}
