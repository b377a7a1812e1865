//! Health reports: what a probe found.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::target::Target;
use crate::time::Timestamp;

/// How well something is.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// All is well.
    Healthy,
    /// It works, worse than it should.
    Degraded,
    /// It does not do its work.
    Unhealthy,
    /// Humans are needed.
    Critical,
}

/// How deep a check looks: what it may cost, how often it is asked, and what its failure means.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum HealthTier {
    /// Is it there: no dependencies, answered within 100 ms, asked every 5 to 10 s.
    #[default]
    Shallow,
    /// Does it work with what it depends on: 100 ms to 5 s, asked every 30 to 60 s.
    Deep,
    /// Does the whole of it work: 5 to 30 s, asked every 5 to 15 min.
    Comprehensive,
}

/// What one probe found at one time.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// When it was asked.
    pub at: Timestamp,
    /// Who was asked.
    pub target: Target,
    /// Which probe asked.
    pub check: String,
    /// What it found.
    pub state: HealthState,
    /// How long the answer took.
    pub latency: Duration,
    /// In words: the status, the refusal.
    pub detail: String,
    /// How deep the check looks.
    #[serde(default)]
    pub tier: HealthTier,
}

impl HealthReport {
    /// A report.
    pub fn new(
        at: Timestamp,
        target: Target,
        check: impl Into<String>,
        state: HealthState,
    ) -> Self {
        Self {
            at,
            target,
            check: check.into(),
            state,
            latency: Duration::ZERO,
            detail: String::new(),
            tier: HealthTier::default(),
        }
    }

    /// The same with the time the answer took.
    pub fn took(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The same with words.
    pub fn saying(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The same of a check of another tier.
    pub fn in_tier(mut self, tier: HealthTier) -> Self {
        self.tier = tier;
        self
    }

    /// Whether the target does its work: healthy or degraded.
    pub fn is_up(&self) -> bool {
        self.state <= HealthState::Degraded
    }
}
