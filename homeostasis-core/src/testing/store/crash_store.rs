//! A store that crashes at a chosen write, so that recovery can be tested at every point.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::id::IncidentId;
use crate::port::{Commit, FencingToken, Store, StoreError, Version};
use crate::time::Timestamp;

use super::hooked_store::{HookedStore, WriteHook};

/// Where the process "dies". Writes are counted from 1: `commit`, `next_token`,
/// `prune_hits` and `forget`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrashPoint {
    /// Just before write `n`: it never happens.
    Before(u64),
    /// Just after write `n`: it is durable, but its caller never learns.
    After(u64),
}

/// Passes everything to another store until its [`CrashPoint`]; from then on every write fails with
/// [`StoreError::Io`] and changes nothing, as if the process had died there. Reads keep working.
///
/// Run a scenario once without a crash point to learn its number of writes; then run it with
/// `Before(n)` and `After(n)` for each `n`, recover with what [`thaw`](Self::thaw) or
/// [`into_inner`](Self::into_inner) gives the "next process", and compare.
///
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::core::port::{Commit, MemoryStore, Store};
/// use homeostasis::core::testing::store::{CrashPoint, CrashStore};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let store = CrashStore::of(MemoryStore::default()).crash_at(CrashPoint::After(1));
/// let hit = Commit::default().hit("heals", Timestamp::EPOCH);
/// assert!(store.commit(hit).await.is_err());
/// assert_eq!(store.into_inner().hits("heals", Timestamp::EPOCH).await.unwrap(), 1);
/// # }
/// ```
pub type CrashStore<S> = HookedStore<S, Crash>;

/// The hook of a [`CrashStore`].
#[derive(Debug)]
pub struct Crash {
    hangs: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    point: Option<CrashPoint>,
    n_writes: u64,
    frozen: bool,
}

/// What becomes of one write.
enum Fate {
    Lives,
    DiesAfter,
}

impl<S> CrashStore<S> {
    /// Does not crash yet.
    pub fn of(inner: S) -> Self {
        let state = State {
            point: None,
            n_writes: 0,
            frozen: false,
        };
        let crash = Crash {
            hangs: false,
            state: Mutex::new(state),
        };
        Self::new(inner, crash)
    }

    /// The same, crashing at `point`.
    pub fn crash_at(self, point: CrashPoint) -> Self {
        self.hook().state().point = Some(point);
        self
    }

    /// The same, but the write that crashes never returns instead of failing; neither do writes
    /// after it. Its caller must be dropped, as a process drops all its tasks when it dies.
    pub fn hanging(mut self) -> Self {
        self.hook_mut().hangs = true;
        self
    }

    /// How many writes were begun; those after the crash are not counted.
    pub fn n_writes(&self) -> u64 {
        self.hook().state().n_writes
    }

    /// Whether it has crashed.
    pub fn is_frozen(&self) -> bool {
        self.hook().state().frozen
    }

    /// Writes work again, and nothing crashes any more: the next process has started.
    pub fn thaw(&self) {
        let mut state = self.hook().state();
        state.frozen = false;
        state.point = None;
    }
}

impl Crash {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn die<T>(&self, what: &str) -> Result<T, StoreError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(StoreError::Io {
            what: what.to_owned(),
            source: Box::new(Crashed),
        })
    }

    /// Counts a write; `None` if it must not happen.
    fn begin(&self) -> Option<Fate> {
        let mut state = self.state();
        if state.frozen {
            return None;
        }
        state.n_writes += 1;
        match state.point {
            Some(CrashPoint::Before(n)) if n == state.n_writes => {
                state.frozen = true;
                None
            }
            Some(CrashPoint::After(n)) if n == state.n_writes => Some(Fate::DiesAfter),
            _ => Some(Fate::Lives),
        }
    }

    async fn write<T>(
        &self,
        what: &str,
        write: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let Some(fate) = self.begin() else {
            return self.die(what).await;
        };
        let result = write.await;
        let died = {
            let mut state = self.state();
            state.frozen |= matches!(fate, Fate::DiesAfter);
            // A write that was under way when another one crashed is durable, but nobody learns.
            state.frozen
        };
        if died { self.die(what).await } else { result }
    }
}

/// The cause of every failure after the crash.
#[derive(Debug)]
struct Crashed;

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process has crashed (CrashStore)")
    }
}

impl std::error::Error for Crashed {}

#[async_trait]
impl WriteHook for Crash {
    async fn commit(&self, inner: &dyn Store, commit: Commit) -> Result<Version, StoreError> {
        self.write("commit", inner.commit(commit)).await
    }

    async fn next_token(
        &self,
        inner: &dyn Store,
        resource: &str,
    ) -> Result<FencingToken, StoreError> {
        self.write("next_token", inner.next_token(resource)).await
    }

    async fn prune_hits(&self, inner: &dyn Store, before: Timestamp) -> Result<u64, StoreError> {
        self.write("prune_hits", inner.prune_hits(before)).await
    }

    async fn forget(
        &self,
        inner: &dyn Store,
        incidents: &[(IncidentId, Version)],
    ) -> Result<u64, StoreError> {
        self.write("forget", inner.forget(incidents)).await
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::port::MemoryStore;
    use crate::testing::store::conformance;

    fn hit() -> Commit {
        Commit::default().hit("k", Timestamp::EPOCH)
    }

    async fn hits(store: &dyn Store) -> u64 {
        store.hits("k", Timestamp::EPOCH).await.unwrap()
    }

    #[tokio::test]
    async fn without_a_crash_point_it_conforms_and_counts() {
        conformance(async || CrashStore::of(MemoryStore::default())).await;
        let store = CrashStore::of(MemoryStore::default());
        store.commit(hit()).await.unwrap();
        store.next_token("a").await.unwrap();
        store.prune_hits(Timestamp::EPOCH).await.unwrap();
        store.forget(&[]).await.unwrap();
        assert_eq!(store.n_writes(), 4);
    }

    #[tokio::test]
    async fn the_write_before_which_it_crashes_is_lost_and_the_one_after_which_is_kept() {
        for (point, kept) in [(CrashPoint::Before(2), 1), (CrashPoint::After(2), 2)] {
            let store = CrashStore::of(MemoryStore::default()).crash_at(point);
            store.commit(hit()).await.unwrap();
            assert!(!store.is_frozen());
            assert!(matches!(
                store.commit(hit()).await,
                Err(StoreError::Io { .. })
            ));
            assert!(store.is_frozen());
            assert!(matches!(
                store.next_token("a").await,
                Err(StoreError::Io { .. })
            ));
            assert!(matches!(
                store.commit(hit()).await,
                Err(StoreError::Io { .. })
            ));
            assert_eq!(
                (store.n_writes(), hits(&store).await),
                (2, kept),
                "{point:?}"
            );
            store.thaw();
            store.commit(hit()).await.unwrap();
            assert_eq!(hits(&store.into_inner()).await, kept + 1);
        }
    }

    #[tokio::test]
    async fn a_hanging_crash_never_answers_but_the_write_is_there() {
        let store = CrashStore::of(MemoryStore::default())
            .crash_at(CrashPoint::After(1))
            .hanging();
        let mut commit = Box::pin(store.commit(hit()));
        let pending = std::future::poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx).is_pending()));
        assert!(pending.await);
        drop(commit);
        assert!(store.is_frozen());
        assert_eq!(hits(&store.into_inner()).await, 1);
    }
}
