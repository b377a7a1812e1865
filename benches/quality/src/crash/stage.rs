//! Where a kill hits: the stages of healing as the journal and the world show them.

use homeostasis::core::Incident;
use homeostasis::core::cycle::Phase;
use homeostasis::core::record::{
    Outcome, Plan, RunState, StepIntent, StepOutcome, StepPhase, StepState,
};
use homeostasis::remediate::run::MIN_UNDO_ATTEMPTS;
use serde::{Deserialize, Serialize};

/// What a healer was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    Diagnosing,
    Planning,
    Gating,
    /// A plan waits until a limit or a cool-down allows it.
    Deferred,
    /// A run is open, no step has begun.
    Opened,
    /// A step's intent is durable, its effect is not in the world.
    Intent,
    /// A step's effect is in the world, its outcome is not in the journal.
    Effect,
    /// Several steps are in flight at once.
    Parallel,
    /// A step's outcome is durable, what follows is not.
    Outcome,
    /// A step failed and waits for another attempt.
    Backoff,
    Verifying,
    /// A run is to be taken back, no inverse has begun.
    UndoOpened,
    UndoIntent,
    UndoEffect,
    UndoOutcome,
    /// An inverse failed and waits for another attempt.
    UndoBackoff,
    /// A step that must not be repeated goes to people.
    HandingOver,
    /// Whatever else goes to people.
    Escalating,
    /// People were called, nobody but those of the first level.
    Called,
    /// Further levels of the chain were called.
    CalledNext,
    /// People answered about a step, and the run goes on.
    Answered,
    /// Proven, not closed.
    Closing,
    /// The healer starts, or has not yet gone on with a run that an earlier life left open.
    Recovering,
    /// The same, of a run that was being taken back.
    RecoveringUndo,
    /// Nothing is being worked on.
    Idle,
}

/// What a stage belongs to; the drill fails if one of them got no kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Gate,
    Timers,
    Forward,
    Verify,
    Undo,
    People,
    Recovery,
    Rest,
}

impl Class {
    pub(crate) const ALL: [Self; 8] = [
        Self::Gate,
        Self::Timers,
        Self::Forward,
        Self::Verify,
        Self::Undo,
        Self::People,
        Self::Recovery,
        Self::Rest,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Timers => "timers",
            Self::Forward => "forward",
            Self::Verify => "verify",
            Self::Undo => "undo",
            Self::People => "people",
            Self::Recovery => "recovery",
            Self::Rest => "rest",
        }
    }
}

