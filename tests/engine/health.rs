//! From checks in tiers to what the engine does: ask deeper, heal, call people.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use homeostasis::core::Mode;
use homeostasis::core::port::{MemoryApprovals, MemoryStore, Store};
use homeostasis::core::record::{EventKind, Resolution, Severity};
use homeostasis::core::signal::{HealthState, HealthTier};
use homeostasis::detect::{HealthStateDetector, HealthStateDetectorConfig};
use homeostasis::signals::{FnProbe, HealthStatus, Measurement, Reading};
use homeostasis::{Builder, Homeostasis};

use crate::world::{World, is, names, pass, service, until};

/// A check of service `a` that fails while `organ` is ill, and how often it was asked.
fn check(world: &Arc<World>, tier: HealthTier, organ: &'static str) -> (FnProbe, Arc<AtomicU32>) {
    let (world, asked) = (Arc::clone(world), Arc::new(AtomicU32::new(0)));
    let counter = Arc::clone(&asked);
    let probe = FnProbe::of_state(tier.to_string(), service("a"), move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        let state = if world.is_ill(organ) {
            HealthState::Unhealthy
        } else {
            HealthState::Healthy
        };
        async move { (state, format!("asked about {organ}")) }
    });
    (probe.in_tier(tier), asked)
}

/// A healer with one check of each tier: of `door`, of `a` itself, and of `whole`.
fn healer(world: &Arc<World>) -> (Builder, [Arc<AtomicU32>; 3]) {
    let config = HealthStateDetectorConfig {
        reraise: Some(Duration::from_secs(10)),
        ..HealthStateDetectorConfig::default()
    };
    let (shallow, n_shallow) = check(world, HealthTier::Shallow, "door");
    let (deep, n_deep) = check(world, HealthTier::Deep, "a");
    let (comprehensive, n_comprehensive) = check(world, HealthTier::Comprehensive, "whole");
    let builder = world
        .healer()
        .detector(HealthStateDetector::new("health", config).unwrap())
        .probe(shallow)
        .probe(deep)
        .probe(comprehensive);
    (builder, [n_shallow, n_deep, n_comprehensive])
}

async fn start(builder: Builder) -> Homeostasis {
    let healer = builder.start().await.unwrap();
    pass(&healer, 5).await;
    healer
}

