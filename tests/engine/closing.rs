//! Closing and calling people: a person's word is final, and nobody is paged twice for one thing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use homeostasis::core::Mode;
use homeostasis::core::port::{ApprovalDecision, MemoryApprovals, MemoryStore};
use homeostasis::core::record::{EventKind, Resolution};
use homeostasis::core::testing::store::FaultyStore;

use crate::world::{World, is, names, pass, until};

#[tokio::test(start_paused = true)]
async fn what_a_person_closed_is_opened_anew_when_the_trouble_goes_on() {
    let world = Arc::new(World::default());
    let healer = world.healer().start().await.unwrap();
    healer.set_mode(Mode::Paused {
        by: "ann".to_owned(),
        why: "maintenance".to_owned(),
        until: healer.clock().now() + Duration::from_secs(8 * 3600),
    });
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let first = until(&healer, &mut events, is("gated")).await.incident;
    healer.close_incident(first, "ann", "fixed").await.unwrap();
    let second = until(&healer, &mut events, is("opened")).await.incident;
    pass(&healer, 3600).await;
    assert_ne!(first, second);
    assert_eq!(healer.open_incidents(), [second]);
    assert_eq!(healer.incidents(10).await.unwrap().len(), 2);
    let story = healer.events_of(first).await.unwrap();
    assert!(matches!(
        &story.last().unwrap().kind,
        EventKind::Closed { resolution: Resolution::Manual { by, note } }
            if by == "ann" && note == "fixed"
    ));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_close_while_people_are_asked_frees_the_board_and_voids_a_late_consent() {
    let world = Arc::new(World::default());
    let approvals = Arc::new(MemoryApprovals::default());
    let healer = world
        .healer()
        .mode(Mode::Approve)
        .approvals(Arc::clone(&approvals) as Arc<_>)
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let id = until(&healer, &mut events, is("gated")).await.incident;
    pass(&healer, 5).await;
    let (request, _) = approvals.pending(healer.clock().now()).remove(0);
    world.cured_by_hand("a");
    healer.close_incident(id, "ann", "fixed").await.unwrap();
    let late = ApprovalDecision {
        granted: true,
        by: "bob".to_owned(),
        reason: "go".to_owned(),
        at: homeostasis::core::Timestamp::EPOCH,
    };
    assert!(approvals.decide(request.plan_hash, late));
    pass(&healer, 10).await;
    assert!(healer.open_incidents().is_empty());
    assert_eq!(world.cures("a"), 0);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn people_are_paged_once_although_the_page_cannot_be_noted_for_ten_minutes() {
    let world = Arc::new(World::default());
    world.incurable.store(true, Ordering::SeqCst);
    let store = Arc::<FaultyStore<MemoryStore>>::default();
    store.hook().refuse_event(Some("escalated"));
    let healer = world
        .healer()
        .store(Arc::clone(&store) as Arc<_>)
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    pass(&healer, 600).await;
    assert_eq!(world.notifier.sent().len(), 1);
    assert!(healer.health().store_errors >= 3, "it tries again");

    store.hook().refuse_event(None);
    let noted = until(&healer, &mut events, is("escalated")).await;
    pass(&healer, 300).await;
    let story = names(&*store, noted.incident).await;
    let n_noted = story.iter().filter(|name| **name == "escalated").count();
    assert_eq!((n_noted, world.notifier.sent().len()), (1, 1), "{story:?}");
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_heal_goes_on_where_it_stood_once_the_store_is_back() {
    let world = Arc::new(World::default());
    let store = Arc::<FaultyStore<MemoryStore>>::default();
    let healer = world
        .healer()
        .store(Arc::clone(&store) as Arc<_>)
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let ended = until(&healer, &mut events, is("run_ended")).await;
    store.hook().refuse(true);
    pass(&healer, 600).await;
    assert!(healer.health().store_errors > 0, "the store was needed");
    assert_eq!(healer.open_incidents(), [ended.incident]);
    store.hook().refuse(false);
    let closed = until(&healer, &mut events, is("closed")).await;
    assert_eq!(closed.incident, ended.incident);
    assert_eq!((world.cures("a"), world.notifier.sent().len()), (1, 0));
    healer.shutdown().await;
}
