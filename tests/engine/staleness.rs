//! Nobody acts on trouble that nobody sees, and silence is not recovery.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::{Anomaly, EventKind, Resolution};
use homeostasis::core::signal::{SeriesKey, SignalBatch};
use homeostasis::core::stage::{DetectError, Detector};
use homeostasis::core::{Context, IncidentId, Mode, async_trait};
use homeostasis::{Homeostasis, SimulatedClock};

use crate::world::{START, World, is, names, pass, until};

const HOUR: Duration = Duration::from_secs(3600);

fn pause_for(healer: &Homeostasis, duration: Duration) {
    healer.set_mode(Mode::Paused {
        by: "ann".to_owned(),
        why: "maintenance".to_owned(),
        until: healer.clock().now() + duration,
    });
}

fn recovered(kind: &EventKind) -> bool {
    let resolution = Resolution::Recovered;
    matches!(kind, EventKind::Closed { resolution: present } if *present == resolution)
}

async fn last(store: &dyn Store, id: IncidentId) -> EventKind {
    store.read(id).await.unwrap().pop().unwrap().kind
}

/// A life that escalates the illness of `a`, which no remedy cures.
async fn escalated(world: &Arc<World>, store: &Arc<dyn Store>) -> IncidentId {
    world.incurable.store(true, Ordering::SeqCst);
    let healer = world
        .healer()
        .store(Arc::clone(store))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let event = until(&healer, &mut events, is("escalated")).await;
    healer.shutdown().await;
    event.incident
}

/// The next life, ten minutes later.
async fn restarted(world: &Arc<World>, store: &Arc<dyn Store>) -> Homeostasis {
    let later = SimulatedClock::starting_at(START + Duration::from_secs(700));
    world
        .healer()
        .clock(Arc::new(later))
        .store(Arc::clone(store))
        .start()
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_hears_nothing_does_not_take_silence_for_recovery() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let id = escalated(&world, &store).await;
    let healer = restarted(&world, &store).await;
    pass(&healer, 600).await;
    assert_eq!(last(&*store, id).await.name(), "notified");
    assert_eq!(healer.open_incidents(), [id]);

    // Once it is heard to be well again, it is over.
    world.cured_by_hand("a");
    world.watch(&healer, &["a"]);
    pass(&healer, 60).await;
    assert!(recovered(&last(&*store, id).await));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_watches_for_the_whole_quiet_time_before_it_believes_in_recovery() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let id = escalated(&world, &store).await;
    world.cured_by_hand("a");
    let healer = restarted(&world, &store).await;
    world.watch(&healer, &["a"]);
    // The quiet time of this world is 30 s.
    pass(&healer, 25).await;
    assert_eq!(last(&*store, id).await.name(), "notified");
    pass(&healer, 10).await;
    assert!(recovered(&last(&*store, id).await));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_got_well_while_the_healer_was_paused_is_closed_and_never_cured() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let healer = world
        .healer()
        .store(Arc::clone(&store))
        .start()
        .await
        .unwrap();
    pause_for(&healer, HOUR);
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let gated = until(&healer, &mut events, is("gated")).await;
    world.cured_by_hand("a");
    pass(&healer, 120).await;
    assert!(
        recovered(&last(&*store, gated.incident).await),
        "the pause does not keep it open: {:?}",
        names(&*store, gated.incident).await
    );
    pass(&healer, 2 * 3600).await;
    assert_eq!(world.cures("a"), 0);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_acts_after_a_pause_on_a_service_that_fell_silent() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let healer = world
        .healer()
        .store(Arc::clone(&store))
        .start()
        .await
        .unwrap();
    pause_for(&healer, HOUR);
    let mut events = healer.subscribe();
    let ill = healer
        .recorder()
        .series(&SeriesKey::new("ill").with("service", "a"));
    world.fall_ill("a");
    ill.record(1.0);
    let gated = until(&healer, &mut events, is("gated")).await;
    pass(&healer, 2 * 3600).await;
    assert_eq!(world.cures("a"), 0, "nobody sees the trouble any more");
    assert_eq!(healer.open_incidents(), [gated.incident], "nor its end");

    // It is seen again: now it is cured.
    world.watch(&healer, &["a"]);
    until(&healer, &mut events, is("closed")).await;
    assert_eq!(world.cures("a"), 1);
    healer.shutdown().await;
}

/// Panics whenever it is asked, once it is broken.
#[derive(Debug)]
struct Fragile(Arc<AtomicBool>);

#[async_trait]
impl Detector for Fragile {
    fn name(&self) -> &str {
        "fragile"
    }

    async fn detect(
        &mut self,
        _: &Context,
        _: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        assert!(!self.0.load(Ordering::SeqCst), "broken");
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_recovers_while_a_detector_is_skipped() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    world.incurable.store(true, Ordering::SeqCst);
    let broken = Arc::new(AtomicBool::new(false));
    let healer = world
        .healer()
        .store(Arc::clone(&store))
        .detector(Fragile(Arc::clone(&broken)))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let event = until(&healer, &mut events, is("escalated")).await;
    broken.store(true, Ordering::SeqCst);
    world.cured_by_hand("a");
    // The fragile one rests 1, 2, 4, 8, 16 seconds: it was skipped within the last 30.
    pass(&healer, 50).await;
    assert_eq!(healer.open_incidents(), [event.incident]);
    broken.store(false, Ordering::SeqCst);
    pass(&healer, 120).await;
    assert!(recovered(&last(&*store, event.incident).await));
    healer.shutdown().await;
}