#[tokio::test(start_paused = true)]
async fn a_failing_shallow_check_asks_the_deep_one_and_opens_nothing() {
    let world = Arc::new(World::default());
    let (builder, [n_shallow, n_deep, _]) = healer(&world);
    let healer = start(builder).await;
    assert_eq!(n_deep.load(Ordering::SeqCst), 1);
    world.fall_ill("door");
    pass(&healer, 14).await;
    assert!(n_deep.load(Ordering::SeqCst) >= 2, "before its next slot");
    pass(&healer, 106).await;
    // Four attempts in each of the twelve slots, and one call each.
    assert!(n_shallow.load(Ordering::SeqCst) >= 44);
    let n_deep = n_deep.load(Ordering::SeqCst);
    assert!((12..=18).contains(&n_deep), "{n_deep}");
    assert_eq!((healer.health().anomalies, world.cures("a")), (0, 0));
    assert!(healer.open_incidents().is_empty());
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_deep_check_is_healed() {
    let world = Arc::new(World::default());
    let (builder, _) = healer(&world);
    let healer = start(builder).await;
    let mut events = healer.subscribe();
    world.fall_ill("a");
    let closed = until(&healer, &mut events, is("closed")).await;
    assert!(matches!(
        &closed.kind,
        EventKind::Closed {
            resolution: Resolution::Healed { .. }
        }
    ));
    assert_eq!(world.cures("a"), 1);
    assert!(world.notifier.sent().is_empty());
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_comprehensive_check_calls_people_and_touches_nothing() {
    let world = Arc::new(World::default());
    // The deep check fails too: there is something to heal, and it is left alone.
    world.fall_ill("a");
    world.fall_ill("whole");
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let (builder, _) = healer(&world);
    let healer = builder.store(Arc::clone(&store)).start().await.unwrap();
    let mut events = healer.subscribe();
    let escalated = until(&healer, &mut events, is("escalated")).await;
    pass(&healer, 1800).await;
    let story = names(&*store, escalated.incident).await;
    assert!(
        story.ends_with(&["planned", "escalated", "escalation_begun", "notified"]),
        "{story:?}"
    );
    assert_eq!(world.cures("a"), 0);
    let sent = world.notifier.sent();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(
        sent[0]
            .title
            .contains("people are needed: critical, for comprehensive health check"),
        "{}",
        sent[0].title
    );
    assert!(sent[0].severity <= Severity::Sev1);
    // What could be done is told to those who are called.
    assert!(sent[0].body.contains("plans: cure"), "{}", sent[0].body);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn people_are_called_even_while_an_incident_waits_for_a_consent() {
    let world = Arc::new(World::default());
    let approvals = Arc::new(MemoryApprovals::default());
    let (builder, _) = healer(&world);
    let builder = builder.mode(Mode::Approve);
    let healer = start(builder.approvals(Arc::clone(&approvals) as Arc<_>)).await;
    let mut events = healer.subscribe();
    world.fall_ill("a");
    until(&healer, &mut events, is("gated")).await;
    assert!(world.notifier.sent().is_empty());
    world.fall_ill("whole");
    let trigger = healer.probe_trigger();
    assert_eq!(trigger.ask(&service("a"), HealthTier::Comprehensive), 1);
    until(&healer, &mut events, is("escalated")).await;
    pass(&healer, 1).await;
    assert_eq!((world.notifier.sent().len(), world.cures("a")), (1, 0));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn people_asked_for_during_a_run_are_called_although_it_succeeds() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let (builder, _) = healer(&world);
    let healer = start(builder.store(Arc::clone(&store))).await;
    let mut events = healer.subscribe();
    world.fall_ill("a");
    until(&healer, &mut events, is("run_opened")).await;
    world.fall_ill("whole");
    let trigger = healer.probe_trigger();
    assert_eq!(trigger.ask(&service("a"), HealthTier::Comprehensive), 1);
    let ended = |event: &_| is("escalated")(event) || is("closed")(event);
    let escalated = until(&healer, &mut events, ended).await;
    let story = names(&*store, escalated.incident).await;
    assert!(
        story.ends_with(&["verified", "escalated", "escalation_begun", "notified"]),
        "{story:?}"
    );
    pass(&healer, 1).await;
    assert_eq!((world.notifier.sent().len(), world.cures("a")), (1, 1));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_check_that_goes_on_failing_keeps_its_incident_open() {
    let world = Arc::new(World::default());
    let (whole, _) = check(&world, HealthTier::Comprehensive, "whole");
    let detector = HealthStateDetector::new("health", HealthStateDetectorConfig::default());
    let builder = world.healer().detector(detector.unwrap());
    world.fall_ill("whole");
    let healer = start(builder.probe(whole)).await;
    // A gauge of the same service says something all the time.
    world.watch(&healer, &["a"]);
    let mut events = healer.subscribe();
    pass(&healer, 2 * 3600).await;
    assert_eq!(healer.incidents(10).await.unwrap().len(), 1);
    assert_eq!(world.notifier.sent().len(), 1);
    world.cured_by_hand("whole");
    let closed = until(&healer, &mut events, is("closed")).await;
    assert!(matches!(
        &closed.kind,
        EventKind::Closed {
            resolution: Resolution::Recovered
        }
    ));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_board_is_unknown_until_every_check_has_answered() {
    let world = Arc::new(World::default());
    let state = |healer: &Homeostasis| healer.health_board().snapshot(healer.clock().now()).state;
    let alone = world.healer().start().await.unwrap();
    pass(&alone, 5).await;
    assert_eq!(state(&alone), HealthStatus::Unknown);
    alone.shutdown().await;
    let (builder, _) = healer(&world);
    let healer = builder.start().await.unwrap();
    assert_eq!(
        healer
            .health_board()
            .snapshot(healer.clock().now())
            .components
            .len(),
        4
    );
    assert_eq!(state(&healer), HealthStatus::Unknown);
    pass(&healer, 5).await;
    assert_eq!(state(&healer), HealthStatus::Healthy);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_only_measures_makes_nobody_ill_when_it_is_late() {
    let world = Arc::new(World::default());
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let gauge = FnProbe::new("queue", service("a"), move |cx| {
        let n = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            if n == 2 {
                cx.clock().sleep(Duration::from_secs(1)).await;
            }
            Reading::default().measured(Measurement::of(&service("a"), "depth", cx.now(), 1.0))
        }
    });
    let (builder, _) = healer(&world);
    let healer = start(builder.probe(gauge)).await;
    pass(&healer, 60).await;
    assert!(asked.load(Ordering::SeqCst) > 4);
    let snapshot = healer.health_board().snapshot(healer.clock().now());
    assert_eq!(snapshot.state, HealthStatus::Healthy, "{snapshot:?}");
    assert_eq!(snapshot.components.len(), 4);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_board_shows_the_checks_and_the_engine_itself() {
    let world = Arc::new(World::default());
    let (builder, _) = healer(&world);
    let healer = start(builder).await;
    let board = healer.health_board();
    let shown = || {
        let snapshot = board.snapshot(healer.clock().now());
        let components = snapshot.components.iter();
        let components: Vec<_> = components
            .map(|component| (component.check.clone(), component.state))
            .collect();
        (snapshot.state, components)
    };
    let (state, components) = shown();
    let names: Vec<_> = components.iter().map(|(check, _)| check.as_str()).collect();
    assert_eq!(names, ["comprehensive", "deep", "shallow", "engine"]);
    assert_eq!(state, HealthStatus::Healthy, "{components:?}");
    world.fall_ill("door");
    pass(&healer, 15).await;
    assert_eq!(shown().0, HealthStatus::Unhealthy);
    world.cured_by_hand("door");
    pass(&healer, 15).await;
    assert_eq!(shown().0, HealthStatus::Healthy);
    // An engine that stands still takes no host out of service, and its checks are not believed.
    let clock = healer.clock();
    healer.shutdown().await;
    clock.sleep(Duration::from_secs(20)).await;
    assert_eq!(shown().1[3].1, HealthStatus::Degraded);
    clock.sleep(Duration::from_secs(20)).await;
    assert_eq!(shown().0, HealthStatus::Unknown);
}
