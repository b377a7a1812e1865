//! What the engine does when it was killed: nothing is lost, nothing opaque is repeated.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::EventKind;
use homeostasis::core::record::Outcome;

use crate::world::{World, is, names, until};

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
    // Before the step began, and after it ended, a second life carries on to the close.
    for last in ["opened", "diagnosed", "planned", "step_ended", "run_ended"] {
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
