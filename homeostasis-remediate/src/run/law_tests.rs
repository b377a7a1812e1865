//! The laws of runs, checked exhaustively: a crash at every write of every plan of up to three
//! steps over all effect classes, twice in a row, forward and back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::policy::Permit;
use homeostasis_core::record::{
    EffectClass, Inverse, Outcome, Plan, PlanStep, RiskLevel, StepPhase,
};
use homeostasis_core::stage::{ExecuteError, PlanError, PlanRequest, Remediator, RunLog};
use homeostasis_core::testing::remediator::{Crash, RunHarness};
use homeostasis_core::{
    Clock, Context, ErrorKind, IncidentId, ManualClock, PlanId, Target, Timestamp,
};
use serde_json::{Value, json};

use crate::action::{
    Action, ActionCall, ActionError, ActionRegistry, ActionSpec, Param, ParamKind, ProbeAnswer,
};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const CLASSES: [EffectClass; 5] = [
    EffectClass::Read,
    EffectClass::Idempotent,
    EffectClass::Keyed,
    EffectClass::Probeable,
    EffectClass::Opaque,
];

/// The world: a register per step, and how often each key took effect.
#[derive(Debug, Default)]
struct World {
    registers: BTreeMap<String, i64>,
    effects: BTreeMap<String, u32>,
    calls: BTreeMap<String, u32>,
}

/// How a fake action misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Fails for good after it began.
    Breaks,
    /// Takes effect and then never answers.
    HangsAfter,
    /// Never answers and never takes effect.
    HangsBefore,
    /// Fails transiently before it begins this many times, then works.
    Flaky(u32),
    /// Takes effect and then reports a transient failure, every time.
    LiesAboutFailure,
    /// Undo fails transiently this many times, then works.
    FlakyUndo(u32),
}

/// Sets a register to 1; undo puts the captured value back.
#[derive(Debug)]
struct Fake {
    name: String,
    spec: ActionSpec,
    fault: Fault,
    world: Arc<Mutex<World>>,
}

impl Fake {
    fn register(call: &ActionCall<'_>) -> String {
        call.args["register"].as_str().unwrap().to_owned()
    }
}

#[async_trait]
impl Action for Fake {
    fn name(&self) -> &str {
        &self.name
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let world = self.world.lock().unwrap();
        let register = Self::register(call);
        Ok(json!({ "was": world.registers.get(&register).copied().unwrap_or(0) }))
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let hang = {
            let mut world = self.world.lock().unwrap();
            let key = call.key.as_str().to_owned();
            let calls = world.calls.entry(key.clone()).or_default();
            *calls += 1;
            match self.fault {
                Fault::Flaky(n) if *calls <= n => {
                    let what = "the fake";
                    return Err(ActionError::not_begun(
                        what,
                        ErrorKind::Transient,
                        "not yet",
                    ));
                }
                _ => {}
            }
            if self.fault != Fault::HangsBefore && self.spec.effect != EffectClass::Read {
                let known =
                    self.spec.effect == EffectClass::Keyed && world.effects.contains_key(&key);
                if !known {
                    *world.effects.entry(key).or_default() += 1;
                    world.registers.insert(Self::register(call), 1);
                }
            }
            matches!(self.fault, Fault::HangsAfter | Fault::HangsBefore)
        };
        match self.fault {
            Fault::Breaks => Err(ActionError::permanent("the fake", "it broke")),
            Fault::LiesAboutFailure => Err(ActionError::transient("the fake", "no answer")),
            _ if hang => std::future::pending().await,
            _ => Ok(json!("done")),
        }
    }

    async fn probe(&self, _: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        let world = self.world.lock().unwrap();
        if world.effects.contains_key(call.key.as_str()) {
            ProbeAnswer::Happened(json!("seen"))
        } else {
            ProbeAnswer::DidNot
        }
    }

    async fn undo(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let mut world = self.world.lock().unwrap();
        let calls = world.calls.entry(call.key.as_str().to_owned()).or_default();
        *calls += 1;
        if let Fault::FlakyUndo(n) = self.fault
            && *calls <= n
        {
            return Err(ActionError::transient("the fake's undo", "not yet"));
        }
        let was = call.captured["was"].as_i64().unwrap();
        world.registers.insert(Self::register(call), was);
        Ok(Value::Null)
    }
}

