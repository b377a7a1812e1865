use std::sync::Arc;

use homeostasis_core::ManualClock;
use homeostasis_core::signal::{SeriesCatalog, SeriesKey};

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// One anomaly for each episode.
fn config(condition: &str, hold: u64) -> SustainedConditionConfig {
    SustainedConditionConfig {
        reraise: None,
        ..SustainedConditionConfig::new(
            Condition::parse(condition).unwrap(),
            Duration::from_secs(hold),
        )
    }
}

fn watch(condition: &str, hold: u64) -> SustainedCondition {
    SustainedCondition::new("watch", config(condition, hold)).unwrap()
}

/// `metric` of `service`, `service/instance` or of nobody, with labels `a=b`.
fn key(metric: &str, target: &str, labels: &[(&str, &str)]) -> SeriesKey {
    let mut key = SeriesKey::new(metric);
    if let Some((service, instance)) = target.split_once('/') {
        key = key.with("service", service).with("instance", instance);
    } else if !target.is_empty() {
        key = key.with("service", target);
    }
    labels
        .iter()
        .fold(key, |key, (name, value)| key.with(*name, *value))
}

async fn detect(
    watch: &mut SustainedCondition,
    samples: &[(SeriesKey, i64, f64)],
) -> Vec<(i64, String)> {
    let found = detect_all(watch, samples).await;
    for anomaly in &found {
        assert_eq!(anomaly.violation(), None);
    }
    found
        .iter()
        .map(|anomaly| (anomaly.at.as_millis() / 1000, anomaly.target.to_string()))
        .collect()
}

async fn detect_all(
    watch: &mut SustainedCondition,
    samples: &[(SeriesKey, i64, f64)],
) -> Vec<Anomaly> {
    let catalog = SeriesCatalog::default();
    let samples: Vec<Sample> = samples
        .iter()
        .map(|(key, secs, value)| Sample {
            series: catalog.intern(key),
            at: at(*secs),
            value: *value,
        })
        .collect();
    let clock = ManualClock::new(at(1_000_000));
    let cx = Context::new(Arc::new(clock), 1);
    let batch = SignalBatch::empty(&catalog).with_samples(&samples);
    watch.detect(&cx, batch).await.unwrap()
}

fn each_minute(key: &SeriesKey, values: &[f64]) -> Vec<(SeriesKey, i64, f64)> {
    (0..)
        .zip(values)
        .map(|(minute, value)| (key.clone(), minute * 60, *value))
        .collect()
}

#[tokio::test]
async fn a_disk_above_its_limit_for_five_minutes_is_one_anomaly() {
    let disk = key("disk_usage_percent", "db/0", &[]);
    let mut watch = SustainedCondition::new(
        "disk",
        SustainedConditionConfig {
            playbook_hint: Some("disk_full".to_owned()),
            severity_hint: Some(Severity::Sev2),
            ..config("disk_usage_percent > 85", 300)
        },
    )
    .unwrap();
    let mut values = vec![80.0, 86.0, 87.0, 84.0];
    values.extend([91.25; 12]);
    let found = detect_all(&mut watch, &each_minute(&disk, &values)).await;
    assert_eq!(found.len(), 1);
    let anomaly = &found[0];
    assert_eq!((anomaly.since, anomaly.at), (at(240), at(540)));
    assert_eq!(anomaly.observed, Some(91.25));
    assert_eq!(anomaly.playbook_hint.as_deref(), Some("disk_full"));
    assert_eq!(anomaly.severity_hint, Some(Severity::Sev2));
    assert_eq!(anomaly.series.len(), 10);
    assert_eq!(
        anomaly.explanation,
        "disk_usage_percent > 85 has held for 5m since 1970-01-01T00:04:00Z: \
         disk_usage_percent{instance=\"0\",service=\"db\"} = 91.25"
    );
}

#[tokio::test]
async fn metrics_of_one_instant_are_judged_together() {
    // Between the two samples of an instant `a > b` would not hold.
    let mut watch = watch("used_bytes > limit_bytes", 60);
    let (a, b) = (key("used_bytes", "s", &[]), key("limit_bytes", "s", &[]));
    let mut samples = Vec::new();
    for minute in 0..3 {
        let level = f64::from(i32::try_from(minute).unwrap() * 100);
        samples.push((b.clone(), minute * 60, level));
        samples.push((a.clone(), minute * 60, level + 1.0));
    }
    assert_eq!(detect(&mut watch, &samples).await, [(60, "s".to_owned())]);
}

