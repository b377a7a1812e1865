//! Cases about writing: what a commit does, and what a refused one does not do.

use serde_json::json;

use super::conformance::{Case, at, closing, event, incident, join_all};
use crate::port::{Commit, Document, Fence, FencingToken, Store, Version};
use crate::record::EventKind;
use crate::time::Timestamp;

const NONE: Version = Version::NONE;

pub(super) async fn events_are_read_back_in_the_order_of_their_appends(
    case: &Case,
    store: &dyn Store,
) {
    let unknown = case.ok("read of an unknown incident", store.read(incident(1)).await);
    case.same("an unknown incident", &unknown, &Vec::new());
    // Time goes backwards: the order is that of the sequence.
    let events = vec![event(1, 0, 30), event(1, 1, 10), event(1, 2, 20)];
    let first = store
        .commit(Commit::append(NONE, events[..2].to_vec()))
        .await;
    case.same("version", &case.ok("first commit", first), &Version(2));
    let second = store
        .commit(Commit::append(Version(2), events[2..].to_vec()))
        .await;
    case.same("version", &case.ok("second commit", second), &Version(3));
    let other = store
        .commit(Commit::append(NONE, vec![event(2, 0, 5)]))
        .await;
    case.ok("commit to another incident", other);
    let found = case.ok("read", store.read(incident(1)).await);
    case.same("events", &found, &events);
}

pub(super) async fn a_wrong_expected_version_writes_nothing(case: &Case, store: &dyn Store) {
    let commit = Commit::append(Version(1), vec![event(1, 1, 1)])
        .hit("c", at(1))
        .put("d", NONE, json!(1));
    case.conflict(
        "append at v1 to an unknown incident",
        store.commit(commit).await,
    );
    case.nothing_written(store).await;
    let opened = store
        .commit(Commit::append(NONE, vec![event(1, 0, 1)]))
        .await;
    case.ok("append at v0", opened);
    let again = store
        .commit(Commit::append(NONE, vec![event(1, 0, 2)]))
        .await;
    case.conflict("append at v0 again", again);
    let ahead = store
        .commit(Commit::append(Version(2), vec![event(1, 2, 2)]))
        .await;
    case.conflict("append at v2 to an incident at v1", ahead);
    let found = case.ok("read", store.read(incident(1)).await);
    case.same("events", &found, &vec![event(1, 0, 1)]);
}

pub(super) async fn events_of_two_incidents_in_one_commit_are_refused(
    case: &Case,
    store: &dyn Store,
) {
    let commit = Commit::append(NONE, vec![event(1, 0, 1), event(2, 1, 1)])
        .hit("c", at(1))
        .put("d", NONE, json!(1));
    case.invalid("events of two incidents", store.commit(commit).await);
    case.nothing_written(store).await;
}

pub(super) async fn events_out_of_sequence_are_refused(case: &Case, store: &dyn Store) {
    for seqs in [[1, 2], [0, 2], [0, 0], [1, 0]] {
        let events = seqs.iter().map(|seq| event(1, *seq, 1)).collect();
        let commit = Commit::append(NONE, events)
            .hit("c", at(1))
            .put("d", NONE, json!(1));
        case.invalid(
            &format!("events {seqs:?} at v0"),
            store.commit(commit).await,
        );
    }
    case.nothing_written(store).await;
}

pub(super) async fn a_document_named_twice_in_one_commit_is_refused(
    case: &Case,
    store: &dyn Store,
) {
    let commit = Commit::append(NONE, vec![event(1, 0, 1)])
        .hit("c", at(1))
        .put("d", NONE, json!(1))
        .put("d", NONE, json!(2));
    case.invalid("one document twice", store.commit(commit).await);
    case.nothing_written(store).await;
}

pub(super) async fn a_stale_or_unknown_lease_writes_nothing_at_all(case: &Case, store: &dyn Store) {
    let commit = |token| {
        Commit::append(NONE, vec![event(1, 0, 1)])
            .fenced(Some(Fence {
                resource: "orders".to_owned(),
                token,
            }))
            .hit("c", at(1))
            .put("d", NONE, json!(1))
    };
    let unknown = store.commit(commit(FencingToken::new(1))).await;
    case.fenced("a token nobody gave", unknown);
    case.nothing_written(store).await;
    let old = case.ok("next_token", store.next_token("orders").await);
    let new = case.ok("next_token", store.next_token("orders").await);
    case.fenced("a stale token", store.commit(commit(old)).await);
    case.nothing_written(store).await;
    case.fenced(
        "a token from the future",
        store.commit(commit(new.next())).await,
    );
    case.nothing_written(store).await;
    let other = case.ok("next_token", store.next_token("payments").await);
    case.same("the first token of another resource", &other, &old);
    case.fenced(
        "a stale token, newest elsewhere",
        store.commit(commit(other)).await,
    );
    case.nothing_written(store).await;
    case.ok("the newest token", store.commit(commit(new)).await);
    let found = case.ok("read", store.read(incident(1)).await);
    case.same("events", &found, &vec![event(1, 0, 1)]);
    let hits = case.ok("hits", store.hits("c", at(0)).await);
    case.same("hits", &hits, &1);
}

