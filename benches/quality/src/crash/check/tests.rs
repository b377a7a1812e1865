//! The checker on hand-made journals and worlds: each kind of harm is found and named.

use homeostasis::core::policy::{GateDecision, GateRecord};
use homeostasis::core::record::{
    Anomaly, BlastRadius, Diagnosis, Outcome, Plan, PlanStep, SCHEMA_VERSION, Severity, StepIntent,
    Subject, Verdict, VerdictKind,
};
use homeostasis::core::{NodeId, PlanId, Target, TenantId};
use serde_json::Value;

use super::*;

/// A run of a keyed and an opaque step on `cart`, healed, as it should be.
struct Case {
    events: Vec<HealEvent>,
    world: Vec<EffectRecord>,
    acks: Vec<Ack>,
}

fn the_run() -> RunId {
    RunId::from_u128(7)
}

fn incident_id(number: u128) -> IncidentId {
    IncidentId::from_u128(number)
}

impl Case {
    /// The whole story of incident `number`, whose run has `token` and begins at `second`.
    fn healed(number: u128, run: RunId, token: u64, second: i64) -> Self {
        let mut case = Self::opened(number, run, token, second);
        for step_idx in [0, 1] {
            case.intend(run, step_idx, 1);
            case.happen(run, step_idx, 1);
            case.push(EventKind::StepEnded {
                run,
                step_idx,
                phase: StepPhase::Do,
                outcome: StepOutcome::Done {
                    output: Value::Null,
                },
            });
        }
        case.push(EventKind::RunEnded {
            run,
            outcome: Outcome::Completed,
        });
        let verdict = Verdict::new(VerdictKind::Success, case.at(), "cured");
        case.push(EventKind::Verified { run, verdict });
        case.push(EventKind::Closed {
            resolution: Resolution::Healed { run },
        });
        case
    }

    /// The same up to the opening of the run.
    fn opened(number: u128, run: RunId, token: u64, second: i64) -> Self {
        let mut case = Self {
            events: Vec::new(),
            world: Vec::new(),
            acks: Vec::new(),
        };
        let (id, start) = (incident_id(number), Timestamp::from_secs(second));
        let target = Target::service("cart").unwrap();
        let subject = Subject::Health("cart".to_owned());
        let anomaly = Anomaly::new("test", target.clone(), subject, start).saying("it is ill");
        let kind = EventKind::Opened {
            tenant: TenantId::default(),
            anomaly: Box::new(anomaly),
            severity: Severity::Sev2,
            radius: BlastRadius::UNKNOWN,
            score: None,
        };
        case.push_at(id, start, kind);
        let diagnosis = Diagnosis::abstain("it is a test");
        case.push(EventKind::Diagnosed { diagnosis });
        let plan_id = PlanId::from_u128(number);
        let mut plan = Plan::new(plan_id, id, "test", "test", target.clone());
        for (action, effect) in [("order", EffectClass::Keyed), ("kick", EffectClass::Opaque)] {
            let mut step = PlanStep::new(action, action, target.clone());
            step.effect = effect;
            plan.steps.push(step);
        }
        let plan_hash = plan.hash();
        case.push(EventKind::Planned {
            plans: vec![plan],
            considered: Vec::new(),
        });
        let record = GateRecord {
            decision: GateDecision::Permitted,
            answers: Vec::new(),
        };
        case.push(EventKind::Gated {
            plan: plan_id,
            record,
        });
        case.push(EventKind::RunOpened {
            run,
            plan: plan_id,
            plan_hash,
            token: FencingToken::new(token),
        });
        case
    }

    fn at(&self) -> Timestamp {
        self.events.last().unwrap().at
    }

    fn push(&mut self, kind: EventKind) {
        let (id, at) = (self.events[0].incident, self.at());
        self.push_at(id, at + std::time::Duration::from_millis(1), kind);
    }

    fn push_at(&mut self, incident: IncidentId, at: Timestamp, kind: EventKind) {
        let event = HealEvent {
            schema_version: SCHEMA_VERSION,
            incident,
            seq: self.events.len() as u64,
            at,
            node: NodeId::default(),
            kind,
        };
        self.acks.push(Ack::of(&event, None));
        self.events.push(event);
    }

