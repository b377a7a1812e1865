use std::time::Duration;

use homeostasis_core::port::{Notification, NotificationKind};
use homeostasis_core::record::Severity;
use homeostasis_core::{ErrorKind, ErrorReport, IncidentId, Rng, Timestamp};
use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::EPOCH + Duration::from_secs(seconds)
}

fn entry(n: u128, severity: Severity, seconds: u64) -> Entry {
    let id = IncidentId::from_u128(n);
    let mut message = Notification::new(id, severity, at(seconds), format!("call {n}"), "");
    message.key = format!("key {n}");
    Entry::new(Some(format!("document {n} {seconds}")), message)
}

fn update(n: u128, seconds: u64) -> Entry {
    let mut entry = entry(n, Severity::Sev2, seconds);
    entry.notification.kind = NotificationKind::Resolved;
    entry
}

fn queue(entries: impl IntoIterator<Item = Entry>) -> Queue {
    let mut queue = Queue::default();
    for entry in entries {
        assert_eq!(queue.push(entry), None);
    }
    queue
}

/// Sends what is next and says its title.
fn send(queue: &mut Queue, now: Timestamp) -> String {
    match queue.next(now, true) {
        Next::Send(message, documents) => {
            queue.delivered(&documents, now);
            message.title
        }
        other => panic!("{other:?}"),
    }
}

fn error(kind: ErrorKind) -> ErrorReport {
    ErrorReport::message(kind, "gone")
}

#[test]
fn a_few_calls_go_one_by_one_and_a_storm_becomes_one_digest_that_names_them_all() {
    let mut few = queue((1..=5).map(|n| entry(n, Severity::Sev2, 0)));
    for n in 1..=5 {
        assert_eq!(send(&mut few, at(1)), format!("call {n}"));
    }
    assert_eq!(few.next(at(1), true), Next::Idle);

    let mut storm = queue((1..=60).map(|n| entry(n, Severity::Sev2, 0)));
    let Next::Send(digest, documents) = storm.next(at(1), true) else {
        panic!("nothing is sent");
    };
    assert_eq!(
        (digest.kind, documents.len()),
        (NotificationKind::Digest, 50)
    );
    assert!(digest.title.starts_with("50 calls"), "{}", digest.title);
    let last = format!("call 50 (incident {})", IncidentId::from_u128(50));
    assert_eq!(digest.body.lines().last(), Some(last.as_str()));
    storm.delivered(&documents, at(1));
    let Next::Send(rest, documents) = storm.next(at(1), true) else {
        panic!("the rest is not sent");
    };
    assert_eq!(rest.body.lines().count(), 10);
    assert!(rest.body.contains("call 51 "), "{}", rest.body);
    storm.delivered(&documents, at(1));
    assert_eq!(storm.health().waiting, 0);
    assert_eq!(storm.health().delivered, 60);
}

#[test]
fn calls_that_trickle_in_wait_for_the_window_and_then_go_together() {
    let mut queue = queue((1..=5_u64).map(|n| entry(u128::from(n), Severity::Sev2, n)));
    for n in 1..=5_u64 {
        assert_eq!(send(&mut queue, at(n)), format!("call {n}"));
    }
    for n in 6..=9 {
        assert_eq!(queue.push(entry(n, Severity::Sev2, 10)), None);
    }
    assert_eq!(queue.next(at(10), true), Next::Wait(at(61)));
    // The gravest does not wait.
    assert_eq!(queue.push(entry(10, Severity::Sev0, 11)), None);
    assert_eq!(send(&mut queue, at(11)), "call 10");
    assert_eq!(queue.next(at(60), true), Next::Wait(at(61)));
    // Who keeps no digest gets them all.
    assert!(matches!(queue.next(at(60), false), Next::Send(it, _) if it.title == "call 6"));
    assert!(send(&mut queue, at(62)).starts_with("4 calls"));
}

