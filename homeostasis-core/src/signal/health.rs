//! Health reports: what a probe found.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::target::Target;
use crate::time::Timestamp;

/// How well something is.
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

/// What one probe found at one time.
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

    /// Whether the target does its work: healthy or degraded.
    pub fn is_up(&self) -> bool {
        self.state <= HealthState::Degraded
    }
}