    fn intend(&mut self, run: RunId, step_idx: usize, attempt: u32) {
        let effect = [EffectClass::Keyed, EffectClass::Opaque][step_idx];
        let intent = StepIntent {
            step_idx,
            phase: StepPhase::Do,
            attempt,
            key: IdempotencyKey::new(run, step_idx),
            effect,
            captured: Value::Null,
            deadline: Timestamp::MAX,
        };
        self.push(EventKind::StepIntended { run, intent });
    }

    fn happen(&mut self, run: RunId, step_idx: usize, attempt: u32) {
        self.world.push(EffectRecord {
            service: "cart".to_owned(),
            action: ["order", "kick"][step_idx].to_owned(),
            key: IdempotencyKey::new(run, step_idx).to_string(),
            nature: [EffectClass::Keyed, EffectClass::Opaque][step_idx],
            phase: StepPhase::Do,
            attempt,
            applied: true,
            pid: 1,
        });
    }

    fn examine(self) -> Findings {
        examine_all(vec![self])
    }
}

fn examine_all(cases: Vec<Case>) -> Findings {
    let (mut journal, mut world, mut acks) = (Vec::new(), Vec::new(), Vec::new());
    for case in cases {
        world.extend(case.world);
        acks.extend(case.acks);
        if let Some(first) = case.events.first() {
            journal.push((first.incident, case.events));
        }
    }
    examine(&Evidence {
        journal: &journal,
        world: &world,
        acks: &acks,
    })
}

/// Exactly these faults, and the first of them says `named`.
fn assert_found(found: &Findings, faults: &[Fault], named: &str) {
    let seen: Vec<_> = found
        .violations
        .iter()
        .map(|violation| violation.fault)
        .collect();
    assert_eq!(seen, faults, "{:?}", found.violations);
    let first = found.violations[0].to_string();
    assert!(first.contains(named), "{first} without {named}");
}

fn healed() -> Case {
    Case::healed(1, the_run(), 1, 100)
}

#[test]
fn a_sound_heal_and_its_successor_are_not_blamed() {
    let next = Case::healed(2, RunId::from_u128(8), 2, 200);
    let found = examine_all(vec![healed(), next]);
    assert_eq!(found.violations, []);
    assert_eq!((found.runs, found.healed), (2, 2));
}

#[test]
fn an_acknowledged_event_that_is_gone_is_lost() {
    let mut case = healed();
    case.events.pop();
    let found = case.examine();
    // Without its close the incident is also left behind.
    assert_found(&found, &[Fault::Lost, Fault::Stuck], "closed of inc-");
}

#[test]
fn an_acknowledged_event_that_was_rewritten_is_lost() {
    let mut case = healed();
    case.events[1].kind = EventKind::Diagnosed {
        diagnosis: Diagnosis::abstain("another reason"),
    };
    assert_found(&case.examine(), &[Fault::Lost], "another diagnosed");
}

#[test]
fn a_whole_incident_that_is_gone_is_lost() {
    let mut case = healed();
    case.events.clear();
    case.world.clear();
    let n = case.acks.len();
    assert_found(&case.examine(), &vec![Fault::Lost; n], "opened of inc-");
}

#[test]
fn an_effect_without_an_intent_is_lost() {
    let mut case = healed();
    case.happen(RunId::from_u128(99), 1, 1);
    assert_found(&case.examine(), &[Fault::Lost], "without an intent");
    // An attempt nobody wrote down is as bad.
    let mut case = healed();
    case.world[0].attempt = 2;
    assert_found(&case.examine(), &[Fault::Lost], "attempt 2");
}

#[test]
fn a_step_that_is_done_without_an_effect_is_lost() {
    let mut case = healed();
    case.world.pop();
    assert_found(&case.examine(), &[Fault::Lost], "nothing happened");
}

#[test]
fn an_opaque_effect_that_came_twice_is_repeated() {
    let mut case = healed();
    case.happen(the_run(), 1, 1);
    let key = IdempotencyKey::new(the_run(), 1).to_string();
    assert_found(&case.examine(), &[Fault::Repeated], &key);
}

