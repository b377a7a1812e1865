use std::sync::Arc;

use homeostasis_core::ManualClock;
use homeostasis_core::signal::{Level, SeriesCatalog};

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + secs)
}

fn record(secs: i64, level: Level, id: u64, text: &str) -> LogRecord {
    let mut record = LogRecord::new(at(secs), level, text.replace("<*>", "7"));
    record.template = Some(LogTemplate::new(id, text));
    record.of(Target::service("orders").unwrap())
}

fn template(id: u64, text: &str) -> Subject {
    let text = text.to_owned();
    Subject::Template { id, text }
}

/// What is found in the records, by time.
fn found(detector: &mut LogTemplates, mut records: Vec<LogRecord>) -> Vec<Anomaly> {
    records.sort_by_key(|record| record.at);
    found_at(detector, &records, at(10_000_000))
}

/// What is found in the records that come in this order at this time.
fn found_at(detector: &mut LogTemplates, records: &[LogRecord], now: Timestamp) -> Vec<Anomaly> {
    let catalog = SeriesCatalog::default();
    let cx = Context::new(Arc::new(ManualClock::new(now)), 1);
    let batch = SignalBatch::empty(&catalog).with_logs(records);
    let mut detected = Box::pin(detector.detect(&cx, batch));
    let mut waiting = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(found) = detected.as_mut().poll(&mut waiting) else {
        panic!("it has nothing to wait for");
    };
    let found = found.unwrap();
    assert!(
        found.iter().all(|anomaly| anomaly.violation().is_none()),
        "{found:?}"
    );
    found
}

fn detector(config: LogTemplatesConfig) -> LogTemplates {
    LogTemplates::new("log_templates", config).unwrap()
}

/// A heartbeat every ten seconds and an order every seven, for so long.
fn steady(secs: i64) -> Vec<LogRecord> {
    let heartbeats = (0..secs / 10).map(|i| record(10 * i, Level::Info, 1, "heartbeat from <*>"));
    let orders = (0..secs / 7).map(|i| record(7 * i, Level::Info, 2, "order <*> booked"));
    heartbeats.chain(orders).collect()
}

#[test]
fn a_steady_log_has_no_anomaly() {
    assert_eq!(
        found(&mut detector(LogTemplatesConfig::default()), steady(20_000)),
        []
    );
}

#[test]
fn a_new_kind_of_error_is_told_after_the_learning_time_only() {
    let config = LogTemplatesConfig {
        reraise: None,
        ..LogTemplatesConfig::default()
    };
    let mut records = steady(9000);
    records.push(record(1800, Level::Error, 3, "cannot open <*>"));
    records.push(record(5000, Level::Error, 4, "disk <*> is full"));
    records.push(record(5100, Level::Error, 4, "disk <*> is full"));
    records.push(record(6000, Level::Info, 5, "cache filled in <*>"));
    let found = found(&mut detector(config), records);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].subject, template(4, "disk <*> is full"));
    assert_eq!((found[0].at, found[0].since), (at(5000), at(5000)));
    assert!(found[0].score.get() > 0.5 && found[0].surprise > 4.6);
    let (last, before) = found[0].series.split_last().unwrap();
    assert_eq!(*last, (at(5000), 1.0));
    assert!(before.len() == 29 && before.iter().all(|(_, count)| *count == 0.0));
    assert!(found[0].series.is_sorted_by_key(|(at, _)| *at));
    assert!(
        found[0]
            .explanation
            .starts_with("a new kind of message (error) since"),
        "{}",
        found[0]
    );
}

#[test]
fn a_program_that_always_says_something_new_has_no_news() {
    let records = (0..3000_u64).map(|i| {
        let secs = i64::try_from(i).unwrap() * 3;
        record(secs, Level::Error, i, &format!("kind {}", i / 2))
    });
    let config = LogTemplatesConfig {
        bursting: false,
        vanished: false,
        ..LogTemplatesConfig::default()
    };
    assert_eq!(found(&mut detector(config), records.collect()), []);
}

#[test]
fn a_burst_is_told_within_its_window_and_again_while_it_lasts() {
    let mut records = steady(7200);
    records.extend((0..600).map(|i| record(6000 + i / 4, Level::Info, 2, "order <*> booked")));
    let found = found(&mut detector(LogTemplatesConfig::default()), records);
    let times: Vec<i64> = found
        .iter()
        .map(|anomaly| anomaly.at.since(at(6000)).as_secs().try_into().unwrap())
        .collect();
    assert!((1..=4).contains(&found.len()) && times[0] < 30, "{times:?}");
    let first = &found[0];
    assert_eq!(
        (first.direction, first.since <= first.at),
        (Direction::High, true)
    );
    assert!(first.observed.unwrap() >= 27.0, "{first}");
    assert!(
        first
            .explanation
            .contains("\"order <*> booked\" (info) came"),
        "{first}"
    );
    assert!(first.explanation.contains("(mean 8.5"), "{first}");
    assert!(first.series.len() > 10);
}

