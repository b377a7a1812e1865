//! The laws of the cycle, checked at every event of arbitrary walks.
//!
//! What may have happened is told from the events alone here, and not with the functions under test.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::walk::{
    MAX_ATTEMPTS, MAX_PLANS, MAX_STEPS, Tape, Walk, answer, anything, aside, candidates, intent,
    plans, report, rests,
};
use super::*;
use crate::id::{PlanId, RunId};
use crate::policy::GateDecision;
use crate::record::{
    EffectClass, EventKind, HandOverAnswer, Inverse, Outcome, Plan, Resolution, StepOutcome,
    StepPhase, StepState, VerdictKind,
};
use crate::rng::Rng;

/// How many answers may follow one another before the incident rests or is closed.
const MAX_ANSWERS: usize = {
    let step_events = 2 * MAX_ATTEMPTS as usize;
    let steps = 2 * MAX_STEPS * step_events;
    let verdicts = 1 + MAX_WATCH_EXTENSIONS as usize;
    let plan = 2 + steps + 1 + verdicts + 1;
    2 + MAX_PLANS * plan + 2
};

impl Walk {
    /// Applies `event` and checks every law; a refusal must change nothing.
    fn take(&mut self, event: &HealEvent) -> Result<(), IllegalTransition> {
        let before = self.state.clone();
        let mut in_place = before.clone();
        let applied = in_place.apply(event);
        match transition(Some(before.clone()), event) {
            Err(illegal) => {
                assert_eq!(applied, Err(illegal.clone()));
                assert_eq!(in_place, before, "refused, but changed: {illegal}");
                Err(illegal)
            }
            Ok((after, effects)) => {
                assert_eq!(applied, Ok(()));
                assert_eq!(in_place, after);
                assert_eq!(effects, after.effects());
                self.check(&before, event, &after);
                self.state = after;
                self.events.push(event.clone());
                Ok(())
            }
        }
    }

    /// Tries every candidate here, each on a copy.
    fn probe(&self) {
        for event in candidates(self) {
            let _ = self.clone().take(&event);
        }
    }

    fn check(&self, before: &Incident, event: &HealEvent, after: &Incident) {
        assert!(!before.is_closed(), "an event after the close");
        assert_eq!(after.n_events, before.n_events + 1);
        assert_eq!((event.incident, event.seq), (before.id, before.n_events));
        assert_eq!(after.effects().len(), usize::from(!after.is_closed()));
        assert!(after.updated_at >= before.updated_at && after.since <= before.since);
        Self::check_people(before, event, after);
        self.check_runs(before, event, after);
        self.check_steps(before, event, after);
        for (run, _) in &after.verdicts {
            let n_verdicts = after.verdicts.iter().filter(|(of, _)| of == run).count();
            assert!(n_verdicts <= 1 + MAX_WATCH_EXTENSIONS as usize);
        }
        match &event.kind {
            EventKind::Verified { run, verdict } if verdict.kind == VerdictKind::Failed => {
                assert_eq!(
                    after.phase == Phase::Undoing { run: *run },
                    self.can_be_taken_back(before, *run)
                );
            }
            EventKind::Closed {
                resolution: Resolution::Healed { run },
            } => {
                let last = self
                    .events
                    .iter()
                    .rev()
                    .find_map(|event| match &event.kind {
                        EventKind::Verified { run: of, verdict } if of == run => Some(verdict.kind),
                        _ => None,
                    });
                assert_eq!(last, Some(VerdictKind::Success), "healed without a proof");
            }
            EventKind::Closed { .. } => assert!(!before.is_in_flight(), "closed in flight"),
            EventKind::RunEnded { run, .. }
            | EventKind::UndoEnded { run, .. }
            | EventKind::HandOverAnswered { run, .. }
                if after.run(*run).unwrap().stopped_by().is_some() =>
            {
                let tries = matches!(after.phase, Phase::Gating { .. });
                assert!(!tries, "another plan after a person stopped one");
            }
            EventKind::RunEnded {
                run,
                outcome: Outcome::Completed,
            } => {
                for step_idx in 0..plan_of(before, *run).steps.len() {
                    let settled = self.last_outcome_settles(*run, step_idx, StepPhase::Do);
                    assert!(settled, "completed without step {step_idx}");
                }
            }
            EventKind::UndoEnded {
                run,
                outcome: Outcome::Completed,
            } => {
                for (step_idx, step) in plan_of(before, *run).steps.iter().enumerate() {
                    let due = matches!(step.inverse, Inverse::Captured(_))
                        && self.may_have_happened(*run, step_idx);
                    let settled = self.last_outcome_settles(*run, step_idx, StepPhase::Undo);
                    assert!(!due || settled, "taken back without step {step_idx}");
                }
            }
            _ => {}
        }
    }

