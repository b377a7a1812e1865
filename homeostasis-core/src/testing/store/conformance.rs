//! The conformance suite of [`Store`]: what every implementation must do, ours or a stranger's.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::id::{IncidentId, NodeId};
use crate::port::{Store, StoreError};
use crate::record::{EventKind, HealEvent, Resolution, SCHEMA_VERSION};
use crate::testing::store::{cases, query_cases};
use crate::time::Timestamp;

/// Runs every case against a fresh store made by `make`.
///
/// A store passes if this returns. What survives a crash of the process is not asked here: that
/// needs a process to kill.
///
/// ```
/// use homeostasis::core::port::MemoryStore;
/// use homeostasis::core::testing::store::conformance;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// conformance(async || MemoryStore::default()).await;
/// # }
/// ```
///
/// # Panics
/// At the first violation, naming the case, what was done, what was found and what was expected.
pub async fn conformance<S: Store, F: AsyncFnMut() -> S>(mut make: F) {
    macro_rules! run {
        ($($module:ident :: $case:ident),* $(,)?) => {
            $(
                let store = make().await;
                let case = Case(stringify!($case));
                Box::pin($module::$case(&case, &store)).await;
            )*
        };
    }
    run!(
        cases::events_are_read_back_in_the_order_of_their_appends,
        cases::a_wrong_expected_version_writes_nothing,
        cases::events_of_two_incidents_in_one_commit_are_refused,
        cases::events_out_of_sequence_are_refused,
        cases::a_document_named_twice_in_one_commit_is_refused,
        cases::a_stale_or_unknown_lease_writes_nothing_at_all,
        cases::tokens_grow_per_resource_and_are_independent,
        cases::documents_are_compared_and_swapped,
        cases::documents_are_listed_by_the_beginning_of_their_keys,
        cases::a_document_conflict_writes_no_events_and_no_hits,
        cases::a_commit_without_events_returns_the_expected_version,
        cases::of_concurrent_commits_exactly_one_wins,
        cases::concurrent_commits_to_different_incidents_all_succeed,
        cases::large_events_read_back,
        query_cases::hits_are_counted_from_an_inclusive_instant,
        query_cases::incidents_are_listed_by_age,
        query_cases::an_incident_is_open_until_its_last_event_closes_it,
        query_cases::events_are_listed_by_time_between_inclusive_bounds,
        query_cases::closed_incidents_are_listed_by_the_time_of_closing_with_their_sizes,
        query_cases::forget_takes_closed_incidents_at_their_version_and_nothing_else,
        query_cases::old_hits_are_pruned_and_incidents_are_not,
        query_cases::a_forgotten_incident_is_unknown,
    );
}

/// One case: it names itself when it fails.
pub(super) struct Case(&'static str);

impl Case {
    #[track_caller]
    pub(super) fn fail(&self, what: &str) -> ! {
        panic!("store conformance, case {}: {what}", self.0)
    }

    #[track_caller]
    pub(super) fn ok<T>(&self, what: &str, result: Result<T, StoreError>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => self.fail(&format!("{what}: {error} ({error:?}), expected success")),
        }
    }

    #[track_caller]
    pub(super) fn same<T: PartialEq + Debug>(&self, what: &str, found: &T, expected: &T) {
        if found != expected {
            self.fail(&format!("{what}: found {found:?}, expected {expected:?}"));
        }
    }

    #[track_caller]
    pub(super) fn conflict<T: Debug>(&self, what: &str, result: Result<T, StoreError>) {
        match result {
            Err(StoreError::Conflict { .. }) => {}
            other => self.fail(&format!("{what}: {other:?}, expected StoreError::Conflict")),
        }
    }

    #[track_caller]
    pub(super) fn fenced<T: Debug>(&self, what: &str, result: Result<T, StoreError>) {
        match result {
            Err(StoreError::Fenced { .. }) => {}
            other => self.fail(&format!("{what}: {other:?}, expected StoreError::Fenced")),
        }
    }

    #[track_caller]
    pub(super) fn invalid<T: Debug>(&self, what: &str, result: Result<T, StoreError>) {
        match result {
            Err(StoreError::Invalid { .. }) => {}
            other => self.fail(&format!("{what}: {other:?}, expected StoreError::Invalid")),
        }
    }

    /// Nothing of a refused commit on incident 1, counter `c` and document `d` may be there.
    pub(super) async fn nothing_written(&self, store: &dyn Store) {
        let events = self.ok("read", store.read(incident(1)).await);
        self.same("events after a refused commit", &events, &Vec::new());
        let hits = self.ok(
            "hits",
            store.hits("c", Timestamp::from_nanos(i64::MIN)).await,
        );
        self.same("hits after a refused commit", &hits, &0);
        let document = self.ok("document", store.document("d").await);
        self.same("document after a refused commit", &document, &None);
        let open = self.ok("open_incidents", store.open_incidents().await);
        self.same("open incidents after a refused commit", &open, &Vec::new());
        let all = self.ok("incidents", store.incidents(9).await);
        self.same("incidents after a refused commit", &all, &Vec::new());
        let by_time = store
            .read_time(Timestamp::from_nanos(i64::MIN), Timestamp::MAX, 9)
            .await;
        let by_time = self.ok("read_time", by_time);
        self.same(
            "events by time after a refused commit",
            &by_time,
            &Vec::new(),
        );
    }
}

