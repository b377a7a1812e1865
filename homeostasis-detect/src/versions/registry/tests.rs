use super::*;
use crate::versions::{Feedback, OffPeak};
use crate::{Alerting, AlertingConfig, Ewma, EwmaConfig, PerSeries, Selector};
use homeostasis_core::signal::{Sample, SeriesCatalog, SeriesKey};
use homeostasis_core::{ManualClock, Ratio, Rng, Target};
use std::sync::Arc;
use std::time::Duration;

use ModelEventKind::{Kept, Promoted, Recommended, Refused, Rejected, RolledBack, Trained};

const HOUR: Duration = Duration::from_secs(3600);

fn watch(k: f64) -> PerSeries<Ewma> {
    let ewma = Ewma::new(EwmaConfig {
        k,
        ..EwmaConfig::default()
    })
    .unwrap();
    let alerting = AlertingConfig {
        sustain_samples: 1,
        ..AlertingConfig::default()
    };
    PerSeries::new("cpu", Selector::all(), move |_| ewma.clone())
        .unwrap()
        .with_alerting(Alerting::new(alerting).unwrap())
}

fn config() -> ModelVersionsConfig {
    ModelVersionsConfig {
        rule: PromotionRule {
            train_for: HOUR,
            evaluate_for: HOUR,
            min_alarms: 1,
            ..PromotionRule::default()
        },
        ..ModelVersionsConfig::default()
    }
}

/// One sample a minute, with an outlier each 50 minutes, from noon on.
struct World {
    clock: Arc<ManualClock>,
    catalog: SeriesCatalog,
    rng: Rng,
    minute: u64,
    /// In place of what is usual.
    forced: Option<f64>,
    metric: &'static str,
}

impl World {
    fn new() -> Self {
        Self {
            clock: Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap())),
            catalog: SeriesCatalog::default(),
            rng: Rng::from_seed(41),
            minute: 0,
            forced: None,
            metric: "cpu",
        }
    }

    fn now(&self) -> Timestamp {
        homeostasis_core::Clock::now(&*self.clock)
    }

    async fn run(&mut self, detectors: &mut [&mut dyn Detector], minutes: u64) -> usize {
        let key = SeriesKey::new(self.metric).with("service", "orders");
        let series = self.catalog.intern(&key);
        let mut n_found = 0;
        for _ in 0..minutes {
            self.minute += 1;
            self.clock.advance(Duration::from_secs(60));
            let value = if let Some(forced) = self.forced {
                forced
            } else if self.minute.is_multiple_of(50) {
                5.0
            } else {
                self.rng.unit()
            };
            let samples = [Sample {
                series,
                at: self.now(),
                value,
            }];
            let cx = Context::new(
                Arc::clone(&self.clock) as Arc<dyn homeostasis_core::Clock>,
                1,
            );
            let batch = SignalBatch::empty(&self.catalog).with_samples(&samples);
            let mut first: Option<Vec<Anomaly>> = None;
            for detector in &mut *detectors {
                let found = detector.detect(&cx, batch).await.unwrap();
                assert_eq!(*first.get_or_insert_with(|| found.clone()), found);
            }
            n_found += first.map_or(0, |found| found.len());
        }
        n_found
    }
}

fn kinds(handle: &ModelVersionsHandle) -> Vec<(u64, ModelEventKind, String)> {
    let event = |event: &ModelEvent| (event.version, event.kind, event.by.clone());
    handle.status().events.iter().map(event).collect()
}

