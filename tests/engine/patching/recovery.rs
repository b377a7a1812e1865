//! What lives that end in between leave, and what the next one makes of it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use homeostasis::core::policy::Policy;
use homeostasis::core::record::{EffectClass, Inverse, Outcome, RiskLevel};
use homeostasis::core::testing::store::{CrashPoint, CrashStore};
use homeostasis::core::{Context, async_trait};
use homeostasis::patch::SessionState;
use homeostasis::remediate::action::{Action, ActionCall, ActionError, ActionSpec};
use serde_json::{Map, Value};

use super::shop::{Check, NEW, OLD, Shop};
use crate::world::pass;

#[tokio::test(start_paused = true)]
async fn checks_clear_away_what_a_killed_life_left_before_anything_starts() {
    let shop = Shop::new();
    let recovered = Arc::<AtomicU32>::default();
    let check = Check {
        recovered: Arc::clone(&recovered),
        ..Check::default()
    };
    let builder = shop.builder(shop.configured().check(check));
    // It says that it failed, which stops nothing.
    let healer = builder.start().await.unwrap();
    assert_eq!(recovered.load(Ordering::SeqCst), 1);
    healer.shutdown().await;
    assert_eq!(recovered.load(Ordering::SeqCst), 1);
}

/// Fails each time it is done for the second time, and counts.
#[derive(Debug)]
struct Stumbles(ActionSpec, Arc<AtomicU32>);

#[async_trait]
impl Action for Stumbles {
    fn name(&self) -> &str {
        "warm_up"
    }

    fn spec(&self) -> &ActionSpec {
        &self.0
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let n_before = self.1.fetch_add(1, Ordering::SeqCst);
        if n_before == 1 {
            return Err(ActionError::transient("warming up", "not now"));
        }
        if n_before > 1 {
            assert!(call.key.as_str().ends_with("/undo/1"), "{}", call.key);
        }
        Ok(Value::Null)
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_removal_is_done_once_although_a_later_part_fails_and_is_tried_again() {
    let shop = Shop::new();
    *shop.healthy.lock().unwrap() = "something else";
    let spec = ActionSpec::new("a test")
        .with_effect(EffectClass::Idempotent)
        .with_risk(RiskLevel::Low)
        .with_inverse(Inverse::Nothing);
    let warmed = Arc::<AtomicU32>::default();
    let mut policy = Policy {
        min_interval: Duration::ZERO,
        ..Policy::default()
    };
    policy.pre_approved = ["apply_patch", "restart_shop", "warm_up"]
        .map(str::to_owned)
        .into();
    let builder = shop
        .builder(shop.configured().then("warm_up", Map::new()))
        .policy(policy)
        .action(Stumbles(spec, Arc::clone(&warmed)));
    let (_, documents) = shop.story(builder, "escalated").await;
    assert_eq!(documents[0].taken_back, Some(Outcome::Completed));
    assert_eq!(shop.text(), OLD);
    // After the patch; after its removal, where it failed at first and was tried again.
    assert_eq!(warmed.load(Ordering::SeqCst), 3);
    assert_eq!(shop.restarts.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_kill_left_half_done_is_settled_when_the_healer_starts() {
    let shop = Shop::new();
    shop.story(shop.builder(shop.configured()), "closed").await;
    // As a kill in the middle of the exchange leaves it; nothing is wrong that would be patched.
    let records = shop.folder.join("sessions/sessions");
    let record = fs::read_dir(records)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"applied\"", "\"rolling_back\"")).unwrap();
    *shop.healthy.lock().unwrap() = OLD;
    let healer = shop.builder(shop.configured()).start().await.unwrap();
    assert_eq!(shop.text(), OLD);
    assert_eq!(
        shop.tree().sessions().unwrap()[0].state,
        SessionState::RolledBack
    );
    healer.shutdown().await;
}

/// One life that dies at `point`; says how many writes it began.
async fn die_at(shop: &Arc<Shop>, point: Option<CrashPoint>) -> u64 {
    let frozen = CrashStore::of(Arc::clone(&shop.store)).hanging();
    let crashing = Arc::new(match point {
        Some(point) => frozen.crash_at(point),
        None => frozen,
    });
    let builder = shop.builder(shop.configured());
    let builder = builder.store(Arc::clone(&crashing) as Arc<_>);
    let life = async {
        let healer = builder.start().await.unwrap();
        shop.run(&healer);
        healer.clock().sleep(Duration::from_secs(120)).await;
        healer.shutdown().await;
    };
    // A life that dies while it starts never gets to its end.
    let _ = tokio::time::timeout(Duration::from_secs(240), life).await;
    crashing.n_writes()
}

#[tokio::test(start_paused = true)]
async fn dying_at_every_write_ends_with_one_patch_whether_it_helps_or_not() {
    for helps in [true, false] {
        let made = || {
            let shop = Shop::new();
            if !helps {
                *shop.healthy.lock().unwrap() = "something else";
            }
            shop
        };
        let n_writes = die_at(&made(), None).await;
        assert!(
            n_writes >= 10,
            "a whole heal has more than {n_writes} writes"
        );
        for n in 1..=n_writes {
            for point in [CrashPoint::Before(n), CrashPoint::After(n)] {
                let shop = made();
                let story = format!("helps: {helps}, {point:?}");
                die_at(&shop, Some(point)).await;
                let healer = shop.builder(shop.configured()).start().await.unwrap();
                shop.run(&healer);
                pass(&healer, 300).await;
                healer.shutdown().await;
                let sessions = shop.tree().sessions().unwrap();
                let states: Vec<_> = sessions.iter().map(|it| it.state).collect();
                let (text, wanted) = if helps {
                    (NEW, SessionState::Applied)
                } else {
                    (OLD, SessionState::RolledBack)
                };
                assert_eq!(shop.text(), text, "{story}");
                assert_eq!(states, [wanted], "{story}");
            }
        }
    }
}
