//! Escalation: who is called about an incident, when, and what makes it graver.
//!
//! Everything is data and pure functions of the incident and the clock: nothing is remembered
//! beside the journal, so that a chain goes on after a crash where it was.

mod due;
mod message;
#[cfg(test)]
mod properties;
mod rules;
mod trigger;

pub use message::escalation_messages;
pub use rules::{
    EscalationCondition, EscalationLevel, EscalationPolicy, EscalationRepeat, EscalationRules,
};
pub use trigger::{EscalationTrigger, TriggerCondition};