#[tokio::test]
async fn a_candidate_is_trained_at_night_compared_and_takes_over() {
    let mut world = World::new();
    let mut versions = ModelVersions::new(config(), || watch(3.0)).unwrap();
    let handle = versions.handle();
    // Until half past one of the second night: a day must have passed since the beginning.
    world.run(&mut [&mut versions], 60 * 37 + 30).await;
    assert_eq!(kinds(&handle), []);
    world.run(&mut [&mut versions], 60).await;
    assert_eq!(kinds(&handle), [(2, Trained, "schedule".to_owned())]);
    let status = handle.status();
    let trained: Timestamp = "2026-03-03T02:00:00Z".parse().unwrap();
    assert_eq!(status.candidate.unwrap().created, trained);
    assert_eq!((status.serving.unwrap().id, status.compared), (1, None));
    let n_found = world.run(&mut [&mut versions], 60).await;
    assert!(n_found > 0, "the model that serves is heard");
    assert!(handle.status().compared.is_some());
    world.run(&mut [&mut versions], 60).await;
    let status = handle.status();
    assert_eq!(status.events.last().unwrap().kind, Promoted, "{status:?}");
    assert_eq!((status.serving.unwrap().id, status.kept.len()), (2, 1));
    assert!(status.candidate.is_none());
}

#[tokio::test]
async fn a_deaf_candidate_is_rejected_and_a_host_may_go_back_and_forth() {
    let mut world = World::new();
    let mut versions = ModelVersions::new(config(), || watch(3.0))
        .unwrap()
        .with_trainer(|_| Ok(watch(1e6)));
    let handle = versions.handle();
    world.run(&mut [&mut versions], 600).await;
    handle.retrain("ann", "try another limit");
    world.run(&mut [&mut versions], 10 * 60).await;
    let events = handle.status().events;
    assert_eq!(events.last().unwrap().kind, Rejected, "{events:?}");
    assert!(
        events.last().unwrap().reason.contains("raised 0 of the"),
        "{events:?}"
    );

    // It takes over all the same, and is sent back.
    handle.retrain("ann", "again");
    world.run(&mut [&mut versions], 1).await;
    handle.promote("ann", "it is right");
    assert_eq!(world.run(&mut [&mut versions], 100).await, 0, "it is deaf");
    let serving = versions.serving.snapshot();
    handle.roll_back(7, "bob", "no such version");
    handle.roll_back(1, "bob", "it hears nothing");
    assert!(world.run(&mut [&mut versions], 100).await >= 2);
    let status = handle.status();
    assert_eq!(status.serving.as_ref().unwrap().id, 1);
    assert_eq!(
        status
            .kept
            .iter()
            .map(|version| version.id)
            .collect::<Vec<_>>(),
        [3]
    );
    let (_, kept) = versions.kept.back().unwrap();
    // What it had learned before it was sent back.
    assert_eq!(kept.as_slice(), [serving.unwrap()]);
    let last: Vec<_> = kinds(&handle).into_iter().rev().take(2).collect();
    assert_eq!(
        last,
        [
            (1, RolledBack, "bob".to_owned()),
            (7, Refused, "bob".to_owned())
        ]
    );
    assert!(
        status
            .events
            .iter()
            .any(|event| event.reason.contains("expected one of [1]"))
    );
}

