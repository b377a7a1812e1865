//! Containment: when little is known, or little is left, little may be done.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::unit::Ratio;

/// When the healer is in safe mode about an incident.
///
/// In safe mode plans that reach further than one instance are refused and all others need approval, unless an operator
/// approved them beforehand.
///
/// Source: the project's source document on self-healing systems, section 7.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SafeModePolicy {
    /// If the diagnosis names no cause and no detector a playbook. Default true.
    pub unknown_cause: bool,
    /// If no incident of its fingerprint was opened within the last 30 days. Default false: a healer that was just
    /// installed has seen nothing.
    pub new_kind: bool,
    /// If a service of the incident or of the plan was changed less than this ago, as the signals in the engine's window
    /// show; it cannot be longer than that window. Default zero, which turns it off: what heals a bad deployment comes
    /// right after one.
    pub after_change: Duration,
}

impl Default for SafeModePolicy {
    fn default() -> Self {
        Self {
            unknown_cause: true,
            new_kind: false,
            after_change: Duration::ZERO,
        }
    }
}

/// When so few instances of a service are well that the healer takes none of them away.
///
/// A cause that hits many at once is rarely healed one by one, and every remedy that fails takes one more away: people are
/// called instead.
///
/// It is asked about plans for single instances of services that say how many they have. An instance is ill while an
/// anomaly of it is raised again and again; one of the whole service says nothing about how many are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StormPolicy {
    /// This share of the instances must be well besides the target. Default 0.5.
    pub min_healthy: Ratio,
    /// It holds for services of at least so many instances. Default 3.
    pub at_least: u64,
}

impl Default for StormPolicy {
    fn default() -> Self {
        Self {
            min_healthy: Ratio::saturating(0.5),
            at_least: 3,
        }
    }
}
