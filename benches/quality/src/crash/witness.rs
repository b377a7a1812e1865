//! A store that says aloud what became durable.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use homeostasis::core::cycle::{replay, transition};
use homeostasis::core::port::{Commit, Store, StoreError, Version};
use homeostasis::core::record::HealEvent;
use homeostasis::core::testing::store::WriteHook;
use homeostasis::core::{Incident, IncidentId, async_trait};

use super::protocol::{Ack, Line, say};
use super::stage::Stage;

/// Stands by each commit to the journal, before and after it.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    known: Mutex<HashMap<IncidentId, Incident>>,
}

impl Witness {
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

    async fn before(&self, inner: &dyn Store, first: &HealEvent) -> Option<Incident> {
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
        let mut events = inner.read(first.incident).await.ok()?;
        events.retain(|event| event.seq < first.seq);
        replay(&events).ok().flatten()
    }
}

#[async_trait]
impl WriteHook for Witness {
    async fn commit(&self, inner: &dyn Store, commit: Commit) -> Result<Version, StoreError> {
        let events = commit.events.clone();
        let before = match events.first() {
            Some(first) => {
                let incident = first.incident;
                let before = self.before(inner, first).await;
                say(&[Line::Trying { incident }]);
                before
            }
            None => None,
        };
        let version = inner.commit(commit).await?;
        say(&self.follow(before, &events));
        Ok(version)
    }
}