#[tokio::test]
async fn a_candidate_that_panics_or_fails_disturbs_nobody() {
    #[derive(Debug)]
    struct Broken(&'static str);
    #[async_trait]
    impl Detector for Broken {
        fn name(&self) -> &str {
            "cpu"
        }
        async fn detect(
            &mut self,
            _: &Context,
            _: SignalBatch<'_>,
        ) -> Result<Vec<Anomaly>, DetectError> {
            assert_ne!(self.0, "panics");
            if self.0 == "fails" {
                return Err(DetectError::invalid("model", "a model"));
            }
            Ok(Vec::new())
        }
        fn snapshot(&self) -> Option<ModelSnapshot> {
            Some(ModelSnapshot {
                detector: "cpu".to_owned(),
                version: 1,
                state: Value::Null,
            })
        }
        fn restore(&mut self, _: &ModelSnapshot) -> Result<(), DetectError> {
            Ok(())
        }
    }
    let mut faults = vec!["fails", "panics"];
    let mut world = World::new();
    let mut versions = ModelVersions::new(config(), || Broken("none"))
        .unwrap()
        .with_trainer(move |_| Ok(Broken(faults.pop().unwrap_or("none"))));
    let handle = versions.handle();
    for expected in ["it panicked", "it failed: "] {
        handle.retrain("ann", "a test");
        world.run(&mut [&mut versions], 1).await;
        let event = handle.status().events.last().cloned().unwrap();
        assert!(
            event.kind == Rejected && event.reason.starts_with(expected),
            "{event:?}"
        );
        assert_eq!(handle.status().serving.unwrap().id, 1);
    }
}

#[tokio::test]
async fn what_is_still_on_is_told_when_another_model_begins_to_serve() {
    let mut world = World::new();
    let mut versions = ModelVersions::new(config(), || watch(3.0))
        .unwrap()
        .with_trainer(|_| Ok(watch(3.0)));
    let handle = versions.handle();
    world.run(&mut [&mut versions], 130).await;
    handle.retrain("ann", "a test");
    world.run(&mut [&mut versions], 55).await;
    for (value, promotes) in [(1e3, true), (1e6, false)] {
        world.forced = Some(value);
        assert_eq!(world.run(&mut [&mut versions], 1).await, 1);
        assert_eq!(
            world.run(&mut [&mut versions], 1).await,
            0,
            "it was told already"
        );
        if promotes {
            handle.promote("ann", "a test");
        } else {
            handle.roll_back(1, "ann", "a test");
        }
        world.forced = Some(value * 100.0);
        assert_eq!(world.run(&mut [&mut versions], 1).await, 1);
        world.forced = None;
        world.run(&mut [&mut versions], 40).await;
    }
}

#[tokio::test]
async fn a_trained_model_that_could_not_be_restored_is_refused() {
    let make = |window| {
        let kernel = crate::MovingAverage::new(crate::MovingAverageConfig {
            window,
            ..crate::MovingAverageConfig::default()
        })
        .unwrap();
        PerSeries::new("cpu", Selector::all(), move |_| kernel.clone()).unwrap()
    };
    let mut world = World::new();
    let catalog = world.catalog.clone();
    let series = catalog.intern(&SeriesKey::new("cpu").with("service", "orders"));
    let samples: Vec<Sample> = (0..60)
        .map(|i| Sample {
            series,
            at: Timestamp::from_secs(i),
            value: 0.0,
        })
        .collect();
    let cx = Context::new(
        Arc::clone(&world.clock) as Arc<dyn homeostasis_core::Clock>,
        1,
    );
    let mut wide = make(50);
    let batch = SignalBatch::empty(&catalog).with_samples(&samples);
    wide.detect(&cx, batch).await.unwrap();
    let snapshot = wide.snapshot().unwrap();
    let mut versions = ModelVersions::new(config(), move || make(40))
        .unwrap()
        .with_trainer(move |_| {
            let mut trained = make(50);
            trained.restore(&snapshot)?;
            Ok(trained)
        });
    let handle = versions.handle();
    handle.retrain("ann", "a test");
    world.run(&mut [&mut versions], 1).await;
    let event = handle.status().events.last().cloned().unwrap();
    assert_eq!(event.kind, Refused, "{event:?}");
    assert!(handle.status().candidate.is_none());
}

#[derive(Debug)]
struct Slow(Arc<ManualClock>, Duration);

#[async_trait]
impl Detector for Slow {
    fn name(&self) -> &str {
        "cpu"
    }
    async fn detect(
        &mut self,
        _: &Context,
        _: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        self.0.advance(self.1);
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_candidate_that_never_yields_is_given_up_once_it_was_too_slow() {
    let world = World::new();
    let catalog = SeriesCatalog::default();
    for (took, is_slow) in [(400, false), (600, true), (2000, true)] {
        let clock = Arc::clone(&world.clock);
        let cx = Context::new(Arc::clone(&clock) as Arc<dyn homeostasis_core::Clock>, 1)
            .within(Duration::from_secs(1));
        let mut slow = Slow(clock, Duration::from_millis(took));
        let answer = ask(&mut slow, &cx, SignalBatch::empty(&catalog)).await;
        assert_eq!(answer.is_err(), is_slow, "{took} ms: {answer:?}");
    }
}

#[tokio::test]
async fn a_rule_that_only_recommends_waits_for_people_and_labels_are_heard() {
    let mut world = World::new();
    let config = ModelVersionsConfig {
        rule: PromotionRule {
            promotes: false,
            ..config().rule
        },
        ..config()
    };
    let mut versions = ModelVersions::new(config, || watch(3.0)).unwrap();
    let handle = versions.handle();
    handle.keep("ann", "before the sale");
    handle.retrain("ann", "a test");
    world.run(&mut [&mut versions], 100).await;
    let target = Target::service("orders").unwrap();
    let from = world.now();
    handle.learn(Feedback {
        target,
        from,
        to: from + HOUR,
        was_incident: true,
    });
    world.run(&mut [&mut versions], 300).await;
    let events = kinds(&handle);
    assert_eq!(
        events.iter().map(|event| event.1).collect::<Vec<_>>(),
        [Kept, Trained, Recommended]
    );
    let status = handle.status();
    assert!(
        status
            .events
            .last()
            .unwrap()
            .reason
            .contains("found 1 of 1 known incidents"),
        "{status:?}"
    );
    assert_eq!(status.compared.unwrap().agreement, Ratio::ONE);
    handle.promote("ann", "as the rule says");
    world.run(&mut [&mut versions], 1).await;
    assert_eq!(handle.status().serving.unwrap().id, 3);
}

#[tokio::test]
async fn a_snapshot_takes_versions_candidate_and_comparison_along() {
    for minutes in [1, 630, 700] {
        let (mut world, make) = (World::new(), || {
            ModelVersions::new(config(), || watch(3.0)).unwrap()
        });
        let mut versions = make();
        let handle = versions.handle();
        world.run(&mut [&mut versions], 600).await;
        handle.retrain("ann", "a test");
        handle.keep("ann", "to have one");
        world.run(&mut [&mut versions], minutes).await;
        let text = serde_json::to_string(&versions.snapshot().unwrap()).unwrap();
        let mut restored = make();
        restored
            .restore(&serde_json::from_str(&text).unwrap())
            .unwrap();
        let mut pieced = make();
        let (mut from, mut n_left) = (None, Vec::new());
        loop {
            let part = versions.snapshot_part(from.as_ref(), 1).unwrap();
            pieced.restore_part(&part.snapshot).unwrap();
            let Some(rest) = part.rest else { break };
            from = Some(rest.from);
            n_left.push(rest.n_left);
        }
        assert!(
            n_left.len() >= 3 && n_left.is_sorted_by(|a, b| a >= b),
            "{n_left:?}"
        );
        assert_eq!(pieced.handle().status(), handle.status());
        assert_eq!(restored.handle().status(), handle.status());
        world
            .run(&mut [&mut versions, &mut restored, &mut pieced], 2000)
            .await;
        for restored in [restored, pieced] {
            assert_eq!(
                restored.snapshot(),
                versions.snapshot(),
                "after {minutes} minutes"
            );
            assert_eq!(restored.handle().status(), handle.status());
        }
    }
}

#[tokio::test]
async fn any_prefix_of_its_parts_is_a_state_that_could_have_been() {
    let make = || ModelVersions::new(config(), || watch(3.0)).unwrap();
    let (mut world, mut versions) = (World::new(), make());
    world.run(&mut [&mut versions], 600).await;
    // Of two series, so that each model has two parts.
    world.metric = "memory";
    world.run(&mut [&mut versions], 10).await;
    let handle = versions.handle();
    handle.retrain("ann", "a test");
    handle.keep("ann", "to have one");
    world.run(&mut [&mut versions], 5).await;
    world.metric = "cpu";
    world.run(&mut [&mut versions], 5).await;
    let (mut parts, mut from) = (Vec::new(), None);
    loop {
        let part = versions.snapshot_part(from.as_ref(), 1).unwrap();
        parts.push(part.snapshot);
        let Some(rest) = part.rest else { break };
        from = Some(rest.from);
    }
    // What is known, two of what serves, two of the candidate, a kept one.
    assert_eq!(parts.len(), 6);
    let fresh = make().snapshot();
    for n in 0..=parts.len() {
        let mut pieced = make();
        for part in &parts[..n] {
            pieced.restore_part(part).unwrap();
        }
        let status = pieced.handle().status();
        assert_eq!(status.serving.is_some(), n >= 3, "{n} parts");
        assert_eq!(status.events.is_empty(), n < 3, "{n} parts");
        assert_eq!(status.candidate.is_some(), n >= 5, "{n} parts");
        assert_eq!(status.kept.len(), usize::from(n == 6), "{n} parts");
        let Some(next) = parts.get(n).filter(|_| (1..5).contains(&n)) else {
            continue;
        };
        // A model that does not fit, and one whose parts before it are missing.
        let mut wrong = next.clone();
        for piece in ["serving", "candidate"] {
            if let Some(piece) = wrong.state.get_mut(piece) {
                piece["model"]["version"] = 0.into();
            }
        }
        pieced.restore_part(&wrong).unwrap_err();
        assert_eq!(pieced.snapshot(), fresh, "{n} parts");
        assert!(pieced.handle().status().serving.is_none());
        pieced.restore_part(next).unwrap_err();
        assert_eq!(pieced.snapshot(), fresh, "{n} parts");
    }
}

#[tokio::test]
async fn a_kept_model_is_stored_in_parts_and_serves_again() {
    let make = || ModelVersions::new(config(), || watch(3.0)).unwrap();
    let (mut world, mut versions) = (World::new(), make());
    for i in 0..300 {
        world.metric = Box::leak(format!("metric {i}").into_boxed_str());
        world.run(&mut [&mut versions], 1).await;
    }
    versions.handle().keep("ann", "to have one");
    world.run(&mut [&mut versions], 1).await;
    let (mut pieced, mut from, mut n_kept) = (make(), None, 0);
    let mut before = pieced.handle().status().kept;
    loop {
        let part = versions.snapshot_part(from.as_ref(), 1 << 30).unwrap();
        n_kept += u32::from(part.snapshot.state.get("kept").is_some());
        pieced.restore_part(&part.snapshot).unwrap();
        let Some(rest) = part.rest else { break };
        // One of which parts are missing is not kept.
        before = pieced.handle().status().kept;
        from = Some(rest.from);
    }
    assert_eq!((n_kept, before.len()), (2, 0));
    assert_eq!(pieced.snapshot(), versions.snapshot());
    let kept = pieced.handle().status().kept[0].id;
    pieced.handle().roll_back(kept, "ann", "a test");
    world.run(&mut [&mut pieced], 1).await;
    assert_eq!(pieced.handle().status().serving.unwrap().id, kept);
    assert_eq!(pieced.serving.n_series(), 300);
}

#[tokio::test]
async fn parts_of_two_stories_are_not_mixed() {
    let (mut world, mut versions) = (
        World::new(),
        ModelVersions::new(config(), || watch(3.0)).unwrap(),
    );
    world.run(&mut [&mut versions], 10).await;
    let rest = versions.snapshot_part(None, 1).unwrap().rest.unwrap();
    assert!(versions.snapshot_part(Some(&rest.from), 1).is_some());
    versions.handle().keep("ann", "to have one");
    world.run(&mut [&mut versions], 1).await;
    assert!(versions.snapshot_part(Some(&rest.from), 1).is_none());
    // A whole is no part, and no part is a whole.
    let part = versions.snapshot_part(None, 1).unwrap().snapshot;
    let whole = versions.snapshot().unwrap();
    assert!(versions.restore(&part).is_err() && versions.restore_part(&whole).is_err());
}

#[test]
fn what_is_out_of_range_or_cannot_be_stored_is_refused() {
    let config = ModelVersionsConfig {
        retrain: Some(RetrainSchedule {
            every: Duration::ZERO,
            off_peak: OffPeak {
                from: 25 * HOUR,
                to: HOUR,
                utc_offset_minutes: 900,
            },
        }),
        rule: PromotionRule {
            evaluate_for: Duration::ZERO,
            match_within: Duration::ZERO,
            max_alarm_ratio: f64::NAN,
            ..PromotionRule::default()
        },
        max_kept: 0,
    };
    let error = ModelVersions::new(config, || watch(3.0)).unwrap_err();
    assert_eq!(error.violations().len(), 7, "{error}");
}
