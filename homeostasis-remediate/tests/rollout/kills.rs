//! Killing the engine at every write of a rollout and in every few seconds of its stages, whichever way back it has: the next one resumes it or takes it back, and traffic is never shared without an owner.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis::core::async_trait;
use homeostasis::core::cycle::{Phase, replay};
use homeostasis::core::port::{Commit, MemoryStore, Store, StoreError, Version};
use homeostasis::core::record::{
    EffectClass, HandOverAnswer, Outcome, Resolution, RunState, StepOutcome, StepState,
};
use homeostasis::core::testing::store::{CrashPoint, CrashStore, HookedStore, WriteHook};
use homeostasis::core::{Incident, IncidentId};
use homeostasis::remediate::action::{ActionError, ActionSpec, CallFunction};
use homeostasis::remediate::rollout::{OnUncertain, RollbackMode, Rollout, RolloutStep};
use homeostasis::{Builder, Homeostasis};
use serde_json::{Value, json};

use super::shop::{Shop, quick};

/// How long the first life may take: longer than the rollout.
const LIFE: u64 = 90;

/// When the first life ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kill {
    Never,
    /// Before or after a write.
    At(CrashPoint),
    /// So many seconds after it was ordered, whatever it does then.
    After(u64),
}

/// What is rolled out, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Story {
    /// Good all the time.
    Good,
    /// Bad from the beginning; taken back at once.
    Bad,
    /// Good with steps before and after the stages.
    Around,
    /// The same, and bad from half of the traffic on.
    AroundBad,
    /// Bad from half of the traffic on; taken back stage by stage.
    Gradual,
    /// Bad from half of the traffic on; taken back to what was confirmed.
    Checkpoint,
    /// Nobody measures it from half of the traffic on, and it is held.
    Hold,
}

impl Story {
    const ALL: [Self; 7] = [
        Self::Good,
        Self::Bad,
        Self::Around,
        Self::AroundBad,
        Self::Gradual,
        Self::Checkpoint,
        Self::Hold,
    ];

    fn rollout(self) -> Rollout {
        let mut rollout = quick();
        match self {
            Self::Good | Self::Bad => {}
            Self::Around | Self::AroundBad => {
                rollout.before = vec![RolloutStep::new("prepare", json!({}))];
                rollout.after = vec![RolloutStep::new("retire", json!({}))];
            }
            Self::Gradual => {
                let pause = Duration::from_secs(7);
                rollout.rollback = RollbackMode::Gradual { pause };
            }
            Self::Checkpoint => rollout.rollback = RollbackMode::Checkpoint,
            Self::Hold => {
                rollout.on_uncertain = OnUncertain::Hold;
                rollout.decide_within = Duration::from_secs(10);
            }
        }
        rollout
    }

    const fn is_promoted(self) -> bool {
        matches!(self, Self::Good | Self::Around)
    }

