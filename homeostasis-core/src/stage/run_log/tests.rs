use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::error::ErrorReport;
use crate::id::{IdempotencyKey, IncidentId, PlanId};
use crate::policy::Policy;
use crate::port::{FencingToken, Lease};
use crate::record::{EffectClass, PlanStep};
use crate::target::Target;
use crate::testing::{permit_for, permit_to_undo};
use crate::time::ManualClock;

const NOW: Timestamp = Timestamp::from_secs(1_000);
const RUN: RunId = RunId::from_u128(3);

/// Keeps what is appended, refuses stale leases, and may throw the switch in the middle of a write.
#[derive(Debug, Default)]
struct FakeJournal {
    events: Mutex<Vec<EventKind>>,
    newest: Mutex<FencingToken>,
    throws: Mutex<Option<KillSwitch>>,
}

impl FakeJournal {
    fn names(&self) -> Vec<&'static str> {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(EventKind::name)
            .collect()
    }
}

#[async_trait]
impl RunJournal for FakeJournal {
    async fn append(&self, kind: EventKind, fence: Fence) -> Result<(), StoreError> {
        assert_eq!(fence.resource, "orders");
        let newest = *self.newest.lock().unwrap();
        if fence.token < newest {
            return Err(StoreError::Fenced {
                resource: fence.resource,
                held: fence.token,
                newest,
            });
        }
        self.events.lock().unwrap().push(kind);
        if let Some(switch) = self.throws.lock().unwrap().take() {
            switch.engage();
        }
        Ok(())
    }
}

struct World {
    plan: Plan,
    journal: FakeJournal,
    clock: ManualClock,
    switch: KillSwitch,
}

impl World {
    /// A plan with one idempotent step.
    fn new() -> Self {
        Self::with_step_of(EffectClass::Idempotent)
    }

    fn with_step_of(effect: EffectClass) -> Self {
        let target = Target::service("orders").unwrap();
        let (id, incident) = (PlanId::from_u128(1), IncidentId::from_u128(2));
        let mut plan = Plan::new(id, incident, "test", "cure", target.clone());
        let mut step = PlanStep::new("cure", "cure", target);
        step.effect = effect;
        plan.steps.push(step);
        Self {
            plan,
            journal: FakeJournal::default(),
            clock: ManualClock::new(NOW),
            switch: KillSwitch::default(),
        }
    }

    fn log(&self) -> RunLog<'_> {
        self.log_of(RunState::new(
            RUN,
            self.plan.id,
            self.plan.hash(),
            self.plan.steps.len(),
            FencingToken::new(1),
            NOW,
        ))
    }

    fn undoing(&self, state: RunState) -> RunLog<'_> {
        let mut log = self.log_of(state);
        log.redeem(permit_to_undo(&self.plan, RUN, lease(1), NOW))
            .unwrap();
        log
    }

    fn log_of(&self, state: RunState) -> RunLog<'_> {
        RunLog::new(
            &self.plan,
            state,
            &self.journal,
            &self.clock,
            self.switch.clone(),
        )
    }

    fn permitted(&self) -> RunLog<'_> {
        let mut log = self.log();
        log.redeem(permit(&self.plan, RUN)).unwrap();
        log
    }
}

fn permit(plan: &Plan, run: RunId) -> Permit {
    permit_for(plan, run, lease(1), NOW)
}

fn lease(token: u64) -> Lease {
    Lease::new("orders", FencingToken::new(token), NOW)
}

fn ttl() -> Duration {
    Policy::default().permit_ttl
}

fn intent(phase: StepPhase, step_idx: usize, attempt: u32, effect: EffectClass) -> StepIntent {
    StepIntent {
        step_idx,
        phase,
        attempt,
        key: match phase {
            StepPhase::Do => IdempotencyKey::new(RUN, step_idx),
            StepPhase::Undo => IdempotencyKey::undo(RUN, step_idx),
        },
        effect,
        captured: serde_json::Value::Null,
        deadline: NOW + Duration::from_secs(30),
    }
}

fn attempt(number: u32) -> StepIntent {
    intent(StepPhase::Do, 0, number, EffectClass::Idempotent)
}

fn done() -> StepOutcome {
    StepOutcome::Done {
        output: serde_json::Value::Null,
    }
}

fn failed() -> StepOutcome {
    StepOutcome::Failed {
        report: ErrorReport::message(ErrorKind::Transient, "it broke"),
    }
}

