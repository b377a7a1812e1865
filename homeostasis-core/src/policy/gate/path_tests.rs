//! No path reaches an effect without a stored plan, every check answered, and a live permit.
//!
//! An engine that errs in every way we can think of walks through the real gate, the real cycle and
//! the real run log, over random incidents, plans, policies and histories. What may be permitted is
//! said here anew, and not with the checks under test.
//!
//! `HOMEOSTASIS_GATE_CASES` sets the number of cases; 2,000 without it.

mod case;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use self::case::{Case, pick, plan};
use super::*;
use crate::cycle::{Incident, transition};
use crate::flags::KillSwitch;
use crate::id::{IdempotencyKey, IncidentId, NodeId, TenantId};
use crate::port::{Fence, FencingToken, StoreError};
use crate::record::{
    Anomaly, Diagnosis, EventKind, HealEvent, RunState, SCHEMA_VERSION, StepIntent, StepPhase,
    Subject,
};
use crate::rng::Rng;
use crate::stage::{RunJournal, RunLog};
use crate::time::ManualClock;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const INCIDENT: IncidentId = IncidentId::from_u128(2);
const RUN: RunId = RunId::from_u128(7);

fn cases(default: u32) -> u32 {
    let asked = std::env::var("HOMEOSTASIS_GATE_CASES").ok();
    asked.map_or(default, |n| n.parse().expect("a number of cases"))
}

/// The incident's journal: everything passes the cycle, and the lease must be the newest.
#[derive(Debug)]
struct Book {
    kept: Mutex<(Option<Incident>, Vec<HealEvent>)>,
    newest: FencingToken,
}

impl Book {
    fn write(&self, kind: EventKind) -> Result<(), String> {
        let mut kept = self.kept.lock().unwrap();
        let event = HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: INCIDENT,
            seq: kept.1.len() as u64,
            at: NOW,
            node: NodeId::default(),
            kind,
        };
        let (next, _) = transition(kept.0.clone(), &event).map_err(|error| error.to_string())?;
        kept.0 = Some(next);
        kept.1.push(event);
        Ok(())
    }

    fn run(&self) -> Option<RunState> {
        self.kept.lock().unwrap().0.as_ref()?.run(RUN).cloned()
    }
}

#[async_trait]
impl RunJournal for Book {
    async fn append(&self, kind: EventKind, fence: Fence) -> Result<(), StoreError> {
        if fence.token < self.newest {
            return Err(StoreError::Fenced {
                resource: fence.resource,
                held: fence.token,
                newest: self.newest,
            });
        }
        self.write(kind)
            .map_err(|reason| StoreError::Invalid { reason })
    }
}

/// What the engine does wrong on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Error {
    PlanNotStored,
    PlanChangedAfterTheGate,
    PlanChangedAfterTheRunOpened,
    GateNotAsked,
    AnswerForged,
    PermitForAnotherPlan,
    PermitForAnotherRun,
    PermitToUndo,
    NoPermit,
    RunNotOpened,
    StateMadeUp,
    LeaseTakenOver,
    LeaseOlderThanTheRuns,
    PermitExpired,
    SwitchThrownLater,
}

const ERRORS: [Error; 15] = [
    Error::PlanNotStored,
    Error::PlanChangedAfterTheGate,
    Error::PlanChangedAfterTheRunOpened,
    Error::GateNotAsked,
    Error::AnswerForged,
    Error::PermitForAnotherPlan,
    Error::PermitForAnotherRun,
    Error::PermitToUndo,
    Error::NoPermit,
    Error::RunNotOpened,
    Error::StateMadeUp,
    Error::LeaseTakenOver,
    Error::LeaseOlderThanTheRuns,
    Error::PermitExpired,
    Error::SwitchThrownLater,
];

/// A forged answer that the gate gave as well, and a state as the journal has it, change nothing.
const HARMLESS: [Error; 2] = [Error::AnswerForged, Error::StateMadeUp];

