//! Where the escalation of an incident stands: part of the fold of its events.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Severity;
use crate::time::Timestamp;

/// Who took an incident on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledgment {
    /// Who.
    pub by: String,
    /// What they said.
    pub note: String,
    /// When.
    pub at: Timestamp,
}

/// Where the escalation of an incident stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EscalationState {
    /// The policy it follows, once its chain began.
    pub policy: Option<String>,
    /// When the chain began.
    pub begun_at: Option<Timestamp>,
    /// Which levels were called, by round and level, and when. Level 0 is whom a playbook named.
    pub notified: BTreeMap<(u32, u32), Timestamp>,
    /// Through which channels people heard of it.
    pub channels: BTreeSet<String>,
    /// How many levels of the first round do not wait for their delay.
    pub hurried: u32,
    /// The triggers that fired, and when.
    pub triggers: BTreeMap<String, Timestamp>,
    /// The gravest severity that a trigger gave it; anomalies that join make it no milder.
    pub raised_to: Option<Severity>,
    /// Who took it on, if anybody did.
    pub acknowledged: Option<Acknowledgment>,
}

impl EscalationState {
    /// Whether this level was called in this round (both count: level from 1, round from 0).
    pub fn is_notified(&self, level: u32, round: u32) -> bool {
        self.notified.contains_key(&(round, level))
    }

    /// The level after the last one of the first round does not wait.
    pub(crate) fn hurry(&mut self) {
        let last = self.notified.range(..=(0, u32::MAX)).next_back();
        self.hurried = last.map_or(0, |((_, level), _)| *level) + 1;
    }
}