#[derive(Debug)]
struct Runner(ActionRegistry);

#[async_trait]
impl Remediator for Runner {
    fn name(&self) -> &'static str {
        "runner"
    }

    async fn plan(&self, _: &Context, _: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        Ok(Vec::new())
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        super::execute(&self.0, cx, permit, run).await
    }

    async fn undo(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        super::undo(&self.0, cx, permit, run).await
    }
}

/// One plan of fakes with its world.
pub(super) struct Stage {
    pub(super) harness: RunHarness,
    runner: Runner,
    world: Arc<Mutex<World>>,
    clock: ManualClock,
    cx: Context,
}

impl Stage {
    pub(super) fn new(steps: &[(EffectClass, Fault)]) -> Self {
        Self::of(steps, false)
    }

    /// The same with every step beginning at once.
    pub(super) fn at_once(steps: &[(EffectClass, Fault)]) -> Self {
        Self::of(steps, true)
    }

    fn of(steps: &[(EffectClass, Fault)], at_once: bool) -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let target = Target::service("orders").unwrap();
        let (id, incident) = (PlanId::from_u128(10), IncidentId::from_u128(20));
        let mut plan = Plan::new(id, incident, "runner", "test", target.clone());
        let mut actions = ActionRegistry::default();
        for (idx, (effect, fault)) in steps.iter().enumerate() {
            let name = format!("fake{idx}");
            let inverse = if *effect == EffectClass::Read {
                Inverse::Nothing
            } else {
                Inverse::Captured("the register".to_owned())
            };
            let mut step = PlanStep::new(&name, &name, target.clone());
            step.effect = *effect;
            step.risk = RiskLevel::Low;
            step.inverse = inverse.clone();
            step.args
                .insert("register".to_owned(), json!(format!("r{idx}")));
            step.retry.attempts = 3;
            step.with_previous = at_once && idx > 0;
            plan.steps.push(step);
            let spec = ActionSpec::new("sets a register")
                .with_params([Param::required("register", ParamKind::Name, "which")])
                .with_effect(*effect)
                .with_inverse(inverse);
            actions
                .register(Fake {
                    name,
                    spec,
                    fault: *fault,
                    world: Arc::clone(&world),
                })
                .unwrap();
        }
        let clock = ManualClock::new(NOW);
        let cx = Context::new(Arc::new(clock.clone()), 3).for_incident(incident);
        Self {
            harness: RunHarness::new(plan, NOW),
            runner: Runner(actions),
            world,
            clock,
            cx,
        }
    }

    pub(super) async fn execute(&self, crash: Crash) -> Result<Outcome, ExecuteError> {
        self.driven(self.harness.execute(&self.runner, &self.cx, crash))
            .await
    }

    pub(super) async fn undo(&self, crash: Crash) -> Result<Outcome, ExecuteError> {
        self.driven(self.harness.undo(&self.runner, &self.cx, crash))
            .await
    }

    /// Runs `future`; whenever it sleeps, time goes on.
    async fn driven<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|task| {
            loop {
                if let std::task::Poll::Ready(output) = future.as_mut().poll(task) {
                    return std::task::Poll::Ready(output);
                }
                let next = self.clock.next_wake().expect("it waits for nothing");
                self.clock.advance(next.since(self.clock.now()));
            }
        })
        .await
    }

    pub(super) fn effects(&self, step_idx: usize) -> u32 {
        let world = self.world.lock().unwrap();
        let key = homeostasis_core::IdempotencyKey::new(self.harness.run(), step_idx);
        world.effects.get(key.as_str()).copied().unwrap_or(0)
    }

    pub(super) fn register(&self, step_idx: usize) -> i64 {
        let world = self.world.lock().unwrap();
        world
            .registers
            .get(&format!("r{step_idx}"))
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn assert_effects(&self, steps: &[(EffectClass, Fault)], story: &str) {
        for (step_idx, (effect, _)) in steps.iter().enumerate() {
            let (n, done) = (
                self.effects(step_idx),
                self.harness.state().phase(StepPhase::Do)[step_idx].is_done(),
            );
            match effect {
                EffectClass::Read => assert_eq!(n, 0, "{story}"),
                EffectClass::Idempotent => assert!(!done || n >= 1, "{story}"),
                EffectClass::Keyed | EffectClass::Probeable | EffectClass::Opaque => {
                    assert!(
                        n <= 1 && (!done || n == 1),
                        "{story}: {n} effects of step {step_idx}"
                    );
                }
            }
        }
    }
}

