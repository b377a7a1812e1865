//! Calls and answers that are wrong are found and named.

use homeostasis::core::record::HandOverAnswer;

use super::*;

/// A run handed over at its second step, an opaque one, and called about.
fn handed_over() -> Case {
    let mut case = Case::opened(1, the_run(), 1, 100);
    case.intend(the_run(), 0, 1);
    case.happen(the_run(), 0, 1);
    let done = StepOutcome::Done {
        output: Value::Null,
    };
    let unknown = StepOutcome::Unknown {
        reason: "it hung".to_owned(),
    };
    for (step_idx, outcome) in [(0, done), (1, unknown)] {
        if step_idx == 1 {
            case.intend(the_run(), 1, 1);
        }
        case.push(EventKind::StepEnded {
            run: the_run(),
            step_idx,
            phase: StepPhase::Do,
            outcome,
        });
    }
    case.push(EventKind::RunEnded {
        run: the_run(),
        outcome: Outcome::Unknown {
            step_idx: 1,
            reason: "it hung".to_owned(),
        },
    });
    case.escalate();
    case
}

fn answer(case: &mut Case, answer: HandOverAnswer) {
    case.push(EventKind::HandOverAnswered {
        run: the_run(),
        step_idx: 1,
        question: 0,
        answer,
        by: "ada".to_owned(),
        reason: "looked".to_owned(),
    });
}

/// What is found if people were told `told` of this story.
fn called(case: &Case, told: &[&str]) -> Findings {
    let told: Vec<_> = told.iter().map(|it| tell(incident_id(1), it)).collect();
    let mut found = Findings::default();
    people::called(
        &Evidence {
            journal: &[(incident_id(1), case.events.clone())],
            world: &[],
            acks: &[],
            policy: &policy(),
            counters: &BTreeMap::new(),
            settings: &BTreeMap::new(),
            told: &BTreeMap::from([(incident_id(1).to_string(), told)]),
            untold: &[],
        },
        &mut found,
    );
    found
}

#[test]
fn a_call_that_never_came_is_lost_one_more_is_harmless_and_another_key_is_repeated() {
    let case = handed_over();
    assert_eq!(called(&case, &["level1.0"]).violations, []);
    let twice = called(&case, &["level1.0", "level1.0"]);
    assert_eq!((twice.violations.len(), twice.repeated_harmless), (0, 1));
    assert_found(&called(&case, &[]), &[Fault::Lost], "level1.0");
    let other = called(&case, &["level1.0", "level1.1"]);
    assert_found(&other, &[Fault::Repeated], "no event asks for it");
}

#[test]
fn a_level_that_comes_too_early_or_though_it_is_taken_on_is_illegal() {
    let mut early = handed_over();
    early.notify(2);
    let told = ["level1.0", "level2.0"];
    assert_found(&called(&early, &told), &[Fault::Illegal], "is due at");
    let mut taken_on = handed_over();
    taken_on.push(EventKind::Acknowledged {
        by: "ada".to_owned(),
        note: String::new(),
    });
    let (id, at) = (incident_id(1), taken_on.at() + Duration::from_secs(60));
    let level = |level| EventKind::Notified {
        level,
        round: 0,
        channels: vec!["pager".to_owned()],
        to: Vec::new(),
        reason: String::new(),
    };
    // The third is called whoever took it on.
    taken_on.push_at(id, at, level(3));
    let told = ["level1.0", "acknowledged", "level3.0"];
    assert_eq!(called(&taken_on, &told).violations, []);
    taken_on.push_at(id, at, level(2));
    let told = ["level1.0", "acknowledged", "level3.0", "level2.0"];
    assert_found(&called(&taken_on, &told), &[Fault::Illegal], "taken on");
}

#[test]
fn an_escalation_of_which_nobody_hears_is_lost() {
    let mut case = Case::opened(1, the_run(), 1, 100);
    let reason = "nobody can tell".to_owned();
    case.push(EventKind::Escalated { reason });
    assert_found(&called(&case, &[]), &[Fault::Lost], "nobody was called");
}

#[test]
fn an_answer_is_held_against_what_happened_before_and_after_it() {
    use HandOverAnswer::{Abort, MarkDone, Resume, Skip};
    let answered = |given, happens: bool, again: bool| {
        let mut case = handed_over();
        if happens {
            case.happen(the_run(), 1, 1);
        }
        answer(&mut case, given);
        if again {
            case.intend(the_run(), 1, 1);
        }
        let mut found = Findings::default();
        people::answered(
            &Evidence {
                journal: &[(incident_id(1), case.events)],
                world: &case.world,
                acks: &[],
                policy: &policy(),
                counters: &BTreeMap::new(),
                settings: &BTreeMap::new(),
                told: &BTreeMap::new(),
                untold: &[],
            },
            &mut found,
        );
        found
    };
    for (given, happens, again) in [
        (Resume, true, true),
        (Skip, false, false),
        (MarkDone, true, false),
        (Abort, true, false),
    ] {
        let found = answered(given, happens, again);
        assert_eq!(found.violations, [], "{given}");
        assert_eq!(found.answers[&given.to_string()], 1);
    }
    let found = answered(Skip, true, false);
    assert_found(&found, &[Fault::Repeated], "skipped, and happened");
    let found = answered(MarkDone, false, false);
    assert_found(&found, &[Fault::Repeated], "and was not");
    let found = answered(MarkDone, true, true);
    assert_found(&found, &[Fault::Repeated], "against the answer");
}