#[tokio::test]
async fn targets_are_judged_apart_and_an_instance_reads_its_service() {
    let mut watch = watch("process_cpu_ratio > 0.9 and error_ratio > 0.1", 0);
    let samples = [
        (key("error_ratio", "a", &[]), 0, 0.5),
        (key("process_cpu_ratio", "a/0", &[]), 0, 0.95),
        (key("process_cpu_ratio", "a/1", &[]), 0, 0.2),
        (key("process_cpu_ratio", "b/0", &[]), 0, 0.95),
    ];
    assert_eq!(detect(&mut watch, &samples).await, [(0, "a/0".to_owned())]);
}

#[tokio::test]
async fn a_full_disk_is_not_hidden_by_an_empty_one() {
    for (condition, full, empty) in [
        ("disk_free_percent < 10", 5.0, 60.0),
        ("disk_used_percent > 90", 95.0, 20.0),
    ] {
        let mut watch = watch(condition, 0);
        let metric = condition.split(' ').next().unwrap();
        let samples = [
            (key(metric, "a", &[("mount", "/")]), 0, empty),
            (key(metric, "a", &[("mount", "/data")]), 0, full),
        ];
        let found = detect_all(&mut watch, &samples).await;
        assert_eq!(found.len(), 1, "{condition}");
        assert_eq!(found[0].observed, Some(full));
        assert!(found[0].explanation.contains("mount=\"/data\""));
    }
}

#[tokio::test]
async fn parts_of_two_metrics_are_matched_by_their_labels() {
    let mut watch = watch("disk_used_bytes / disk_size_bytes > 0.9", 0);
    let mut samples = Vec::new();
    for (mount, used, size) in [("/", 50.0, 1000.0), ("/data", 40.0, 50.0)] {
        samples.push((key("disk_used_bytes", "a", &[("mount", mount)]), 0, used));
        samples.push((key("disk_size_bytes", "a", &[("mount", mount)]), 0, size));
    }
    assert_eq!(detect(&mut watch, &samples).await, []);
    samples.push((key("disk_used_bytes", "a", &[("mount", "/data")]), 1, 48.0));
    assert_eq!(detect(&mut watch, &samples).await, [(1, "a".to_owned())]);
}

#[tokio::test]
async fn labels_in_the_condition_select() {
    let mut watch = watch("disk_usage_percent{mount=\"/\"} > 85", 0);
    let samples = [(
        key("disk_usage_percent", "a", &[("mount", "/data")]),
        0,
        99.0,
    )];
    assert_eq!(detect(&mut watch, &samples).await, []);
    let samples = [(key("disk_usage_percent", "a", &[("mount", "/")]), 1, 99.0)];
    assert_eq!(detect(&mut watch, &samples).await, [(1, "a".to_owned())]);
}

#[tokio::test]
async fn a_condition_that_names_its_services_has_one_target() {
    let condition = "error_ratio{service=\"gateway\"} > 5% and up{service=\"db\"} < 1";
    let mut watch = watch(condition, 0);
    let samples = [
        (key("error_ratio", "gateway", &[]), 0, 0.2),
        (key("error_ratio", "other", &[]), 0, 0.2),
        (key("up", "db/0", &[]), 0, 0.0),
    ];
    assert_eq!(
        detect(&mut watch, &samples).await,
        [(0, "gateway".to_owned())]
    );
}