pub(super) fn shapes() -> Vec<Vec<(EffectClass, Fault)>> {
    let mut shapes: Vec<Vec<_>> = CLASSES
        .iter()
        .map(|class| vec![(*class, Fault::None)])
        .collect();
    for a in CLASSES {
        for b in CLASSES {
            shapes.push(vec![(a, Fault::None), (b, Fault::None)]);
            shapes.push(vec![
                (a, Fault::None),
                (EffectClass::Probeable, Fault::None),
                (b, Fault::None),
            ]);
        }
    }
    shapes
}

#[tokio::test]
async fn a_crash_at_every_write_repeats_nothing_that_must_not_be_repeated() {
    for shape in shapes() {
        let calm = Stage::new(&shape);
        assert_eq!(
            calm.execute(Crash::Never).await.unwrap(),
            Outcome::Completed
        );
        let writes = calm.harness.writes();
        assert_eq!(writes, shape.len() * 2, "{shape:?}");
        for crash in Crash::every(writes) {
            let story = format!("{shape:?}, crash {crash:?}");
            let stage = Stage::new(&shape);
            assert!(stage.execute(crash).await.is_err(), "{story}");
            let outcome = stage.execute(Crash::Never).await.unwrap();
            match outcome {
                Outcome::Completed => {}
                Outcome::Unknown { step_idx, .. } => {
                    assert_eq!(shape[step_idx].0, EffectClass::Opaque, "{story}");
                }
                other => panic!("{story}: {other}"),
            }
            stage.assert_effects(&shape, &story);
        }
    }
}

#[tokio::test]
async fn a_second_crash_while_resuming_changes_none_of_that() {
    for class in CLASSES {
        let shape = [(class, Fault::None), (EffectClass::Probeable, Fault::None)];
        for first in Crash::every(4) {
            for second in Crash::every(4) {
                let story = format!("{class}, crashes {first:?} and {second:?}");
                let stage = Stage::new(&shape);
                stage.execute(first).await.unwrap_err();
                let second_life = stage.execute(second).await;
                if second_life.is_err() {
                    let outcome = stage.execute(Crash::Never).await.unwrap();
                    assert!(
                        matches!(outcome, Outcome::Completed | Outcome::Unknown { .. }),
                        "{story}: {outcome}"
                    );
                }
                stage.assert_effects(&shape, &story);
                assert!(stage.harness.state().outcome.is_some(), "{story}");
            }
        }
    }
}

#[tokio::test]
async fn only_an_opaque_step_that_may_have_happened_is_left_to_people() {
    let shape = [(EffectClass::Opaque, Fault::None)];
    // Before the intent nothing can have happened: the step is done afterwards.
    let stage = Stage::new(&shape);
    stage.execute(Crash::Before(0)).await.unwrap_err();
    assert_eq!(
        stage.execute(Crash::Never).await.unwrap(),
        Outcome::Completed
    );
    // After it nobody can tell, whether it did or did not.
    for (crash, effects) in [(Crash::After(0), 0), (Crash::Before(1), 1)] {
        let stage = Stage::new(&shape);
        stage.execute(crash).await.unwrap_err();
        let outcome = stage.execute(Crash::Never).await.unwrap();
        assert!(
            matches!(outcome, Outcome::Unknown { step_idx: 0, .. }),
            "{outcome}"
        );
        assert_eq!(stage.effects(0), effects);
    }
}

#[tokio::test]
async fn a_failure_of_any_step_unwinds_what_was_done_before_it() {
    for broken in 0..3 {
        for class in [
            EffectClass::Idempotent,
            EffectClass::Keyed,
            EffectClass::Probeable,
        ] {
            let mut shape = vec![(class, Fault::None); 3];
            shape[broken] = (EffectClass::Opaque, Fault::Breaks);
            let stage = Stage::new(&shape);
            let outcome = stage.execute(Crash::Never).await.unwrap();
            let Outcome::Failed { step_idx, report } = outcome else {
                panic!("{outcome}");
            };
            assert_eq!((step_idx, report.kind), (broken, ErrorKind::Permanent));
            assert!(stage.harness.wants_undo());
            assert_eq!(stage.undo(Crash::Never).await.unwrap(), Outcome::Completed);
            for step_idx in 0..3 {
                assert_eq!(stage.register(step_idx), 0, "{class} {broken}");
                let undone = stage.harness.state().phase(StepPhase::Undo)[step_idx].is_done();
                assert_eq!(undone, step_idx <= broken, "{class} {broken}");
            }
        }
    }
}

