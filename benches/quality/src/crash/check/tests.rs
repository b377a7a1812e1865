//! The checker on hand-made journals and worlds: each kind of harm is found and named.

use std::time::Duration;

use homeostasis::core::Timestamp;
use homeostasis::core::policy::{GateDecision, GateRecord, Limit, LimitScope};
use homeostasis::core::port::FencingToken;
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
        self.push_at(id, at + Duration::from_millis(1), kind);
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
        let effect = [EffectClass::Keyed, EffectClass::Opaque, EffectClass::Opaque][step_idx];
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
            token: FencingToken::new(1),
            fate: Fate::Applied,
            pid: 1,
            change: None,
        });
    }

    /// It is handed over, and the first level is called.
    fn escalate(&mut self) {
        let reason = "nobody can tell".to_owned();
        self.push(EventKind::Escalated { reason });
        let policy = "chain".to_owned();
        self.push(EventKind::EscalationBegun { policy });
        self.notify(1);
    }

    fn notify(&mut self, level: u32) {
        self.push(EventKind::Notified {
            level,
            round: 0,
            channels: vec!["pager".to_owned()],
            to: Vec::new(),
            reason: "nobody can tell".to_owned(),
        });
    }

    fn examine(self) -> Findings {
        examine_all(vec![self])
    }
}

/// Two runs on one service within a minute, a second apart, and three failures of an action.
fn policy() -> Policy {
    Policy {
        limits: vec![Limit {
            scope: LimitScope::Target,
            max: 2,
            window: Duration::from_secs(60),
        }],
        min_interval: Duration::from_secs(1),
        ..Policy::default()
    }
}

/// People were called as the journal says.
fn told_by(journal: &[(IncidentId, Vec<HealEvent>)]) -> BTreeMap<String, Vec<Told>> {
    let mut told = BTreeMap::new();
    for (id, events) in journal {
        let (mut calls, mut answers) = (Vec::new(), 0);
        for event in events {
            match &event.kind {
                EventKind::Notified { level, .. } => {
                    calls.push(tell(*id, &format!("level{level}.0")));
                }
                EventKind::HandOverAnswered { .. } => answers += 1,
                EventKind::Escalated { .. } if !calls.is_empty() => {
                    calls.push(tell(*id, &format!("escalated.{answers}")));
                }
                EventKind::Closed { .. } if !calls.is_empty() => calls.push(tell(*id, "closed")),
                _ => {}
            }
        }
        told.insert(id.to_string(), calls);
    }
    told
}

fn tell(id: IncidentId, what: &str) -> Told {
    Told {
        channel: "pager".to_owned(),
        key: format!("{id}/{what}"),
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
        policy: &policy(),
        counters: &BTreeMap::new(),
        settings: &BTreeMap::new(),
        told: &told_by(&journal),
        untold: &[],
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
    let twice = |fate| {
        let mut case = healed();
        case.happen(the_run(), 0, 1);
        case.world[2].fate = fate;
        case.examine()
    };
    let dropped = twice(Fate::Known);
    assert_eq!(dropped.violations, []);
    assert_eq!(dropped.repeated_harmless, 1);
    assert_found(&twice(Fate::Applied), &[Fault::Repeated], "keyed");
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
            case.escalate();
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
    case.push(EventKind::Diagnosed {
        diagnosis: Diagnosis::abstain("after the close"),
    });
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
        event.at = event.at + Duration::from_millis(1);
    }
    second.acks.clear();
    let found = examine_all(vec![healed(), second]);
    // Its own cool-down was not kept either.
    let faults = [Fault::Doubled, Fault::Forgotten];
    assert_found(&found, &faults, "on cart at once");
}

#[test]
fn a_run_that_acts_on_after_another_has_begun_is_doubled_whatever_the_journal_says() {
    let (mut case, next) = (healed(), Case::healed(2, RunId::from_u128(8), 2, 200));
    case.world.insert(1, next.world[0].clone());
    case.world.insert(2, next.world[1].clone());
    case.acks.extend(next.acks);
    let journal = [case.events, next.events].map(|events| (events[0].incident, events));
    let found = examine(&Evidence {
        journal: &journal,
        world: &case.world,
        acks: &case.acks,
        policy: &policy(),
        counters: &BTreeMap::new(),
        settings: &BTreeMap::new(),
        told: &told_by(&journal),
        untold: &[],
    });
    assert_found(&found, &[Fault::Doubled], "again after another run");
}

#[test]
fn a_lease_that_is_not_newer_than_the_one_before_is_illegal() {
    let next = Case::healed(2, RunId::from_u128(8), 1, 200);
    let found = examine_all(vec![healed(), next]);
    assert_found(&found, &[Fault::Illegal], "got lease #1");
}