#[test]
fn steps_that_begin_together_may_do_so_and_the_next_group_waits() {
    let begun = |steps: &[usize]| {
        let mut case = Case::opened(1, the_run(), 1, 100);
        // The order of the events: the plan is the third.
        let EventKind::Planned { plans, .. } = &mut case.events[2].kind else {
            panic!("the plan is the third event")
        };
        let mut third = plans[0].steps[1].clone();
        plans[0].steps[1].with_previous = true;
        third.effect = EffectClass::Opaque;
        plans[0].steps.push(third);
        let hash = plans[0].hash();
        let EventKind::RunOpened { plan_hash, .. } = &mut case.events[4].kind else {
            panic!("the run is the fifth event")
        };
        *plan_hash = hash;
        case.acks.clear();
        for step_idx in steps {
            case.intend(the_run(), *step_idx, 1);
        }
        let found = case.examine();
        let out_of_order = |it: &&Violation| it.what.contains("out of order");
        found.violations.iter().filter(out_of_order).count()
    };
    assert_eq!(begun(&[0, 1]), 0);
    assert_eq!(begun(&[1, 0]), 0);
    assert_eq!(begun(&[0, 1, 2]), 1);
}

#[test]
fn a_run_that_was_overtaken_while_people_were_asked_and_goes_no_further_is_not_doubled() {
    let story = |outcome: Outcome| {
        let mut case = handed_over();
        case.happen(the_run(), 1, 1);
        let next = Case::healed(2, RunId::from_u128(8), 2, 200);
        let id = incident_id(1);
        let answered = EventKind::HandOverAnswered {
            run: the_run(),
            step_idx: 1,
            question: 0,
            answer: HandOverAnswer::MarkDone,
            by: "ada".to_owned(),
            reason: "looked".to_owned(),
        };
        case.push_at(id, Timestamp::from_secs(300), answered);
        let run = the_run();
        case.push(EventKind::RunEnded { run, outcome });
        examine_all(vec![case, next])
    };
    let found = story(Outcome::Halted {
        reason: "another acted meanwhile".to_owned(),
    });
    assert_eq!(found.count(Fault::Doubled), 0, "{:?}", found.violations);
    let found = story(Outcome::Completed);
    assert_eq!(found.count(Fault::Doubled), 1, "{:?}", found.violations);
}

/// People were asked in the middle of a run, another run came and went on the same service, and
/// then the first was taken up again.
fn taken_up_again_after_another(answered: HandOverAnswer, acts_on: bool) -> Findings {
    let mut case = handed_over();
    case.happen(the_run(), 1, 1);
    let next = Case::healed(2, RunId::from_u128(8), 2, 200);
    let id = incident_id(1);
    case.push_at(
        id,
        Timestamp::from_secs(300),
        EventKind::HandOverAnswered {
            run: the_run(),
            step_idx: 1,
            question: 0,
            answer: answered,
            by: "ada".to_owned(),
            reason: "looked".to_owned(),
        },
    );
    case.push(EventKind::RunResumed {
        run: the_run(),
        token: FencingToken::new(3),
    });
    if acts_on {
        case.intend(the_run(), 1, 2);
        case.push(EventKind::StepEnded {
            run: the_run(),
            step_idx: 1,
            phase: StepPhase::Do,
            outcome: StepOutcome::Done {
                output: Value::Null,
            },
        });
    }
    case.push(EventKind::RunEnded {
        run: the_run(),
        outcome: Outcome::Completed,
    });
    examine_all(vec![case, next])
}

#[test]
fn a_run_that_was_overtaken_and_has_nothing_left_to_do_may_be_brought_to_its_end() {
    for answered in [HandOverAnswer::Skip, HandOverAnswer::MarkDone] {
        let found = taken_up_again_after_another(answered, false);
        assert_eq!(found.count(Fault::Doubled), 0, "{:?}", found.violations);
    }
}

#[test]
fn a_run_that_was_overtaken_and_acts_on_is_doubled_although_the_lease_was_its_own() {
    let found = taken_up_again_after_another(HandOverAnswer::Resume, true);
    assert_eq!(found.count(Fault::Doubled), 1, "{:?}", found.violations);
    assert!(
        found
            .violations
            .iter()
            .any(|it| it.what.contains("in turn"))
    );
}