#[tokio::test]
async fn a_crash_at_every_write_of_the_undo_still_unwinds() {
    let shape = [
        (EffectClass::Idempotent, Fault::None),
        (EffectClass::Read, Fault::None),
        (EffectClass::Probeable, Fault::None),
        (EffectClass::Opaque, Fault::None),
    ];
    for first in Crash::every(6) {
        for second in Crash::every(6).chain([Crash::Never]) {
            let story = format!("{first:?} {second:?}");
            let stage = Stage::new(&shape);
            assert_eq!(
                stage.execute(Crash::Never).await.unwrap(),
                Outcome::Completed
            );
            stage.harness.condemn(NOW);
            stage.undo(first).await.unwrap_err();
            if stage.undo(second).await.is_err() {
                assert_eq!(
                    stage.undo(Crash::Never).await.unwrap(),
                    Outcome::Completed,
                    "{story}"
                );
            }
            assert_eq!(
                stage.harness.state().undo_outcome,
                Some(Outcome::Completed),
                "{story}"
            );
            assert!(
                (0..4).all(|step_idx| stage.register(step_idx) == 0),
                "{story}"
            );
        }
    }
}

#[tokio::test]
async fn the_state_before_the_first_attempt_is_what_undo_puts_back() {
    let shape = [
        (EffectClass::Idempotent, Fault::None),
        (EffectClass::Opaque, Fault::Breaks),
    ];
    let stage = Stage::new(&shape);
    // It took effect, and its outcome was lost: the second attempt meets the changed register.
    stage.execute(Crash::Before(1)).await.unwrap_err();
    assert_eq!(stage.register(0), 1);
    stage.execute(Crash::Never).await.unwrap();
    assert_eq!(stage.effects(0), 2);
    stage.undo(Crash::Never).await.unwrap();
    assert_eq!(stage.register(0), 0);
}

#[tokio::test]
async fn time_that_runs_out_is_treated_like_a_crash() {
    let outcome = |class, fault| async move {
        let stage = Stage::new(&[(class, fault)]);
        let outcome = stage.execute(Crash::Never).await.unwrap();
        (
            outcome,
            stage.effects(0),
            stage.harness.state().steps[0].attempts(),
        )
    };
    let (opaque, n, attempts) = outcome(EffectClass::Opaque, Fault::HangsAfter).await;
    assert!(matches!(opaque, Outcome::Unknown { .. }), "{opaque}");
    assert_eq!((n, attempts), (1, 1));
    let (probed, n, attempts) = outcome(EffectClass::Probeable, Fault::HangsAfter).await;
    assert_eq!((probed, n, attempts), (Outcome::Completed, 1, 1));
    let (failed, n, attempts) = outcome(EffectClass::Probeable, Fault::HangsBefore).await;
    assert!(
        matches!(&failed, Outcome::Failed { report, .. } if report.kind == ErrorKind::Timeout),
        "{failed}"
    );
    assert_eq!((n, attempts), (0, 3));
    let (failed, n, attempts) = outcome(EffectClass::Keyed, Fault::HangsAfter).await;
    assert!(matches!(failed, Outcome::Failed { .. }), "{failed}");
    assert_eq!((n, attempts), (1, 3));
}

