use std::sync::Arc;

use homeostasis_core::ManualClock;
use homeostasis_core::record::Subject;
use homeostasis_core::signal::SeriesCatalog;

use super::*;
use HealthState::{Critical, Degraded, Healthy, Unhealthy};
use HealthTier::{Comprehensive, Deep, Shallow};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// Each check reports every 10 s.
fn report(secs: i64, check: &str, tier: HealthTier, state: HealthState) -> HealthReport {
    HealthReport::new(at(secs), Target::service("shop").unwrap(), check, state)
        .in_tier(tier)
        .every(Duration::from_secs(10))
        .saying("connection refused")
}

fn shallow(secs: i64, check: &str, state: HealthState) -> HealthReport {
    report(secs, check, Shallow, state)
}

fn detector(config: HealthStateDetectorConfig) -> HealthStateDetector {
    HealthStateDetector::new("health", config).unwrap()
}

async fn feed(detector: &mut HealthStateDetector, reports: &[HealthReport]) -> Vec<Anomaly> {
    let catalog = SeriesCatalog::default();
    let cx = Context::new(Arc::new(ManualClock::new(at(100_000))), 1);
    let batch = SignalBatch::empty(&catalog).with_health(reports);
    let found = detector.detect(&cx, batch).await.unwrap();
    assert!(found.iter().all(|anomaly| anomaly.violation().is_none()));
    found
}

/// When which check was raised, and whether for people.
fn raised(found: &[Anomaly]) -> Vec<(i64, &str, bool)> {
    let of = |anomaly: &Anomaly| anomaly.at.as_millis() / 1000;
    let seen = found.iter();
    seen.map(|anomaly| (of(anomaly), anomaly.subject.name(), anomaly.needs_people))
        .collect()
}

#[tokio::test]
async fn a_degraded_target_raises_nothing_and_an_unhealthy_one_every_check_that_fails() {
    let mut detector = detector(HealthStateDetectorConfig::default());
    // A deep check passes, so that no shallow one is believed alone.
    let up = |secs| report(secs, "db", Deep, Healthy);
    let mut reports = vec![up(0)];
    for secs in [1, 11] {
        reports.extend([shallow(secs, "a", Unhealthy), shallow(secs, "b", Unhealthy)]);
        reports.push(up(secs + 1));
    }
    assert_eq!(feed(&mut detector, &reports).await, []);
    let shop = Target::service("shop").unwrap();
    let judged = detector.judge(&shop, at(12));
    assert_eq!(
        (judged.state, judged.action),
        (Some(Degraded), HealthAction::AskDeep)
    );
    // What the checks said is too old to be known.
    assert_eq!(detector.judge(&shop, at(100)).state, None);
    let third = [shallow(13, "c", Unhealthy)];
    let found = feed(&mut detector, &third).await;
    let expected = [(13, "a", false), (13, "b", false), (13, "c", false)];
    assert_eq!(raised(&found), expected);
    assert_eq!((found[0].since, found[2].since), (at(1), at(13)));
    assert_eq!(
        found[0].to_string(),
        "shop: unhealthy, for shallow health check a is unhealthy, expected healthy; 2 bad reports \
         in a row since 1970-01-01T00:00:01Z (10s so far): connection refused"
    );
}

#[tokio::test]
async fn one_deep_failure_is_enough() {
    let mut detector = detector(HealthStateDetectorConfig::default());
    let reports = [
        shallow(0, "http", Healthy),
        report(1, "db", Deep, Unhealthy),
    ];
    let found = feed(&mut detector, &reports).await;
    assert_eq!(raised(&found), [(1, "db", false)]);
    assert_eq!(found[0].subject, Subject::Health("db".to_owned()));
}

#[tokio::test]
async fn a_comprehensive_failure_asks_for_people_and_so_does_a_critical_report() {
    let mut target = detector(HealthStateDetectorConfig::default());
    let reports = [
        report(0, "db", Deep, Unhealthy),
        report(1, "signup", Comprehensive, Unhealthy),
        report(2, "db", Deep, Unhealthy),
    ];
    let found = feed(&mut target, &reports).await;
    assert_eq!(raised(&found), [(0, "db", false), (1, "signup", true)]);
    assert_eq!(found[1].severity_hint, Some(Severity::Sev1));
    // What was raised already is raised once more when it asks for people.
    let mut single = detector(HealthStateDetectorConfig::default());
    let states = [Unhealthy, Unhealthy, Critical, Critical];
    let reports: Vec<_> = (0..)
        .zip(states)
        .map(|(i, state)| report(i * 10, "disk", Deep, state))
        .collect();
    let found = feed(&mut single, &reports).await;
    assert_eq!(raised(&found), [(0, "disk", false), (20, "disk", true)]);
    assert_ne!(found[0].fingerprint(), found[1].fingerprint());
}

#[tokio::test]
async fn a_shallow_check_that_nobody_can_look_behind_is_believed_when_it_lasts() {
    let failing: Vec<_> = (0..4).map(|i| shallow(i * 10, "http", Unhealthy)).collect();
    let mut alone = detector(HealthStateDetectorConfig::default());
    let found = feed(&mut alone, &failing).await;
    assert_eq!(raised(&found), [(10, "http", false)]);
    let never = HealthStateDetectorConfig {
        n_alone: 0,
        ..HealthStateDetectorConfig::default()
    };
    assert_eq!(feed(&mut detector(never), &failing).await, []);
    // One good report between two bad ones is no row.
    let flapping: Vec<_> = (0..9)
        .map(|i| shallow(i * 10, "http", if i % 2 == 0 { Unhealthy } else { Healthy }))
        .collect();
    let mut alone = detector(HealthStateDetectorConfig::default());
    assert_eq!(feed(&mut alone, &flapping).await, []);
}

