//! Detectors that a configuration turns on, from the signal to the incident.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::record::{Anomaly, Direction, EventKind, Expectation, Severity, Subject};
use homeostasis::core::signal::{Level, LogRecord, SeriesKey, SpanRecord, SpanStatus};
use homeostasis::core::{Target, Timestamp};
use homeostasis::{Config, Homeostasis, SimulatedClock};

use crate::world::{START, is, pass, until};

/// A shop whose healer is furnished and detects as `detect` says.
async fn shop(detect: &str) -> Homeostasis {
    let text = format!("engine: {{ tick: 1s }}\ndetect: {detect}\n");
    Homeostasis::builder()
        .config(Config::parse(&text).unwrap())
        .clock(Arc::new(SimulatedClock::starting_at(START)))
        .start()
        .await
        .unwrap()
}

fn log(healer: &Homeostasis, level: Level, message: String) {
    let recorder = healer.recorder();
    let record = LogRecord::new(recorder.now(), level, message);
    recorder.log(record.of(Target::service("shop").unwrap()));
}

/// Minutes of an order every five seconds, a heartbeat every ten and a warning every minute.
async fn usual(healer: &Homeostasis, minutes: u64, has_heartbeat: bool) {
    for i in 0..12 * minutes {
        log(healer, Level::Info, format!("order {i} booked"));
        if has_heartbeat && i % 2 == 0 {
            log(healer, Level::Info, format!("heartbeat {i} of the worker"));
        }
        if i % 12 == 0 {
            log(healer, Level::Error, format!("price {i} was not found"));
        }
        pass(healer, 5).await;
    }
}

/// The anomaly that opened the one incident there is.
async fn opened(healer: &Homeostasis, meanwhile: impl AsyncFn()) -> Anomaly {
    assert!(
        healer.incidents(1).await.unwrap().is_empty(),
        "all was well"
    );
    let mut events = healer.subscribe();
    meanwhile().await;
    let opened = until(healer, &mut events, is("opened")).await;
    let EventKind::Opened { anomaly, .. } = &opened.kind else {
        panic!("{opened:?}");
    };
    assert_eq!(healer.incidents(9).await.unwrap().len(), 1);
    let anomaly = Anomaly::clone(anomaly);
    assert_eq!(anomaly.target, Target::service("shop").unwrap());
    assert!(anomaly.since >= START && anomaly.since <= anomaly.at);
    assert!(anomaly.score.get() > 0.5, "{anomaly:?}");
    assert!(anomaly.observed.is_some(), "{anomaly:?}");
    assert!(anomaly.series.len() > 5, "a picture: {:?}", anomaly.series);
    let times: Vec<Timestamp> = anomaly.series.iter().map(|(at, _)| *at).collect();
    assert!(times.is_sorted() && *times.last().unwrap() <= anomaly.at);
    anomaly
}

fn template(anomaly: &Anomaly) -> &str {
    let Subject::Template { id, text } = &anomaly.subject else {
        panic!("{anomaly:?}");
    };
    assert!(*id > 0);
    text
}

const LOG: &str = "{ log_templates: { learning: 5m, new_from: error, severity: sev3 } }";

