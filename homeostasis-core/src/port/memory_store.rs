//! The journal in memory: everything but durability.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::id::IncidentId;
use crate::port::{ClosedIncident, Commit, Document, FencingToken, Store, StoreError, Version};
use crate::record::{EventKind, HealEvent};
use crate::time::Timestamp;

/// A [`Store`] that forgets everything when the process ends.
///
/// It passes the same conformance suite as the durable ones. With it nothing is resumed after a
/// crash and limits start anew; what is safe does not change.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    incidents: BTreeMap<IncidentId, Vec<HealEvent>>,
    hits: BTreeMap<String, Vec<Timestamp>>,
    documents: BTreeMap<String, Document>,
    tokens: BTreeMap<String, FencingToken>,
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self, commit: &Commit) -> Result<(), StoreError> {
        if let Some(reason) = commit.violation() {
            return Err(StoreError::Invalid { reason });
        }
        if let Some(first) = commit.events.first() {
            let found = Version(
                self.incidents
                    .get(&first.incident)
                    .map_or(0, |events| events.len() as u64),
            );
            if found != commit.expected {
                return Err(StoreError::Conflict {
                    what: first.incident.to_string(),
                    expected: commit.expected,
                    found,
                });
            }
        }
        if let Some(fence) = &commit.fence {
            let newest = self
                .tokens
                .get(&fence.resource)
                .copied()
                .unwrap_or_default();
            if newest != fence.token {
                return Err(StoreError::Fenced {
                    resource: fence.resource.clone(),
                    held: fence.token,
                    newest,
                });
            }
        }
        for (key, expected, _) in &commit.documents {
            let found = self
                .documents
                .get(key)
                .map_or(Version::NONE, |document| document.version);
            if found != *expected {
                return Err(StoreError::Conflict {
                    what: key.clone(),
                    expected: *expected,
                    found,
                });
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        let mut state = self.lock();
        state.check(&commit)?;
        let version = Version(commit.expected.0 + commit.events.len() as u64);
        if let Some(first) = commit.events.first() {
            state
                .incidents
                .entry(first.incident)
                .or_default()
                .extend(commit.events);
        }
        for (key, at) in commit.hits {
            state.hits.entry(key).or_default().push(at);
        }
        for (key, expected, value) in commit.documents {
            match value {
                Some(value) => {
                    state.documents.insert(
                        key,
                        Document {
                            version: Version(expected.0 + 1),
                            value,
                        },
                    );
                }
                None => {
                    state.documents.remove(&key);
                }
            }
        }
        Ok(version)
    }

    async fn read(&self, incident: IncidentId) -> Result<Vec<HealEvent>, StoreError> {
        Ok(self
            .lock()
            .incidents
            .get(&incident)
            .cloned()
            .unwrap_or_default())
    }

    async fn read_time(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<HealEvent>, StoreError> {
        let state = self.lock();
        let mut events: Vec<_> = state
            .incidents
            .values()
            .flatten()
            .filter(|event| (from..=to).contains(&event.at))
            .cloned()
            .collect();
        events.sort_by_key(|event| (event.at, event.incident, event.seq));
        events.truncate(limit);
        Ok(events)
    }

    async fn open_incidents(&self) -> Result<Vec<IncidentId>, StoreError> {
        let state = self.lock();
        Ok(state
            .incidents
            .iter()
            .filter(|(_, events)| !is_closed(events))
            .map(|(id, _)| *id)
            .collect())
    }

    async fn incidents(&self, limit: usize) -> Result<Vec<IncidentId>, StoreError> {
        Ok(self
            .lock()
            .incidents
            .keys()
            .rev()
            .take(limit)
            .copied()
            .collect())
    }

    async fn hits(&self, key: &str, since: Timestamp) -> Result<u64, StoreError> {
        let state = self.lock();
        Ok(state.hits.get(key).map_or(0, |hits| {
            hits.iter().filter(|at| **at >= since).count() as u64
        }))
    }

    async fn last_hit(&self, key: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self
            .lock()
            .hits
            .get(key)
            .and_then(|hits| hits.iter().max().copied()))
    }

    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.lock().documents.get(key).cloned())
    }

    async fn documents(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        let state = self.lock();
        let from = state.documents.range(prefix.to_owned()..);
        let named = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(named
            .take(limit)
            .map(|(key, document)| (key.clone(), document.clone()))
            .collect())
    }

    async fn next_token(&self, resource: &str) -> Result<FencingToken, StoreError> {
        let mut state = self.lock();
        let token = state.tokens.entry(resource.to_owned()).or_default();
        *token = token.next();
        Ok(*token)
    }

    async fn prune_hits(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut state = self.lock();
        let count = |state: &State| state.hits.values().map(Vec::len).sum::<usize>();
        let n_before = count(&state);
        for hits in state.hits.values_mut() {
            hits.retain(|at| *at >= before);
        }
        state.hits.retain(|_, hits| !hits.is_empty());
        Ok((n_before - count(&state)) as u64)
    }

    async fn closed_incidents(&self) -> Result<Vec<ClosedIncident>, StoreError> {
        let state = self.lock();
        let mut closed = Vec::new();
        for (id, events) in &state.incidents {
            if let Some(last) = events.last().filter(|_| is_closed(events)) {
                closed.push(ClosedIncident {
                    id: *id,
                    version: Version(events.len() as u64),
                    closed_at: last.at,
                    bytes: events.iter().map(json_bytes).sum(),
                });
            }
        }
        closed.sort_by_key(|incident| (incident.closed_at, incident.id));
        Ok(closed)
    }

    async fn forget(&self, incidents: &[(IncidentId, Version)]) -> Result<u64, StoreError> {
        let mut state = self.lock();
        let mut n_forgotten = 0;
        for (id, version) in incidents {
            let events = state.incidents.get(id);
            if events.is_some_and(|events| is_closed(events) && events.len() as u64 == version.0) {
                state.incidents.remove(id);
                n_forgotten += 1;
            }
        }
        Ok(n_forgotten)
    }
}

fn json_bytes(event: &HealEvent) -> u64 {
    serde_json::to_vec(event).map_or(0, |json| json.len() as u64)
}

fn is_closed(events: &[HealEvent]) -> bool {
    matches!(
        events.last().map(|event| &event.kind),
        Some(EventKind::Closed { .. })
    )
}