#[tokio::test]
async fn an_episode_ends_with_several_good_reports_and_can_be_raised_again_before() {
    let states = [
        Unhealthy, Healthy, Unhealthy, Healthy, Healthy, Unhealthy, Unhealthy, Unhealthy,
    ];
    let reports: Vec<_> = (0..)
        .zip(states)
        .map(|(i, state)| report(i * 10, "db", Deep, state))
        .collect();
    let mut once = detector(HealthStateDetectorConfig::default());
    let times = |found: Vec<Anomaly>| -> Vec<i64> {
        raised(&found).into_iter().map(|(at, ..)| at).collect()
    };
    assert_eq!(times(feed(&mut once, &reports).await), [0, 50]);
    let again = HealthStateDetectorConfig {
        reraise: Some(Duration::from_secs(20)),
        ..HealthStateDetectorConfig::default()
    };
    let mut again = detector(again);
    assert_eq!(times(feed(&mut again, &reports).await), [0, 20, 50, 70]);
}

#[tokio::test]
async fn a_failure_that_is_too_old_is_no_failure_any_more() {
    let mut detector = detector(HealthStateDetectorConfig::default());
    let reports = [
        shallow(0, "a", Unhealthy),
        shallow(1, "b", Unhealthy),
        // The first one said nothing for more than three intervals.
        shallow(31, "c", Unhealthy),
    ];
    assert_eq!(feed(&mut detector, &reports).await, []);
    let found = feed(&mut detector, &[shallow(31, "d", Unhealthy)]).await;
    let names: Vec<_> = raised(&found)
        .into_iter()
        .map(|(_, name, _)| name)
        .collect();
    assert_eq!(names, ["b", "c", "d"]);
}

#[tokio::test]
async fn degraded_is_an_anomaly_where_the_configuration_says_so() {
    let mut detector = detector(HealthStateDetectorConfig {
        raise: Degraded,
        ..HealthStateDetectorConfig::default()
    });
    let reports = [
        shallow(0, "slow", Degraded),
        shallow(1, "down", Unhealthy),
        shallow(2, "fine", Healthy),
    ];
    let found = feed(&mut detector, &reports).await;
    assert_eq!(raised(&found), [(0, "slow", false), (1, "down", false)]);
}

#[tokio::test]
async fn late_reports_and_those_of_the_future_and_of_too_many_checks_are_ignored() {
    let mut detector = detector(HealthStateDetectorConfig {
        max_checks: 2,
        ..HealthStateDetectorConfig::default()
    });
    let reports = [
        report(100, "a", Deep, Healthy),
        report(90, "a", Deep, Unhealthy),
        report(9_000_000, "a", Deep, Unhealthy),
        report(100, "b", Deep, Healthy),
        report(100, "c", Deep, Unhealthy),
    ];
    assert_eq!(feed(&mut detector, &reports).await, []);
    assert_eq!(detector.n_refused(), 1);
}

#[tokio::test]
async fn a_healthy_report_from_the_future_hides_no_failure() {
    let mut detector = detector(HealthStateDetectorConfig::default());
    let ahead = report(100_000 + 3540, "db", Deep, Healthy);
    assert_eq!(feed(&mut detector, &[ahead]).await, []);
    let catalog = SeriesCatalog::default();
    let cx = Context::new(Arc::new(ManualClock::new(at(100_060))), 1);
    let failing = [report(100_060, "db", Deep, Unhealthy)];
    let batch = SignalBatch::empty(&catalog).with_health(&failing);
    let found = detector.detect(&cx, batch).await.unwrap();
    assert_eq!(raised(&found), [(100_060, "db", false)]);
}

#[tokio::test]
async fn an_anomaly_that_lasts_is_raised_every_minute_by_default() {
    let mut detector = detector(HealthStateDetectorConfig::default());
    let reports: Vec<_> = (0..=4)
        .map(|i| report(i * 30, "db", Deep, Unhealthy))
        .collect();
    let found = feed(&mut detector, &reports).await;
    let expected = [0, 60, 120].map(|at| (at, "db", false));
    assert_eq!(raised(&found), expected);
}

#[test]
fn every_violation_is_told_at_once() {
    let config: HealthStateDetectorConfig = serde_json::from_str(
        r#"{"matrix":{"deep_unhealthy":0},"n_recover":0,"stale_intervals":0,"raise":"healthy",
            "reraise":"0s","max_checks":0}"#,
    )
    .unwrap();
    let error = HealthStateDetector::new(" ", config)
        .unwrap_err()
        .to_string();
    for told in [
        "health.name = \" \"",
        "health.matrix.deep_unhealthy = 0",
        "health.n_recover = 0, expected at least 1",
        "health.stale_intervals = 0",
        "health.raise = healthy, expected degraded, unhealthy or critical",
        "health.reraise = 0s",
        "health.max_checks = 0",
    ] {
        assert!(error.contains(told), "{told}: {error}");
    }
}