    /// What becomes of the shop when the new version has half of the traffic.
    fn turn(self, shop: &Shop) {
        match self {
            Self::AroundBad | Self::Gradual | Self::Checkpoint => shop.breaks("green", 0.5),
            Self::Hold => *shop.is_measured.lock().unwrap() = false,
            Self::Good | Self::Bad | Self::Around => {}
        }
    }
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

fn healer(shop: &Arc<Shop>, store: &Arc<dyn Store>) -> Builder {
    let names = ["prepare", "retire"];
    names.into_iter().fold(shop.healer(store), |builder, name| {
        let spec = ActionSpec::new("a test").with_effect(EffectClass::Idempotent);
        builder.action(CallFunction::new(name, spec, |_| {
            Box::pin(async { Ok::<Value, ActionError>(Value::Null) })
        }))
    })
}

/// The weight of the new version that a shift sets, and the one its undo sets.
fn shifts(incident: &Incident) -> Vec<(usize, u64, u64)> {
    let mut before = 0;
    let steps = incident.plans[0].steps.iter().enumerate();
    let shifts = steps.filter_map(|(idx, step)| {
        let to = step.args.get("weights")?["green"].as_u64()?;
        let back = step.args.get("back_to").map_or(before, |_| 0);
        before = to;
        Some((idx, to, back))
    });
    shifts.collect()
}

/// Moves on from the weights that may be in force: to `weight` if the step is done, perhaps if it
/// began.
fn moved(may_be: &mut BTreeSet<u64>, step: &StepState, weight: u64) {
    match step {
        StepState::NotStarted
        | StepState::Ended {
            outcome: StepOutcome::Skipped { .. },
            ..
        } => {}
        step if step.is_done() => *may_be = BTreeSet::from([weight]),
        _ => {
            may_be.insert(weight);
        }
    }
}

/// Which weights of the new version the journal accounts for: those of the stage in force, and those
/// of the shift that was intended and has no outcome yet.
fn owned(incident: &Incident) -> BTreeSet<u64> {
    let mut may_be = BTreeSet::from([0]);
    let Some(run) = incident.runs.last() else {
        return may_be;
    };
    let shifts = shifts(incident);
    for (idx, to, _) in &shifts {
        moved(&mut may_be, &run.steps[*idx], *to);
    }
    for (idx, _, back) in shifts.iter().rev() {
        moved(&mut may_be, &run.undo[*idx], *back);
    }
    may_be
}

/// What a kill met.
#[derive(Debug, Default)]
struct Met {
    n_writes: u64,
    /// For how many seconds the first life had something to do.
    busy: u64,
    is_promoted: bool,
    /// It was in the middle of taking back.
    in_undo: u32,
    /// A shift was intended and its outcome not known.
    in_shift: u32,
    is_held: u32,
}

/// One rollout whose engine is killed, and the life after.
async fn killed(kill: Kill, story: Story) -> Met {
    let shop = Shop::open().await;
    if story == Story::Bad {
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
    let builder = healer(&shop, &(Arc::clone(&mortal) as Arc<dyn Store>));
    let second = Duration::from_secs(1);
    let mut met = Met::default();
    if let Ok(first) = tokio::time::timeout(second, builder.start()).await {
        let first = first.unwrap();
        let _ = tokio::time::timeout(second, first.roll_out(&story.rollout(), "ada")).await;
        for elapsed in 0..LIFE {
            if crashing.is_frozen() || kill == Kill::After(elapsed) {
                break;
            }
            shop.clock.sleep(second).await;
            if shop.green().await >= 50 {
                story.turn(&shop);
            }
            let open = store.open_incidents().await.unwrap();
            met.busy = if open.is_empty() { met.busy } else { elapsed };
        }
        mortal.hook().0.store(kill != Kill::Never, Ordering::SeqCst);
        // Its tasks die with it.
        first.shutdown().await;
    }
    met.n_writes = crashing.n_writes();

    // While nobody lives: the weights are those that the journal accounts for.
    let open = store.open_incidents().await.unwrap();
    assert!(open.len() <= 1, "{kill:?}: {open:?}");
    let green = u64::from(shop.green().await);
    let may_be = match open.first() {
        Some(id) => {
            let incident = replay(&store.read(*id).await.unwrap()).unwrap().unwrap();
            let run = incident.runs.last();
            met.in_undo = u32::from(run.is_some_and(is_half_back));
            met.is_held = u32::from(incident.hand_over().is_some());
            owned(&incident)
        }
        // Never begun, or over.
        None => BTreeSet::from([if met.busy > 0 { 100 } else { 0 }]),
    };
    assert!(
        may_be.contains(&green),
        "{story:?} {kill:?}: {green} of {may_be:?}"
    );
    met.in_shift = u32::from(may_be.len() > 1);

    let second_life = healer(&shop, &store).start().await.unwrap();
    if let Some(id) = open.first() {
        story.turn_once_half(&shop).await;
        end(&second_life, &shop, *id, (kill, story)).await;
    }
    let green = shop.green().await;
    met.is_promoted = green == 100;
    assert!(
        !met.is_promoted || story.is_promoted(),
        "{story:?} {kill:?}"
    );
    second_life.shutdown().await;
    met
}

/// Whether some of it was taken back, or began to be, and some was not.
fn is_half_back(run: &RunState) -> bool {
    run.undo_outcome.is_none() && run.undo.iter().any(|step| *step != StepState::NotStarted)
}

impl Story {
    /// The shop turns when the new version has half of the traffic, in the second life too.
    async fn turn_once_half(self, shop: &Arc<Shop>) {
        let (weak, clock) = (Arc::downgrade(shop), Arc::clone(&shop.clock));
        tokio::spawn(async move {
            while let Some(shop) = weak.upgrade() {
                if shop.green().await >= 50 {
                    self.turn(&shop);
                }
                drop(shop);
                clock.sleep(Duration::from_secs(1)).await;
            }
        });
        tokio::task::yield_now().await;
    }
}

/// The second life brings it to an end of which all is accounted for.
async fn end(healer: &Homeostasis, shop: &Arc<Shop>, id: IncidentId, why: (Kill, Story)) {
    let mut incident = shop.ended(healer, id, 400).await;
    if let Some(asked) = incident.hand_over() {
        // Held: nothing moves until somebody says how it goes on.
        assert_eq!(why.1, Story::Hold, "{why:?}: {asked:?}");
        assert!(
            owned(&incident).contains(&u64::from(shop.green().await)),
            "{why:?}"
        );
        let abort = HandOverAnswer::Abort;
        healer
            .answer_hand_over(&asked, abort, "bob", "no")
            .await
            .unwrap();
        for _ in 0..60 {
            shop.clock.sleep(Duration::from_secs(1)).await;
        }
        incident = healer.incident(id).await.unwrap();
    }
    let run = incident.runs.last().unwrap();
    let green = u64::from(shop.green().await);
    match incident.phase {
        Phase::Closed {
            resolution: Resolution::Healed { .. },
        } => assert_eq!((green, why.1.is_promoted()), (100, true), "{why:?}"),
        Phase::Escalated => {
            assert_eq!(
                run.undo_outcome,
                Some(Outcome::Completed),
                "{why:?}: {run:?}"
            );
            assert_eq!(owned(&incident), BTreeSet::from([green]), "{why:?}");
            // Only a checkpoint leaves it shared, with people who know.
            assert!(
                green == 0 || why.1 == Story::Checkpoint && green < 50,
                "{why:?}: {green}"
            );
        }
        other => panic!("{why:?}: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_write_and_second_it_goes_on_or_goes_back_and_traffic_has_an_owner() {
    let (mut n_kills, mut n_good, mut n_promoted) = (0, 0, 0);
    let (mut n_in_undo, mut n_in_shift, mut n_held) = (0, 0, 0);
    for story in Story::ALL {
        let whole = killed(Kill::Never, story).await;
        assert_eq!(
            whole.is_promoted,
            story.is_promoted(),
            "{story:?}: {whole:?}"
        );
        let writes =
            (1..=whole.n_writes).flat_map(|n| [CrashPoint::Before(n), CrashPoint::After(n)]);
        // An incident that was handed to people stays open.
        let seconds = (0..=whole.busy.min(60)).step_by(2).map(Kill::After);
        for kill in writes.map(Kill::At).chain(seconds) {
            let met = killed(kill, story).await;
            n_kills += 1;
            n_good += u32::from(story.is_promoted());
            n_promoted += u32::from(met.is_promoted);
            n_in_undo += met.in_undo;
            n_in_shift += met.in_shift;
            n_held += met.is_held;
        }
    }
    // Of all that a kill can meet it met some.
    assert!(n_kills >= 100, "{n_kills} kills");
    assert!(
        n_in_undo >= 10 && n_in_shift >= 10 && n_held >= 3,
        "{n_in_undo} {n_in_shift} {n_held}"
    );
    // A crash is no reason to take a good version back.
    assert!(n_promoted * 2 > n_good, "{n_promoted} of {n_good}");
    eprintln!(
        "{n_kills} kills, {n_in_shift} within a shift, {n_in_undo} while it was taken back, {n_held} while it \
         was held; {n_promoted} of {n_good} good versions promoted all the same"
    );
}
