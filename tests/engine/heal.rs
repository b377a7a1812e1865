//! What the engine does when its plug-ins behave.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use homeostasis::core::port::{ApprovalDecision, MemoryApprovals, MemoryStore, Store};
use homeostasis::core::record::{EventKind, Resolution};
use homeostasis::core::{Clock, Mode, Timestamp};
use homeostasis::{EngineSettings, StartError};

use crate::world::{World, is, names, pass, until};

#[tokio::test(start_paused = true)]
async fn an_illness_is_found_named_cured_and_verified() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let healer = world
        .healer()
        .store(Arc::clone(&store))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a", "b"]);
    world.fall_ill("a");
    let closed = until(&healer, &mut events, is("closed")).await;
    assert!(matches!(
        &closed.kind,
        EventKind::Closed {
            resolution: Resolution::Healed { .. }
        }
    ));
    assert_eq!((world.cures("a"), world.cures("b")), (1, 0));
    let incident = healer.incident(closed.incident).await.unwrap();
    let score = incident.score.expect("the arithmetic is kept");
    assert_eq!(score.severity, incident.severity);
    let story = names(&*store, closed.incident).await;
    assert_eq!(
        story,
        [
            "opened",
            "diagnosed",
            "planned",
            "gated",
            "run_opened",
            "step_intended",
            "step_ended",
            "run_ended",
            "verified",
            "closed"
        ]
    );
    assert_eq!(healer.shutdown().await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_and_world_give_the_same_story() {
    async fn story() -> Vec<(Timestamp, &'static str)> {
        let world = Arc::new(World::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let healer = world
            .healer()
            .store(Arc::clone(&store))
            .seed(7)
            .start()
            .await
            .unwrap();
        let mut events = healer.subscribe();
        world.watch(&healer, &["a"]);
        world.fall_ill("a");
        let closed = until(&healer, &mut events, is("closed")).await;
        healer.shutdown().await;
        let events = store.read(closed.incident).await.unwrap();
        events
            .iter()
            .map(|event| (event.at, event.kind.name()))
            .collect()
    }
    assert_eq!(story().await, story().await);
}

#[tokio::test(start_paused = true)]
async fn nothing_ill_means_nothing_done() {
    let world = Arc::new(World::default());
    let healer = world.healer().start().await.unwrap();
    world.watch(&healer, &["a", "b", "c", "d"]);
    healer.clock().sleep(Duration::from_secs(600)).await;
    let health = healer.health();
    assert_eq!((health.anomalies, health.open_incidents), (0, 0));
    assert!(health.samples >= 4 * 590, "{health:?}");
    assert!(health.last_turn >= healer.clock().now() - Duration::from_secs(1));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn observing_recommends_and_touches_nothing() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let builder = world.healer().store(Arc::clone(&store)).mode(Mode::Observe);
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let gated = until(&healer, &mut events, is("gated")).await;
    healer.clock().sleep(Duration::from_secs(60)).await;
    assert_eq!(world.cures("a"), 0);
    assert_eq!(
        names(&*store, gated.incident).await,
        ["opened", "diagnosed", "planned", "gated"]
    );
    healer
        .close_incident(gated.incident, "ann", "we moved the service")
        .await
        .unwrap();
    assert!(healer.incident(gated.incident).await.unwrap().is_closed());
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_waits_for_approval_and_silence_is_a_refusal() {
    let world = Arc::new(World::default());
    let approvals = Arc::new(MemoryApprovals::default());
    let builder = world
        .healer()
        .mode(Mode::Approve)
        .approvals(Arc::clone(&approvals) as Arc<_>);
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    until(&healer, &mut events, is("gated")).await;
    healer.clock().sleep(Duration::from_secs(30)).await;
    assert_eq!(world.cures("a"), 0);
    let (request, _) = approvals.pending(healer.clock().now()).remove(0);
    let yes = ApprovalDecision {
        granted: true,
        by: "ann".to_owned(),
        reason: "go".to_owned(),
        at: Timestamp::EPOCH,
    };
    assert!(approvals.decide(request.plan_hash, yes));
    until(&healer, &mut events, is("closed")).await;
    assert_eq!(world.cures("a"), 1);

    world.fall_ill("b");
    world.watch(&healer, &["b"]);
    let escalated = until(&healer, &mut events, is("escalated")).await;
    assert!(
        escalated.to_string().contains("nobody decided in time"),
        "{escalated}"
    );
    assert_eq!(world.cures("b"), 0);
    // After an hour without a remedy people are called in any case; the refusal is told besides.
    pass(&healer, 1).await;
    let sent = world.notifier.sent();
    let told = |what: &str| sent.iter().filter(|it| it.title.contains(what)).count();
    assert_eq!(
        (told("nobody decided in time"), sent.len()),
        (1, 2),
        "{sent:?}"
    );
    assert_eq!(told("not resolved after 1h"), 1);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_kill_switch_lets_no_step_begin() {
    let world = Arc::new(World::default());
    let healer = world.healer().start().await.unwrap();
    let mut events = healer.subscribe();
    healer.kill_switch().engage();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let escalated = until(&healer, &mut events, is("escalated")).await;
    assert!(escalated.to_string().contains("kill switch"), "{escalated}");
    assert_eq!(world.cures("a"), 0);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_remedy_that_does_not_help_is_escalated_not_repeated_for_ever() {
    let world = Arc::new(World::default());
    world.incurable.store(true, Ordering::SeqCst);
    let healer = world.healer().start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let escalated = until(&healer, &mut events, is("escalated")).await;
    assert!(escalated.to_string().contains("still ill"), "{escalated}");
    healer.clock().sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.cures("a"), 1);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_heals_at_once_than_allowed_and_none_is_dropped() {
    let world = Arc::new(World::default());
    let mut settings = EngineSettings::default();
    settings.max_concurrent_heals = 2;
    let healer = world.healer().settings(settings).start().await.unwrap();
    let mut events = healer.subscribe();
    for service in ["a", "b", "c", "d"] {
        world.fall_ill(service);
    }
    world.watch(&healer, &["a", "b", "c", "d"]);
    for _ in 0..4 {
        until(&healer, &mut events, is("closed")).await;
    }
    let cures = ["a", "b", "c", "d"].map(|service| world.cures(service));
    assert_eq!(cures, [1; 4]);
    assert_eq!(world.most_running.load(Ordering::SeqCst), 2);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn wrong_settings_are_all_named_and_nothing_starts() {
    let world = Arc::new(World::default());
    let mut settings = EngineSettings::default();
    settings.tick = Duration::ZERO;
    settings.sample_queue = 0;
    let error = world
        .healer()
        .settings(settings)
        .detector(Twin)
        .start()
        .await
        .unwrap_err();
    let StartError::Config(error) = error else {
        panic!("{error}")
    };
    let paths: Vec<_> = error
        .violations()
        .iter()
        .map(|violation| violation.path.clone())
        .collect();
    assert_eq!(
        paths,
        ["engine.tick", "engine.sample_queue", "detectors[1].name"]
    );
}

#[derive(Debug)]
struct Twin;

#[homeostasis::core::async_trait]
impl homeostasis::core::stage::Detector for Twin {
    fn name(&self) -> &str {
        "illness"
    }

    async fn detect(
        &mut self,
        _: &homeostasis::core::Context,
        _: homeostasis::core::signal::SignalBatch<'_>,
    ) -> Result<Vec<homeostasis::core::record::Anomaly>, homeostasis::core::stage::DetectError>
    {
        Ok(Vec::new())
    }
}
