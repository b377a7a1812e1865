//! Cases about reading: order, limits, windows, and what is forgotten.

use serde_json::json;

use super::conformance::{Case, at, closing, event, incident};
use crate::port::{ClosedIncident, Commit, Fence, Store, Version};
use crate::record::HealEvent;
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

async fn append(case: &Case, store: &dyn Store, events: Vec<HealEvent>) {
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

/// What `closed_incidents` should say of `events`.
fn closed(events: &[HealEvent]) -> ClosedIncident {
    let json = |event| serde_json::to_vec(event).map_or(0, |json| json.len());
    ClosedIncident {
        id: events[0].incident,
        version: Version(events.len() as u64),
        closed_at: events[events.len() - 1].at,
        bytes: events.iter().map(json).sum::<usize>() as u64,
    }
}

pub(super) async fn closed_incidents_are_listed_by_the_time_of_closing_with_their_sizes(
    case: &Case,
    store: &dyn Store,
) {
    let late = [event(1, 0, 1), event(1, 1, 1), closing(1, 2, 30)];
    let early = [event(2, 0, 5), closing(2, 1, 10)];
    let same = [closing(3, 0, 10)];
    append(case, store, late[..2].to_vec()).await;
    append(case, store, early.to_vec()).await;
    append(case, store, same.to_vec()).await;
    append(case, store, vec![event(4, 0, 1)]).await;
    let listed = async || case.ok("closed_incidents", store.closed_incidents().await);
    let mut expected = vec![closed(&early), closed(&same)];
    case.same("closed incidents", &listed().await, &expected);
    let close = Commit::append(Version(2), vec![late[2].clone()]);
    case.ok("close", store.commit(close).await);
    expected.push(closed(&late));
    case.same("after one more closed", &listed().await, &expected);
    let reopen = Commit::append(Version(2), vec![event(2, 2, 40)]);
    case.ok("reopen", store.commit(reopen).await);
    expected.remove(0);
    case.same("after one was reopened", &listed().await, &expected);
}

pub(super) async fn forget_takes_closed_incidents_at_their_version_and_nothing_else(
    case: &Case,
    store: &dyn Store,
) {
    append(case, store, vec![event(1, 0, 1), closing(1, 1, 9)]).await;
    append(case, store, vec![event(2, 0, 1), closing(2, 1, 9)]).await;
    append(case, store, vec![event(3, 0, 1), event(3, 1, 2)]).await; // open
    append(case, store, vec![closing(4, 0, 9)]).await;
    let token = case.ok("next_token", store.next_token("orders").await);
    let kept = Commit::default().put("d", NONE, json!(1)).hit("k", at(1));
    case.ok("commit", store.commit(kept).await);
    let wanted = [
        (incident(1), Version(2)),
        (incident(2), Version(1)),
        (incident(3), Version(2)),
        (incident(9), Version(1)),
    ];
    let n = case.ok("forget", store.forget(&wanted).await);
    case.same("how many incidents were forgotten", &n, &1);
    let left = case.ok("incidents", store.incidents(9).await);
    case.same("incidents left", &left, &[4, 3, 2].map(incident).to_vec());
    let open = case.ok("open_incidents", store.open_incidents().await);
    case.same("open incidents left", &open, &vec![incident(3)]);
    let closed = case.ok("closed_incidents", store.closed_incidents().await);
    let closed: Vec<_> = closed.iter().map(|incident| incident.id).collect();
    case.same(
        "closed incidents left",
        &closed,
        &[2, 4].map(incident).to_vec(),
    );
    let ever = Timestamp::from_nanos(i64::MIN);
    let by_time = case.ok("read_time", store.read_time(ever, Timestamp::MAX, 9).await);
    let expected = vec![
        event(2, 0, 1),
        event(3, 0, 1),
        event(3, 1, 2),
        closing(2, 1, 9),
        closing(4, 0, 9),
    ];
    case.same("events left", &by_time, &expected);
    let hits = case.ok("hits", store.hits("k", ever).await);
    case.same("hits left", &hits, &1);
    let document = case.ok("document", store.document("d").await);
    case.same("whether the document is there", &document.is_some(), &true);
    let fence = Fence {
        resource: "orders".to_owned(),
        token,
    };
    let fenced = store.commit(Commit::default().fenced(Some(fence))).await;
    case.ok("the token still is the newest", fenced);
    let n = case.ok("forget", store.forget(&wanted).await);
    case.same("how many incidents a repetition forgot", &n, &0);
}

pub(super) async fn old_hits_are_pruned_and_incidents_are_not(case: &Case, store: &dyn Store) {
    append(case, store, vec![event(1, 0, 1), closing(1, 1, 2)]).await;
    let mut hits = Commit::default();
    for secs in [1, 9, 10, 11] {
        hits = hits.hit("k", at(secs));
    }
    case.ok("commit", store.commit(hits.hit("old", at(9))).await);
    let n = case.ok("prune_hits", store.prune_hits(at(10)).await);
    case.same("how many hits were forgotten", &n, &3);
    let ever = Timestamp::from_nanos(i64::MIN);
    let left = case.ok("hits", store.hits("k", ever).await);
    case.same("hits left", &left, &2);
    let last = case.ok("last_hit", store.last_hit("old").await);
    case.same("last hit of a counter that is forgotten", &last, &None);
    let n = case.ok("prune_hits", store.prune_hits(at(10)).await);
    case.same("how many hits a repetition forgot", &n, &0);
    let incidents = case.ok("incidents", store.incidents(9).await);
    case.same("incidents left", &incidents, &vec![incident(1)]);
}

pub(super) async fn a_forgotten_incident_is_unknown(case: &Case, store: &dyn Store) {
    append(case, store, vec![event(1, 0, 1), closing(1, 1, 2)]).await;
    let forgotten = store.forget(&[(incident(1), Version(2))]).await;
    case.ok("forget", forgotten);
    let found = case.ok("read", store.read(incident(1)).await);
    case.same("events", &found, &Vec::new());
    let late = Commit::append(Version(2), vec![event(1, 2, 4)]);
    case.conflict(
        "append at v2 to a forgotten incident",
        store.commit(late).await,
    );
    let anew = vec![closing(1, 0, 5)];
    append(case, store, anew.clone()).await;
    let listed = case.ok("closed_incidents", store.closed_incidents().await);
    case.same("closed incidents", &listed, &vec![closed(&anew)]);
    let found = case.ok("read", store.read(incident(1)).await);
    case.same("events", &found, &anew);
}
