//! A store that refuses when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use homeostasis::core::port::{
    ClosedIncident, Commit, Document, FencingToken, MemoryStore, Store, StoreError, Version,
};
use homeostasis::core::record::HealEvent;
use homeostasis::core::{IncidentId, Timestamp, async_trait};

/// A memory store whose disk is full at times.
#[derive(Debug, Default)]
pub(crate) struct FaultyStore {
    inner: MemoryStore,
    /// No commit gets through.
    pub(crate) full: AtomicBool,
    /// No commit with an escalation gets through.
    pub(crate) forbids_escalations: AtomicBool,
    /// The next commit gets through but is said to have failed.
    pub(crate) lies_once: AtomicBool,
}

impl FaultyStore {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn error() -> StoreError {
        StoreError::Io {
            what: "journal".into(),
            source: "no space left".into(),
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        let escalates = commit
            .events
            .iter()
            .any(|event| event.kind.name() == "escalated");
        let forbidden = escalates && self.forbids_escalations.load(Ordering::SeqCst);
        if forbidden || self.full.load(Ordering::SeqCst) {
            return Err(Self::error());
        }
        let committed = self.inner.commit(commit).await;
        if self.lies_once.swap(false, Ordering::SeqCst) {
            return Err(Self::error());
        }
        committed
    }

    async fn read(&self, id: IncidentId) -> Result<Vec<HealEvent>, StoreError> {
        self.inner.read(id).await
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
        self.inner.document(key).await
    }

    async fn next_token(&self, resource: &str) -> Result<FencingToken, StoreError> {
        self.inner.next_token(resource).await
    }

    async fn prune_hits(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.prune_hits(before).await
    }

    async fn closed_incidents(&self) -> Result<Vec<ClosedIncident>, StoreError> {
        self.inner.closed_incidents().await
    }

    async fn forget(&self, incidents: &[(IncidentId, Version)]) -> Result<u64, StoreError> {
        self.inner.forget(incidents).await
    }
}