pub(super) async fn tokens_grow_per_resource_and_are_independent(case: &Case, store: &dyn Store) {
    let mut last = FencingToken::default();
    for _ in 0..5 {
        let token = case.ok("next_token", store.next_token("a").await);
        if token <= last {
            case.fail(&format!(
                "token {token} after {last}, expected a larger one"
            ));
        }
        last = token;
    }
    let first = case.ok("next_token", store.next_token("b").await);
    let fence = |resource: &str, token| {
        Commit::default().fenced(Some(Fence {
            resource: resource.to_owned(),
            token,
        }))
    };
    case.ok("the newest of b", store.commit(fence("b", first)).await);
    case.ok("the newest of a", store.commit(fence("a", last)).await);
    // A name that is a prefix of another must not share its token.
    case.fenced(
        "a resource without a token",
        store.commit(fence("aa", last)).await,
    );
    let takers = (0..8)
        .map(|_| Box::pin(store.next_token("c")) as _)
        .collect();
    let mut tokens: Vec<_> = join_all(takers)
        .await
        .into_iter()
        .map(|token| case.ok("next_token", token))
        .collect();
    tokens.sort();
    tokens.dedup();
    case.same(
        "how many different tokens 8 concurrent takers got",
        &tokens.len(),
        &8,
    );
}

pub(super) async fn documents_are_compared_and_swapped(case: &Case, store: &dyn Store) {
    let put = |version, value| Commit::default().put("d", version, value);
    let delete = |version| {
        let mut commit = Commit::default();
        commit.documents.push(("d".to_owned(), version, None));
        commit
    };
    let read = async || case.ok("document", store.document("d").await);
    let document = |version, value| {
        Some(Document {
            version: Version(version),
            value,
        })
    };
    case.same("a document nobody wrote", &read().await, &None);
    case.conflict(
        "write at v1 of none",
        store.commit(put(Version(1), json!(0))).await,
    );
    case.conflict(
        "delete at v1 of none",
        store.commit(delete(Version(1))).await,
    );
    case.ok(
        "create",
        store.commit(put(NONE, json!({"a": [1, null, "ü"]}))).await,
    );
    let created = document(1, json!({"a": [1, null, "ü"]}));
    case.same("after the first write", &read().await, &created);
    case.conflict("create again", store.commit(put(NONE, json!(0))).await);
    case.ok("replace", store.commit(put(Version(1), json!(2.5))).await);
    case.same(
        "after the second write",
        &read().await,
        &document(2, json!(2.5)),
    );
    case.conflict(
        "replace at v1",
        store.commit(put(Version(1), json!(0))).await,
    );
    case.conflict("delete at v1", store.commit(delete(Version(1))).await);
    case.same("after refusals", &read().await, &document(2, json!(2.5)));
    case.ok(
        "a null is a value",
        store.commit(put(Version(2), json!(null))).await,
    );
    case.same(
        "after the third write",
        &read().await,
        &document(3, json!(null)),
    );
    case.ok("delete", store.commit(delete(Version(3))).await);
    case.same("after the deletion", &read().await, &None);
    case.conflict(
        "write at v3 of none",
        store.commit(put(Version(3), json!(0))).await,
    );
    case.ok("create anew", store.commit(put(NONE, json!("again"))).await);
    case.same(
        "after the new creation",
        &read().await,
        &document(1, json!("again")),
    );
    let other = case.ok("document", store.document("dd").await);
    case.same("a document whose key begins alike", &other, &None);
}

