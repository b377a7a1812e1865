//! What the engine does when a plug-in misbehaves: the others heal, the culprit is named.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::{
    Anomaly, Category, EventKind, Finding, Plan, Resolution, Role, Subject, Verdict, VerdictKind,
};
use homeostasis::core::signal::{Interest, SignalBatch};
use homeostasis::core::stage::{
    AnalyzeError, Analyzer, DetectError, Detector, Evidence, Verifier, VerifyError, VerifyRequest,
};
use homeostasis::core::{Context, Mode, Timestamp, async_trait};

use crate::plugins::Colleague;
use crate::world::{World, blames, is, pass, service, until};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Misdeed {
    Panic,
    Hang,
    Garbage,
    Flood,
    Fail,
}

#[derive(Debug)]
struct Rogue(Misdeed);

#[async_trait]
impl Detector for Rogue {
    fn name(&self) -> &str {
        "rogue"
    }

    async fn detect(
        &mut self,
        _: &Context,
        _: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let anomaly = |i: usize| {
            let subject = Subject::Logs(i.to_string());
            Anomaly::new("rogue", service("d"), subject, Timestamp::EPOCH).saying("nonsense")
        };
        match self.0 {
            Misdeed::Panic => panic!("rogue detector"),
            Misdeed::Hang => std::future::pending().await,
            Misdeed::Garbage => {
                let mut broken = anomaly(0);
                broken.surprise = f64::NAN;
                Ok(vec![broken])
            }
            Misdeed::Flood => Ok((0..100_000).map(anomaly).collect()),
            Misdeed::Fail => Err(DetectError::invalid("model", "it was never trained")),
        }
    }
}

#[async_trait]
impl Analyzer for Rogue {
    fn name(&self) -> &str {
        "rogue"
    }

    async fn analyze(&self, _: &Context, _: &Evidence<'_>) -> Result<Vec<Finding>, AnalyzeError> {
        let unproven = Finding::new(
            "rogue",
            service("d"),
            "magic",
            Category::Unknown,
            Role::Cause,
            99.0,
        );
        match self.0 {
            Misdeed::Panic => panic!("rogue analyzer"),
            Misdeed::Hang => std::future::pending().await,
            Misdeed::Garbage | Misdeed::Flood => Ok(vec![unproven]),
            Misdeed::Fail => Err(AnalyzeError::invalid("evidence", "too little")),
        }
    }
}

#[async_trait]
impl Verifier for Rogue {
    fn name(&self) -> &str {
        "rogue"
    }

    async fn verify(&self, cx: &Context, _: VerifyRequest<'_>) -> Result<Verdict, VerifyError> {
        match self.0 {
            Misdeed::Panic => panic!("rogue verifier"),
            Misdeed::Hang => std::future::pending().await,
            Misdeed::Fail => Err(VerifyError::invalid("criteria", "none")),
            Misdeed::Garbage | Misdeed::Flood => {
                Ok(Verdict::new(VerdictKind::Success, cx.now(), "looks fine"))
            }
        }
    }
}

const MISDEEDS: [Misdeed; 5] = [
    Misdeed::Panic,
    Misdeed::Hang,
    Misdeed::Garbage,
    Misdeed::Flood,
    Misdeed::Fail,
];

