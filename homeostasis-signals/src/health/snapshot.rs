//! What is known of every component at one instant.

use std::fmt;
use std::time::Duration;

use homeostasis_core::signal::{HealthState, HealthTier};
use homeostasis_core::{Target, Timestamp};
use serde::{Serialize, Serializer};

/// How a component is, as far as that is known. Ordered: what is not known is worse than what is
/// known to work, and better than what is known not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// All is well.
    Healthy,
    /// It works, worse than it should.
    Degraded,
    /// Nothing was reported, or nothing for too long.
    Unknown,
    /// It does not do its work.
    Unhealthy,
    /// Humans are needed.
    Critical,
}

impl HealthStatus {
    /// Whether it is known to do its work: healthy or degraded.
    pub fn is_up(self) -> bool {
        self <= Self::Degraded
    }
}

impl From<HealthState> for HealthStatus {
    fn from(state: HealthState) -> Self {
        match state {
            HealthState::Healthy => Self::Healthy,
            HealthState::Degraded => Self::Degraded,
            HealthState::Unhealthy => Self::Unhealthy,
            HealthState::Critical => Self::Critical,
        }
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Unhealthy => "unhealthy",
            Self::Critical => "critical",
        })
    }
}

/// What one check said of one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ComponentHealth {
    /// Who was asked.
    pub target: Target,
    /// Which check asked.
    pub check: String,
    /// How deep it looks.
    pub tier: HealthTier,
    /// What it said last, or unknown if that is too long ago or never happened.
    pub state: HealthStatus,
    /// Since when it says so; unknown since its last report was too old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it was asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// How long the last answer took; in milliseconds as `latency_ms`.
    #[serde(rename = "latency_ms", serialize_with = "millis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Duration>,
    /// How often it was asked for its last answer; 0 before the first.
    pub attempts: u32,
    /// In words, if there is anybody to redact them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn millis<S: Serializer>(latency: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(latency.unwrap_or_default().as_secs_f64() * 1000.0)
}

/// What is known of every component at one instant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HealthSnapshot {
    /// The worst state of a component; unknown without components.
    pub state: HealthStatus,
    /// When it was taken.
    pub at: Timestamp,
    /// By target and check.
    pub components: Vec<ComponentHealth>,
    /// How many reports were of components for which there was no place.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl HealthSnapshot {
    /// The worst state of the components that are about one of `targets`, their services or their
    /// instances; unknown if there is none.
    pub fn state_of(&self, targets: &[Target]) -> HealthStatus {
        let is_about = |component: &&ComponentHealth| {
            let of = &component.target;
            let mut targets = targets.iter();
            targets.any(|target| target.contains(of) || of.contains(target))
        };
        let theirs = self.components.iter().filter(is_about);
        theirs
            .map(|component| component.state)
            .max()
            .unwrap_or(HealthStatus::Unknown)
    }
}
