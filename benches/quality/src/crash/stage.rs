//! Where a kill hits: the stages of healing as the journal and the world show them.

use homeostasis::core::Incident;
use homeostasis::core::cycle::Phase;
use homeostasis::core::record::{RunState, StepIntent, StepPhase, StepState};
use serde::{Deserialize, Serialize};

/// What a healer was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    Diagnosing,
    Planning,
    Gating,
    /// A run is open, no step has begun.
    Opened,
    /// A step's intent is durable, its effect is not in the world.
    Intent,
    /// A step's effect is in the world, its outcome is not in the journal.
    Effect,
    /// A step's outcome is durable, what follows is not.
    Outcome,
    Verifying,
    Undoing,
    Escalating,
    /// Proven, not closed.
    Closing,
    /// The healer starts, or has not yet gone on with a run that an earlier life left open.
    Recovering,
    /// Nothing is being worked on.
    Idle,
}

impl Stage {
    pub(crate) const ALL: [Self; 13] = [
        Self::Diagnosing,
        Self::Planning,
        Self::Gating,
        Self::Opened,
        Self::Intent,
        Self::Effect,
        Self::Outcome,
        Self::Verifying,
        Self::Undoing,
        Self::Escalating,
        Self::Closing,
        Self::Recovering,
        Self::Idle,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Diagnosing => "diagnosing",
            Self::Planning => "planning",
            Self::Gating => "gating",
            Self::Opened => "running.opened",
            Self::Intent => "running.intent",
            Self::Effect => "running.effect",
            Self::Outcome => "running.outcome",
            Self::Verifying => "verifying",
            Self::Undoing => "undoing",
            Self::Escalating => "escalating",
            Self::Closing => "closing",
            Self::Recovering => "recovering",
            Self::Idle => "idle",
        }
    }

    /// The stage `incident` is in; `None` if it is closed or with people. `happened` says whether
    /// the world has the effect of an attempt.
    pub(crate) fn of(incident: &Incident, happened: impl Fn(&StepIntent) -> bool) -> Option<Self> {
        Some(match &incident.phase {
            Phase::Diagnosing => Self::Diagnosing,
            Phase::Planning => Self::Planning,
            Phase::Gating { .. } | Phase::Deferred { .. } => Self::Gating,
            Phase::Running { run } => incident
                .run(*run)
                .map_or(Self::Opened, |state| running(state, happened)),
            Phase::Verifying { .. } => Self::Verifying,
            Phase::Undoing { .. } => Self::Undoing,
            Phase::Stuck { .. } => Self::Escalating,
            Phase::Resolved { .. } => Self::Closing,
            _ => return None,
        })
    }
}

fn running(state: &RunState, happened: impl Fn(&StepIntent) -> bool) -> Stage {
    let steps = state.phase(StepPhase::Do);
    let in_flight = steps.iter().find_map(|step| match step {
        StepState::InFlight(intent) => Some(intent),
        _ => None,
    });
    match in_flight {
        Some(intent) if happened(intent) => Stage::Effect,
        Some(_) => Stage::Intent,
        None if steps.iter().all(|step| *step == StepState::NotStarted) => Stage::Opened,
        None => Stage::Outcome,
    }
}
