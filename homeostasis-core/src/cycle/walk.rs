//! Walks through the cycle for tests: events drawn from a tape of choices, legal or not.

use serde_json::Value;

use crate::cycle::{Effect, Incident, Phase, transition};
use crate::digest::Digest;
use crate::error::{ErrorKind, ErrorReport};
use crate::id::{IdempotencyKey, IncidentId, NodeId, PlanId, RunId, TenantId};
use crate::policy::{GateDecision, GateRecord};
use crate::port::FencingToken;
use crate::record::{
    Anomaly, BlastRadius, Diagnosis, EffectClass, EventKind, HandOverAnswer, HealEvent, Inverse,
    Outcome, Plan, PlanStep, Resolution, RunState, SCHEMA_VERSION, Severity, StepIntent,
    StepOutcome, StepPhase, StepState, Subject, Verdict, VerdictKind,
};
use crate::target::Target;
use crate::time::Timestamp;

pub(super) const MAX_PLANS: usize = 3;
pub(super) const MAX_STEPS: usize = 3;
pub(super) const MAX_ATTEMPTS: u32 = 3;

/// Choices made in advance, so that a failing walk shrinks; when it is used up every choice is 0.
#[derive(Debug)]
pub(super) struct Tape {
    choices: std::vec::IntoIter<u16>,
}

impl Tape {
    pub(super) fn new(choices: Vec<u16>) -> Self {
        Self {
            choices: choices.into_iter(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.choices.len() == 0
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::from(self.choices.next().unwrap_or(0)) % n
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 1
    }
}

/// The events so far and their fold.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    pub(super) events: Vec<HealEvent>,
    pub(super) state: Incident,
}

impl Walk {
    pub(super) fn begin() -> Self {
        let opened = HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: IncidentId::from_u128(1),
            seq: 0,
            at: Timestamp::from_secs(100),
            node: NodeId::default(),
            kind: EventKind::Opened {
                tenant: TenantId::default(),
                anomaly: Box::new(anomaly()),
                severity: Severity::Sev2,
                radius: BlastRadius::UNKNOWN,
                score: None,
            },
        };
        let (state, _) = transition(None, &opened).unwrap();
        Self {
            events: vec![opened],
            state,
        }
    }

    /// `kind` as the next event in sequence, a second after the last one.
    pub(super) fn next_event(&self, kind: EventKind) -> HealEvent {
        HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: self.state.id,
            seq: self.state.n_events,
            at: self.state.updated_at + std::time::Duration::from_secs(1),
            node: NodeId::default(),
            kind,
        }
    }
}

fn anomaly() -> Anomaly {
    let target = Target::service("orders").unwrap();
    let subject = Subject::Health("live".to_owned());
    Anomaly::new("test", target, subject, Timestamp::from_secs(90)).saying("it is ill")
}

pub(super) fn report() -> ErrorReport {
    ErrorReport::message(ErrorKind::Transient, "it broke")
}

pub(super) fn plans(tape: &mut Tape) -> Vec<Plan> {
    let n_plans = tape.pick(&[0, 1, 2, MAX_PLANS, 1, 2, MAX_PLANS]);
    (0..n_plans as u128)
        .map(|number| {
            let target = Target::service("orders").unwrap();
            let id = PlanId::from_u128(number);
            let incident = IncidentId::from_u128(1);
            let mut plan = Plan::new(id, incident, "test", "cure it", target.clone());
            for _ in 0..=tape.below(MAX_STEPS) {
                let mut step = PlanStep::new("cure", "cure", target.clone());
                step.effect = tape.pick(&[
                    EffectClass::Idempotent,
                    EffectClass::Opaque,
                    EffectClass::Probeable,
                ]);
                step.inverse = tape.pick(&[
                    Inverse::Nothing,
                    Inverse::Captured("as it was".to_owned()),
                    Inverse::Irreversible("gone".to_owned()),
                ]);
                plan.steps.push(step);
            }
            plan
        })
        .collect()
}

fn gated(tape: &mut Tape, plan: PlanId, until: Timestamp) -> EventKind {
    let decision = tape.pick(&[
        GateDecision::Permitted,
        GateDecision::Refused,
        GateDecision::NeedsApproval {
            approvals: 1,
            expires: until,
        },
        GateDecision::Deferred { until },
        GateDecision::Recommended,
        GateDecision::Escalated,
        GateDecision::Permitted,
        GateDecision::Permitted,
        GateDecision::Permitted,
    ]);
    let record = GateRecord {
        decision,
        answers: Vec::new(),
    };
    EventKind::Gated { plan, record }
}