    /// At most one run is open, nothing runs that was not permitted as it is, and leases only grow.
    fn check_runs(&self, before: &Incident, event: &HealEvent, after: &Incident) {
        let open: Vec<_> = after
            .runs
            .iter()
            .filter(|run| run.outcome.is_none())
            .map(|run| run.run)
            .collect();
        match after.phase {
            Phase::Running { run } => assert_eq!(open, [run]),
            _ => assert_eq!(open, []),
        }
        let ids: BTreeSet<_> = after.runs.iter().map(|run| run.run).collect();
        assert_eq!(ids.len(), after.runs.len(), "two runs with one id");
        for (old, new) in before.runs.iter().zip(&after.runs) {
            let resumed =
                matches!(&event.kind, EventKind::RunResumed { run, .. } if *run == old.run);
            assert_eq!(new.token > old.token, resumed);
            assert!(new.token >= old.token);
            assert_eq!(new.plan_hash, old.plan_hash);
        }
        if after.runs.len() == before.runs.len() {
            return;
        }
        let EventKind::RunOpened {
            run,
            plan,
            plan_hash,
            ..
        } = &event.kind
        else {
            panic!("a run was opened by {}", event.kind.name());
        };
        assert_eq!(after.runs.len(), before.runs.len() + 1);
        assert_eq!(after.phase, Phase::Running { run: *run });
        assert_eq!(before.plan(*plan).unwrap().hash(), *plan_hash);
        assert!(self.was_just_permitted(*plan), "a run without a permit");
    }

    /// Once people are needed no other plan is tried, nothing waits for anybody else, and it is not
    /// healed without them.
    fn check_people(before: &Incident, event: &HealEvent, after: &Incident) {
        if after.needs_people().is_none() {
            return;
        }
        let waits = matches!(
            after.phase,
            Phase::AwaitingApproval { .. }
                | Phase::Deferred { .. }
                | Phase::Recommended
                | Phase::Resolved { .. }
                | Phase::Closed {
                    resolution: Resolution::Healed { .. }
                }
        );
        assert!(!waits, "{:?} after {event}", after.phase);
        if let EventKind::AnomalyJoined { anomaly, .. } = &event.kind
            && anomaly.needs_people
            && matches!(before.phase, Phase::Gating { .. })
        {
            let is_called = matches!(after.phase, Phase::Stuck { .. });
            assert!(is_called || before.permitted.is_some(), "the page waits");
        }
        let is_new = after.phase != before.phase;
        let tries = matches!(after.phase, Phase::Gating { .. });
        assert!(!(is_new && tries), "another plan after {event}");
    }

    fn was_just_permitted(&self, plan: PlanId) -> bool {
        let last = self.events.iter().rev().find(|event| {
            !matches!(
                event.kind,
                EventKind::AnomalyJoined { .. } | EventKind::Blamed { .. }
            )
        });
        matches!(last.map(|event| &event.kind), Some(EventKind::Gated { plan: of, record })
            if *of == plan && record.decision == GateDecision::Permitted)
    }