#[tokio::test(start_paused = true)]
async fn a_new_kind_of_error_opens_one_incident_that_a_person_can_read() {
    let healer = shop(LOG).await;
    usual(&healer, 20, true).await;
    let anomaly = opened(&healer, async || {
        for card in 0..3 {
            log(
                &healer,
                Level::Error,
                format!("payment with card {card} refused by the bank"),
            );
            pass(&healer, 20).await;
        }
    })
    .await;
    assert_eq!(
        template(&anomaly),
        "payment with card <*> refused by the bank"
    );
    assert_eq!(
        anomaly.explanation,
        "a new kind of message (error) since 2023-11-14T22:33:20Z: \"payment with card <*> refused by the bank\"; \
         only 0.9186 % of the records before were the first of their kind"
    );
    assert_eq!(
        anomaly.expected,
        Expectation::Words("no new kind of message from error on".to_owned())
    );
    assert_eq!(anomaly.severity_hint, Some(Severity::Sev3));
    assert_eq!(
        anomaly.top_feature(),
        "logs \"payment with card <*> refused by the bank\""
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_vanishes_opens_one_incident_that_a_person_can_read() {
    let healer = shop(LOG).await;
    usual(&healer, 20, true).await;
    let anomaly = opened(&healer, async || usual(&healer, 10, false).await).await;
    assert_eq!(template(&anomaly), "heartbeat <*> of the worker");
    assert_eq!(anomaly.direction, Direction::Low);
    assert_eq!(anomaly.observed, Some(0.0));
    assert_eq!(
        anomaly.expected,
        Expectation::Between {
            low: Some(5.9),
            high: None
        }
    );
    assert_eq!(
        anomaly.since,
        START + Duration::from_secs(20 * 60 - 10),
        "since the last one"
    );
    assert!(
        anomaly.explanation.starts_with(
            "\"heartbeat <*> of the worker\" (info) has not come since 2023-11-14T22:33:10Z ("
        ) && anomaly.explanation.ends_with(
            "), expected 5.9 times every 1m; it was never silent for more than 10s before"
        ),
        "{anomaly}"
    );
    assert!(
        anomaly.at < START + Duration::from_secs(25 * 60),
        "{anomaly}"
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_opens_one_incident_that_a_person_can_read() {
    let healer = shop(LOG).await;
    usual(&healer, 20, true).await;
    let anomaly = opened(&healer, async || {
        for i in 0..60 {
            log(&healer, Level::Info, format!("order {i} booked"));
        }
        pass(&healer, 5).await;
    })
    .await;
    assert_eq!(template(&anomaly), "order <*> booked");
    assert_eq!(anomaly.direction, Direction::High);
    let Expectation::Between {
        low: None,
        high: Some(limit),
    } = anomaly.expected
    else {
        panic!("{anomaly:?}");
    };
    let seen = anomaly.observed.unwrap();
    assert!(seen >= limit && limit > 12.0, "{seen} and {limit}");
    assert!(
        anomaly.explanation.starts_with(&format!(
            "\"order <*> booked\" (info) came {seen} times within 1m since 2023-11-14T22:33:00Z"
        )) && anomaly.explanation.ends_with("(mean 11.8)"),
        "{anomaly}"
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn more_errors_than_usual_open_one_incident_that_names_the_kinds_they_are_of() {
    let healer = shop("{ log_errors: { min_count: 8 } }").await;
    usual(&healer, 20, true).await;
    let anomaly = opened(&healer, async || {
        for i in 0..40 {
            log(&healer, Level::Error, format!("price {i} was not found"));
            if i % 4 == 0 {
                log(&healer, Level::Error, format!("basket {i} is empty"));
            }
        }
        pass(&healer, 5).await;
    })
    .await;
    assert_eq!(anomaly.subject, Subject::Logs("error records".to_owned()));
    assert!(
        anomaly.explanation.contains(
            "error records within 1m since 2023-11-14T22:33:00Z, expected fewer than 11 (mean 1)"
        ),
        "{anomaly}"
    );
    let due: Vec<String> = anomaly
        .contributions
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        due,
        [
            "logs \"price <*> was not found\" 82 %",
            "logs \"basket <*> is empty\" 18 %"
        ]
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_fails_and_a_disk_that_fills_open_incidents() {
    let healer = shop(
        "{ operations: { failures: true, latency: true }, \
         time_to_breach: [{ name: disk_will_fill, metrics: [disk_percent], above: 90, severity: sev3 }] }",
    )
    .await;
    let anomaly = opened(&healer, async || {
        let key = SeriesKey::new("disk_percent").with("service", "shop");
        let disk = healer.recorder().series(&key);
        for i in 0..60 {
            disk.record(30.0 + f64::from(i) / 2.0 + f64::from(i % 3) / 10.0);
            pass(&healer, 300).await;
        }
    })
    .await;
    assert_eq!(anomaly.detector, "disk_will_fill");
    assert!(
        anomaly.explanation.contains("reaches 90 in about"),
        "{anomaly}"
    );
    healer.shutdown().await;

    let healer = shop("{ operations: { failures: true, latency: true } }").await;
    let pay = |is_error: bool| {
        let recorder = healer.recorder();
        let mut span = SpanRecord::new(recorder.now(), Duration::from_millis(20), "pay");
        span.target = Some(Target::service("shop").unwrap());
        if is_error {
            span.status = SpanStatus::Error;
        }
        recorder.span(span);
    };
    for _ in 0..600 {
        pay(false);
        pass(&healer, 1).await;
    }
    let anomaly = opened(&healer, async || {
        for i in 0..120 {
            pay(i % 2 == 0);
            pass(&healer, 1).await;
        }
    })
    .await;
    assert_eq!(anomaly.detector, "operation_failures");
    assert_eq!(anomaly.subject, Subject::Operation("pay".to_owned()));
    healer.shutdown().await;
}

#[tokio::test]
async fn a_playbook_that_a_detector_asks_for_and_nobody_has_is_named_at_the_start() {
    let config = Config::parse(
        "
detect:
  log_errors: { playbook: restart }
  time_to_breach: [{ name: disk, metrics: [m], above: 90, playbook: free_disk }]
",
    );
    let started = Homeostasis::builder().config(config.unwrap()).start().await;
    let said = started.unwrap_err().to_string();
    for line in [
        "detect.log_errors.playbook = restart, expected a playbook that is loaded ()",
        "detect.time_to_breach[0].playbook = free_disk",
    ] {
        assert!(said.contains(line), "{said}");
    }
}