#[tokio::test]
async fn stale_and_missing_values_pause() {
    let disk = key("disk_usage_percent", "a", &[]);
    let mut paused = watch("disk_usage_percent > 85", 300);
    let nan = f64::NAN;
    let values = [90.0, 90.0, 90.0, nan, f64::INFINITY, 90.0, 90.0, 90.0];
    assert_eq!(detect(&mut paused, &each_minute(&disk, &values)).await, []);
    let later = [(disk.clone(), 480, 90.0)];
    assert_eq!(detect(&mut paused, &later).await, [(480, "a".to_owned())]);

    // The other metric goes on while this one is silent: its value becomes stale, and the episode is forgotten.
    let mut stale = watch("disk_usage_percent > 85 and up > 0", 0);
    let up = key("up", "a", &[]);
    let mut samples = each_minute(&up, &[1.0; 40]);
    samples.insert(0, (disk.clone(), 0, 90.0));
    assert_eq!(detect(&mut stale, &samples).await, [(0, "a".to_owned())]);
    let again = [(disk, 2400, 90.0), (up, 2400, 1.0)];
    assert_eq!(detect(&mut stale, &again).await, [(2400, "a".to_owned())]);
}

#[tokio::test]
async fn series_of_nobody_belong_to_the_default_target_or_to_nobody() {
    let samples = [(key("disk_usage_percent", "", &[]), 0, 99.0)];
    let condition = "disk_usage_percent > 85";
    assert_eq!(detect(&mut watch(condition, 0), &samples).await, []);
    let mut watch = SustainedCondition::new(
        "disk",
        SustainedConditionConfig {
            default_target: Some("host".parse().unwrap()),
            ..config(condition, 0)
        },
    )
    .unwrap();
    assert_eq!(detect(&mut watch, &samples).await, [(0, "host".to_owned())]);
}

#[tokio::test]
async fn a_flood_of_series_is_bounded_and_silent_ones_give_way() {
    let mut watch = SustainedCondition::new(
        "w",
        SustainedConditionConfig {
            max_series: 2,
            ..config("up < 1", 0)
        },
    )
    .unwrap();
    let flood: Vec<_> = (0..10)
        .map(|i| (key("up", &format!("s{i}"), &[]), 0, 0.0))
        .collect();
    assert_eq!(detect(&mut watch, &flood).await.len(), 2);
    assert_eq!(watch.n_refused(), 8);
    let later = [(key("up", "new", &[]), 4000, 0.0)];
    assert_eq!(detect(&mut watch, &later).await, [(4000, "new".to_owned())]);
}

#[test]
fn everything_wrong_with_a_configuration_is_named() {
    let error = SustainedCondition::new(
        "",
        SustainedConditionConfig {
            staleness: Duration::ZERO,
            max_unknown: Duration::ZERO,
            reraise: Some(Duration::ZERO),
            max_series: 0,
            ..config("1 > 2", 0)
        },
    )
    .unwrap_err();
    assert_eq!(error.violations().len(), 6, "{error}");
    for (condition, complaint) in [
        ("state == \"bad\"", "expected"),
        ("up{service=\"a/b\"} < 1", "names of targets"),
        ("maintenance and up < 1", "maintenance"),
    ] {
        let error = SustainedCondition::new("x", config(condition, 0)).unwrap_err();
        assert!(error.to_string().contains(complaint), "{error}");
    }
}

#[test]
fn a_configuration_reads_as_it_is_written() {
    let text = r#"{"condition": "disk_usage_percent > 85", "for": "5m", "reraise": "1h"}"#;
    let read: SustainedConditionConfig = serde_json::from_str(text).unwrap();
    assert_eq!(read.hold, Duration::from_secs(300));
    assert_eq!(read.reraise, Some(Duration::from_secs(3600)));
    assert_eq!(read.staleness, Duration::from_secs(300));
    let short = r#"{"condition": "up < 1", "for": "5m"}"#;
    let short: SustainedConditionConfig = serde_json::from_str(short).unwrap();
    assert_eq!(short.reraise, Some(Duration::from_secs(60)));
    let written = serde_json::to_string(&read).unwrap();
    assert_eq!(
        serde_json::from_str::<SustainedConditionConfig>(&written).unwrap(),
        read
    );
    assert!(
        serde_json::from_str::<SustainedConditionConfig>(r#"{"condition": "up < 1", "for": "5"}"#)
            .is_err()
    );
}

#[test]
fn a_snapshot_of_another_condition_is_refused() {
    let snapshot = watch("up < 1", 0).snapshot().unwrap();
    let error = watch("up < 2", 0).restore(&snapshot).unwrap_err();
    assert_eq!(
        error.to_string(),
        "snapshot of the condition up < 1: expected up < 2"
    );
}
