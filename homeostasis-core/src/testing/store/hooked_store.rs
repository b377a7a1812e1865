//! A store whose writes, and readings of documents, a test gets hold of.

use std::fmt;

use async_trait::async_trait;

use crate::id::IncidentId;
use crate::port::{ClosedIncident, Commit, Document, FencingToken, Store, StoreError, Version};
use crate::record::HealEvent;
use crate::time::Timestamp;

/// What happens instead of a write or of the reading of a document; by default just that.
#[async_trait]
pub trait WriteHook: fmt::Debug + Send + Sync {
    /// Instead of [`Store::commit`].
    async fn commit(&self, inner: &dyn Store, commit: Commit) -> Result<Version, StoreError> {
        inner.commit(commit).await
    }

    /// Instead of [`Store::document`].
    async fn document(&self, inner: &dyn Store, key: &str) -> Result<Option<Document>, StoreError> {
        inner.document(key).await
    }

    /// Instead of [`Store::next_token`].
    async fn next_token(
        &self,
        inner: &dyn Store,
        resource: &str,
    ) -> Result<FencingToken, StoreError> {
        inner.next_token(resource).await
    }

    /// Instead of [`Store::prune_hits`].
    async fn prune_hits(&self, inner: &dyn Store, before: Timestamp) -> Result<u64, StoreError> {
        inner.prune_hits(before).await
    }

    /// Instead of [`Store::forget`].
    async fn forget(
        &self,
        inner: &dyn Store,
        incidents: &[(IncidentId, Version)],
    ) -> Result<u64, StoreError> {
        inner.forget(incidents).await
    }
}

/// Gives every write and every reading of a document to a [`WriteHook`], and passes every other
/// read on.
///
/// ```
/// use homeostasis::core::async_trait;
/// use homeostasis::core::port::{Commit, MemoryStore, Store, StoreError, Version};
/// use homeostasis::core::testing::store::{HookedStore, WriteHook};
///
/// #[derive(Debug)]
/// struct ReadOnly;
///
/// #[async_trait]
/// impl WriteHook for ReadOnly {
///     async fn commit(&self, _: &dyn Store, _: Commit) -> Result<Version, StoreError> {
///         Err(StoreError::Io { what: "commit".into(), source: "read-only".into() })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let store = HookedStore::new(MemoryStore::default(), ReadOnly);
/// assert!(store.commit(Commit::default()).await.is_err());
/// assert!(store.open_incidents().await.unwrap().is_empty());
/// # }
/// ```
#[derive(Debug, Default)]
pub struct HookedStore<S, H> {
    inner: S,
    hook: H,
}

impl<S, H> HookedStore<S, H> {
    /// `inner` with `hook` before its writes.
    pub fn new(inner: S, hook: H) -> Self {
        Self { inner, hook }
    }

    /// The hook.
    pub fn hook(&self) -> &H {
        &self.hook
    }

    /// The hook, to be changed.
    pub fn hook_mut(&mut self) -> &mut H {
        &mut self.hook
    }

    /// The store behind the hook.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

#[async_trait]
impl<S: Store, H: WriteHook> Store for HookedStore<S, H> {
    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        self.hook.commit(&self.inner, commit).await
    }

    async fn read(&self, incident: IncidentId) -> Result<Vec<HealEvent>, StoreError> {
        self.inner.read(incident).await
    }

    async fn read_time(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<HealEvent>, StoreError> {
        self.inner.read_time(from, to, limit).await
    }

    async fn open_incidents(&self) -> Result<Vec<IncidentId>, StoreError> {
        self.inner.open_incidents().await
    }

    async fn incidents(&self, limit: usize) -> Result<Vec<IncidentId>, StoreError> {
        self.inner.incidents(limit).await
    }

    async fn hits(&self, key: &str, since: Timestamp) -> Result<u64, StoreError> {
        self.inner.hits(key, since).await
    }

    async fn last_hit(&self, key: &str) -> Result<Option<Timestamp>, StoreError> {
        self.inner.last_hit(key).await
    }

    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        self.hook.document(&self.inner, key).await
    }

    async fn documents(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        self.inner.documents(prefix, limit).await
    }

    async fn next_token(&self, resource: &str) -> Result<FencingToken, StoreError> {
        self.hook.next_token(&self.inner, resource).await
    }

    async fn prune_hits(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.hook.prune_hits(&self.inner, before).await
    }

    async fn closed_incidents(&self) -> Result<Vec<ClosedIncident>, StoreError> {
        self.inner.closed_incidents().await
    }

    async fn forget(&self, incidents: &[(IncidentId, Version)]) -> Result<u64, StoreError> {
        self.hook.forget(&self.inner, incidents).await
    }
}