impl Stage {
    pub(crate) const ALL: [Self; 25] = [
        Self::Diagnosing,
        Self::Planning,
        Self::Gating,
        Self::Deferred,
        Self::Opened,
        Self::Intent,
        Self::Effect,
        Self::Parallel,
        Self::Outcome,
        Self::Backoff,
        Self::Verifying,
        Self::UndoOpened,
        Self::UndoIntent,
        Self::UndoEffect,
        Self::UndoOutcome,
        Self::UndoBackoff,
        Self::HandingOver,
        Self::Escalating,
        Self::Called,
        Self::CalledNext,
        Self::Answered,
        Self::Closing,
        Self::Recovering,
        Self::RecoveringUndo,
        Self::Idle,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Diagnosing => "diagnosing",
            Self::Planning => "planning",
            Self::Gating => "gating",
            Self::Deferred => "deferred",
            Self::Opened => "running.opened",
            Self::Intent => "running.intent",
            Self::Effect => "running.effect",
            Self::Parallel => "running.parallel",
            Self::Outcome => "running.outcome",
            Self::Backoff => "running.backoff",
            Self::Verifying => "verifying",
            Self::UndoOpened => "undoing.opened",
            Self::UndoIntent => "undoing.intent",
            Self::UndoEffect => "undoing.effect",
            Self::UndoOutcome => "undoing.outcome",
            Self::UndoBackoff => "undoing.backoff",
            Self::HandingOver => "handing over",
            Self::Escalating => "escalating",
            Self::Called => "people.called",
            Self::CalledNext => "people.next level",
            Self::Answered => "people.answered",
            Self::Closing => "closing",
            Self::Recovering => "recovering",
            Self::RecoveringUndo => "recovering.undo",
            Self::Idle => "idle",
        }
    }

    pub(crate) fn class(self) -> Class {
        match self {
            Self::Gating => Class::Gate,
            Self::Deferred | Self::Backoff | Self::UndoBackoff => Class::Timers,
            Self::Opened | Self::Intent | Self::Effect | Self::Parallel | Self::Outcome => {
                Class::Forward
            }
            Self::Verifying => Class::Verify,
            Self::UndoOpened | Self::UndoIntent | Self::UndoEffect | Self::UndoOutcome => {
                Class::Undo
            }
            Self::HandingOver
            | Self::Escalating
            | Self::Called
            | Self::CalledNext
            | Self::Answered => Class::People,
            Self::Recovering | Self::RecoveringUndo => Class::Recovery,
            Self::Diagnosing | Self::Planning | Self::Closing | Self::Idle => Class::Rest,
        }
    }

    /// Whether a run is open in this stage: what a healer holds here, another must take over.
    pub(crate) fn is_run(self) -> bool {
        matches!(self, Self::Backoff | Self::UndoBackoff | Self::Answered)
            || matches!(self.class(), Class::Forward | Class::Verify | Class::Undo)
    }

    /// The stage `incident` is in; `None` if it is over or waits for a consent. `happened` says whether
    /// the world has the effect of an attempt.
    pub(crate) fn of(incident: &Incident, happened: impl Fn(&StepIntent) -> bool) -> Option<Self> {
        let state_of = |run| {
            let state = incident.run(run)?;
            Some((state, incident.plan(state.plan)?))
        };
        Some(match &incident.phase {
            Phase::Diagnosing => Self::Diagnosing,
            Phase::Planning => Self::Planning,
            Phase::Gating { .. } => Self::Gating,
            Phase::Deferred { .. } => Self::Deferred,
            Phase::Running { run } => {
                let (state, plan) = state_of(*run)?;
                match Step::of((state, plan), StepPhase::Do, happened) {
                    Step::None | Step::Outcome if !state.answers.is_empty() => Self::Answered,
                    Step::None => Self::Opened,
                    Step::Intent => Self::Intent,
                    Step::Effect => Self::Effect,
                    Step::Parallel => Self::Parallel,
                    Step::Outcome => Self::Outcome,
                    Step::Backoff => Self::Backoff,
                }
            }
            Phase::Verifying { .. } => Self::Verifying,
            Phase::Undoing { run } => match Step::of(state_of(*run)?, StepPhase::Undo, happened) {
                Step::None => Self::UndoOpened,
                Step::Intent => Self::UndoIntent,
                // What is taken back is so step by step.
                Step::Effect | Step::Parallel => Self::UndoEffect,
                Step::Outcome => Self::UndoOutcome,
                Step::Backoff => Self::UndoBackoff,
            },
            Phase::Stuck { .. } => match incident.runs.last().map(|run| &run.outcome) {
                Some(Some(Outcome::Unknown { .. })) => Self::HandingOver,
                _ => Self::Escalating,
            },
            Phase::Resolved { .. } => Self::Closing,
            Phase::Escalated if incident.escalation.is_notified(2, 0) => Self::CalledNext,
            Phase::Escalated if incident.escalation.is_notified(3, 0) => Self::CalledNext,
            Phase::Escalated => Self::Called,
            _ => return None,
        })
    }
}

/// How far the steps of a run are, forward or back.
enum Step {
    None,
    Intent,
    Effect,
    /// More than one.
    Parallel,
    Outcome,
    Backoff,
}

impl Step {
    fn of(
        (state, plan): (&RunState, &Plan),
        phase: StepPhase,
        happened: impl Fn(&StepIntent) -> bool,
    ) -> Self {
        let steps = state.phase(phase);
        let mut in_flight = steps.iter().filter_map(|step| match step {
            StepState::InFlight(intent) => Some(intent),
            _ => None,
        });
        if let Some(intent) = in_flight.next() {
            return if in_flight.next().is_some() {
                Self::Parallel
            } else if happened(intent) {
                Self::Effect
            } else {
                Self::Intent
            };
        }
        let mut waiting = steps.iter().zip(&plan.steps).filter(|(known, step)| {
            let allowed = match phase {
                StepPhase::Do => step.retry.attempts.max(1),
                StepPhase::Undo => step.retry.attempts.max(MIN_UNDO_ATTEMPTS),
            };
            let failed = matches!(known, StepState::Ended {
                outcome: StepOutcome::Failed { report },
                ..
            } if report.kind.is_retryable());
            failed && known.attempts() < allowed
        });
        if waiting.next().is_some() {
            Self::Backoff
        } else if steps.iter().all(|step| *step == StepState::NotStarted) {
            Self::None
        } else {
            Self::Outcome
        }
    }
}
