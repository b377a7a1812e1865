//! Killing the engine at every write of a rollout, those in the middle of its stages among them:
//! the next one resumes it or takes it back, and traffic is never shared without an owner.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::cycle::{Phase, replay};
use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::{Outcome, Resolution};
use homeostasis::core::testing::store::{CrashPoint, CrashStore};

use super::shop::{Shop, quick};

/// How long the first life may take: longer than the rollout, which renews its lease all the while.
const LIFE: Duration = Duration::from_secs(75);

/// One rollout that is killed at `point`, and the life after; how many writes the first life made.
async fn killed(point: Option<CrashPoint>, is_bad: bool) -> u64 {
    let shop = Shop::open().await;
    if is_bad {
        shop.breaks("green", 0.3);
    }
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let frozen = CrashStore::of(Arc::clone(&store)).hanging();
    let crashing = Arc::new(match point {
        Some(point) => frozen.crash_at(point),
        None => frozen,
    });
    let builder = shop.healer(&(Arc::clone(&crashing) as Arc<dyn Store>));
    let second = Duration::from_secs(1);
    if let Ok(healer) = tokio::time::timeout(second, builder.start()).await {
        let healer = healer.unwrap();
        let _ = tokio::time::timeout(second, healer.roll_out(&quick(), "ada")).await;
        let mut left = LIFE;
        while !crashing.is_frozen() && !left.is_zero() {
            shop.clock.sleep(second).await;
            left -= second;
        }
        // Its tasks die with it.
        healer.shutdown().await;
    }
    let n_writes = crashing.n_writes();

    // While nobody lives: what is shared belongs to a run that is open.
    let owner = store.open_incidents().await.unwrap();
    let mut owned = BTreeSet::from([0]);
    for id in &owner {
        let incident = replay(&store.read(*id).await.unwrap()).unwrap().unwrap();
        let steps = incident.plans.iter().flat_map(|plan| &plan.steps);
        let weights = steps.filter_map(|step| step.args.get("weights")?["green"].as_u64());
        owned.extend(weights);
    }
    let green = u64::from(shop.green().await);
    assert!(
        owned.contains(&green) || point.is_none(),
        "{point:?}: {green} of {owned:?}"
    );
    if owner.is_empty() && point.is_some() {
        assert!(
            [0, 100].contains(&green),
            "{point:?}: {green} without an owner"
        );
    }

    let healer = shop.healer(&store).start().await.unwrap();
    for id in owner {
        let incident = shop.ended(&healer, id, 400).await;
        let run = incident.runs.last().unwrap();
        let green = shop.green().await;
        match incident.phase {
            Phase::Closed {
                resolution: Resolution::Healed { .. },
            } => assert_eq!((green, is_bad), (100, false), "{point:?}"),
            Phase::Escalated => {
                assert_eq!(
                    run.undo_outcome,
                    Some(Outcome::Completed),
                    "{point:?}: {run:?}"
                );
                assert_eq!(green, 0, "{point:?}");
            }
            other => panic!("{point:?}: {other:?}"),
        }
    }
    let green = shop.green().await;
    assert!(green == 0 || green == 100 && !is_bad, "{point:?}: {green}");
    healer.shutdown().await;
    n_writes
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_write_it_goes_on_or_goes_back_and_traffic_has_an_owner() {
    let mut n_kills = 0;
    for is_bad in [false, true] {
        let n_writes = killed(None, is_bad).await;
        for n in 1..=n_writes {
            for point in [CrashPoint::Before(n), CrashPoint::After(n)] {
                killed(Some(point), is_bad).await;
                n_kills += 1;
            }
        }
    }
    assert!(n_kills >= 100, "{n_kills} kills");
}