pub(super) async fn documents_are_listed_by_the_beginning_of_their_keys(
    case: &Case,
    store: &dyn Store,
) {
    for key in ["box/2", "box/1", "boy", "bo", "box/3"] {
        let commit = Commit::default().put(key, Version::NONE, json!(key));
        case.ok(key, store.commit(commit).await);
    }
    let mut commit = Commit::default();
    commit
        .documents
        .push(("box/3".to_owned(), Version(1), None));
    case.ok("deleting one", store.commit(commit).await);
    let keys = async |prefix: &str, limit| {
        let listed = case.ok(prefix, store.documents(prefix, limit).await);
        let is_own = |(key, document): &(String, Document)| document.value == json!(key);
        case.same("whether each is its own", &listed.iter().all(is_own), &true);
        listed.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    case.same(
        "those below box/",
        &keys("box/", 9).await,
        &owned(&["box/1", "box/2"]),
    );
    case.same("at most one", &keys("box/", 1).await, &owned(&["box/1"]));
    case.same("all", &keys("", 9).await.len(), &4);
    case.same("none", &keys("z", 9).await, &owned(&[]));
}

pub(super) async fn a_document_conflict_writes_no_events_and_no_hits(
    case: &Case,
    store: &dyn Store,
) {
    let present = store
        .commit(Commit::default().put("other", NONE, json!(1)))
        .await;
    case.ok("create", present);
    // The second document conflicts: neither the first nor anything else is written.
    let commit = Commit::append(NONE, vec![event(1, 0, 1)])
        .hit("c", at(1))
        .put("d", NONE, json!(1))
        .put("other", NONE, json!(2));
    case.conflict("one of two documents", store.commit(commit).await);
    case.nothing_written(store).await;
    let whole = Commit::append(NONE, vec![event(1, 0, 1), closing(1, 1, 2)])
        .hit("c", at(1))
        .put("d", NONE, json!(1))
        .put("other", Version(1), json!(2));
    let version = case.ok("all as expected", store.commit(whole).await);
    case.same("version", &version, &Version(2));
    let other = case.ok("document", store.document("other").await);
    case.same(
        "value",
        &other.map(|document| document.value),
        &Some(json!(2)),
    );
}

pub(super) async fn a_commit_without_events_returns_the_expected_version(
    case: &Case,
    store: &dyn Store,
) {
    let mut commit = Commit::default().hit("c", at(1));
    commit.expected = Version(7);
    let version = case.ok("commit without events", store.commit(commit).await);
    case.same("version", &version, &Version(7));
    let hits = case.ok("hits", store.hits("c", at(1)).await);
    case.same("hits", &hits, &1);
}

pub(super) async fn of_concurrent_commits_exactly_one_wins(case: &Case, store: &dyn Store) {
    let writers: Vec<_> = (0..16)
        .map(|n| {
            let commit = Commit::append(NONE, vec![event(1, 0, n)]).hit("c", at(n));
            Box::pin(store.commit(commit)) as _
        })
        .collect();
    let mut winners = Vec::new();
    for (n, result) in (0..).zip(join_all(writers).await) {
        match result {
            Ok(_) => winners.push(n),
            refused => case.conflict("a writer that lost", refused),
        }
    }
    case.same("how many of 16 writers won", &winners.len(), &1);
    let expected: Vec<_> = winners.iter().map(|n| event(1, 0, *n)).collect();
    let found = case.ok("read", store.read(incident(1)).await);
    case.same("events", &found, &expected);
    let hits = case.ok("hits", store.hits("c", Timestamp::EPOCH).await);
    case.same("hits", &hits, &1);
}

pub(super) async fn concurrent_commits_to_different_incidents_all_succeed(
    case: &Case,
    store: &dyn Store,
) {
    let writers = (1..=32_u8)
        .map(|n| {
            let commit = Commit::append(NONE, vec![event(n.into(), 0, n.into())]).hit("c", at(1));
            Box::pin(store.commit(commit)) as _
        })
        .collect();
    for result in join_all(writers).await {
        let version = case.ok("commit", result);
        case.same("version", &version, &Version(1));
    }
    let open = case.ok("open_incidents", store.open_incidents().await);
    case.same("open incidents", &open, &(1..=32).map(incident).collect());
    let hits = case.ok("hits at one instant", store.hits("c", at(1)).await);
    case.same("hits at one instant", &hits, &32);
}

pub(super) async fn large_events_read_back(case: &Case, store: &dyn Store) {
    let mut events = vec![event(1, 0, 1), event(1, 1, 2)];
    for (event, fill) in events.iter_mut().zip(["x", "ü\"\\\n"]) {
        event.kind = EventKind::Escalated {
            reason: fill.repeat((1 << 20) / fill.len()),
        };
    }
    let commit = Commit::append(NONE, events.clone());
    case.ok("commit of two events of 1 MiB", store.commit(commit).await);
    if case.ok("read", store.read(incident(1)).await) != events {
        case.fail("two events of 1 MiB differ from what was written");
    }
}
