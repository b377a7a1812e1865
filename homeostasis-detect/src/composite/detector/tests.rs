use super::*;
use homeostasis_core::ManualClock;
use homeostasis_core::record::Severity;
use homeostasis_core::signal::{HealthReport, HealthState, SeriesCatalog};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use DetectorFamily::{Ml, Pattern, Statistical};

/// Says of each health report what its detail says, as a score; `fail`, `panic` and `hang` make it do that.
#[derive(Debug, Clone, Default)]
struct Repeat {
    name: String,
}

#[async_trait]
impl Detector for Repeat {
    fn name(&self) -> &str {
        &self.name
    }

    fn interest(&self) -> Interest {
        Interest::health()
    }

    async fn detect(
        &mut self,
        _: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let mut found = Vec::new();
        for report in batch
            .health
            .iter()
            .filter(|report| report.check == self.name)
        {
            assert_ne!(report.detail, "panic");
            if report.detail == "hang" {
                std::future::pending::<()>().await;
            }
            if report.detail == "fail" {
                return Err(DetectError::invalid("model", "a model"));
            }
            let subject = Subject::Health(report.check.clone());
            let mut anomaly = Anomaly::new(&self.name, report.target.clone(), subject, report.at)
                .saying("it is odd");
            anomaly.score = Score::saturating(report.detail.parse().unwrap());
            anomaly.series = vec![(report.at, 1.0)];
            found.push(anomaly);
        }
        Ok(found)
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: 1,
            state: serde_json::Value::Null,
        })
    }

    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        state::open(&self.name, 1, snapshot)
    }
}

fn composite() -> Composite {
    let member = |name: &str| Repeat {
        name: name.to_owned(),
    };
    Composite::new("composite", CompositeConfig::default())
        .unwrap()
        .with(Statistical, member("iqr"))
        .with(Ml, member("forest"))
        .with(Pattern, member("season"))
}

/// What `watch` says at `secs` when its members say this of `orders`.
async fn show(watch: &mut Composite, secs: i64, said: &[(&str, &str)]) -> Vec<Anomaly> {
    show_of("orders", watch, secs, said).await
}

async fn show_of(
    target: &str,
    watch: &mut Composite,
    secs: i64,
    said: &[(&str, &str)],
) -> Vec<Anomaly> {
    let at = Timestamp::from_secs(secs);
    let target: Target = target.parse().unwrap();
    let report = |(member, detail): &(&str, &str)| {
        let mut report = HealthReport::new(at, target.clone(), *member, HealthState::Unhealthy);
        report.detail = (*detail).to_owned();
        report
    };
    let reports: Vec<_> = said.iter().map(report).collect();
    let catalog = SeriesCatalog::default();
    let clock = Arc::new(ManualClock::new(at));
    let cx = Context::new(Arc::<ManualClock>::clone(&clock), 1);
    let cx = cx.within(Duration::from_secs(1));
    let batch = SignalBatch::empty(&catalog).with_health(&reports);
    let mut asked = watch.detect(&cx, batch);
    // Who hangs is waited for until three quarters of the second have passed.
    if let Poll::Ready(answer) = poll_fn(|task| Poll::Ready(asked.as_mut().poll(task))).await {
        return answer.unwrap();
    }
    clock.advance(Duration::from_millis(750));
    asked.await.unwrap()
}

#[tokio::test]
async fn evidence_of_several_families_reaches_the_limit_that_one_alone_does_not() {
    let mut watch = composite();
    assert!(show(&mut watch, 0, &[("iqr", "0.9")]).await.is_empty());
    assert!(show(&mut watch, 10, &[("season", "0.8")]).await.is_empty());
    let found = show(&mut watch, 20, &[("forest", "0.9")]).await;
    assert_eq!(found.len(), 1);
    let anomaly = &found[0];
    // 0.3, 0.4 and 0.2 of 0.9.
    let expected = (0.3 * 0.9 + 0.4 * 0.9 + 0.2 * 0.8) / 0.9;
    assert!((anomaly.score.get() - expected).abs() < 1e-12);
    assert_eq!(anomaly.severity_hint, Some(Severity::Sev2));
    assert_eq!(anomaly.since, Timestamp::EPOCH);
    assert_eq!(anomaly.top_feature(), "ml: health check forest of forest");
    assert_eq!(anomaly.contributions.len(), 3);
    assert_eq!((anomaly.violation(), anomaly.series.len()), (None, 1));
    let text = &anomaly.explanation;
    assert!(text.starts_with("composite score of orders is 0.88 (high) = 33 % of statistical 0.90 + 44 % of ml 0.90 + 22 % of pattern 0.80, expected at most 0.5, since 1970"), "{text}");
    assert!(
        text.contains(": forest (ml): it is odd; iqr (statistical): it is odd"),
        "{text}"
    );
}

#[tokio::test]
async fn it_is_raised_once_when_it_rises_and_again_after_a_while_and_old_evidence_counts_no_more() {
    let mut watch = composite();
    let all = |score| [("iqr", score), ("forest", score), ("season", score)];
    assert_eq!(show(&mut watch, 0, &all("0.6")).await.len(), 1);
    assert_eq!(show(&mut watch, 10, &all("0.6")).await.len(), 0);
    assert_eq!(show(&mut watch, 20, &all("0.95")).await.len(), 1, "it rose");
    assert_eq!(show(&mut watch, 50, &all("0.95")).await.len(), 0);
    assert_eq!(
        show(&mut watch, 80, &all("0.95")).await.len(),
        1,
        "a minute passed"
    );
    // Six minutes later only one of them says something.
    assert!(show(&mut watch, 440, &[("iqr", "0.95")]).await.is_empty());
    assert_eq!(show(&mut watch, 450, &all("0.95")).await.len(), 1);
}