pub(super) fn incident(bits: u128) -> IncidentId {
    IncidentId::from_u128(bits)
}

pub(super) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// Event `seq` of incident `bits` at `secs`.
pub(super) fn event(bits: u128, seq: u64, secs: i64) -> HealEvent {
    HealEvent {
        schema_version: SCHEMA_VERSION,
        incident: incident(bits),
        seq,
        at: at(secs),
        node: NodeId::default(),
        kind: EventKind::Escalated {
            reason: format!("event {seq} of {bits} at {secs}"),
        },
    }
}

/// The same, closing the incident.
pub(super) fn closing(bits: u128, seq: u64, secs: i64) -> HealEvent {
    HealEvent {
        kind: EventKind::Closed {
            resolution: Resolution::Recovered,
        },
        ..event(bits, seq, secs)
    }
}

/// Polls all `futures` until all are done, without a runtime of its own.
pub(super) async fn join_all<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
    let mut slots: Vec<_> = futures
        .into_iter()
        .map(|future| (Some(future), None))
        .collect();
    poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in &mut slots {
            if let Some(running) = future {
                match running.as_mut().poll(cx) {
                    Poll::Ready(value) => {
                        *output = Some(value);
                        *future = None;
                    }
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            Poll::Pending
        } else {
            Poll::Ready(
                slots
                    .iter_mut()
                    .filter_map(|(_, output)| output.take())
                    .collect(),
            )
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{ClosedIncident, Commit, Document, FencingToken, MemoryStore, Version};
    use async_trait::async_trait;

    #[tokio::test]
    async fn the_memory_store_conforms() {
        conformance(async || MemoryStore::default()).await;
    }

    /// Loses the version check, as a careless implementation would.
    #[derive(Debug, Default)]
    struct Careless(MemoryStore);

    #[async_trait]
    impl Store for Careless {
        async fn commit(&self, mut commit: Commit) -> Result<Version, StoreError> {
            let Some(first) = commit.events.first() else {
                return self.0.commit(commit).await;
            };
            let present = self.0.read(first.incident).await?.len() as u64;
            commit.expected = Version(present);
            for (event, seq) in commit.events.iter_mut().zip(present..) {
                event.seq = seq;
            }
            self.0.commit(commit).await
        }

        async fn read(&self, incident: IncidentId) -> Result<Vec<HealEvent>, StoreError> {
            self.0.read(incident).await
        }

        async fn read_time(
            &self,
            from: Timestamp,
            to: Timestamp,
            limit: usize,
        ) -> Result<Vec<HealEvent>, StoreError> {
            self.0.read_time(from, to, limit).await
        }

        async fn open_incidents(&self) -> Result<Vec<IncidentId>, StoreError> {
            self.0.open_incidents().await
        }

        async fn incidents(&self, limit: usize) -> Result<Vec<IncidentId>, StoreError> {
            self.0.incidents(limit).await
        }

        async fn hits(&self, key: &str, since: Timestamp) -> Result<u64, StoreError> {
            self.0.hits(key, since).await
        }

        async fn last_hit(&self, key: &str) -> Result<Option<Timestamp>, StoreError> {
            self.0.last_hit(key).await
        }

        async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
            self.0.document(key).await
        }

        async fn documents(
            &self,
            prefix: &str,
            limit: usize,
        ) -> Result<Vec<(String, Document)>, StoreError> {
            self.0.documents(prefix, limit).await
        }

        async fn next_token(&self, resource: &str) -> Result<FencingToken, StoreError> {
            self.0.next_token(resource).await
        }

        async fn prune_hits(&self, before: Timestamp) -> Result<u64, StoreError> {
            self.0.prune_hits(before).await
        }

        async fn closed_incidents(&self) -> Result<Vec<ClosedIncident>, StoreError> {
            self.0.closed_incidents().await
        }

        async fn forget(&self, incidents: &[(IncidentId, Version)]) -> Result<u64, StoreError> {
            self.0.forget(incidents).await
        }
    }

    #[tokio::test]
    #[should_panic(expected = "case a_wrong_expected_version_writes_nothing")]
    async fn a_careless_store_is_found_out_by_name() {
        conformance(async || Careless::default()).await;
    }
}
