//! The kill switch stops every further dispatch at once, by file, by command and by a host's handler,
//! also with a store that fails or hangs. Real time, real files.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use homeostasis::core::policy::{Permit, Policy};
use homeostasis::core::port::{Commit, MemoryStore, Principal, Role, Store, StoreError, Version};
use homeostasis::core::record::{
    BlastRadius, EffectClass, EventKind, HealEvent, Inverse, Outcome, Plan, PlanStep, RadiusLevel,
    RiskLevel, StepIntent, StepOutcome, StepPhase,
};
use homeostasis::core::stage::{ExecuteError, PlanError, PlanRequest, Remediator, RunLog};
use homeostasis::core::testing::store::{HookedStore, WriteHook};
use homeostasis::core::{Context, IdempotencyKey, PlanId, async_trait};
use homeostasis::{EngineSettings, Homeostasis, SystemClock};

use crate::world::World;

/// What the store does with writes.
#[derive(Debug, Clone, Default)]
struct Health(Arc<AtomicU8>);

const WELL: u8 = 0;
const FAILS: u8 = 1;
const HANGS: u8 = 2;

fn is_step(event: &HealEvent) -> bool {
    matches!(
        event.kind,
        EventKind::StepIntended { .. } | EventKind::StepEnded { .. }
    )
}

#[async_trait]
impl WriteHook for Health {
    async fn commit(&self, inner: &dyn Store, commit: Commit) -> Result<Version, StoreError> {
        loop {
            match self.0.load(Ordering::SeqCst) {
                WELL => return inner.commit(commit).await,
                // Steps go through: only the switch can end the march.
                FAILS if commit.events.iter().any(is_step) => return inner.commit(commit).await,
                FAILS => {
                    return Err(StoreError::Io {
                        what: "writing".to_owned(),
                        source: "the disk is gone".into(),
                    });
                }
                // It comes back as if nothing had been.
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }
}

/// Does as many short steps as a plan may have, and notes when each began.
#[derive(Debug)]
struct Marcher(Arc<Mutex<Vec<Instant>>>);

#[async_trait]
impl Remediator for Marcher {
    fn name(&self) -> &str {
        "marcher"
    }

    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        let Some(cause) = request.diagnosis.root_cause() else {
            return Ok(Vec::new());
        };
        let id = PlanId::new(cx.now(), &mut cx.rng(2));
        let target = cause.target.clone();
        let mut plan = Plan::new(id, request.incident.id, "marcher", "march", target.clone());
        plan.fitness = 1.0;
        plan.radius = BlastRadius {
            level: RadiusLevel::SingleInstance,
            instances: 1,
            services: 1,
            risk_score: 1.0,
        };
        let mut step = PlanStep::new("step", "step", target);
        (step.effect, step.risk) = (EffectClass::Idempotent, RiskLevel::Low);
        step.inverse = Inverse::Nothing;
        step.timeout = Duration::from_millis(1);
        plan.steps = vec![step; Plan::MAX_STEPS];
        Ok(vec![plan])
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        run.redeem(permit)
            .map_err(|error| ExecuteError::permanent("redeeming", error))?;
        for step_idx in 0..run.plan().steps.len() {
            let intent = StepIntent {
                step_idx,
                phase: StepPhase::Do,
                attempt: 1,
                key: IdempotencyKey::new(run.state().run, step_idx),
                effect: EffectClass::Idempotent,
                captured: serde_json::Value::Null,
                deadline: cx.now() + Duration::from_secs(1),
            };
            if let Err(error) = run.intend(intent).await {
                return Ok(error.halted());
            }
            self.0.lock().unwrap().push(now());
            tokio::time::sleep(Duration::from_millis(5)).await;
            let output = serde_json::Value::Null;
            let done = StepOutcome::Done { output };
            if let Err(error) = run.end(StepPhase::Do, step_idx, done).await {
                return Ok(error.halted());
            }
        }
        Ok(Outcome::Completed)
    }

    async fn undo(
        &self,
        _: &Context,
        _: Permit,
        _: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        Ok(Outcome::Completed)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bound in real time is measured"
)]
fn now() -> Instant {
    Instant::now()
}

#[derive(Debug, Clone, Copy)]
enum Way {
    File,
    Command,
    Handler,
    #[cfg(unix)]
    Signal,
}

fn stop(healer: &Homeostasis, way: Way, file: PathBuf) {
    match way {
        Way::File => std::fs::write(file, "").unwrap(),
        Way::Handler => healer.kill_switch().engage(),
        #[cfg(unix)]
        Way::Signal => {
            use rustix::process::{Signal, getpid, kill_process};
            kill_process(getpid(), Signal::USR2).unwrap();
        }
        Way::Command => {
            let ada = healer.operator_as(Principal::new("ada", [Role::Operator]));
            // With a dead store it waits for the record; what it stops is stopped before.
            healer.spawn(async move { drop(ada.engage_kill_switch("fire").await) });
        }
    }
}

async fn check(way: Way, store_is: u8) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stop");
    let (world, marks) = (Arc::new(World::default()), Arc::new(Mutex::new(Vec::new())));
    let health = Health::default();
    let store = HookedStore::new(MemoryStore::default(), health.clone());
    let mut settings = EngineSettings::default();
    (settings.tick, settings.settle) = (Duration::from_millis(20), Duration::ZERO);
    settings.stage_deadline = Duration::from_secs(5);
    let mut policy = Policy::default();
    policy.pre_approved.extend(["step".to_owned()]);
    let healer = world
        .healer()
        .clock(Arc::new(SystemClock))
        .settings(settings)
        .policy(policy)
        .store(Arc::new(store))
        .remediator(Marcher(Arc::clone(&marks)))
        .kill_switch_file(&file)
        .start()
        .await
        .unwrap();
    // The march begins once the doctor has declined.
    *world.objection.lock().unwrap() = Some("not this one".to_owned());
    #[cfg(unix)]
    if matches!(way, Way::Signal) {
        let signal = rustix::process::Signal::USR2.as_raw();
        healer.stop_on_signal(signal).unwrap();
    }
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let n_marks = || marks.lock().unwrap().len();
    let wait = async {
        while n_marks() < 20 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let began = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(began.is_ok(), "{way:?}: the march never began");
    health.0.store(store_is, Ordering::SeqCst);
    let stopped_at = now();
    stop(&healer, way, file);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(healer.kill_switch().is_engaged(), "{way:?} {store_is}");
    // A store that comes back brings back no step.
    health.0.store(WELL, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let marks = marks.lock().unwrap().clone();
    assert!(marks.len() < Plan::MAX_STEPS, "{way:?} {store_is}");
    let last = marks.last().unwrap().saturating_duration_since(stopped_at);
    assert!(
        last <= Duration::from_millis(100),
        "{way:?}, store {store_is}: a step began {last:?} after the stop"
    );
    healer.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_step_begins_later_than_100_ms_after_a_stop_by_any_way_with_any_store() {
    let mut checks = tokio::task::JoinSet::new();
    for way in [Way::File, Way::Command, Way::Handler] {
        for store_is in [WELL, FAILS, HANGS] {
            checks.spawn(check(way, store_is));
        }
    }
    while let Some(done) = checks.join_next().await {
        done.unwrap();
    }
}

/// A signal reaches the whole process: it has a turn of its own.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_stops_a_healer_whose_host_asked_for_it() {
    for store_is in [WELL, HANGS] {
        check(Way::Signal, store_is).await;
    }
}