#[test]
fn a_probeable_effect_that_came_twice_is_repeated() {
    let mut case = healed();
    case.happen(the_run(), 1, 1);
    for effect in &mut case.world[1..] {
        effect.nature = EffectClass::Probeable;
    }
    assert_found(&case.examine(), &[Fault::Repeated], "probeable");
}

#[test]
fn a_keyed_request_may_come_twice_but_is_applied_once() {
    let twice = |applied| {
        let mut case = healed();
        case.happen(the_run(), 0, 1);
        case.world[2].applied = applied;
        case.examine()
    };
    let dropped = twice(false);
    assert_eq!(dropped.violations, []);
    assert_eq!(dropped.repeated_harmless, 1);
    assert_found(&twice(true), &[Fault::Repeated], "keyed");
}

#[test]
fn a_repeated_read_is_counted_and_harmless() {
    let mut case = healed();
    case.happen(the_run(), 0, 1);
    case.world[0].nature = EffectClass::Read;
    case.world[2].nature = EffectClass::Read;
    let found = case.examine();
    assert_eq!(found.violations, []);
    assert_eq!(found.repeated_harmless, 1);
}

#[test]
fn a_run_without_an_outcome_is_stuck_and_so_is_its_incident() {
    let mut case = Case::opened(1, the_run(), 1, 100);
    case.intend(the_run(), 0, 1);
    assert_found(
        &case.examine(),
        &[Fault::Stuck, Fault::Stuck],
        "has no outcome",
    );
}

#[test]
fn an_incident_with_people_is_not_stuck_one_on_its_way_to_them_is() {
    let handed_over = |escalated| {
        let mut case = Case::opened(1, the_run(), 1, 100);
        case.push(EventKind::RunEnded {
            run: the_run(),
            outcome: Outcome::Unknown {
                step_idx: 0,
                reason: "nobody can tell".to_owned(),
            },
        });
        if escalated {
            let reason = "nobody can tell".to_owned();
            case.push(EventKind::Escalated { reason });
        }
        case.examine()
    };
    let with_people = handed_over(true);
    assert_eq!(with_people.violations, []);
    assert_eq!(with_people.handed_to_people, 1);
    assert_found(&handed_over(false), &[Fault::Stuck], "Stuck");
}

#[test]
fn a_journal_that_could_not_come_about_is_illegal() {
    let mut case = healed();
    let reason = "after the close".to_owned();
    case.push(EventKind::Escalated { reason });
    assert_found(&case.examine(), &[Fault::Illegal], "it is closed");
}

#[test]
fn a_step_that_began_before_its_turn_is_illegal() {
    let mut case = Case::opened(1, the_run(), 1, 100);
    case.intend(the_run(), 1, 1);
    let found = case.examine();
    assert_eq!(found.count(Fault::Illegal), 1, "{:?}", found.violations);
    let named = |violation: &Violation| violation.what.contains("out of order");
    assert!(found.violations.iter().any(named));
}

#[test]
fn a_key_that_is_not_the_steps_own_is_illegal() {
    let mut case = Case::opened(1, the_run(), 1, 100);
    case.intend(the_run(), 0, 1);
    let EventKind::StepIntended { intent, .. } = &mut case.events[5].kind else {
        panic!("the intent is the sixth event")
    };
    intent.key = IdempotencyKey::new(the_run(), 3);
    case.acks.clear();
    let found = case.examine();
    // By the checker's own rule, and by the cycle, which refuses such an intent too.
    assert_eq!(found.count(Fault::Illegal), 2, "{:?}", found.violations);
}

#[test]
fn two_runs_on_one_service_at_once_are_illegal() {
    // The second begins a millisecond after the first opened its run, and ends after it.
    let mut second = Case::healed(2, RunId::from_u128(8), 2, 100);
    for event in &mut second.events {
        event.at = event.at + std::time::Duration::from_millis(1);
    }
    second.acks.clear();
    let found = examine_all(vec![healed(), second]);
    assert_found(&found, &[Fault::Illegal], "on cart at once");
}

#[test]
fn a_lease_that_is_not_newer_than_the_one_before_is_illegal() {
    let next = Case::healed(2, RunId::from_u128(8), 1, 200);
    let found = examine_all(vec![healed(), next]);
    assert_found(&found, &[Fault::Illegal], "got lease #1");
}