#[tokio::test]
async fn an_episode_ends_without_a_word_and_the_next_one_is_raised() {
    let config = CompositeConfig {
        reraise: None,
        ..CompositeConfig::default()
    };
    let mut watch = Composite {
        config,
        ..composite()
    };
    let all = [("iqr", "0.9"), ("forest", "0.9"), ("season", "0.9")];
    assert_eq!(show(&mut watch, 0, &all).await.len(), 1);
    assert_eq!(show(&mut watch, 290, &[]).await.len(), 0);
    assert_eq!(show(&mut watch, 299, &all).await.len(), 0, "it lasts");
    // Nobody says anything any more, and then all do again.
    assert_eq!(show(&mut watch, 700, &[]).await.len(), 0);
    assert_eq!(show(&mut watch, 1000, &all).await.len(), 1);
    // A long silence without a call is an end too.
    assert_eq!(show(&mut watch, 5000, &all).await.len(), 1);
}

#[tokio::test]
async fn what_is_found_for_a_service_counts_for_its_instances_and_not_the_other_way_around() {
    let mut watch = composite();
    let (one, other) = ([("iqr", "0.9"), ("season", "0.9")], [("forest", "0.9")]);
    assert!(show_of("orders", &mut watch, 0, &other).await.is_empty());
    let found = show_of("orders/0", &mut watch, 10, &one).await;
    assert!((found[0].score.get() - 0.9).abs() < 1e-12, "{found:?}");
    assert_eq!(found[0].contributions.len(), 3);
    assert!(show_of("orders", &mut watch, 20, &other).await.is_empty());
    assert!(
        show_of("payment/0", &mut watch, 30, &other)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_member_that_fails_has_no_say_and_if_all_do_the_composite_fails() {
    let mut watch = composite();
    let said = [("iqr", "0.8"), ("forest", "fail"), ("season", "0.8")];
    let found = show(&mut watch, 0, &said).await;
    assert!((found[0].score.get() - 0.8).abs() < 1e-12, "{found:?}");
    // It answers again and finds nothing: now that counts.
    let target = Target::service("orders").unwrap();
    assert!(
        show(&mut watch, 70, &[("iqr", "0.8"), ("season", "0.8")])
            .await
            .is_empty()
    );
    let score = watch.score(&target, Timestamp::from_secs(70)).unwrap();
    assert!((score.score.get() - 0.8 * 0.5 / 0.9).abs() < 1e-12);

    let mut alone = Composite::new("alone", CompositeConfig::default())
        .unwrap()
        .with(
            Ml,
            Repeat {
                name: "forest".to_owned(),
            },
        );
    let mut report = HealthReport::new(Timestamp::EPOCH, target, "forest", HealthState::Unhealthy);
    report.detail = "fail".to_owned();
    let (catalog, reports) = (SeriesCatalog::default(), [report]);
    let cx = Context::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 1);
    let batch = SignalBatch::empty(&catalog).with_health(&reports);
    assert!(alone.detect(&cx, batch).await.is_err());
}

#[tokio::test]
async fn a_member_that_panics_or_hangs_takes_nobody_with_it() {
    for fault in ["panic", "hang"] {
        let mut watch = composite();
        let said = [("iqr", fault), ("forest", "0.8"), ("season", "0.8")];
        let found = show(&mut watch, 0, &said).await;
        assert_eq!(found.len(), 1, "{fault}");
        assert!((found[0].score.get() - 0.8).abs() < 1e-12, "{found:?}");
    }
}

#[tokio::test]
async fn what_was_found_before_a_call_is_dropped_is_judged_in_the_next() {
    let mut watch = composite();
    let at = Timestamp::EPOCH;
    let target = Target::service("orders").unwrap();
    let said = [("iqr", "0.8"), ("season", "0.8"), ("forest", "hang")];
    let reports = said.map(|(member, detail)| {
        let mut report = HealthReport::new(at, target.clone(), member, HealthState::Unhealthy);
        report.detail = detail.to_owned();
        report
    });
    let catalog = SeriesCatalog::default();
    let cx = Context::new(Arc::new(ManualClock::new(at)), 1);
    {
        let mut asked = watch.detect(&cx, SignalBatch::empty(&catalog).with_health(&reports));
        let polled = poll_fn(|task| Poll::Ready(asked.as_mut().poll(task))).await;
        assert!(polled.is_pending());
    }
    assert_eq!(show(&mut watch, 10, &[("forest", "0.9")]).await.len(), 1);
}

#[tokio::test]
async fn a_snapshot_that_one_member_refuses_changes_nothing() {
    let mut watch = composite();
    show(&mut watch, 0, &[("iqr", "0.9")]).await;
    let snapshot = watch.snapshot().unwrap();
    let mut other = composite();
    other.restore(&snapshot).unwrap();
    assert_eq!(other.snapshot().unwrap(), snapshot);
    let mut broken = snapshot;
    broken.state["members"][1]["version"] = serde_json::Value::from(7);
    broken.state["targets"] = serde_json::Value::Array(Vec::new());
    assert!(other.restore(&broken).is_err());
    assert_eq!(other.targets.len(), 1);
}

#[test]
fn every_field_out_of_range_is_named() {
    let config = CompositeConfig {
        weights: CompositeWeightsConfig {
            ml: f64::NAN,
            ..CompositeWeightsConfig::default()
        },
        window: Duration::ZERO,
        reraise: Some(Duration::ZERO),
        max_targets: 0,
        ..CompositeConfig::default()
    };
    let error = Composite::new(" ", config).unwrap_err().to_string();
    for field in ["name", "ml", "window", "reraise", "max_targets"] {
        assert!(
            error.contains(&format!("composite.{field} = ")),
            "{field}: {error}"
        );
    }
}