    /// Only the step of the event changes, and only in an order that repeats nothing it must not.
    fn check_steps(&self, before: &Incident, event: &HealEvent, after: &Incident) {
        let place = match &event.kind {
            EventKind::StepIntended { run, intent } => {
                let known = &before.run(*run).unwrap().phase(intent.phase)[intent.step_idx];
                assert!(intent.attempt > known.attempts());
                let cancelled = &before.run(*run).unwrap().cancelled;
                assert!(
                    intent.phase == StepPhase::Undo || cancelled.is_none(),
                    "a step of a cancelled run began"
                );
                match known {
                    StepState::NotStarted => {}
                    StepState::InFlight(last) => assert!(
                        intent.phase == StepPhase::Undo || last.effect != EffectClass::Opaque,
                        "an opaque step was repeated"
                    ),
                    StepState::Ended { outcome, .. } => assert!(
                        matches!(outcome, StepOutcome::Failed { .. }),
                        "repeated although {outcome:?}"
                    ),
                }
                let wanted = match intent.phase {
                    StepPhase::Do => Phase::Running { run: *run },
                    StepPhase::Undo => Phase::Undoing { run: *run },
                };
                assert_eq!(before.phase, wanted);
                assert!(
                    intent.phase == StepPhase::Do || self.may_have_happened(*run, intent.step_idx),
                    "what never happened was taken back"
                );
                Some((*run, intent.phase, intent.step_idx))
            }
            EventKind::StepEnded {
                run,
                step_idx,
                phase,
                ..
            } => Some((*run, *phase, *step_idx)),
            EventKind::HandOverAnswered {
                run,
                step_idx,
                answer,
                ..
            } => {
                let known = &before.run(*run).unwrap().steps[*step_idx];
                assert!(
                    matches!(
                        known,
                        StepState::Ended {
                            outcome: StepOutcome::Unknown { .. },
                            ..
                        }
                    ),
                    "an answer about {known:?}"
                );
                (*answer != HandOverAnswer::Abort).then_some((*run, StepPhase::Do, *step_idx))
            }
            _ => None,
        };
        for (old, new) in before.runs.iter().zip(&after.runs) {
            for phase in [StepPhase::Do, StepPhase::Undo] {
                for (step_idx, (was, is)) in
                    old.phase(phase).iter().zip(new.phase(phase)).enumerate()
                {
                    let tried_anew = phase == StepPhase::Undo
                        && Self::reopens_undo(before, event, old.run)
                        && is_to_be_tried_anew(was);
                    if tried_anew {
                        assert_eq!(is, &StepState::NotStarted, "kept although {was:?}");
                        continue;
                    }
                    assert_eq!(
                        was != is,
                        place == Some((old.run, phase, step_idx)),
                        "{phase:?} step {step_idx} of {}: {was:?}, then {is:?}",
                        old.run
                    );
                }
            }
        }
    }

    /// Whether a person has the undo of a stopped run begun once more.
    fn reopens_undo(before: &Incident, event: &HealEvent, of: RunId) -> bool {
        matches!(event.kind, EventKind::RunCancelled { run, .. } if run == of)
            && before.phase == Phase::Escalated
    }

    /// From the events: whether an attempt was begun that was not given up before its effect.
    fn may_have_happened(&self, of: RunId, idx: usize) -> bool {
        let (mut begun, mut happened) = (false, false);
        for event in &self.events {
            match &event.kind {
                EventKind::StepIntended { run, intent }
                    if *run == of && intent.phase == StepPhase::Do && intent.step_idx == idx =>
                {
                    happened |= begun;
                    begun = true;
                }
                EventKind::StepEnded {
                    run,
                    step_idx,
                    phase: StepPhase::Do,
                    outcome,
                } if *run == of && *step_idx == idx => {
                    happened |= begun && !matches!(outcome, StepOutcome::Skipped { .. });
                    begun = false;
                }
                EventKind::HandOverAnswered {
                    run,
                    step_idx,
                    answer: HandOverAnswer::Resume | HandOverAnswer::Skip,
                    ..
                } if *run == of && *step_idx == idx => {
                    // A person says that it did not.
                    (begun, happened) = (false, false);
                }
                _ => {}
            }
        }
        begun || happened
    }