fn skipped() -> StepOutcome {
    StepOutcome::Skipped {
        reason: "not needed".to_owned(),
    }
}

fn unknown() -> StepOutcome {
    StepOutcome::Unknown {
        reason: "no answer".to_owned(),
    }
}

/// The message of a refusal out of sequence.
fn sequence<T: fmt::Debug>(result: Result<T, RunLogError>) -> String {
    match result {
        Err(error @ RunLogError::Sequence { .. }) => {
            assert_eq!(error.kind(), ErrorKind::Permanent);
            error.to_string()
        }
        other => panic!("expected a refusal out of sequence, got {other:?}"),
    }
}

#[tokio::test]
async fn a_step_is_written_before_and_after_it() {
    let world = World::new();
    let mut log = world.permitted();
    assert_eq!(log.expires(), Some(NOW + ttl()));
    log.intend(attempt(1)).await.unwrap();
    assert_eq!(log.step(StepPhase::Do, 0), &StepState::InFlight(attempt(1)));
    log.end(StepPhase::Do, 0, done()).await.unwrap();
    assert!(log.step(StepPhase::Do, 0).is_done());
    assert_eq!(world.journal.names(), ["step_intended", "step_ended"]);
}

#[tokio::test]
async fn nothing_is_written_without_a_permit() {
    let world = World::new();
    let mut log = world.log();
    assert_eq!(log.expires(), None);
    let error = log.intend(attempt(1)).await.unwrap_err();
    assert!(matches!(error, RunLogError::NotPermitted { run: RUN }));
    assert_eq!(error.kind(), ErrorKind::Denied);
    let error = log.end(StepPhase::Do, 0, skipped()).await.unwrap_err();
    assert!(matches!(error, RunLogError::NotPermitted { run: RUN }));
    assert!(world.journal.names().is_empty());
}

#[tokio::test]
async fn a_permit_for_another_plan_or_run_permits_nothing() {
    let world = World::new();
    let mut log = world.log();
    let mut other = world.plan.clone();
    other.title.push('!');
    let error = log.redeem(permit(&other, RUN)).unwrap_err();
    assert!(matches!(
        error,
        RunLogError::Permit(PermitError::OtherPlan { .. })
    ));
    let foreign = RunId::from_u128(4);
    let error = log.redeem(permit(&world.plan, foreign)).unwrap_err();
    assert!(matches!(
        &error,
        RunLogError::Permit(PermitError::OtherRun { permitted, shown })
            if *permitted == foreign && *shown == RUN
    ));
    assert_eq!(error.kind(), ErrorKind::Denied);
    let reason = format!("the permit is refused: the permit is for {foreign}, not {RUN}");
    assert_eq!(error.halted(), Outcome::Halted { reason });
    let error = log.intend(attempt(1)).await.unwrap_err();
    assert!(matches!(error, RunLogError::NotPermitted { .. }));
    assert!(world.journal.names().is_empty());
}

#[tokio::test]
async fn a_plan_other_than_the_journal_opened_is_not_carried_out() {
    let mut world = World::new();
    let opened = world.log().state().clone();
    world.plan.title.push('!');
    let mut log = world.log_of(opened);
    let error = log.redeem(permit(&world.plan, RUN)).unwrap_err();
    assert!(matches!(
        error,
        RunLogError::Permit(PermitError::OtherPlan { .. })
    ));
}

/// A host could ask the gate with facts of its own and show the permit for a run of the engine.
#[tokio::test]
async fn a_permit_under_a_lease_the_journal_does_not_know_permits_nothing() {
    let world = World::new();
    for token in [0, 2] {
        let mut log = world.log();
        let error = log
            .redeem(permit_for(&world.plan, RUN, lease(token), NOW))
            .unwrap_err();
        assert!(matches!(
            &error,
            RunLogError::Permit(PermitError::OtherLease { permitted, held })
                if permitted.get() == token && held.get() == 1
        ));
        assert_eq!(error.kind(), ErrorKind::Denied);
        let error = log.intend(attempt(1)).await.unwrap_err();
        assert!(matches!(error, RunLogError::NotPermitted { .. }));
    }
    assert!(world.journal.names().is_empty());
}