#[test]
fn the_end_of_an_incident_is_not_told_before_its_beginning() {
    let mut queue = queue([entry(1, Severity::Sev2, 0), update(1, 1), update(2, 1)]);
    let Next::Send(update, first) = queue.next(at(1), true) else {
        panic!("nothing is sent");
    };
    // The update of incident 2 goes first, as updates do; then the call of incident 1 fails.
    assert_eq!(update.incident, IncidentId::from_u128(2));
    queue.delivered(&first, at(1));
    let Next::Send(_, call) = queue.next(at(1), true) else {
        panic!("nothing is sent");
    };
    let mut rng = Rng::from_seed(1);
    assert!(
        queue
            .failed(&call, &error(ErrorKind::Transient), at(1), &mut rng)
            .is_empty()
    );
    assert!(matches!(queue.next(at(1), true), Next::Wait(_)));
    assert_eq!(send(&mut queue, at(9)), "call 1");
    assert!(
        matches!(queue.next(at(9), true), Next::Send(it, _) if it.kind == NotificationKind::Resolved)
    );
}

#[test]
fn a_channel_that_fails_again_and_again_rests_and_is_tried_again() {
    let mut queue = queue([entry(1, Severity::Sev2, 0)]);
    let (mut now, mut rng, mut tries) = (at(0), Rng::from_seed(7), 0);
    while tries < 12 {
        match queue.next(now, true) {
            Next::Send(_, documents) => {
                tries += 1;
                queue.failed(&documents, &error(ErrorKind::Timeout), now, &mut rng);
                assert_eq!(
                    queue.health().resting_until.is_some(),
                    tries >= MAX_FAILURES
                );
            }
            Next::Wait(until) => {
                assert!(until > now && until.since(now) <= MAX_BACKOFF, "{until}");
                now = until;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(
        now.since(at(0)) > Duration::from_secs(200),
        "it waits longer and longer"
    );
    while let Next::Wait(until) = queue.next(now, true) {
        now = until;
    }
    send(&mut queue, now);
    let health = queue.health();
    assert_eq!(
        (health.delivered, health.failed, health.resting_until),
        (1, 12, None)
    );
}

#[test]
fn what_is_refused_for_good_is_given_up_after_three_attempts_and_holds_up_nobody() {
    let mut queue = queue([entry(1, Severity::Sev2, 0), entry(2, Severity::Sev2, 0)]);
    let (mut now, mut rng, mut given_up) = (at(0), Rng::from_seed(7), Vec::new());
    let mut told = Vec::new();
    loop {
        match queue.next(now, true) {
            Next::Send(message, documents) if message.title == "call 1" => {
                let refused = error(ErrorKind::Permanent);
                given_up.extend(queue.failed(&documents, &refused, now, &mut rng));
            }
            Next::Send(message, documents) => {
                queue.delivered(&documents, now);
                told.push(message.title);
            }
            Next::Wait(until) => now = until,
            Next::Idle => break,
            other @ Next::GiveUp(_) => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (given_up.len(), given_up[0].attempts, told),
        (1, 3, vec!["call 2".to_owned()])
    );
}

#[test]
fn what_is_too_old_or_too_much_is_given_back_the_mildest_first() {
    let mut queue = queue([
        entry(1, Severity::Sev2, 0),
        entry(2, Severity::Sev2, 90_000),
    ]);
    let Next::GiveUp(old) = queue.next(at(90_000), true) else {
        panic!("nothing is given up");
    };
    assert_eq!(old.len(), 1);
    let mut full = Queue::default();
    for n in 0..MAX_WAITING as u128 {
        let severity = if n < 2 {
            Severity::Sev3
        } else {
            Severity::Sev1
        };
        assert_eq!(full.push(entry(n, severity, 0)), None);
    }
    let gone = full.push(entry(1 << 40, Severity::Sev0, 0)).unwrap();
    assert_eq!(gone.notification.title, "call 0");
    assert_eq!(full.health().given_up, 1);
}

#[test]
fn what_is_refused_while_the_channel_takes_nothing_waits_until_the_channel_is_mended() {
    for (kind, given_up_within) in [
        (ErrorKind::Permanent, Some(REFUSED + 2 * MAX_BACKOFF)),
        (ErrorKind::Denied, None),
    ] {
        let mut queue = queue((1..=9).map(|n| entry(n, Severity::Sev1, 0)));
        let (mut now, mut rng) = (at(0), Rng::from_seed(7));
        let mut is_rested = false;
        let given_up = loop {
            match queue.next(now, false) {
                Next::Send(_, ids) => {
                    let gone = queue.failed(&ids, &error(kind), now, &mut rng);
                    is_rested |= queue.health().resting_until.is_some();
                    if !gone.is_empty() {
                        break gone;
                    }
                }
                Next::Wait(until) => now = until,
                Next::GiveUp(old) => break old,
                Next::Idle => panic!("something waits"),
            }
        };
        assert!(is_rested, "a channel that refuses all is left alone");
        let after = now.since(given_up[0].notification.at);
        match given_up_within {
            Some(most) => assert!(after >= REFUSED && after <= most, "{after:?}"),
            None => assert!(after > MAX_AGE, "{after:?}"),
        }
    }
}

#[test]
fn of_equals_the_news_that_it_is_over_is_the_last_to_make_room() {
    let mut full = Queue::default();
    assert_eq!(full.push(update(1, 0)), None);
    assert_eq!(full.push(entry(2, Severity::Sev2, 0)), None);
    let mut acknowledged = update(3, 0);
    acknowledged.notification.kind = NotificationKind::Acknowledged;
    assert_eq!(full.push(acknowledged), None);
    for n in 3..MAX_WAITING as u128 {
        assert_eq!(full.push(entry(n + 1, Severity::Sev1, 0)), None);
    }
    let mut gone = || full.push(entry(1 << 40, Severity::Sev1, 0)).unwrap();
    assert_eq!(gone().notification.kind, NotificationKind::Acknowledged);
    assert_eq!(gone().notification.kind, NotificationKind::Call);
    assert_eq!(gone().notification.kind, NotificationKind::Resolved);
}

proptest! {
    #[test]
    fn every_message_is_delivered_or_given_back_exactly_once_and_no_window_has_more_calls_than_it_may(
        incidents in prop::collection::vec((0_u128..8, 1_usize..4, 0_u64..600), 1..60),
        failures in prop::collection::vec(0_u8..4, 200),
    ) {
        let severities = [Severity::Sev1, Severity::Sev2, Severity::Sev3];
        let mut all: Vec<_> = incidents
            .into_iter()
            .enumerate()
            .map(|(i, (n, severity, seconds))| {
                let mut entry = entry(n, severities[severity - 1], seconds);
                entry.document = Some(format!("{i}"));
                entry
            })
            .collect();
        all.sort_by_key(|entry| entry.notification.at);
        let n_all = all.len() as u64;
        let mut coming: VecDeque<_> = all.into();
        let (mut queue, mut now, mut rng) = (Queue::default(), at(0), Rng::from_seed(3));
        let (mut calls, mut seen) = (VecDeque::new(), BTreeSet::new());
        let (mut given_up, mut turns) = (0, failures.into_iter().chain(std::iter::repeat(3)));
        loop {
            while coming.front().is_some_and(|it| it.notification.at <= now) {
                let added = queue.push(coming.pop_front().unwrap());
                prop_assert_eq!(added, None);
            }
            match queue.next(now, true) {
                Next::Send(_, documents) => match turns.next().unwrap() {
                    0 => {
                        let report = error(ErrorKind::Transient);
                        prop_assert!(queue.failed(&documents, &report, now, &mut rng).is_empty());
                    }
                    1 => {
                        let report = error(ErrorKind::Permanent);
                        for entry in queue.failed(&documents, &report, now, &mut rng) {
                            prop_assert!(seen.insert(entry.document));
                            given_up += 1;
                        }
                    }
                    _ => {
                        calls.push_back(now);
                        for entry in queue.delivered(&documents, now) {
                            prop_assert!(seen.insert(entry.document), "twice");
                        }
                    }
                },
                Next::Wait(until) => now = coming.front().map_or(until, |it| it.notification.at.min(until)).max(now + Duration::from_millis(1)),
                Next::Idle => match coming.front() {
                    Some(next) => now = next.notification.at.max(now),
                    None => break,
                },
                Next::GiveUp(old) => prop_assert!(false, "{:?}", old),
            }
            while calls.front().is_some_and(|at| now.since(*at) >= WINDOW) {
                calls.pop_front();
            }
            prop_assert!(calls.len() <= MAX_CALLS, "{:?}", calls);
        }
        prop_assert_eq!(seen.len() as u64, n_all);
        let health = queue.health();
        prop_assert_eq!((health.delivered + given_up, health.waiting), (n_all, 0));
    }
}