    /// From the events: whether the last word on a step is that it was done or not needed.
    fn last_outcome_settles(&self, of: RunId, idx: usize, wanted: StepPhase) -> bool {
        let last = self
            .events
            .iter()
            .rev()
            .find_map(|event| match &event.kind {
                EventKind::StepIntended { run, intent }
                    if (*run, intent.step_idx, intent.phase) == (of, idx, wanted) =>
                {
                    Some(false)
                }
                EventKind::StepEnded {
                    run,
                    step_idx,
                    phase,
                    outcome,
                } if (*run, *step_idx, *phase) == (of, idx, wanted) => Some(matches!(
                    outcome,
                    StepOutcome::Done { .. } | StepOutcome::Skipped { .. }
                )),
                EventKind::HandOverAnswered {
                    run,
                    step_idx,
                    answer,
                    ..
                } if (*run, *step_idx, StepPhase::Do) == (of, idx, wanted) => Some(matches!(
                    answer,
                    HandOverAnswer::Skip | HandOverAnswer::MarkDone
                )),
                _ => None,
            });
        last == Some(true)
    }

    fn can_be_taken_back(&self, state: &Incident, run: RunId) -> bool {
        let plan = plan_of(state, run);
        plan.steps.iter().enumerate().any(|(step_idx, step)| {
            matches!(step.inverse, Inverse::Captured(_)) && self.may_have_happened(run, step_idx)
        })
    }

    /// Lets the gate permit the first of `plans`.
    fn run_first(&mut self, plans: Vec<Plan>) {
        let mut tape = Tape::new(Vec::new());
        let diagnosed = answer(&mut tape, &self.state).remove(0);
        self.take(&self.next_event(diagnosed)).unwrap();
        self.take(&self.next_event(EventKind::Planned {
            plans,
            considered: Vec::new(),
        }))
        .unwrap();
        for kind in answer(&mut tape, &self.state) {
            self.take(&self.next_event(kind)).unwrap();
        }
    }

    /// Answers the effects of each state until the incident rests, and counts the answers.
    fn answer_until_rest(&mut self, tape: &mut Tape) {
        let mut n_answers = 0;
        while !rests(&self.state) {
            for kind in answer(tape, &self.state) {
                n_answers += usize::from(!matches!(kind, EventKind::RunResumed { .. }));
                let event = self.next_event(kind);
                self.take(&event).unwrap();
            }
            assert!(n_answers <= MAX_ANSWERS, "{n_answers} answers without rest");
        }
    }
}

fn plan_of(state: &Incident, run: RunId) -> &Plan {
    state.plan(state.run(run).unwrap().plan).unwrap()
}

/// A legal walk along `choices`, and on to the next rest.
fn legal(choices: Vec<u16>) -> Walk {
    let mut tape = Tape::new(choices);
    let mut walk = Walk::begin();
    while !tape.is_empty() && !walk.state.is_closed() {
        if tape.below(8) == 7 {
            let event = walk.next_event(aside(&mut tape));
            walk.take(&event).unwrap();
        }
        for kind in answer(&mut tape, &walk.state) {
            let event = walk.next_event(kind);
            walk.take(&event).unwrap();
        }
    }
    walk.answer_until_rest(&mut tape);
    walk
}

fn choices(limit: usize) -> impl Strategy<Value = Vec<u16>> {
    vec(any::<u16>(), 0..limit)
}

/// A step back that failed, or was given up after it was begun: nothing else is tried anew.
fn is_to_be_tried_anew(back: &StepState) -> bool {
    let StepState::Ended { outcome, .. } = back else {
        return false;
    };
    match outcome {
        StepOutcome::Failed { .. } => true,
        StepOutcome::Skipped { .. } => back.attempts() > 0,
        _ => false,
    }
}