#[test]
fn a_late_effect_that_was_refused_is_counted_and_has_not_happened() {
    let mut case = healed();
    case.happen(the_run(), 1, 1);
    case.world[2].fate = Fate::Late;
    let found = case.examine();
    assert_eq!(found.violations, []);
    assert_eq!(found.late, 1);
    let mut case = healed();
    case.world[1].fate = Fate::Late;
    assert_found(&case.examine(), &[Fault::Lost], "nothing happened");
}

#[test]
fn a_limit_and_a_cool_down_that_did_not_hold_are_forgotten() {
    let heals = |seconds: [i64; 3]| {
        let healed = |(number, second): (u64, i64)| {
            let run = RunId::from_u128(u128::from(number));
            Case::healed(u128::from(number), run, number, second)
        };
        examine_all((1..).zip(seconds).map(healed).collect())
    };
    assert_eq!(heals([100, 130, 161]).violations, []);
    let found = heals([100, 130, 159]);
    assert_found(&found, &[Fault::Forgotten], "2 in 60s per target");
    let mut soon = Case::healed(2, RunId::from_u128(8), 2, 100);
    for event in &mut soon.events {
        event.at = event.at + Duration::from_millis(900);
    }
    soon.acks.clear();
    let found = examine_all(vec![healed(), soon]);
    assert_found(&found, &[Fault::Forgotten], "rests");
}

#[test]
fn an_open_breaker_that_let_a_run_through_is_forgotten() {
    let failed = |number: u64, second| {
        let run = RunId::from_u128(u128::from(number));
        let mut case = Case::opened(u128::from(number), run, number, second);
        let outcome = Outcome::Failed {
            step_idx: 0,
            report: homeostasis::core::ErrorReport::message(
                homeostasis::core::ErrorKind::Permanent,
                "it broke",
            ),
        };
        case.push(EventKind::RunEnded { run, outcome });
        case.escalate();
        case
    };
    let attempts = |n: i64| {
        (1..)
            .zip(0..n)
            .map(|(number, at)| failed(number, 100 + at * 100))
    };
    assert_eq!(examine_all(attempts(3).collect()).violations, []);
    let found = examine_all(attempts(4).collect());
    assert_found(&found, &[Fault::Forgotten], "breaker");
}

#[test]
fn a_counter_that_missed_a_run_is_forgotten() {
    let case = healed();
    let counters = |hits| BTreeMap::from([("runs/target/cart".to_owned(), hits)]);
    let journal = [(case.events[0].incident, case.events)];
    let examine = |hits| {
        examine(&Evidence {
            journal: &journal,
            world: &case.world,
            acks: &case.acks,
            policy: &policy(),
            counters: &counters(hits),
            settings: &BTreeMap::new(),
            told: &told_by(&journal),
            untold: &[],
        })
    };
    assert_eq!(examine(1).violations, []);
    assert_found(&examine(0), &[Fault::Forgotten], "runs/target/cart");
}

/// A setting that a step changed from `high`, and that was taken back to `back`.
fn taken_back(back: &str, at_the_end: &str) -> Findings {
    let mut case = Case::opened(1, the_run(), 1, 100);
    case.happen(the_run(), 0, 1);
    case.happen(the_run(), 0, 1);
    let change = |before: &str, after: &str| Some((before.to_owned(), after.to_owned()));
    case.happen(the_run(), 0, 1);
    case.world.swap(0, 2);
    for (effect, change) in case.world.iter_mut().zip([
        change("", "high"),
        change("high", "hope"),
        change("hope", back),
    ]) {
        effect.nature = EffectClass::Idempotent;
        effect.change = change;
    }
    case.world[0].key = IdempotencyKey::new(RunId::from_u128(6), 0).to_string();
    case.world[2].key = IdempotencyKey::undo(the_run(), 0).to_string();
    case.push(EventKind::StepEnded {
        run: the_run(),
        step_idx: 0,
        phase: StepPhase::Undo,
        outcome: StepOutcome::Done {
            output: Value::Null,
        },
    });
    let mut found = Findings::default();
    values::examine(
        &Evidence {
            journal: &[(incident_id(1), case.events)],
            world: &case.world,
            acks: &[],
            policy: &policy(),
            counters: &BTreeMap::new(),
            settings: &BTreeMap::from([("cart".to_owned(), at_the_end.to_owned())]),
            told: &BTreeMap::new(),
            untold: &[],
        },
        &mut found,
    );
    found
}

#[test]
fn a_setting_that_was_taken_back_to_another_value_is_wrong() {
    assert_eq!(taken_back("high", "high").violations, []);
    assert_found(
        &taken_back("hope", "hope"),
        &[Fault::Wrong],
        "was there before",
    );
    assert_found(&taken_back("high", "odd"), &[Fault::Wrong], "at the end");
}

mod calls;
