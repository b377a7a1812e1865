//! What the engine does when it was killed: nothing is lost, nothing opaque is repeated.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::Clock;
use homeostasis::core::cycle::replay;
use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::EventKind;
use homeostasis::core::record::Outcome;
use homeostasis::core::testing::store::{CrashPoint, CrashStore, FaultyStore};

use crate::world::{World, is, names, pass, until};

/// Runs a healer until `last` is durable, then kills it: its tasks end where they stand.
async fn live_until(world: &Arc<World>, store: &Arc<dyn Store>, last: &'static str) {
    let healer = world
        .healer()
        .store(Arc::clone(store))
        .settings(no_grace())
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    until(&healer, &mut events, is(last)).await;
    healer.shutdown().await;
}

fn no_grace() -> homeostasis::EngineSettings {
    let mut settings = homeostasis::EngineSettings::default();
    settings.shutdown_grace = Duration::ZERO;
    settings
}

#[tokio::test(start_paused = true)]
async fn a_second_life_finishes_what_the_first_began() {
    // Before the step began, and after it ended; the test below dies at every write.
    for last in ["opened", "step_ended", "run_ended"] {
        let world = Arc::new(World::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        world.fall_ill("a");
        live_until(&world, &store, last).await;
        let healer = world
            .healer()
            .store(Arc::clone(&store))
            .start()
            .await
            .unwrap();
        assert_eq!(healer.recovered().resumed.len(), 1, "{last}");
        let mut events = healer.subscribe();
        let closed = until(&healer, &mut events, is("closed")).await;
        assert_eq!(closed.incident, healer.recovered().resumed[0]);
        assert_eq!(world.cures("a"), 1, "{last}");
        healer.shutdown().await;
        assert!(store.open_incidents().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_opaque_step_in_flight_is_never_repeated_but_handed_to_people() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    world.fall_ill("a");
    live_until(&world, &store, "step_intended").await;
    let healer = world
        .healer()
        .store(Arc::clone(&store))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    let escalated = until(&healer, &mut events, is("escalated")).await;
    assert!(world.cures("a") <= 1);
    let story = store.read(escalated.incident).await.unwrap();
    assert!(story.iter().any(|event| matches!(
        &event.kind,
        EventKind::RunEnded {
            outcome: Outcome::Unknown { .. },
            ..
        }
    )));
    assert!(
        names(&*store, escalated.incident)
            .await
            .contains(&"run_resumed")
    );
    healer.shutdown().await;
}

/// One life that dies at `point`: its store freezes, its tasks end. Says how many writes it began.
async fn die_at(world: &Arc<World>, store: &Arc<dyn Store>, point: Option<CrashPoint>) -> u64 {
    let frozen = CrashStore::of(Arc::clone(store)).hanging();
    let crashing = Arc::new(match point {
        Some(point) => frozen.crash_at(point),
        None => frozen,
    });
    let builder = world
        .healer()
        .store(Arc::clone(&crashing) as Arc<_>)
        .settings(no_grace());
    let life = async {
        let healer = builder.start().await.unwrap();
        world.watch(&healer, &["a"]);
        // Long enough for a whole heal; the time is simulated.
        healer.clock().sleep(Duration::from_secs(60)).await;
        healer.shutdown().await;
    };
    // A life that dies while it starts never gets to its end.
    let _ = tokio::time::timeout(Duration::from_secs(120), life).await;
    crashing.n_writes()
}

/// What must hold however often the process died.
async fn assert_sound(world: &Arc<World>, store: &Arc<dyn Store>, story: &str) {
    for id in store.incidents(100).await.unwrap() {
        let events = store.read(id).await.unwrap();
        let incident = replay(&events)
            .expect("the journal is legal")
            .expect("it has events");
        assert!(incident.is_closed(), "{story}: {:?}", incident.phase);
        for run in &incident.runs {
            assert!(run.outcome.is_some(), "{story}: a run without an outcome");
        }
    }
    let runs: usize = {
        let mut n = 0;
        for id in store.incidents(100).await.unwrap() {
            n += replay(&store.read(id).await.unwrap())
                .unwrap()
                .unwrap()
                .runs
                .len();
        }
        n
    };
    let cures = world.cures("a");
    assert!(
        cures as usize <= runs,
        "{story}: {cures} cures in {runs} runs: an opaque step was repeated"
    );
}

#[tokio::test(start_paused = true)]
async fn dying_at_every_write_and_again_during_recovery_loses_and_repeats_nothing() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    world.fall_ill("a");
    let n_writes = die_at(&world, &store, None).await;
    assert!(
        n_writes >= 10,
        "a whole heal has more than {n_writes} writes"
    );
    for n in 1..=n_writes {
        for first in [CrashPoint::Before(n), CrashPoint::After(n)] {
            for second in [
                None,
                Some(CrashPoint::Before(1)),
                Some(CrashPoint::After(1)),
                Some(CrashPoint::After(2)),
            ] {
                let story = format!("{first:?}, then {second:?}");
                let world = Arc::new(World::default());
                let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
                world.fall_ill("a");
                die_at(&world, &store, Some(first)).await;
                if second.is_some() {
                    die_at(&world, &store, second).await;
                }
                let healer = world
                    .healer()
                    .store(Arc::clone(&store))
                    .start()
                    .await
                    .unwrap();
                world.watch(&healer, &["a"]);
                // Escalated incidents close when the symptoms stay away; people cure what is unknown,
                // and only what they were called for.
                pass(&healer, 60).await;
                let n_pages = world.notifier.sent().len();
                assert!(
                    !world.is_ill("a") || n_pages > 0,
                    "{story}: still ill, and nobody was called"
                );
                world.cured_by_hand("a");
                pass(&healer, 300).await;
                assert_sound(&world, &store, &story).await;
                healer.shutdown().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_was_durable_although_it_was_said_to_have_failed_is_healed_once() {
    let world = Arc::new(World::default());
    let store = Arc::<FaultyStore<MemoryStore>>::default();
    store.hook().lie_once();
    let healer = world
        .healer()
        .store(Arc::clone(&store) as Arc<_>)
        .start()
        .await
        .unwrap();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    pass(&healer, 600).await;
    assert!(healer.health().store_errors > 0, "the store did lie");
    assert_eq!(healer.incidents(10).await.unwrap().len(), 1);
    assert!(store.open_incidents().await.unwrap().is_empty());
    assert_eq!(world.cures("a"), 1);
    healer.shutdown().await;

    // Nothing of it is left for the next life.
    let healer = world
        .healer()
        .store(Arc::clone(&store) as Arc<_>)
        .start()
        .await
        .unwrap();
    assert!(healer.recovered().resumed.is_empty());
    healer.shutdown().await;
}