proptest! {
    #[test]
    fn every_effect_has_a_legal_answer_and_replay_is_the_fold(choices in choices(300)) {
        let walk = legal(choices);
        prop_assert!(rests(&walk.state));
        prop_assert_eq!(replay(&walk.events).unwrap().unwrap(), walk.state);
    }

    #[test]
    fn from_any_state_answers_lead_to_rest(before in choices(120), after in choices(120)) {
        let mut walk = Walk::begin();
        let mut tape = Tape::new(before);
        while !tape.is_empty() {
            let event = anything(&mut tape, &walk);
            let _ = walk.take(&event);
        }
        walk.answer_until_rest(&mut Tape::new(after));
        prop_assert_eq!(replay(&walk.events).unwrap().unwrap(), walk.state);
    }

    #[test]
    fn noise_is_lawful_or_refused(noise in choices(200)) {
        let mut walk = Walk::begin();
        let mut tape = Tape::new(noise);
        while !tape.is_empty() {
            let event = anything(&mut tape, &walk);
            let _ = walk.take(&event);
        }
        prop_assert_eq!(replay(&walk.events).unwrap().unwrap(), walk.state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_event_meets_a_state_is_lawful_or_refused(choices in choices(300)) {
        let mut tape = Tape::new(choices);
        while !tape.is_empty() {
            let mut walk = Walk::begin();
            while !tape.is_empty() && !walk.state.is_closed() {
                let mut kinds = answer(&mut tape, &walk.state);
                // A gate may permit and be asked again before the run is opened.
                if kinds.len() > 1 && tape.below(3) == 2 {
                    kinds.pop();
                }
                for kind in kinds {
                    walk.probe();
                    let event = walk.next_event(kind);
                    walk.take(&event).unwrap();
                }
            }
            walk.probe();
        }
    }
}

#[test]
fn the_walks_reach_every_phase_and_every_event() {
    let mut rng = Rng::from_seed(7);
    let (mut phases, mut events) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..200 {
        let tape = (0..200)
            .map(|_| u16::try_from(rng.below(1 << 16)).unwrap())
            .collect();
        let walk = legal(tape);
        let mut state = None;
        for event in &walk.events {
            let (next, _) = transition(state, event).unwrap();
            let name = format!("{:?}", next.phase);
            phases.insert(name.split(' ').next().unwrap().to_owned());
            events.insert(event.kind.name());
            state = Some(next);
        }
    }
    assert_eq!(phases.len(), 13, "{phases:?}");
    assert_eq!(events.len(), 19, "{events:?}");
}

#[test]
fn the_first_event_must_open_the_incident() {
    let opened = Walk::begin().events.remove(0);
    let late = HealEvent {
        seq: 1,
        ..opened.clone()
    };
    let other = HealEvent {
        kind: EventKind::Escalated {
            reason: "help".to_owned(),
        },
        ..opened
    };
    assert!(transition(None, &late).is_err());
    assert!(transition(None, &other).is_err());
    assert_eq!(replay(&[]), Ok(None));
}

/// Two plans with one id: after the second one the first was found by its id, and the second was
/// tried again and again.
#[test]
fn two_plans_with_one_id_are_refused() {
    let mut walk = Walk::begin();
    let mut tape = Tape::new(Vec::new());
    for kind in answer(&mut tape, &walk.state) {
        walk.take(&walk.next_event(kind)).unwrap();
    }
    let mut twins = plans(&mut Tape::new(vec![1]));
    twins.push(twins[0].clone());
    let illegal = walk
        .take(&walk.next_event(EventKind::Planned {
            plans: twins,
            considered: Vec::new(),
        }))
        .unwrap_err();
    assert!(illegal.reason.ends_with("comes twice"), "{illegal}");
}

/// An executor that did nothing could say that it was through, and that it had taken it back.
#[test]
fn a_claim_of_completion_is_held_against_the_steps() {
    let mut walk = Walk::begin();
    // One plan with one step: idempotent, captured.
    let one_plan = plans(&mut Tape::new(vec![1, 0, 0, 1]));
    let run = RunId::from_u128(0);
    let [forward, back] =
        [StepPhase::Do, StepPhase::Undo].map(|phase| intent(run, 0, phase, 1, &one_plan[0]));
    let done = |phase| EventKind::StepEnded {
        run,
        step_idx: 0,
        phase,
        outcome: StepOutcome::Done {
            output: serde_json::Value::Null,
        },
    };
    let completed = || EventKind::RunEnded {
        run,
        outcome: Outcome::Completed,
    };
    let taken_back = || EventKind::UndoEnded {
        run,
        outcome: Outcome::Completed,
    };
    walk.run_first(one_plan);
    let refused = |walk: &mut Walk, kind| {
        let event = walk.next_event(kind);
        walk.take(&event).unwrap_err().reason
    };
    let expected = "completed, but step 1 is not settled";
    assert_eq!(refused(&mut walk, completed()), expected);
    walk.take(&walk.next_event(forward)).unwrap();
    assert_eq!(refused(&mut walk, completed()), expected);
    walk.take(&walk.next_event(done(StepPhase::Do))).unwrap();
    walk.take(&walk.next_event(completed())).unwrap();
    let verdict = crate::record::Verdict::new(VerdictKind::Failed, walk.state.updated_at, "ill");
    walk.take(&walk.next_event(EventKind::Verified { run, verdict }))
        .unwrap();
    let expected = "completed, but the undo of step 1 is not settled";
    assert_eq!(refused(&mut walk, taken_back()), expected);
    walk.take(&walk.next_event(back)).unwrap();
    assert_eq!(refused(&mut walk, taken_back()), expected);
    walk.take(&walk.next_event(done(StepPhase::Undo))).unwrap();
    walk.take(&walk.next_event(taken_back())).unwrap();
}

/// The cycle took an executor's word for the class and the key of a step.
#[test]
fn an_intent_that_contradicts_the_plan_is_refused() {
    let mut walk = Walk::begin();
    // One plan with one step: opaque.
    let one_plan = plans(&mut Tape::new(vec![1, 0, 1]));
    let run = RunId::from_u128(0);
    let EventKind::StepIntended { intent: honest, .. } =
        intent(run, 0, StepPhase::Do, 1, &one_plan[0])
    else {
        unreachable!("it is an intent");
    };
    walk.run_first(one_plan);
    let mut forged = [honest.clone(), honest.clone()];
    forged[0].effect = EffectClass::Idempotent;
    forged[1].key = crate::id::IdempotencyKey::new(run, 1);
    for (intent, complaint) in forged.into_iter().zip(["effect idempotent", "key "]) {
        let event = walk.next_event(EventKind::StepIntended { run, intent });
        let illegal = walk.take(&event).unwrap_err();
        assert!(illegal.reason.contains(complaint), "{illegal}");
    }
    let event = walk.next_event(EventKind::StepIntended {
        run,
        intent: honest,
    });
    walk.take(&event).unwrap();
}

/// The kill switch fell before the second attempt: that one was skipped, but the first one failed
/// on its way, and its effects were not taken back.
#[test]
fn a_skipped_retry_does_not_hide_the_attempt_before_it() {
    let mut walk = Walk::begin();
    // One plan with one step: idempotent, captured.
    let one_plan = plans(&mut Tape::new(vec![1, 0, 0, 1]));
    let run = RunId::from_u128(0);
    let ended = |outcome| EventKind::StepEnded {
        run,
        step_idx: 0,
        phase: StepPhase::Do,
        outcome,
    };
    let [first, second] =
        [1, 2].map(|attempt| intent(run, 0, StepPhase::Do, attempt, &one_plan[0]));
    walk.run_first(one_plan);
    for kind in [
        first,
        ended(StepOutcome::Failed { report: report() }),
        second,
        ended(StepOutcome::Skipped {
            reason: "the kill switch".to_owned(),
        }),
        EventKind::RunEnded {
            run,
            outcome: Outcome::Failed {
                step_idx: 0,
                report: report(),
            },
        },
    ] {
        walk.take(&walk.next_event(kind)).unwrap();
    }
    assert_eq!(walk.state.phase, Phase::Undoing { run });
}