fn outcome(tape: &mut Tape) -> Outcome {
    tape.pick(&[
        Outcome::Completed,
        Outcome::Failed {
            step_idx: 0,
            report: report(),
        },
        Outcome::Unknown {
            step_idx: 0,
            reason: "no answer".to_owned(),
        },
        Outcome::Halted {
            reason: "stop".to_owned(),
        },
        Outcome::Completed,
        Outcome::Completed,
    ])
}

fn step_outcome(tape: &mut Tape) -> StepOutcome {
    tape.pick(&[
        StepOutcome::Done {
            output: Value::Null,
        },
        StepOutcome::Failed { report: report() },
        StepOutcome::Unknown {
            reason: "no answer".to_owned(),
        },
        StepOutcome::Skipped {
            reason: "stop".to_owned(),
        },
    ])
}

fn verdict(tape: &mut Tape, at: Timestamp) -> Verdict {
    let kind = tape.pick(&[
        VerdictKind::Failed,
        VerdictKind::Uncertain,
        VerdictKind::Partial,
        VerdictKind::Success,
    ]);
    Verdict::new(kind, at, "seen")
}

pub(super) fn intent(
    run: RunId,
    step_idx: usize,
    phase: StepPhase,
    attempt: u32,
    plan: &Plan,
) -> EventKind {
    EventKind::StepIntended {
        run,
        intent: StepIntent {
            step_idx,
            phase,
            attempt,
            key: match phase {
                StepPhase::Do => IdempotencyKey::new(run, step_idx),
                StepPhase::Undo => IdempotencyKey::undo(run, step_idx),
            },
            effect: plan
                .steps
                .get(step_idx)
                .map_or(EffectClass::Opaque, |step| step.effect),
            captured: Value::Null,
            deadline: Timestamp::from_secs(1_000),
        },
    }
}

/// Events that may happen in any open incident without answering anything.
pub(super) fn aside(tape: &mut Tape) -> EventKind {
    let choice = tape.below(8);
    if choice % 2 == 1 {
        let mut anomaly = anomaly();
        anomaly.needs_people = choice == 7;
        EventKind::AnomalyJoined {
            anomaly: Box::new(anomaly),
            severity: Severity::Sev1,
            radius: BlastRadius::UNKNOWN,
            score: None,
        }
    } else {
        EventKind::Blamed {
            stage: "analyzer".to_owned(),
            plugin: "test".to_owned(),
            report: report(),
        }
    }
}

/// What an interpreter that keeps the contract appends in one commit for the effect of `state`.
pub(super) fn answer(tape: &mut Tape, state: &Incident) -> Vec<EventKind> {
    let at = state.updated_at;
    let effects = state.effects();
    let kind = match &effects[0] {
        Effect::Diagnose => EventKind::Diagnosed {
            diagnosis: Diagnosis::abstain("a test"),
        },
        Effect::Plan => EventKind::Planned {
            plans: plans(tape),
            considered: Vec::new(),
        },
        Effect::AskGate { plan_idx } => {
            let plan = &state.plans[*plan_idx];
            let gated = gated(tape, plan.id, at + std::time::Duration::from_secs(9));
            let permitted = matches!(&gated, EventKind::Gated { record, .. }
                if record.decision == GateDecision::Permitted);
            if permitted {
                let opened = EventKind::RunOpened {
                    run: unused(state),
                    plan: plan.id,
                    plan_hash: plan.hash(),
                    token: FencingToken::new(1),
                };
                return vec![gated, opened];
            }
            gated
        }
        Effect::AwaitApproval { plan_idx, .. } => EventKind::ApprovalDecided {
            plan: state.plans[*plan_idx].id,
            plan_hash: state.plans[*plan_idx].hash(),
            granted: tape.chance(),
            by: "ann".to_owned(),
            roles: std::collections::BTreeSet::new(),
            reason: "because".to_owned(),
            given_at: None,
        },
        Effect::WakeAt { plan_idx, .. } => EventKind::Woken {
            plan: state.plans[*plan_idx].id,
        },
        Effect::Execute { run } => work(tape, state, *run, StepPhase::Do),
        Effect::Undo { run } => work(tape, state, *run, StepPhase::Undo),
        Effect::Verify { run } => EventKind::Verified {
            run: *run,
            verdict: verdict(tape, at),
        },
        Effect::Escalate { reason } => EventKind::Escalated {
            reason: reason.clone(),
        },
        Effect::WatchRecovery => match state.hand_over() {
            Some(asked) if tape.chance() => answered(asked.run, asked.step_idx, asked.question, {
                [
                    HandOverAnswer::Resume,
                    HandOverAnswer::Skip,
                    HandOverAnswer::MarkDone,
                    HandOverAnswer::Abort,
                ]
                .into_iter()
                // A cancelled run is not gone on with.
                .filter(|answer| {
                    let stopped = state.run(asked.run).and_then(|run| run.cancelled.as_ref());
                    *answer != HandOverAnswer::Resume || stopped.is_none()
                })
                .cycle()
                .nth(tape.below(4))
                .unwrap()
            }),
            _ => EventKind::Closed {
                resolution: Resolution::Recovered,
            },
        },
        Effect::Close { resolution } => EventKind::Closed {
            resolution: resolution.clone(),
        },
    };
    vec![kind]
}