#[tokio::test]
async fn a_failure_that_may_pass_is_retried_and_one_that_happened_is_not() {
    for class in CLASSES {
        let stage = Stage::new(&[(class, Fault::Flaky(2))]);
        let started = stage.clock.now();
        assert_eq!(
            stage.execute(Crash::Never).await.unwrap(),
            Outcome::Completed,
            "{class}"
        );
        assert_eq!(stage.harness.state().steps[0].attempts(), 3);
        assert!(stage.clock.now() > started, "it did not wait");
        let stage = Stage::new(&[(class, Fault::Flaky(3))]);
        let outcome = stage.execute(Crash::Never).await.unwrap();
        assert!(
            matches!(outcome, Outcome::Failed { .. }),
            "{class}: {outcome}"
        );
    }
    let stage = Stage::new(&[(EffectClass::Probeable, Fault::LiesAboutFailure)]);
    assert_eq!(
        stage.execute(Crash::Never).await.unwrap(),
        Outcome::Completed
    );
    assert_eq!(stage.effects(0), 1);
    let stage = Stage::new(&[(EffectClass::Opaque, Fault::LiesAboutFailure)]);
    let outcome = stage.execute(Crash::Never).await.unwrap();
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome}");
    assert_eq!(stage.effects(0), 1);
}

#[tokio::test]
async fn undo_is_tried_again_and_ends_at_the_first_step_that_cannot_be_undone() {
    let stage = Stage::new(&[
        (EffectClass::Idempotent, Fault::None),
        (EffectClass::Idempotent, Fault::FlakyUndo(2)),
    ]);
    stage.execute(Crash::Never).await.unwrap();
    stage.harness.condemn(NOW);
    assert_eq!(stage.undo(Crash::Never).await.unwrap(), Outcome::Completed);
    let stage = Stage::new(&[
        (EffectClass::Idempotent, Fault::None),
        (EffectClass::Idempotent, Fault::FlakyUndo(9)),
    ]);
    stage.execute(Crash::Never).await.unwrap();
    stage.harness.condemn(NOW);
    let outcome = stage.undo(Crash::Never).await.unwrap();
    assert!(
        matches!(outcome, Outcome::Failed { step_idx: 1, .. }),
        "{outcome}"
    );
    assert_eq!(stage.register(0), 1);
}

#[tokio::test]
async fn the_kill_switch_and_the_expiry_halt_and_a_request_to_stop_leaves_the_run_open() {
    let shape = [(EffectClass::Idempotent, Fault::None)];
    let stage = Stage::new(&shape);
    stage.harness.kill_switch().engage();
    let outcome = stage.execute(Crash::Never).await.unwrap();
    assert!(matches!(outcome, Outcome::Halted { .. }), "{outcome}");
    assert_eq!(stage.effects(0), 0);

    let stage = Stage::new(&shape);
    stage.cx.cancellation().cancel();
    let error = stage.execute(Crash::Never).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(stage.harness.state().outcome, None);

    // The first step takes until after the permit's end.
    let mut slow = Stage::new(&[
        (EffectClass::Probeable, Fault::HangsAfter),
        (EffectClass::Idempotent, Fault::None),
    ]);
    let mut plan = slow.harness.incident().plans[0].clone();
    plan.steps[0].timeout = Duration::from_secs(3600);
    slow.harness = RunHarness::new(plan, NOW);
    let outcome = slow.execute(Crash::Never).await.unwrap();
    assert!(matches!(outcome, Outcome::Halted { .. }), "{outcome}");
    assert_eq!((slow.effects(0), slow.effects(1)), (1, 0));
}

#[tokio::test]
async fn a_zombie_with_an_old_lease_cannot_act() {
    let stage = Stage::new(&[(EffectClass::Idempotent, Fault::Flaky(1))]);
    let zombie = stage
        .harness
        .execute(&stage.runner, &stage.cx, Crash::Never);
    let mut zombie = std::pin::pin!(zombie);
    // It sleeps before its second attempt; meanwhile another process takes over and finishes.
    assert!(futures_pending(zombie.as_mut()).await);
    assert_eq!(
        stage.execute(Crash::Never).await.unwrap(),
        Outcome::Completed
    );
    let error = stage.driven(zombie).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(stage.effects(0), 1);
}

async fn futures_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|task| std::task::Poll::Ready(future.as_mut().poll(task).is_pending()))
        .await
}

#[tokio::test]
async fn a_step_whose_action_is_gone_fails_and_touches_nothing() {
    let mut stage = Stage::new(&[(EffectClass::Idempotent, Fault::None)]);
    stage.runner = Runner(ActionRegistry::default());
    let outcome = stage.execute(Crash::Never).await.unwrap();
    let Outcome::Failed { report, .. } = outcome else {
        panic!("{outcome}");
    };
    assert!(report.message.contains("fake0"), "{report}");
    assert!(stage.world.lock().unwrap().calls.is_empty());
}
