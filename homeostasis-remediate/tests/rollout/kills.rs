//! Killing the engine at every write of a rollout and in every second of its stages: the next one resumes it or takes it back, and traffic is never shared without an owner.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis::core::async_trait;
use homeostasis::core::cycle::{Phase, replay};
use homeostasis::core::port::{Commit, MemoryStore, Store, StoreError, Version};
use homeostasis::core::record::{Outcome, Resolution};
use homeostasis::core::testing::store::{CrashPoint, CrashStore, HookedStore, WriteHook};

use super::shop::{Shop, quick};

/// How long the first life may take: longer than the rollout.
const LIFE: u64 = 75;

/// When the first life ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kill {
    Never,
    /// Before or after a write.
    At(CrashPoint),
    /// So many seconds after it was ordered, whatever it does then.
    After(u64),
}

/// From its death on, nothing of what a process writes is written.
#[derive(Debug, Default)]
struct Death(AtomicBool);

#[async_trait]
impl WriteHook for Death {
    async fn commit(&self, store: &dyn Store, commit: Commit) -> Result<Version, StoreError> {
        if self.0.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        store.commit(commit).await
    }
}

/// One rollout whose engine is killed, and the life after: how many writes the first life made, for
/// how many seconds it had something to do, and whether the new version has the traffic at the end.
async fn killed(kill: Kill, is_bad: bool) -> (u64, u64, bool) {
    let shop = Shop::open().await;
    if is_bad {
        shop.breaks("green", 0.3);
    }
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let frozen = CrashStore::of(Arc::clone(&store)).hanging();
    let crashing = Arc::new(match kill {
        Kill::At(point) => frozen.crash_at(point),
        _ => frozen,
    });
    let mortal = HookedStore::new(Arc::clone(&crashing) as Arc<dyn Store>, Death::default());
    let mortal = Arc::new(mortal);
    let builder = shop.healer(&(Arc::clone(&mortal) as Arc<dyn Store>));
    let second = Duration::from_secs(1);
    let mut busy = 0;
    if let Ok(healer) = tokio::time::timeout(second, builder.start()).await {
        let healer = healer.unwrap();
        let _ = tokio::time::timeout(second, healer.roll_out(&quick(), "ada")).await;
        for elapsed in 0..LIFE {
            if crashing.is_frozen() || kill == Kill::After(elapsed) {
                break;
            }
            shop.clock.sleep(second).await;
            let open = store.open_incidents().await.unwrap();
            busy = if open.is_empty() { busy } else { elapsed };
        }
        mortal.hook().0.store(kill != Kill::Never, Ordering::SeqCst);
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
    if owner.is_empty() {
        owned.insert(100);
    }
    let green = u64::from(shop.green().await);
    assert!(owned.contains(&green), "{kill:?}: {green} of {owned:?}");

    let healer = shop.healer(&store).start().await.unwrap();
    for id in owner {
        let incident = shop.ended(&healer, id, 400).await;
        let run = incident.runs.last().unwrap();
        let green = shop.green().await;
        match incident.phase {
            Phase::Closed {
                resolution: Resolution::Healed { .. },
            } => assert_eq!((green, is_bad), (100, false), "{kill:?}"),
            Phase::Escalated => {
                assert_eq!(
                    run.undo_outcome,
                    Some(Outcome::Completed),
                    "{kill:?}: {run:?}"
                );
                assert_eq!(green, 0, "{kill:?}");
            }
            other => panic!("{kill:?}: {other:?}"),
        }
    }
    let green = shop.green().await;
    assert!(green == 0 || green == 100 && !is_bad, "{kill:?}: {green}");
    healer.shutdown().await;
    (n_writes, busy, green == 100)
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_write_and_second_it_goes_on_or_goes_back_and_traffic_has_an_owner() {
    let (mut n_kills, mut n_good, mut n_promoted) = (0, 0, 0);
    for is_bad in [false, true] {
        let (n_writes, busy, _) = killed(Kill::Never, is_bad).await;
        let writes = (1..=n_writes).flat_map(|n| [CrashPoint::Before(n), CrashPoint::After(n)]);
        // An incident that was handed to people stays open.
        let seconds = (0..=busy.min(40)).map(Kill::After);
        for kill in writes.map(Kill::At).chain(seconds) {
            let (.., is_promoted) = killed(kill, is_bad).await;
            n_kills += 1;
            n_good += u32::from(!is_bad);
            n_promoted += u32::from(is_promoted);
        }
    }
    assert!(n_kills >= 100, "{n_kills} kills");
    // A crash is no reason to take a good version back.
    assert!(n_promoted * 2 > n_good, "{n_promoted} of {n_good}");
    eprintln!("{n_kills} kills; {n_promoted} of {n_good} good versions promoted all the same");
}
