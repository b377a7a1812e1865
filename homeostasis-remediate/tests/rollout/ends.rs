//! How a rollout ends: promoted, taken back, with people; never promoted without data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis::core::ServiceFacts;
use homeostasis::core::cycle::Phase;
use homeostasis::core::port::{MemoryStore, Principal, Role, Store, TrafficRouter, Weights};
use homeostasis::core::record::{EffectClass, HandOverAnswer, Outcome, Resolution};
use homeostasis::core::signal::SeriesKey;
use homeostasis::remediate::action::{ActionError, ActionSpec, CallFunction};
use homeostasis::remediate::rollout::{OnUncertain, RollbackMode, RolloutStage, RolloutStrategy};
use homeostasis::{CommandError, Homeostasis, RollOutError};

use serde_json::Value;

use super::shop::{Shop, quick};

async fn started(shop: &Arc<Shop>) -> (Homeostasis, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    (shop.healer(&store).start().await.unwrap(), store)
}

#[tokio::test(start_paused = true)]
async fn a_good_version_gets_all_of_the_traffic_stage_by_stage() {
    let shop = Shop::open().await;
    let (healer, _) = started(&shop).await;
    // Longer than the permit of 30 s, and longer than the trouble of others is remembered.
    let mut rollout = quick();
    rollout.strategy = RolloutStrategy::Stages(vec![
        RolloutStage {
            at_least: Duration::from_secs(600),
            ..RolloutStage::of(10)
        },
        RolloutStage {
            at_least: Duration::from_secs(20),
            ..RolloutStage::of(100)
        },
    ]);
    let id = healer.roll_out(&rollout, "ada").await.unwrap();
    let incident = shop.ended(&healer, id, 900).await;
    let healed = Resolution::Healed {
        run: incident.runs[0].run,
    };
    assert_eq!(incident.phase, Phase::Closed { resolution: healed });
    assert_eq!(*shop.history.lock().unwrap(), [10, 100]);
    assert!(incident.verdicts[0].1.reason.contains("ordered by ada"));
    let took = incident.runs[0].ended_at.unwrap().since(incident.opened_at);
    assert!((620..640).contains(&took.as_secs()), "{took:?}");
    // Whoever comes next is not in the way of what is over.
    healer.roll_out(&rollout, "ada").await.unwrap();
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_version_is_taken_back_at_once_and_harms_few() {
    let shop = Shop::open().await;
    shop.breaks("green", 0.2);
    let (healer, _) = started(&shop).await;
    shop.clock.sleep(Duration::from_secs(60)).await;
    let id = healer.roll_out(&quick(), "ada").await.unwrap();
    let incident = shop.ended(&healer, id, 300).await;
    assert_eq!(*shop.history.lock().unwrap(), [10, 0]);
    let run = &incident.runs[0];
    assert!(
        matches!(run.outcome, Some(Outcome::Failed { step_idx: 1, .. })),
        "{run:?}"
    );
    assert_eq!(run.undo_outcome, Some(Outcome::Completed));
    let answered = shop.answered.lock().unwrap().clone();
    let harmed = answered["green"].1;
    let all: u64 = answered.values().map(|(good, bad)| good + bad).sum();
    assert!(harmed * 100 < all, "{harmed} of {all}");
    // It stays with people until one of them ends it, and so does the service.
    let again = healer.roll_out(&quick(), "ada").await;
    assert!(
        matches!(again, Err(RollOutError::Open { open, .. }) if open == id),
        "{again:?}"
    );
    shop.clock.sleep(Duration::from_secs(3600)).await;
    assert!(!healer.incident(id).await.unwrap().is_closed());
    healer
        .close_incident(id, "ada", "green is fixed")
        .await
        .unwrap();
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn without_data_it_is_taken_back_or_held_and_never_promoted() {
    for on_uncertain in [OnUncertain::RollBack, OnUncertain::Hold] {
        let shop = Shop::open().await;
        *shop.is_measured.lock().unwrap() = false;
        let (healer, _) = started(&shop).await;
        let mut rollout = quick();
        rollout.on_uncertain = on_uncertain;
        let id = healer.roll_out(&rollout, "ada").await.unwrap();
        let incident = shop.ended(&healer, id, 300).await;
        if on_uncertain == OnUncertain::RollBack {
            assert_eq!(*shop.history.lock().unwrap(), [10, 0]);
            healer.shutdown().await;
            continue;
        }
        // Held: the traffic is as it was, and a person says how it goes on.
        assert_eq!(*shop.history.lock().unwrap(), [10]);
        let asked = incident.hand_over().unwrap();
        assert!(asked.reason.contains("not measured"), "{}", asked.reason);
        *shop.is_measured.lock().unwrap() = true;
        let bob = healer.operator_as(Principal::new("bob", [Role::Operator]));
        let again = HandOverAnswer::Resume;
        bob.answer_hand_over(&asked, again, "the meter is back")
            .await
            .unwrap();
        let mut left = 300;
        while !healer.incident(id).await.unwrap().is_closed() && left > 0 {
            shop.clock.sleep(Duration::from_secs(1)).await;
            left -= 1;
        }
        assert_eq!(*shop.history.lock().unwrap(), [10, 50, 100]);
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_taken_back_in_stages_or_to_the_last_that_was_confirmed_if_so_ordered() {
    let pause = Duration::from_secs(60);
    let cases = [
        (RollbackMode::Gradual { pause }, &[10, 50, 10, 0][..]),
        (RollbackMode::Checkpoint, &[10, 50, 10][..]),
        (RollbackMode::Immediate, &[10, 50, 0][..]),
    ];
    for (rollback, wanted) in cases {
        let shop = Shop::open().await;
        let (healer, _) = started(&shop).await;
        let mut rollout = quick();
        rollout.rollback = rollback;
        let id = healer.roll_out(&rollout, "ada").await.unwrap();
        while shop.green().await < 50 {
            shop.clock.sleep(Duration::from_secs(1)).await;
        }
        // It breaks under load only.
        shop.breaks("green", 0.5);
        let broke = shop.clock.now();
        let incident = shop.ended(&healer, id, 600).await;
        assert_eq!(*shop.history.lock().unwrap(), wanted, "{rollback:?}");
        assert_eq!(incident.runs[0].undo_outcome, Some(Outcome::Completed));
        let took = shop.clock.now().since(broke);
        let is_gradual = rollback == RollbackMode::Gradual { pause };
        assert_eq!(took >= 2 * pause, is_gradual, "{rollback:?}: {took:?}");
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_who_stops_it_has_it_taken_back_in_the_middle_of_a_stage() {
    let shop = Shop::open().await;
    let (healer, _) = started(&shop).await;
    let bob = healer.operator_as(Principal::new("bob", [Role::Operator]));
    let id = bob.roll_out(&quick()).await.unwrap();
    while shop.green().await < 50 {
        shop.clock.sleep(Duration::from_secs(1)).await;
    }
    let run = healer.incident(id).await.unwrap().runs[0].run;
    bob.cancel_run(id, run, "wrong build").await.unwrap();
    shop.ended(&healer, id, 60).await;
    assert_eq!(*shop.history.lock().unwrap(), [10, 50, 0]);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_a_stage_goes_on_where_it_was() {
    let shop = Shop::open().await;
    let (healer, store) = started(&shop).await;
    let mut rollout = quick();
    rollout.decide_within = Duration::from_secs(600);
    let id = healer.roll_out(&rollout, "ada").await.unwrap();
    // More often than a step that is not a watch may be left without an outcome.
    let mut healer = healer;
    for _ in 0..6 {
        shop.clock.sleep(Duration::from_secs(4)).await;
        healer.shutdown().await;
        assert!([0, 10, 50, 100].contains(&shop.green().await));
        healer = shop.healer(&store).start().await.unwrap();
    }
    let incident = shop.ended(&healer, id, 300).await;
    assert!(incident.is_closed(), "{:?}", incident.phase);
    assert_eq!(*shop.history.lock().unwrap(), [10, 50, 100]);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_may_not_execute_may_not_roll_out_and_what_is_wrong_is_said() {
    let shop = Shop::open().await;
    let (healer, _) = started(&shop).await;
    let viewer = healer.operator_as(Principal::new("eve", [Role::Viewer]));
    let refused = viewer.roll_out(&quick()).await;
    assert!(
        matches!(refused, Err(CommandError::NotAuthorized(_))),
        "{refused:?}"
    );
    let mut wrong = quick();
    wrong.to = "blue".to_owned();
    let said = healer
        .roll_out(&wrong, "ada")
        .await
        .unwrap_err()
        .to_string();
    assert!(said.contains("another slot than `from`"), "{said}");
    assert_eq!(healer.open_incidents(), []);
    assert!(shop.history.lock().unwrap().is_empty());
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_is_away_for_a_minute_has_the_traffic_taken_back_when_it_returns() {
    let shop = Shop::open().await;
    let (healer, _) = started(&shop).await;
    let id = healer.roll_out(&quick(), "ada").await.unwrap();
    while shop.green().await < 50 {
        shop.clock.sleep(Duration::from_secs(1)).await;
    }
    shop.breaks("green", 0.5);
    *shop.away_until.lock().unwrap() = shop.clock.now() + Duration::from_secs(60);
    let incident = shop.ended(&healer, id, 300).await;
    assert_eq!(incident.runs[0].undo_outcome, Some(Outcome::Completed));
    assert_eq!(*shop.history.lock().unwrap(), [10, 50, 0]);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_takes_back_what_the_kill_switch_stopped_half_way() {
    let shop = Shop::open().await;
    let (healer, _) = started(&shop).await;
    let bob = healer.operator_as(Principal::new("bob", [Role::Operator]));
    let id = healer.roll_out(&quick(), "ada").await.unwrap();
    while shop.green().await < 50 {
        shop.clock.sleep(Duration::from_secs(1)).await;
    }
    healer.kill_switch().engage();
    shop.breaks("green", 0.5);
    let incident = shop.ended(&healer, id, 300).await;
    let run = incident.runs[0].run;
    assert_eq!(shop.green().await, 50, "{:?}", incident.runs[0]);
    // Nothing moves while it is thrown; people are told again.
    bob.cancel_run(id, run, "too early").await.unwrap();
    shop.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(shop.green().await, 50);
    healer.kill_switch().release();
    bob.cancel_run(id, run, "it is bad").await.unwrap();
    shop.clock.sleep(Duration::from_secs(60)).await;
    let incident = healer.incident(id).await.unwrap();
    assert_eq!(*shop.history.lock().unwrap(), [10, 50, 0]);
    assert_eq!(incident.runs[0].undo_outcome, Some(Outcome::Completed));
    assert_eq!(incident.phase, Phase::Escalated);
    // It is through: nothing is left to be taken back twice.
    bob.cancel_run(id, run, "again").await.unwrap();
    assert_eq!(healer.incident(id).await.unwrap().phase, Phase::Escalated);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn four_versions_that_are_taken_back_do_not_keep_a_good_one_from_being_rolled_out() {
    let shop = Shop::open().await;
    let (healer, _) = started(&shop).await;
    shop.breaks("green", 0.5);
    for _ in 0..4 {
        let id = healer.roll_out(&quick(), "ada").await.unwrap();
        let incident = shop.ended(&healer, id, 300).await;
        assert_eq!(incident.runs.len(), 1, "{incident:?}");
        healer.close_incident(id, "ada", "once more").await.unwrap();
        // The limits count it as they count anything.
        shop.clock.sleep(Duration::from_secs(3600)).await;
    }
    shop.breaks("green", 0.0);
    let id = healer.roll_out(&quick(), "ada").await.unwrap();
    let incident = shop.ended(&healer, id, 300).await;
    assert!(incident.is_closed(), "{incident:?}");
    assert_eq!(shop.green().await, 100);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn weights_that_somebody_set_between_two_stages_are_not_overwritten() {
    let shop = Shop::open().await;
    let (healer, _) = started(&shop).await;
    let id = healer.roll_out(&quick(), "ada").await.unwrap();
    while shop.green().await < 10 {
        shop.clock.sleep(Duration::from_secs(1)).await;
    }
    let by_hand = Weights::new([("blue", 97), ("green", 3)]).unwrap();
    shop.router.set_weights("orders", &by_hand).await.unwrap();
    let incident = shop.ended(&healer, id, 300).await;
    assert_eq!(shop.green().await, 3);
    let asked = incident.hand_over().unwrap();
    assert!(asked.reason.contains("expected"), "{}", asked.reason);
    // Put back as the stage before had them, it goes on.
    let back = Weights::new([("blue", 90), ("green", 10)]).unwrap();
    shop.router.set_weights("orders", &back).await.unwrap();
    let bob = healer.operator_as(Principal::new("bob", [Role::Operator]));
    bob.answer_hand_over(&asked, HandOverAnswer::Resume, "as it was")
        .await
        .unwrap();
    let mut left = 300;
    while !healer.incident(id).await.unwrap().is_closed() && left > 0 {
        shop.clock.sleep(Duration::from_secs(1)).await;
        left -= 1;
    }
    assert_eq!(shop.green().await, 100);
    healer.shutdown().await;
}

const RESTART: &str = "\
playbook_id: restart
name: Restart it
version: '1'
severity: SEVERITY
trigger: {condition: queue_seconds > 5, duration: 5s, service: orders}
remediation_steps:
  - {step: 1, action: restart, timeout: 30s}
verification: {check: queue_seconds < 2, consecutive: 3, wait_time: 1s, watch: 30s}
";

/// Whether a heal of this severity acted, and the weight of the new version, two minutes after it
/// became due in the middle of a rollout that takes hours.
async fn in_need(severity: &str) -> (bool, u32) {
    let shop = Shop::open().await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let acted = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&acted);
    let spec = ActionSpec::new("a test").with_effect(EffectClass::Idempotent);
    let restart = CallFunction::new("restart", spec, move |_| {
        done.store(true, Ordering::SeqCst);
        Box::pin(async { Ok::<Value, ActionError>(Value::Null) })
    });
    // One of many: how bad it is comes from the playbook, not from how much of everything is hit.
    let builder = (0..30).fold(shop.healer(&store).action(restart), |builder, n| {
        builder.service(format!("other-{n}"), ServiceFacts::default())
    });
    let playbook = RESTART.replace("SEVERITY", severity);
    let healer = builder
        .playbook("restart.yaml", playbook)
        .start()
        .await
        .unwrap();
    let mut rollout = quick();
    rollout.strategy = RolloutStrategy::Stages(vec![
        RolloutStage {
            at_least: Duration::from_secs(6 * 3600),
            ..RolloutStage::of(10)
        },
        RolloutStage::of(100),
    ]);
    healer.roll_out(&rollout, "ada").await.unwrap();
    while shop.green().await < 10 {
        shop.clock.sleep(Duration::from_secs(1)).await;
    }
    let queue = healer.recorder();
    let queue = queue.series(&SeriesKey::new("queue_seconds").with("service", "orders"));
    for _ in 0..120 {
        let secs = if acted.load(Ordering::SeqCst) {
            1.0
        } else {
            9.0
        };
        queue.record(secs);
        shop.clock.sleep(Duration::from_secs(1)).await;
    }
    let green = shop.green().await;
    healer.shutdown().await;
    (acted.load(Ordering::SeqCst), green)
}

#[tokio::test(start_paused = true)]
async fn what_is_worse_than_a_rollout_does_not_wait_for_its_end_and_what_is_not_does() {
    assert_eq!(in_need("high").await, (true, 0));
    assert_eq!(in_need("low").await, (false, 10));
}