/// The gate asks less of taking back: a permit for that must not go forward.
#[tokio::test]
async fn a_permit_covers_one_direction() {
    let world = World::new();
    let refusal = |result: Result<(), RunLogError>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        match error {
            RunLogError::Permit(error @ PermitError::OtherPurpose { .. }) => error.to_string(),
            other => panic!("expected a refusal by purpose, got {other}"),
        }
    };
    let mut log = world.undoing(world.log().state().clone());
    assert_eq!(
        refusal(log.intend(attempt(1)).await),
        "the permit is to undo, it does not cover forward steps"
    );
    refusal(log.end(StepPhase::Do, 0, skipped()).await);
    let mut log = world.permitted();
    log.intend(attempt(1)).await.unwrap();
    let back = intent(StepPhase::Undo, 0, 1, EffectClass::Idempotent);
    assert_eq!(
        refusal(log.intend(back).await),
        "the permit is to execute, it does not cover undo steps"
    );
    refusal(log.end(StepPhase::Undo, 0, skipped()).await);
    assert_eq!(world.journal.names(), ["step_intended"]);
}

#[tokio::test]
async fn a_permit_cannot_be_redeemed_from_its_expiry_on() {
    let world = World::new();
    let mut log = world.log();
    world.clock.advance(ttl());
    let error = log.redeem(permit(&world.plan, RUN)).unwrap_err();
    assert!(matches!(
        error,
        RunLogError::Permit(PermitError::Expired { expired }) if expired == NOW + ttl()
    ));
}

#[tokio::test]
async fn after_the_expiry_no_step_begins_but_one_that_began_may_end() {
    let world = World::new();
    let mut log = world.permitted();
    world
        .clock
        .advance(ttl().saturating_sub(Duration::from_nanos(1)));
    log.intend(attempt(1)).await.unwrap();
    world.clock.advance(Duration::from_nanos(1));
    log.end(StepPhase::Do, 0, failed()).await.unwrap();
    let error = log.intend(attempt(2)).await.unwrap_err();
    assert!(matches!(error, RunLogError::Expired { expired } if expired == NOW + ttl()));
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(world.journal.names(), ["step_intended", "step_ended"]);
}

#[tokio::test]
async fn with_the_kill_switch_engaged_no_step_begins_but_one_that_began_may_end() {
    let world = World::new();
    let mut log = world.permitted();
    log.intend(attempt(1)).await.unwrap();
    world.switch.engage();
    log.end(StepPhase::Do, 0, failed()).await.unwrap();
    let error = log.intend(attempt(2)).await.unwrap_err();
    assert!(matches!(error, RunLogError::Stopped));
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(world.journal.names(), ["step_intended", "step_ended"]);
}

#[tokio::test]
async fn a_kill_switch_thrown_while_the_intent_is_written_stops_the_effect() {
    let world = World::new();
    *world.journal.throws.lock().unwrap() = Some(world.switch.clone());
    let mut log = world.permitted();
    let error = log.intend(attempt(1)).await.unwrap_err();
    assert!(matches!(error, RunLogError::Stopped));
    assert_eq!(world.journal.names(), ["step_intended", "step_ended"]);
    let step = log.step(StepPhase::Do, 0);
    assert!(step.is_settled() && !step.may_have_happened(), "{step:?}");
}

#[tokio::test]
async fn a_retry_that_the_kill_switch_stopped_still_may_have_happened_before() {
    let world = World::new();
    let mut log = world.permitted();
    log.intend(attempt(1)).await.unwrap();
    log.end(StepPhase::Do, 0, failed()).await.unwrap();
    *world.journal.throws.lock().unwrap() = Some(world.switch.clone());
    let error = log.intend(attempt(2)).await.unwrap_err();
    assert!(matches!(error, RunLogError::Stopped));
    assert!(log.step(StepPhase::Do, 0).may_have_happened());
}

#[tokio::test]
async fn a_stale_lease_neither_begins_nor_ends_a_step() {
    let world = World::new();
    let mut log = world.permitted();
    *world.journal.newest.lock().unwrap() = FencingToken::new(2);
    let error = log.intend(attempt(1)).await.unwrap_err();
    assert!(matches!(
        &error,
        RunLogError::Journal(StoreError::Fenced { held, .. }) if held.get() == 1
    ));
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(log.step(StepPhase::Do, 0), &StepState::NotStarted);

    *world.journal.newest.lock().unwrap() = FencingToken::new(1);
    log.intend(attempt(1)).await.unwrap();
    *world.journal.newest.lock().unwrap() = FencingToken::new(2);
    let error = log.end(StepPhase::Do, 0, done()).await.unwrap_err();
    assert!(matches!(
        error,
        RunLogError::Journal(StoreError::Fenced { .. })
    ));
    assert_eq!(log.step(StepPhase::Do, 0), &StepState::InFlight(attempt(1)));
}

