//! A store that says aloud what became durable.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use homeostasis::core::cycle::{replay, transition};
use homeostasis::core::port::{
    ClosedIncident, Commit, Document, FencingToken, Store, StoreError, Version,
};
use homeostasis::core::record::HealEvent;
use homeostasis::core::{Incident, IncidentId, Timestamp, async_trait};
use homeostasis::store::RedbStore;

use super::protocol::{Ack, Line, say};
use super::stage::Stage;

/// The journal, with a witness before and after each commit.
#[derive(Debug)]
pub(crate) struct Witness {
    inner: RedbStore,
    known: Mutex<HashMap<IncidentId, Incident>>,
}

impl Witness {
    pub(crate) fn new(inner: RedbStore) -> Self {
        Self {
            inner,
            known: Mutex::default(),
        }
    }

    /// Where the incident stands after each of `events`, as far as that can be told.
    fn follow(&self, before: Option<Incident>, events: &[HealEvent]) -> Vec<Line> {
        let mut state = before;
        let mut lines = Vec::new();
        for event in events {
            state = transition(state, event).ok().map(|(next, _)| next);
            let stage = state
                .as_ref()
                .and_then(|incident| Stage::of(incident, |_| false));
            lines.push(Line::Durable(Ack::of(event, stage)));
        }
        if let Some(incident) = state {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if incident.is_closed() {
                known.remove(&incident.id);
            } else {
                known.insert(incident.id, incident);
            }
        }
        lines
    }

    async fn before(&self, first: &HealEvent) -> Option<Incident> {
        let known = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known
                .get(&first.incident)
                .filter(|incident| incident.n_events == first.seq)
                .cloned()
        };
        if known.is_some() || first.seq == 0 {
            return known;
        }
        let mut events = self.inner.read(first.incident).await.ok()?;
        events.retain(|event| event.seq < first.seq);
        replay(&events).ok().flatten()
    }
}

#[async_trait]
impl Store for Witness {
    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        let events = commit.events.clone();
        let before = match events.first() {
            Some(first) => {
                let incident = first.incident;
                let before = self.before(first).await;
                say(&[Line::Trying { incident }]);
                before
            }
            None => None,
        };
        let version = self.inner.commit(commit).await?;
        say(&self.follow(before, &events));
        Ok(version)
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