#[test]
fn a_sampled_flood_counts_in_full() {
    let mut records = steady(7200);
    let mut sampled = record(6001, Level::Info, 2, "order <*> booked");
    sampled.weight = 500;
    records.push(sampled);
    let found = found(&mut detector(LogTemplatesConfig::default()), records);
    assert!(found[0].observed.unwrap() >= 500.0, "{found:?}");
}

#[test]
fn a_kind_that_stops_is_told_as_vanished_until_it_comes_again() {
    let mut records = steady(10_000);
    records.retain(|record| {
        let is_heartbeat = record.template.as_ref().unwrap().id() == 1;
        !is_heartbeat || !(at(5000)..at(8000)).contains(&record.at)
    });
    let found = found(&mut detector(LogTemplatesConfig::default()), records);
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|a| a.subject == template(1, "heartbeat from <*>"))
    );
    let first = &found[0];
    assert_eq!((first.direction, first.since), (Direction::Low, at(4990)));
    assert!(first.at < at(5000 + 300), "{first}");
    assert!(found.iter().all(|a| a.at < at(8000)), "{found:?}");
    assert!(
        first.explanation.contains("never silent for more than 10s"),
        "{first}"
    );
}

#[test]
fn what_comes_by_an_hourly_schedule_does_not_vanish_between() {
    let mut records = steady(40_000);
    for hour in 0..11 {
        records.extend((0..40).map(|i| record(3600 * hour + i, Level::Info, 3, "exported <*>")));
    }
    let config = LogTemplatesConfig {
        bursting: false,
        learning: Duration::ZERO,
        ..LogTemplatesConfig::default()
    };
    let mut detector = detector(config);
    let found = found(&mut detector, records);
    let late = found.iter().filter(|anomaly| anomaly.at > at(8000));
    assert_eq!(late.count(), 0, "{found:?}");
}

#[test]
fn a_target_whose_clock_is_fast_has_no_influence_on_others_nor_on_itself() {
    let mut detector = detector(LogTemplatesConfig::default());
    let fast = Target::service("fast").unwrap();
    for minute in 0..150 {
        let mut records: Vec<_> = (0..60)
            .map(|i| record(60 * minute + i, Level::Info, 1, "tick <*>"))
            .collect();
        // It goes wrong after an hour, and is put right half an hour later.
        let ahead = if (60..90).contains(&minute) {
            59 * 60
        } else {
            0
        };
        records.extend(
            (0..60).map(|i| {
                record(60 * minute + i + ahead, Level::Info, 2, "tock <*>").of(fast.clone())
            }),
        );
        let now = at(60 * minute + 59);
        assert_eq!(found_at(&mut detector, &records, now), [], "{minute}");
    }
    // The clock of the host itself is set back.
    for minute in 120..160 {
        let records: Vec<_> = (0..60)
            .map(|i| record(60 * minute + i, Level::Info, 1, "tick <*>"))
            .collect();
        let now = at(60 * minute + 59);
        assert_eq!(found_at(&mut detector, &records, now), [], "{minute}");
    }
}

#[test]
fn a_pause_of_the_delivery_makes_nothing_vanish() {
    let kinds = 0..200_u64;
    let said = |minute: i64, kinds: std::ops::Range<u64>| {
        let text = |id| format!("kind{id} <*>");
        let say = move |id| record(60 * minute, Level::Info, id, &text(id));
        kinds.map(say).collect::<Vec<_>>()
    };
    let mut detector = detector(LogTemplatesConfig::default());
    let minutes = (0..120).chain(180..240);
    let records = minutes.flat_map(|minute| said(minute, kinds.clone()));
    assert_eq!(found(&mut detector, records.collect()), []);
    // What does not come again after a pause is told all the same, and no more than a turn may tell.
    let records = (300..400).flat_map(|minute| said(minute, 0..10));
    let found = found(&mut detector, records.collect());
    assert_eq!(found.len(), MAX_TOLD);
    assert!(
        found
            .iter()
            .all(|a| a.direction == Direction::Low && a.at > at(301 * 60))
    );
}

#[test]
fn a_new_chatty_kind_is_no_burst_and_one_later_is() {
    let mut records = steady(12_000);
    let chat = |secs| record(secs, Level::Info, 3, "cache <*> hit");
    records.extend((7200..12_000).map(chat));
    let mut flood = chat(11_000);
    flood.weight = 5000;
    records.push(flood);
    let found = found(&mut detector(LogTemplatesConfig::default()), records);
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|a| a.at >= at(11_000) && a.at < at(11_120)),
        "{found:?}"
    );
}

