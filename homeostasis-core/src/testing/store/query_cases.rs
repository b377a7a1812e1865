//! Cases about reading: order, limits, windows, and what is forgotten.

use serde_json::json;

use super::conformance::{Case, at, closing, event, incident};
use crate::port::{Commit, Fence, Store, Version};
use crate::time::Timestamp;

const NONE: Version = Version::NONE;

pub(super) async fn hits_are_counted_from_an_inclusive_instant(case: &Case, store: &dyn Store) {
    let mut commit = Commit::default();
    // Out of order, one instant twice, one before the epoch, and a key that begins alike.
    for secs in [10, 30, 20, 20, -5] {
        commit = commit.hit("k", at(secs));
    }
    case.ok("commit", store.commit(commit.hit("kk", at(99))).await);
    let windows = [
        (-5, 5),
        (-4, 4),
        (10, 4),
        (11, 3),
        (20, 3),
        (21, 1),
        (30, 1),
        (31, 0),
    ];
    for (since, expected) in windows {
        let found = case.ok("hits", store.hits("k", at(since)).await);
        case.same(&format!("hits of k since {since} s"), &found, &expected);
    }
    let ever = Timestamp::from_nanos(i64::MIN);
    let unknown = case.ok("hits", store.hits("unknown", ever).await);
    case.same("hits of an unknown counter", &unknown, &0);
    let last = case.ok("last_hit", store.last_hit("k").await);
    case.same("last hit of k", &last, &Some(at(30)));
    let last = case.ok("last_hit", store.last_hit("unknown").await);
    case.same("last hit of an unknown counter", &last, &None);
    case.ok(
        "a late hit",
        store.commit(Commit::default().hit("k", at(15))).await,
    );
    let last = case.ok("last_hit", store.last_hit("k").await);
    case.same(
        "last hit of k after one that is older",
        &last,
        &Some(at(30)),
    );
}

async fn append(case: &Case, store: &dyn Store, events: Vec<crate::record::HealEvent>) {
    case.ok("append", store.commit(Commit::append(NONE, events)).await);
}

pub(super) async fn incidents_are_listed_by_age(case: &Case, store: &dyn Store) {
    // Identifiers sort by the time they were made, however they come in.
    for bits in [3, u128::MAX, 1, 1 << 80] {
        append(case, store, vec![event(bits, 0, 1)]).await;
    }
    append(case, store, vec![closing(2, 0, 1)]).await;
    let open = case.ok("open_incidents", store.open_incidents().await);
    case.same(
        "open, oldest first",
        &open,
        &[1, 3, 1 << 80, u128::MAX].map(incident).to_vec(),
    );
    let newest = [u128::MAX, 1 << 80, 3, 2, 1].map(incident);
    for limit in [0, 1, 3, 5, 6, usize::MAX] {
        let found = case.ok("incidents", store.incidents(limit).await);
        let expected = newest[..limit.min(5)].to_vec();
        case.same(&format!("at most {limit}, newest first"), &found, &expected);
    }
}

pub(super) async fn an_incident_is_open_until_its_last_event_closes_it(
    case: &Case,
    store: &dyn Store,
) {
    let open = async || case.ok("open_incidents", store.open_incidents().await);
    append(case, store, vec![event(1, 0, 1)]).await;
    case.same("after it opened", &open().await, &vec![incident(1)]);
    let close = Commit::append(Version(1), vec![event(1, 1, 2), closing(1, 2, 3)]);
    case.ok("close", store.commit(close).await);
    case.same("after it closed", &open().await, &Vec::new());
    let reopen = Commit::append(Version(3), vec![event(1, 3, 4)]);
    case.ok("an event after the close", store.commit(reopen).await);
    case.same("after one more event", &open().await, &vec![incident(1)]);
}

