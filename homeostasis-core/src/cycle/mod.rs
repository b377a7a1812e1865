//! The healing cycle as a pure transition function: `(state, event) -> (state, effects)`.
//!
//! ```text
//!  opened ──> Diagnosing ──> Planning ──> Gating ──> Running ──> Verifying ──> Resolved ──> Closed
//!                               │          │  ^  │      │            │
//!                       no plan │ Deferred ┘  │  └ AwaitingApproval  │ failed
//!                               v             │ next plan            v
//!                             Stuck <─────────┴──────────────── Undoing
//!                               │
//!                               v
//!                           Escalated            Recommended (observe mode)
//! ```
//!
//! Effects follow from the state alone ([`Incident::effects`]), never from what led to it. So
//! recovery is: read the events, fold them, run the effects. Healing is level-triggered.

mod apply;
mod effect;
mod escalation;
mod hand_over;
mod incident;
#[cfg(test)]
mod laws;
mod phase;
mod step;
#[cfg(test)]
mod walk;

use crate::id::IncidentId;
use crate::record::HealEvent;

pub use effect::Effect;
pub use escalation::{Acknowledgment, EscalationState};
pub use incident::{Incident, MAX_ANOMALIES};
pub use phase::{MAX_WATCH_EXTENSIONS, Phase};

/// An event that cannot follow the state it met. It is a defect or a damaged journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} (seq {seq}) of {incident} cannot follow {phase}: {reason}")]
pub struct IllegalTransition {
    /// Of which incident.
    pub incident: IncidentId,
    /// The event's tag.
    pub event: &'static str,
    /// Its place.
    pub seq: u64,
    /// The state it met.
    pub phase: String,
    /// What was wrong.
    pub reason: String,
}

/// Applies `event` to `state` and says what must be done next.
///
/// `None` is the state before the first event.
///
/// # Errors
/// If the event cannot follow; the state is then unchanged and the event must not be stored.
pub fn transition(
    state: Option<Incident>,
    event: &HealEvent,
) -> Result<(Incident, Vec<Effect>), IllegalTransition> {
    let incident = match state {
        None => Incident::open(event)?,
        Some(mut incident) => {
            incident.apply(event)?;
            incident
        }
    };
    let effects = incident.effects();
    Ok((incident, effects))
}

/// Folds the events of one incident; `None` if there are none.
///
/// # Errors
/// If an event cannot follow the ones before it.
pub fn replay(events: &[HealEvent]) -> Result<Option<Incident>, IllegalTransition> {
    let mut state = None;
    for event in events {
        state = Some(transition(state, event)?.0);
    }
    Ok(state)
}

fn refuse(event: &HealEvent, phase: &str, reason: &str) -> IllegalTransition {
    IllegalTransition {
        incident: event.incident,
        event: event.kind.name(),
        seq: event.seq,
        phase: phase.to_owned(),
        reason: reason.to_owned(),
    }
}