#[test]
fn targets_without_a_place_are_not_remembered() {
    let config = LogTemplatesConfig {
        max_templates: 3,
        ..LogTemplatesConfig::default()
    };
    let mut detector = detector(config);
    let records: Vec<_> = (0..10)
        .map(|i| record(1, Level::Info, 1, "x").of(Target::service(format!("s{i}")).unwrap()))
        .collect();
    assert_eq!(found(&mut detector, records), []);
    assert_eq!((detector.known.targets.len(), detector.n_refused()), (3, 7));
}

#[test]
fn kinds_that_turn_out_to_be_one_are_added_up_and_do_not_vanish() {
    let mut records = steady(5000);
    let user = |secs: i64, id, text: &str| record(secs, Level::Info, id, text);
    records.extend((0..250).map(|i| user(10 * i + 3, 3, "hello ann and bye")));
    records.extend((0..250).map(|i| user(10 * i + 5, 4, "hello bob and bye")));
    for i in 250..500 {
        let mut united = user(10 * i + 4, 3, "hello <*> and bye");
        united.template = Some(LogTemplate::new(3, "hello <*> and bye").absorbing([4]));
        records.push(united);
    }
    let mut detector = detector(LogTemplatesConfig::default());
    let found = found(&mut detector, records);
    assert_eq!((found, detector.n_followed()), (vec![], 3));
}

/// The story of a regression: the subject was the text alone, and one illness got several
/// fingerprints while its template became more general.
#[test]
fn one_illness_has_one_fingerprint_while_its_template_generalizes_and_takes_others_in() {
    let mut records = steady(9000);
    records.push(record(5000, Level::Error, 4, "disk sda is full"));
    records.push(record(5100, Level::Error, 4, "disk <*> is full"));
    let mut united = record(5200, Level::Error, 4, "disk <*> is <*>");
    united.template = Some(LogTemplate::new(4, "disk <*> is <*>").absorbing([5]));
    records.push(united);
    let found = found(&mut detector(LogTemplatesConfig::default()), records);
    let texts: Vec<&str> = found.iter().map(|a| a.subject.name()).collect();
    assert_eq!(
        texts,
        ["disk sda is full", "disk <*> is full", "disk <*> is <*>"]
    );
    let first = found[0].fingerprint();
    assert!(found.iter().all(|a| a.fingerprint() == first), "{found:?}");
}

/// The survivor of two kinds that are one goes on with the news of the other.
#[test]
fn the_surviving_template_goes_on_with_what_was_told_of_the_other() {
    let mut records = steady(9000);
    records.push(record(5000, Level::Error, 5, "disk sda is full"));
    let mut united = record(5100, Level::Error, 4, "disk <*> is full");
    united.template = Some(LogTemplate::new(4, "disk <*> is full").absorbing([5]));
    records.push(united);
    let found = found(&mut detector(LogTemplatesConfig::default()), records);
    let subjects: Vec<Subject> = found.iter().map(|a| a.subject.clone()).collect();
    assert_eq!(
        subjects,
        [
            template(5, "disk sda is full"),
            template(4, "disk <*> is full")
        ]
    );
    assert_eq!(found[1].since, at(5000));
}

#[test]
fn a_flood_of_kinds_is_refused_and_a_record_without_one_ignored() {
    let config = LogTemplatesConfig {
        max_templates: 3,
        ..LogTemplatesConfig::default()
    };
    let mut detector = detector(config);
    let mut records: Vec<_> = (0..10).map(|i| record(1, Level::Info, i, "x")).collect();
    records[0].template = None;
    records[1].target = None;
    assert_eq!(found(&mut detector, records), []);
    assert_eq!((detector.n_followed(), detector.n_refused()), (3, 5));
}

#[test]
fn a_snapshot_that_does_not_fit_is_refused() {
    let mut large = detector(LogTemplatesConfig::default());
    found(&mut large, steady(100));
    let snapshot = large.snapshot().unwrap();
    let small = LogTemplatesConfig {
        max_templates: 1,
        ..LogTemplatesConfig::default()
    };
    let error = detector(small).restore(&snapshot).unwrap_err();
    let longer = LogTemplatesConfig {
        window: Duration::from_secs(300),
        ..LogTemplatesConfig::default()
    };
    let other_window = detector(longer).restore(&snapshot).unwrap_err();
    let expected = "counts in windows of 1m: expected windows of 5m, as window says";
    assert_eq!(other_window.to_string(), expected);
    assert!(format!("{error:?}").contains("max_templates"), "{error:?}");
    let mut other = detector(LogTemplatesConfig::default());
    let mut wrong = snapshot.clone();
    wrong.state["known"]["targets"][0][1]["followed"][0][1]["tally"]["rate"]["n"] = (-1.0).into();
    let error = other.restore(&wrong).unwrap_err();
    assert!(format!("{error:?}").contains("none below 0"), "{error:?}");
    other.restore(&snapshot).unwrap();
    assert_eq!(other.known, large.known);
}