#[tokio::test(start_paused = true)]
async fn a_rogue_detector_is_named_in_the_incident_and_the_others_heal() {
    for misdeed in MISDEEDS {
        let world = Arc::new(World::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let builder = world
            .healer()
            .store(Arc::clone(&store))
            .detector(Rogue(misdeed));
        let healer = builder.start().await.unwrap();
        let mut events = healer.subscribe();
        world.watch(&healer, &["a"]);
        world.fall_ill("a");
        let closed = until(&healer, &mut events, is("closed")).await;
        assert_eq!((world.cures("a"), world.cures("d")), (1, 0), "{misdeed:?}");
        let story = store.read(closed.incident).await.unwrap();
        assert!(
            story.iter().any(|event| blames(event, "detector", "rogue")),
            "{misdeed:?}: {story:?}"
        );
        let blame = healer.health().blames.pop().unwrap();
        assert_eq!(
            (blame.stage.as_str(), blame.plugin.as_str()),
            ("detector", "rogue")
        );
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rogue_rests_longer_each_time() {
    let world = Arc::new(World::default());
    let healer = world
        .healer()
        .detector(Rogue(Misdeed::Panic))
        .start()
        .await
        .unwrap();
    healer.clock().sleep(Duration::from_secs(600)).await;
    let times = healer.health().blames[0].times;
    assert!((5..=12).contains(&times), "{times} calls in ten minutes");
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn rogue_analyzers_are_named_and_the_others_decide() {
    for misdeed in MISDEEDS {
        let world = Arc::new(World::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let builder = world.healer().store(Arc::clone(&store));
        let healer = builder.analyzer(Rogue(misdeed)).start().await.unwrap();
        let mut events = healer.subscribe();
        world.watch(&healer, &["a"]);
        world.fall_ill("a");
        let closed = until(&healer, &mut events, is("closed")).await;
        assert_eq!((world.cures("a"), world.cures("d")), (1, 0), "{misdeed:?}");
        let story = store.read(closed.incident).await.unwrap();
        assert!(
            story.iter().any(|event| blames(event, "analyzer", "rogue")),
            "{misdeed:?}"
        );
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rogue_verifiers_are_named_and_the_others_decide() {
    for misdeed in [Misdeed::Panic, Misdeed::Hang, Misdeed::Fail] {
        let world = Arc::new(World::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let builder = world.healer().store(Arc::clone(&store));
        let healer = builder.verifier(Rogue(misdeed)).start().await.unwrap();
        let mut events = healer.subscribe();
        world.watch(&healer, &["a"]);
        world.fall_ill("a");
        let closed = until(&healer, &mut events, is("closed")).await;
        assert!(
            matches!(
                &closed.kind,
                EventKind::Closed {
                    resolution: Resolution::Healed { .. }
                }
            ),
            "{misdeed:?}: {closed}"
        );
        let story = store.read(closed.incident).await.unwrap();
        assert!(
            story.iter().any(|event| blames(event, "verifier", "rogue")),
            "{misdeed:?}"
        );
        healer.shutdown().await;
    }
}

/// A verdict that looks well made cannot be known to be a lie; it does not outweigh a contrary one.
#[tokio::test(start_paused = true)]
async fn a_verifier_that_always_says_fine_heals_nothing_that_another_says_is_ill() {
    let world = Arc::new(World::default());
    world.incurable.store(true, Ordering::SeqCst);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let builder = world.healer().store(Arc::clone(&store));
    let healer = builder
        .verifier(Rogue(Misdeed::Garbage))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let escalated = until(&healer, &mut events, is("escalated")).await;
    pass(&healer, 600).await;
    assert_eq!(healer.open_incidents(), [escalated.incident]);
    assert!(escalated.to_string().contains("still ill"), "{escalated}");
    let story = store.read(escalated.incident).await.unwrap();
    assert!(!story.iter().any(|event| blames(event, "verifier", "rogue")));
    healer.shutdown().await;
}

/// A detector that panics when it is asked what it wants.
#[derive(Debug)]
struct Moody;

#[async_trait]
impl Detector for Moody {
    fn name(&self) -> &str {
        "moody"
    }

    fn interest(&self) -> Interest {
        panic!("not today")
    }

    async fn detect(
        &mut self,
        _: &Context,
        _: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let nonsense = Anomaly::new(
            "moody",
            service("d"),
            Subject::Logs("x".to_owned()),
            Timestamp::EPOCH,
        );
        Ok(vec![nonsense.saying("it is asked all the same")])
    }
}

#[tokio::test(start_paused = true)]
async fn a_detector_that_panics_when_asked_what_it_wants_is_named_and_asked_all_the_same() {
    let world = Arc::new(World::default());
    let healer = world
        .healer()
        .mode(Mode::Observe)
        .detector(Moody)
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    let opened = until(&healer, &mut events, is("opened")).await;
    assert!(opened.to_string().contains('d'), "{opened}");
    let blame = healer.health().blames.pop().unwrap();
    assert_eq!(
        (blame.stage.as_str(), blame.plugin.as_str(), blame.times),
        ("detector", "moody", 1)
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_would_be_watched_for_ever_keeps_no_incident_open() {
    let world = Arc::new(World::default());
    let eternal = |plan: &mut Plan| {
        plan.title = "a plan before the doctor's".to_owned();
        plan.verification.watch = Duration::MAX;
    };
    let healer = world
        .healer()
        .remediator(Colleague::of(&world, eternal))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let closed = until(&healer, &mut events, is("closed")).await;
    assert!(matches!(
        &closed.kind,
        EventKind::Closed {
            resolution: Resolution::Healed { .. }
        }
    ));
    let mishaps = healer.health().blames;
    assert!(
        mishaps.iter().all(|blame| blame.stage != "engine"),
        "{mishaps:?}"
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_claims_to_be_ordered_is_refused_and_what_heals_is_verified() {
    let world = Arc::new(World::default());
    let ordered = |plan: &mut Plan| {
        plan.fitness = 1.0;
        plan.ordered_by = Some("nobody".to_owned());
    };
    let healer = world
        .healer()
        .remediator(Colleague::of(&world, ordered))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let verified = until(&healer, &mut events, is("verified")).await;
    let EventKind::Verified { verdict, .. } = &verified.kind else {
        panic!("{verified:?}");
    };
    assert!(!verdict.reason.contains("ordered by"), "{verdict:?}");
    let mishaps = healer.health().blames;
    let told = |said: &str| said.contains("an ordered plan as an answer to trouble");
    assert!(
        mishaps.iter().any(|blame| told(&format!("{blame:?}"))),
        "{mishaps:?}"
    );
    healer.shutdown().await;
}

/// A detector that blocks its thread: the engine must run on more than one.
#[derive(Debug)]
struct Blocker(std::sync::mpsc::Receiver<()>);

#[async_trait]
impl Detector for Blocker {
    fn name(&self) -> &str {
        "blocker"
    }

    async fn detect(
        &mut self,
        _: &Context,
        _: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        // Blocks until the test lets go.
        let _ = self.0.recv();
        Ok(Vec::new())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_detector_that_blocks_its_thread_does_not_stop_the_others() {
    let world = Arc::new(World::default());
    let (release, blocked) = std::sync::mpsc::channel();
    let mut settings = homeostasis::EngineSettings::default();
    settings.settle = Duration::from_millis(10);
    settings.tick = Duration::from_millis(10);
    settings.detect_deadline = Duration::from_millis(50);
    let builder = world
        .healer()
        .settings(settings)
        .clock(Arc::new(homeostasis::SystemClock));
    let healer = builder.detector(Blocker(blocked)).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    until(&healer, &mut events, is("closed")).await;
    assert_eq!(world.cures("a"), 1);
    assert!(
        healer
            .health()
            .blames
            .iter()
            .any(|blame| blame.plugin == "blocker")
    );
    drop(release);
    healer.shutdown().await;
}