#[tokio::test]
async fn an_outcome_needs_an_intent() {
    let world = World::new();
    let mut log = world.permitted();
    for outcome in [done(), failed(), unknown()] {
        let refusal = sequence(log.end(StepPhase::Do, 0, outcome).await);
        assert_eq!(refusal, "step 1: an outcome without an intent");
    }
    log.intend(attempt(1)).await.unwrap();
    log.end(StepPhase::Do, 0, failed()).await.unwrap();
    sequence(log.end(StepPhase::Do, 0, done()).await);
    sequence(log.end(StepPhase::Do, 0, skipped()).await);
    assert_eq!(world.journal.names(), ["step_intended", "step_ended"]);
}

#[tokio::test]
async fn attempts_count_up_until_the_step_is_settled() {
    let world = World::new();
    let mut log = world.permitted();
    assert_eq!(
        sequence(log.intend(attempt(0)).await),
        "step 1: attempt 0, expected more than 0"
    );
    log.intend(attempt(1)).await.unwrap();
    sequence(log.intend(attempt(1)).await);
    // It is idempotent, so a process that takes the run up may repeat it.
    log.intend(attempt(2)).await.unwrap();
    log.end(StepPhase::Do, 0, done()).await.unwrap();
    assert_eq!(
        sequence(log.intend(attempt(3)).await),
        "step 1: it is settled"
    );
}

#[tokio::test]
async fn what_must_not_be_repeated_is_not() {
    let world = World::new();
    let mut log = world.permitted();
    log.intend(attempt(1)).await.unwrap();
    log.end(StepPhase::Do, 0, unknown()).await.unwrap();
    sequence(log.intend(attempt(2)).await);

    let world = World::with_step_of(EffectClass::Opaque);
    let mut log = world.permitted();
    let opaque = |number| intent(StepPhase::Do, 0, number, EffectClass::Opaque);
    log.intend(opaque(1)).await.unwrap();
    sequence(log.intend(opaque(2)).await);
}

/// An executor that called an opaque step idempotent could have it repeated, and one with keys of
/// its own could have the target do it twice.
#[tokio::test]
async fn an_intent_says_of_its_step_what_the_plan_says() {
    let world = World::with_step_of(EffectClass::Opaque);
    let mut log = world.permitted();
    assert_eq!(
        sequence(log.intend(attempt(1)).await),
        "step 1: effect idempotent, expected the plan's opaque"
    );
    let honest = intent(StepPhase::Do, 0, 1, EffectClass::Opaque);
    for key in [
        IdempotencyKey::new(RUN, 1),
        IdempotencyKey::undo(RUN, 0),
        IdempotencyKey::new(RunId::from_u128(4), 0),
    ] {
        let forged = StepIntent {
            key,
            ..honest.clone()
        };
        let refusal = sequence(log.intend(forged).await);
        assert!(refusal.starts_with("step 1: key "), "{refusal}");
    }
    assert!(world.journal.names().is_empty());
    log.intend(honest).await.unwrap();
}

#[tokio::test]
async fn only_what_may_have_happened_is_taken_back() {
    let world = World::new();
    let back = || intent(StepPhase::Undo, 0, 1, EffectClass::Idempotent);
    let mut log = world.undoing(world.log().state().clone());
    assert_eq!(
        sequence(log.intend(back()).await),
        "step 1: it did not happen, there is nothing to take back"
    );
    let mut log = world.permitted();
    log.intend(attempt(1)).await.unwrap();
    let mut log = world.undoing(log.state().clone());
    log.intend(back()).await.unwrap();
    log.end(StepPhase::Undo, 0, done()).await.unwrap();
    assert!(log.step(StepPhase::Undo, 0).is_done());
}

#[tokio::test]
async fn a_step_that_the_plan_does_not_have_is_refused() {
    let world = World::new();
    for phase in [StepPhase::Do, StepPhase::Undo] {
        let mut log = match phase {
            StepPhase::Do => world.permitted(),
            StepPhase::Undo => world.undoing(world.log().state().clone()),
        };
        let beyond = intent(phase, 1, 1, EffectClass::Idempotent);
        assert_eq!(
            sequence(log.intend(beyond).await),
            "step 2: expected a step of the plan, which has 1"
        );
        sequence(log.end(phase, 1, skipped()).await);
        assert_eq!(log.step(phase, 1), &StepState::NotStarted);
    }
    assert!(world.journal.names().is_empty());
}