/// Goes all the way as far as it gets; what stopped it, if something did.
async fn walk(case: &Case, errors: &[Error], rng: &mut Rng) -> Result<(), String> {
    let errs = |error| errors.contains(&error);
    let token = FencingToken::new(5);
    let book = Book {
        kept: Mutex::new((None, Vec::new())),
        newest: if errs(Error::LeaseTakenOver) {
            token.next()
        } else {
            token
        },
    };
    let target = case.plan.target.clone();
    let subject = Subject::Health("orders".to_owned());
    let anomaly = Anomaly::new("test", target, subject, NOW).saying("it is ill");
    book.write(EventKind::Opened {
        tenant: TenantId::default(),
        anomaly: Box::new(anomaly),
        severity: case.severity,
        radius: case.incident_radius,
        score: None,
    })?;
    let diagnosis = Diagnosis::abstain("it is a test");
    book.write(EventKind::Diagnosed { diagnosis })?;
    let other = plan(rng, 4);
    let stored = if errs(Error::PlanNotStored) {
        &other
    } else {
        &case.plan
    };
    let plans = vec![stored.clone()];
    book.write(EventKind::Planned { plans })?;

    let purpose = if errs(Error::PermitToUndo) {
        Purpose::Undo
    } else {
        Purpose::Execute
    };
    let (real, clearance) = Gate::ask(&case.plan, &case.facts(purpose));
    let clearance = match (errs(Error::PermitForAnotherPlan), clearance) {
        (true, _) => Gate::ask(&other, &case.facts(purpose)).1,
        (false, clearance) => clearance,
    };
    let mut record = real.clone();
    if errs(Error::AnswerForged) {
        record.decision = GateDecision::Permitted;
    }
    let mut carried_out = case.plan.clone();
    if errs(Error::PlanChangedAfterTheGate) {
        carried_out.steps[0].timeout += Duration::from_secs(1);
    }
    let plan_hash = carried_out.hash();
    if !errs(Error::GateNotAsked) {
        book.write(EventKind::Gated {
            plan: case.plan.id,
            record,
        })?;
    }
    if !errs(Error::RunNotOpened) {
        book.write(EventKind::RunOpened {
            run: RUN,
            plan: case.plan.id,
            plan_hash,
            token,
        })?;
    }
    if errs(Error::PlanChangedAfterTheRunOpened) {
        carried_out.steps[0].action = "wipe".to_owned();
    }
    let n_steps = carried_out.steps.len();
    let made_up = || RunState::new(RUN, case.plan.id, plan_hash, n_steps, token, NOW);
    let state = match book.run() {
        Some(state) if !errs(Error::StateMadeUp) => state,
        _ => made_up(),
    };

    let (clock, switch) = (ManualClock::new(NOW), KillSwitch::default());
    let mut log = RunLog::new(&carried_out, state, &book, &clock, switch.clone());
    if !errs(Error::NoPermit) {
        let clearance = clearance.ok_or("the gate gave no clearance")?;
        let run = if errs(Error::PermitForAnotherRun) {
            RunId::from_u128(8)
        } else {
            RUN
        };
        let held = if errs(Error::LeaseOlderThanTheRuns) {
            FencingToken::new(4)
        } else {
            token
        };
        let permit = clearance.with_lease(run, Lease::new("heal/orders", held, NOW));
        log.redeem(permit).map_err(|error| format!("{error:?}"))?;
    }
    if errs(Error::PermitExpired) {
        clock.advance(case.policy.permit_ttl);
    }
    if errs(Error::SwitchThrownLater) {
        switch.engage();
    }
    let step_idx = usize::try_from(rng.below(n_steps as u64)).unwrap();
    let intent = StepIntent {
        step_idx,
        phase: StepPhase::Do,
        attempt: 1,
        key: IdempotencyKey::new(RUN, step_idx),
        effect: carried_out.steps[step_idx].effect,
        captured: serde_json::Value::Null,
        deadline: NOW,
    };
    log.intend(intent)
        .await
        .map_err(|error| format!("{error:?}"))?;

    // From here on the effect would begin.
    assert!(
        errors.iter().all(|error| HARMLESS.contains(error)),
        "{errors:?}"
    );
    assert_eq!(case.forbidden(), None, "an effect in spite of {case:?}");
    let events = book.kept.into_inner().unwrap().1;
    let kinds = || events.iter().map(|event| &event.kind);
    assert!(
        kinds().any(|kind| matches!(kind, EventKind::Planned { plans }
        if plans.iter().any(|plan| plan.hash() == carried_out.hash())))
    );
    let answered: Vec<_> = real.answers.iter().map(|answer| answer.check).collect();
    assert_eq!(
        answered,
        CHECKS.iter().map(|(check, _)| *check).collect::<Vec<_>>()
    );
    assert!(kinds().any(|kind| matches!(kind, EventKind::Gated { record, .. } if *record == real)));
    Ok(())
}

