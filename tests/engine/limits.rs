//! Floods are bounded, nobody is shut out, and a clock that is set back blinds nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis::core::cycle::MAX_ANOMALIES;
use homeostasis::core::policy::{Limit, LimitScope, Policy};
use homeostasis::core::port::{Commit, MemoryStore, Store, StoreError, Version};
use homeostasis::core::record::{Anomaly, Subject};
use homeostasis::core::signal::SignalBatch;
use homeostasis::core::stage::{DetectError, Detector};
use homeostasis::core::testing::store::{HookedStore, WriteHook};
use homeostasis::core::{BoxFuture, Clock, Context, Mode, Timestamp, async_trait};
use homeostasis::{EngineSettings, SimulatedClock};

use crate::plugins::Siren;
use crate::world::{START, World, is, pass, service, until};

/// A hundred anomalies each turn, and no two are the same.
#[derive(Debug, Default)]
struct Drip {
    n_raised: u64,
}

#[async_trait]
impl Detector for Drip {
    fn name(&self) -> &str {
        "drip"
    }

    async fn detect(
        &mut self,
        _: &Context,
        _: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let from = self.n_raised;
        self.n_raised += 100;
        let anomaly = |i: u64| {
            let subject = Subject::Logs(i.to_string());
            Anomaly::new("drip", service("a"), subject, START).saying("another one")
        };
        Ok((from..self.n_raised).map(anomaly).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn an_incident_that_is_flooded_keeps_so_many_anomalies_and_counts_the_rest() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let healer = world
        .healer()
        .mode(Mode::Observe)
        .store(Arc::clone(&store))
        .detector(Drip::default())
        .start()
        .await
        .unwrap();
    pass(&healer, 20).await;
    let ids = healer.incidents(10).await.unwrap();
    assert_eq!(ids.len(), 1);
    let story = store.read(ids[0]).await.unwrap();
    let incident = healer.incident(ids[0]).await.unwrap();
    assert_eq!(incident.anomalies.len(), MAX_ANOMALIES);
    assert!(story.len() < MAX_ANOMALIES + 10, "{} events", story.len());
    let health = healer.health();
    assert!(health.anomalies > 10_000, "it did flood: {health:?}");
    let n_kept = u64::try_from(MAX_ANOMALIES).unwrap();
    assert!(
        health.dropped_anomalies >= health.anomalies - n_kept - 100,
        "{health:?}"
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn incidents_that_wait_for_people_do_not_shut_others_out() {
    let world = Arc::new(World::default());
    let mut settings = EngineSettings::default();
    settings.max_open_incidents = 2;
    let healer = world
        .healer()
        .settings(settings)
        .mode(Mode::Observe)
        .start()
        .await
        .unwrap();
    world.watch(&healer, &["a", "b", "c"]);
    world.fall_ill("a");
    world.fall_ill("b");
    pass(&healer, 60).await;
    assert_eq!(healer.open_incidents().len(), 2);
    world.fall_ill("c");
    pass(&healer, 60).await;
    assert_eq!(healer.open_incidents().len(), 3);
    assert_eq!(healer.health().dropped_anomalies, 0);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn even_those_that_wait_for_people_are_bounded() {
    let world = Arc::new(World::default());
    let mut settings = EngineSettings::default();
    settings.max_open_incidents = 2;
    let everywhere = (0..100).map(|i| {
        let subject = Subject::Logs("x".to_owned());
        Anomaly::new("siren", service(&format!("s{i}")), subject, START).saying("it is down")
    });
    let siren = Siren {
        on: Arc::new(AtomicBool::new(true)),
        anomalies: everywhere.collect(),
    };
    let healer = world
        .healer()
        .settings(settings)
        .mode(Mode::Observe)
        .detector(siren)
        .start()
        .await
        .unwrap();
    pass(&healer, 180).await;
    let n_open = healer.open_incidents().len();
    // Sixteen for each that can be worked on, and those that were worked on when it filled up.
    assert!((3..=2 * 16 + 2).contains(&n_open), "{n_open} are open");
    assert!(healer.health().dropped_anomalies > 0);
    healer.shutdown().await;
}

/// Says an hour less once it was set back.
#[derive(Debug)]
struct FickleClock {
    inner: SimulatedClock,
    set_back: Arc<AtomicBool>,
}

impl Clock for FickleClock {
    fn now(&self) -> Timestamp {
        let now = self.inner.now();
        if self.set_back.load(Ordering::SeqCst) {
            now - Duration::from_secs(3600)
        } else {
            now
        }
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.inner.sleep(duration)
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_after_the_clock_was_set_back_is_no_echo_of_the_past() {
    let world = Arc::new(World::default());
    let set_back = Arc::new(AtomicBool::new(false));
    let clock = FickleClock {
        inner: SimulatedClock::starting_at(START),
        set_back: Arc::clone(&set_back),
    };
    let healer = world.healer().clock(Arc::new(clock)).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let first = until(&healer, &mut events, is("closed")).await.incident;
    set_back.store(true, Ordering::SeqCst);
    pass(&healer, 60).await;
    world.fall_ill("a");
    let second = until(&healer, &mut events, is("closed")).await;
    assert_ne!(
        second.incident, first,
        "the second illness is an incident of its own"
    );
    assert_eq!(world.cures("a"), 2, "and nothing rests for an hour");
    healer.shutdown().await;
}

/// Commits take a moment, as they do on a disk.
#[derive(Debug)]
struct Disk;

#[async_trait]
impl WriteHook for Disk {
    async fn commit(&self, inner: &dyn Store, commit: Commit) -> Result<Version, StoreError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        inner.commit(commit).await
    }
}

#[tokio::test(start_paused = true)]
async fn two_plans_that_are_asked_about_at_once_do_not_both_take_the_last_place_of_a_limit() {
    let world = Arc::new(World::default());
    let mut policy = Policy {
        limits: vec![Limit {
            scope: LimitScope::Global,
            max: 1,
            window: Duration::from_secs(3600),
        }],
        ..Policy::default()
    };
    policy.pre_approved.insert("cure".to_owned());
    let store = HookedStore::new(MemoryStore::default(), Disk);
    let healer = world
        .healer()
        .policy(policy)
        .store(Arc::new(store))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a", "b", "c"]);
    for service in ["a", "b", "c"] {
        world.fall_ill(service);
    }
    until(&healer, &mut events, is("run_opened")).await;
    pass(&healer, 60).await;
    let cures: u32 = ["a", "b", "c"]
        .map(|service| world.cures(service))
        .iter()
        .sum();
    assert_eq!(cures, 1);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_healers_on_one_journal_do_not_both_take_the_last_place_of_a_limit() {
    let world = Arc::new(World::default());
    let mut policy = Policy {
        limits: vec![Limit {
            scope: LimitScope::Global,
            max: 1,
            window: Duration::from_secs(3600),
        }],
        ..Policy::default()
    };
    policy.pre_approved.insert("cure".to_owned());
    let store: Arc<dyn Store> = Arc::new(HookedStore::new(MemoryStore::default(), Disk));
    let mut healers = Vec::new();
    for (seed, services) in [(1, &["a"]), (2, &["b"])] {
        let healer = world.healer().policy(policy.clone()).seed(seed);
        let healer = healer.store(Arc::clone(&store)).start().await.unwrap();
        world.watch(&healer, services);
        healers.push(healer);
    }
    world.fall_ill("a");
    world.fall_ill("b");
    pass(&healers[0], 120).await;
    assert_eq!(world.cures("a") + world.cures("b"), 1);
    for healer in healers {
        healer.shutdown().await;
    }
}