pub(super) async fn events_are_listed_by_time_between_inclusive_bounds(
    case: &Case,
    store: &dyn Store,
) {
    append(
        case,
        store,
        vec![event(2, 0, 10), event(2, 1, 10), event(2, 2, 30)],
    )
    .await;
    append(
        case,
        store,
        vec![event(1, 0, 10), event(1, 1, 20), event(1, 2, -7)],
    )
    .await;
    let all = [
        event(1, 2, -7),
        event(1, 0, 10),
        event(2, 0, 10),
        event(2, 1, 10),
        event(1, 1, 20),
        event(2, 2, 30),
    ];
    let ever = (Timestamp::from_nanos(i64::MIN), Timestamp::MAX);
    let just_after = Timestamp::from_nanos(at(10).as_nanos() + 1);
    for ((from, to), limit, expected) in [
        (ever, 9, 0..6),
        (ever, usize::MAX, 0..6),
        (ever, 3, 0..3),
        (ever, 0, 0..0),
        ((at(10), at(20)), 9, 1..5),
        ((at(10), at(20)), 2, 1..3),
        ((just_after, at(30)), 9, 4..6),
        ((at(20), at(20)), 9, 4..5),
        ((at(21), at(29)), 9, 0..0),
        ((at(30), at(10)), 9, 0..0),
    ] {
        let found = case.ok("read_time", store.read_time(from, to, limit).await);
        let what = format!("events of {from} to {to}, at most {limit}");
        case.same(&what, &found, &all[expected].to_vec());
    }
}

pub(super) async fn prune_forgets_old_closed_incidents_and_old_hits_only(
    case: &Case,
    store: &dyn Store,
) {
    append(case, store, vec![event(1, 0, 1), closing(1, 1, 9)]).await; // old and closed
    append(case, store, vec![event(2, 0, 1), closing(2, 1, 10)]).await; // closed at the bound
    append(case, store, vec![event(3, 0, 1), event(3, 1, 2)]).await; // old but open
    append(case, store, vec![closing(4, 0, 50)]).await; // new
    let token = case.ok("next_token", store.next_token("orders").await);
    let mut kept = Commit::default().put("d", NONE, json!(1));
    for secs in [1, 9, 10, 11] {
        kept = kept.hit("k", at(secs));
    }
    case.ok("commit", store.commit(kept.hit("old", at(9))).await);
    let n = case.ok("prune", store.prune(at(10)).await);
    case.same("how many incidents were forgotten", &n, &1);
    let left = case.ok("incidents", store.incidents(9).await);
    case.same("incidents left", &left, &[4, 3, 2].map(incident).to_vec());
    let open = case.ok("open_incidents", store.open_incidents().await);
    case.same("open incidents left", &open, &vec![incident(3)]);
    let ever = Timestamp::from_nanos(i64::MIN);
    let by_time = case.ok("read_time", store.read_time(ever, Timestamp::MAX, 9).await);
    let expected = vec![
        event(2, 0, 1),
        event(3, 0, 1),
        event(3, 1, 2),
        closing(2, 1, 10),
        closing(4, 0, 50),
    ];
    case.same("events left", &by_time, &expected);
    let hits = case.ok("hits", store.hits("k", ever).await);
    case.same("hits left", &hits, &2);
    let last = case.ok("last_hit", store.last_hit("old").await);
    case.same("last hit of a counter that is forgotten", &last, &None);
    let document = case.ok("document", store.document("d").await);
    case.same("whether the document is there", &document.is_some(), &true);
    let fence = Fence {
        resource: "orders".to_owned(),
        token,
    };
    let fenced = store.commit(Commit::default().fenced(Some(fence))).await;
    case.ok("the token still is the newest", fenced);
    let n = case.ok("prune", store.prune(at(10)).await);
    case.same("how many incidents a second prune forgot", &n, &0);
}

pub(super) async fn a_pruned_incident_is_unknown(case: &Case, store: &dyn Store) {
    append(case, store, vec![event(1, 0, 1), closing(1, 1, 2)]).await;
    case.ok("prune", store.prune(at(3)).await);
    let found = case.ok("read", store.read(incident(1)).await);
    case.same("events", &found, &Vec::new());
    let late = Commit::append(Version(2), vec![event(1, 2, 4)]);
    case.conflict(
        "append at v2 to a forgotten incident",
        store.commit(late).await,
    );
    append(case, store, vec![event(1, 0, 5)]).await;
    let found = case.ok("read", store.read(incident(1)).await);
    case.same("events", &found, &vec![event(1, 0, 5)]);
}