/// The errors of one walk: none in half of them, one as a rule, several now and then.
fn errors(rng: &mut Rng) -> Vec<Error> {
    let n = [0, 0, 0, 0, 1, 1, 1, 3];
    let mut errors: Vec<_> = (0..pick(rng, &n)).map(|_| pick(rng, &ERRORS)).collect();
    errors.sort();
    errors.dedup();
    errors
}

#[test]
fn no_path_reaches_an_effect_without_a_stored_plan_every_answer_and_a_live_permit() {
    let cases = cases(2_000);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let seen: RefCell<(u32, BTreeMap<String, u32>)> = RefCell::default();
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let law = |seed: u64| {
        let mut rng = Rng::from_seed(seed);
        let case = Case::draw(&mut rng);
        let errors = errors(&mut rng);
        let came = runtime.block_on(walk(&case, &errors, &mut rng));
        let mut seen = seen.borrow_mut();
        seen.0 += u32::from(came.is_ok());
        for error in errors {
            *seen.1.entry(format!("{error:?}")).or_default() += 1;
        }
        Ok(())
    };
    TestRunner::new(config).run(&any::<u64>(), law).unwrap();
    let (reached, errors) = seen.into_inner();
    eprintln!("{reached} of {cases} walks reached an effect; errors: {errors:?}");
    assert!(reached > cases / 50, "only {reached} walks got through");
    assert_eq!(
        errors.len(),
        ERRORS.len(),
        "an error was never made: {errors:?}"
    );
}

/// Whether these checks let something through that must not be.
fn lets_through(checks: &[(Check, Ask)], most: u64) -> bool {
    (0..most).any(|seed| {
        let case = Case::draw(&mut Rng::from_seed(seed));
        let (_, clearance) = Gate::ask_each(checks, &case.plan, &case.facts(Purpose::Execute));
        clearance.is_some() && case.forbidden().is_some()
    })
}

#[test]
fn a_gate_without_any_one_of_its_checks_lets_something_through() {
    assert!(!lets_through(CHECKS, u64::from(cases(2_000))));
    for gone in 0..CHECKS.len() {
        let mut checks = CHECKS.to_vec();
        let (check, _) = checks.remove(gone);
        assert!(lets_through(&checks, 50_000), "nothing misses {check:?}");
    }
}

#[test]
fn two_checks_that_changed_places_are_seen_in_the_answers() {
    let case = (0..)
        .map(|seed| Case::draw(&mut Rng::from_seed(seed)))
        .find(|case| {
            Gate::ask(&case.plan, &case.facts(Purpose::Execute))
                .1
                .is_some()
        })
        .unwrap();
    let order = |checks: &[(Check, Ask)]| {
        let (record, _) = Gate::ask_each(checks, &case.plan, &case.facts(Purpose::Execute));
        let asked = record.answers.iter().map(|answer| answer.check);
        asked.collect::<Vec<_>>()
    };
    assert_eq!(order(CHECKS), tests::ORDER);
    for first in 1..CHECKS.len() {
        let mut checks = CHECKS.to_vec();
        checks.swap(first - 1, first);
        assert_ne!(order(&checks), tests::ORDER);
    }
}
