//! The shipped judge over the shipped table: hours of stages, decided by evidence.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::port::{ArmMeter, MemoryStore, Store, TrafficError, TrafficRouter};
use homeostasis::core::record::ArmInterval;
use homeostasis::core::{Context, Rng, Timestamp, async_trait};
use homeostasis::remediate::action::AwaitCanary;
use homeostasis::remediate::rollout::{Rollout, RolloutStrategy};
use homeostasis::verify::CanaryJudges;

use super::shop::Shop;

/// Requests a second to both slots.
const RATE: f64 = 5_000.0;

/// One of so many requests fails, of itself.
const FAILS: f64 = 0.0004;

/// What the slots of the shop would answer at a high rate.
#[derive(Debug)]
struct Busy {
    shop: Arc<Shop>,
    rng: Mutex<Rng>,
    /// From when on the new version fails how many times as often.
    turns: Option<(Timestamp, f64)>,
}

/// A draw from the Poisson distribution: as many exponential gaps as fit.
fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    let (mut n, mut at) = (0, 0.0);
    loop {
        at -= (1.0 - rng.unit()).ln();
        if at > mean {
            return n;
        }
        n += 1;
    }
}

#[async_trait]
impl ArmMeter for Busy {
    async fn answered(
        &self,
        _: &Context,
        (service, slot): (&str, &str),
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ArmInterval>, TrafficError> {
        let weights = self.shop.router.weights(service).await?;
        let share = weights.map_or(0.0, |weights| weights.share(slot).get());
        let requests = until.since(from).as_secs_f64() * RATE * share;
        let turned = self.turns.filter(|(at, _)| slot == "green" && until > *at);
        let mean = requests * FAILS * turned.map_or(1.0, |(_, times)| times);
        let failed = poisson(&mut self.rng.lock().unwrap(), mean);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some hundred thousand"
        )]
        Ok(Some(ArmInterval::new(requests as u64, failed)))
    }
}

/// The weights that the new version had, and how long it all took; it turns after so many minutes.
async fn progressive(turns: Option<(u64, f64)>) -> (Vec<u32>, Duration, bool) {
    let shop = Shop::open().await;
    let begun = shop.clock.now();
    let busy = Busy {
        shop: Arc::clone(&shop),
        rng: Mutex::new(Rng::from_seed(3)),
        turns: turns.map(|(mins, times)| (begun + Duration::from_secs(60 * mins), times)),
    };
    let watch = AwaitCanary::new(Arc::new(busy), Arc::new(CanaryJudges::default()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let healer = shop.healer_by(&store, watch).start().await.unwrap();
    let mut rollout = Rollout::new("orders", "blue", "green");
    rollout.strategy = RolloutStrategy::Progressive;
    let id = healer.roll_out(&rollout, "ada").await.unwrap();
    let incident = shop.ended(&healer, id, 8 * 3600).await;
    let took = shop.clock.now().since(begun);
    healer.shutdown().await;
    let history = shop.history.lock().unwrap().clone();
    (history, took, incident.is_closed())
}

#[tokio::test(start_paused = true)]
async fn a_good_version_goes_through_the_progressive_table_in_its_time() {
    let (history, took, is_closed) = progressive(None).await;
    assert_eq!(history, [1, 5, 25, 50, 100]);
    assert!(is_closed);
    // 10 min, 30 min, 1 h, 2 h, and 5 min at all of it; a stage may take longer to be sure.
    let mins = took.as_secs() / 60;
    assert!((225..=290).contains(&mins), "{mins} min");
}

#[tokio::test(start_paused = true)]
async fn one_that_turns_bad_long_after_it_was_found_good_is_taken_back_within_minutes() {
    // An hour and a half in it has a quarter of the traffic, and half an hour of good evidence.
    let (history, took, is_closed) = progressive(Some((90, 3.0))).await;
    assert_eq!(history, [1, 5, 25, 0]);
    assert!(!is_closed);
    let mins = took.as_secs() / 60;
    assert!((90..=105).contains(&mins), "{mins} min");
}