fn answered(run: RunId, step_idx: usize, question: u32, answer: HandOverAnswer) -> EventKind {
    EventKind::HandOverAnswered {
        run,
        step_idx,
        question,
        answer,
        by: "ann".to_owned(),
        reason: "I looked".to_owned(),
    }
}

fn cancelled(run: RunId) -> EventKind {
    EventKind::RunCancelled {
        run,
        by: "ann".to_owned(),
        reason: "not now".to_owned(),
    }
}

fn unused(state: &Incident) -> RunId {
    let newest = state.runs.iter().map(|run| run.run.as_u128()).max();
    RunId::from_u128(newest.map_or(0, |newest| newest + 1))
}

/// A step that is due, a new owner, or the end of the run or its undo.
fn work(tape: &mut Tape, state: &Incident, run: RunId, phase: StepPhase) -> EventKind {
    let known = state.run(run).unwrap();
    let plan = state.plan(known.plan).unwrap();
    let is_cancelled = phase == StepPhase::Do && known.cancelled.is_some();
    let may_follow =
        |event: &EventKind| !(is_cancelled && matches!(event, EventKind::StepIntended { .. }));
    if phase == StepPhase::Do && !is_cancelled && tape.below(16) == 15 {
        return cancelled(run);
    }
    let is_unknown = |step: &StepState| {
        let StepState::Ended { outcome, .. } = step else {
            return false;
        };
        matches!(outcome, StepOutcome::Unknown { .. })
    };
    if phase == StepPhase::Do
        && let Some(step_idx) = known.steps.iter().position(is_unknown)
        && tape.chance()
    {
        let reason = "no answer".to_owned();
        let outcome = Outcome::Unknown { step_idx, reason };
        return EventKind::RunEnded { run, outcome };
    }
    let step_idx = tape.below(MAX_STEPS + 1);
    if let Some(step) = known.phase(phase).get(step_idx)
        && let Some(event) = step_event(tape, known, step, step_idx, phase, plan)
        && may_follow(&event)
    {
        return event;
    }
    if tape.below(4) == 3 {
        return EventKind::RunResumed {
            run,
            token: known.token.next(),
        };
    }
    let mut outcome = outcome(tape);
    if outcome == Outcome::Completed
        && let Some(step_idx) = known.unsettled(plan, phase)
    {
        let step = &known.phase(phase)[step_idx];
        if let Some(event) = step_event(tape, known, step, step_idx, phase, plan)
            && may_follow(&event)
        {
            return event;
        }
        outcome = Outcome::Failed {
            step_idx,
            report: report(),
        };
    }
    match phase {
        StepPhase::Do => EventKind::RunEnded { run, outcome },
        StepPhase::Undo => EventKind::UndoEnded { run, outcome },
    }
}

/// What may be written about a step next, if anything.
fn step_event(
    tape: &mut Tape,
    known: &RunState,
    step: &StepState,
    step_idx: usize,
    phase: StepPhase,
    plan: &Plan,
) -> Option<EventKind> {
    let run = known.run;
    let ended = |outcome| EventKind::StepEnded {
        run,
        step_idx,
        phase,
        outcome,
    };
    let may_begin = phase == StepPhase::Do || known.steps[step_idx].may_have_happened();
    let again = step.attempts() + 1;
    match step {
        StepState::NotStarted if may_begin && tape.chance() => {
            Some(intent(run, step_idx, phase, 1, plan))
        }
        StepState::NotStarted => tape.chance().then(|| {
            ended(StepOutcome::Skipped {
                reason: "not needed".to_owned(),
            })
        }),
        StepState::InFlight(last)
            if (phase == StepPhase::Undo || last.effect != EffectClass::Opaque)
                && again <= MAX_ATTEMPTS
                && tape.chance() =>
        {
            Some(intent(run, step_idx, phase, again, plan))
        }
        StepState::InFlight(_) => Some(ended(step_outcome(tape))),
        StepState::Ended {
            outcome: StepOutcome::Failed { .. },
            intent: Some(_),
        } if again <= MAX_ATTEMPTS => Some(intent(run, step_idx, phase, again, plan)),
        StepState::Ended { .. } => None,
    }
}

/// Every kind of event next in sequence, with ids, hashes, tokens and steps that fit and that
/// nearly fit.
pub(super) fn candidates(walk: &Walk) -> Vec<HealEvent> {
    let state = &walk.state;
    let mut kinds = vec![
        walk.events[0].kind.clone(),
        aside(&mut Tape::new(vec![0])),
        aside(&mut Tape::new(vec![1])),
        aside(&mut Tape::new(vec![7])),
        EventKind::Diagnosed {
            diagnosis: Diagnosis::abstain("a test"),
        },
        EventKind::Escalated {
            reason: "help".to_owned(),
        },
    ];
    for choices in [vec![], vec![1], vec![2, 2, 1, 1, 0, 1, 0, 1]] {
        let plans = plans(&mut Tape::new(choices));
        kinds.push(EventKind::Planned {
            plans: plans.iter().chain(plans.first()).cloned().collect(),
            considered: Vec::new(),
        });
        kinds.push(EventKind::Planned {
            plans,
            considered: Vec::new(),
        });
    }
    for plan in &state.plans {
        plan_events(plan, state, &mut kinds);
    }
    let foreign = RunId::from_u128(77);
    let known = state.runs.iter().rev().take(2).map(|run| run.run);
    for run in known.chain([foreign]) {
        run_events(run, state, &mut kinds);
    }
    kinds.push(EventKind::Closed {
        resolution: Resolution::Recovered,
    });
    kinds
        .into_iter()
        .map(|kind| walk.next_event(kind))
        .collect()
}

fn plan_events(plan: &Plan, state: &Incident, kinds: &mut Vec<EventKind>) {
    let until = state.updated_at;
    kinds.extend((0..6).map(|choice| gated(&mut Tape::new(vec![choice]), plan.id, until)));
    kinds.push(EventKind::Woken { plan: plan.id });
    for plan_hash in [plan.hash(), Digest::of("other")] {
        for granted in [true, false] {
            kinds.push(EventKind::ApprovalDecided {
                plan: plan.id,
                plan_hash,
                granted,
                by: "bob".to_owned(),
                roles: std::collections::BTreeSet::new(),
                reason: "because".to_owned(),
                given_at: None,
            });
        }
        let newest = state.runs.last().map(|run| run.run);
        for run in newest.into_iter().chain([unused(state)]) {
            kinds.push(EventKind::RunOpened {
                run,
                plan: plan.id,
                plan_hash,
                token: FencingToken::new(1),
            });
        }
    }
}

fn run_events(run: RunId, state: &Incident, kinds: &mut Vec<EventKind>) {
    let known = state.run(run);
    let token = known.map_or(1, |run| run.token.get());
    for token in [token - 1, token, token + 1].map(FencingToken::new) {
        kinds.push(EventKind::RunResumed { run, token });
    }
    for choice in 0..4 {
        let tape = || Tape::new(vec![choice]);
        let outcome = outcome(&mut tape());
        kinds.push(EventKind::UndoEnded {
            run,
            outcome: outcome.clone(),
        });
        kinds.push(EventKind::RunEnded { run, outcome });
        kinds.push(EventKind::Verified {
            run,
            verdict: verdict(&mut tape(), state.updated_at),
        });
    }
    kinds.push(EventKind::Closed {
        resolution: Resolution::Healed { run },
    });
    kinds.push(cancelled(run));
    for (step_idx, question) in [(0, 0), (0, 1), (1, 0)] {
        for answer in [HandOverAnswer::Resume, HandOverAnswer::Abort] {
            kinds.push(answered(run, step_idx, question, answer));
        }
    }
    let plan = known.and_then(|known| state.plan(known.plan));
    let (Some(known), Some(plan)) = (known, plan) else {
        return;
    };
    for phase in [StepPhase::Do, StepPhase::Undo] {
        for step_idx in 0..=plan.steps.len() {
            let attempts = known
                .phase(phase)
                .get(step_idx)
                .map_or(0, StepState::attempts);
            for attempt in [attempts, attempts + 1] {
                kinds.push(intent(run, step_idx, phase, attempt, plan));
            }
            kinds.extend((0..4).map(|choice| EventKind::StepEnded {
                run,
                step_idx,
                phase,
                outcome: step_outcome(&mut Tape::new(vec![choice])),
            }));
        }
    }
}

/// Any of the candidates, and now and then one out of sequence or of another incident.
pub(super) fn anything(tape: &mut Tape, walk: &Walk) -> HealEvent {
    let mut candidates = candidates(walk);
    let mut event = candidates.swap_remove(tape.below(candidates.len()));
    match tape.below(12) {
        1 => event.seq += 1,
        2 => event.seq = event.seq.saturating_sub(1),
        3 => event.incident = IncidentId::from_u128(2),
        _ => {}
    }
    event
}

/// Whether the incident waits for time or people, and so may stay where it is.
pub(super) fn rests(state: &Incident) -> bool {
    matches!(
        state.phase,
        Phase::Escalated
            | Phase::Recommended
            | Phase::AwaitingApproval { .. }
            | Phase::Deferred { .. }
            | Phase::Closed { .. }
    )
}
