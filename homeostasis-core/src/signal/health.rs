//! Health reports: what a probe found.

use std::fmt;
use std::ops::RangeInclusive;
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

/// What a tier asks of its checks: how often, how long, how stubbornly.
///
/// | tier | interval | time limit | retries |
/// |---|---|---|---|
/// | shallow | 5 s to 10 s, default 10 s | up to 100 ms, default 100 ms | 3 |
/// | deep | 30 s to 60 s, default 30 s | 100 ms to 5 s, default 5 s | 2 |
/// | comprehensive | 5 min to 15 min, default 10 min | 5 s to 30 s, default 30 s | 0 |
///
/// ```
/// use homeostasis::core::signal::HealthTier;
/// let deep = HealthTier::Deep.plan();
/// assert!(deep.intervals.contains(&deep.interval) && deep.timeouts.contains(&deep.timeout));
/// assert_eq!(deep.retries, 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierPlan {
    /// How often a check is asked unless it says otherwise.
    pub interval: Duration,
    /// How often a check of this tier may be asked.
    pub intervals: RangeInclusive<Duration>,
    /// How long one answer may take unless the check says otherwise.
    pub timeout: Duration,
    /// How long one answer of a check of this tier may take.
    pub timeouts: RangeInclusive<Duration>,
    /// How often a check that fails is asked again before its failure is reported.
    pub retries: u32,
}

impl HealthTier {
    /// All tiers, the shallowest first.
    pub const ALL: [Self; 3] = [Self::Shallow, Self::Deep, Self::Comprehensive];

    /// What this tier asks of its checks.
    pub const fn plan(self) -> TierPlan {
        const fn ms(millis: u64) -> Duration {
            Duration::from_millis(millis)
        }
        let (interval, intervals, timeout, timeouts, retries) = match self {
            Self::Shallow => (10_000, (5_000, 10_000), 100, (1, 100), 3),
            Self::Deep => (30_000, (30_000, 60_000), 5_000, (100, 5_000), 2),
            Self::Comprehensive => (600_000, (300_000, 900_000), 30_000, (5_000, 30_000), 0),
        };
        TierPlan {
            interval: ms(interval),
            intervals: ms(intervals.0)..=ms(intervals.1),
            timeout: ms(timeout),
            timeouts: ms(timeouts.0)..=ms(timeouts.1),
            retries,
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Critical => "critical",
        })
    }
}

impl fmt::Display for HealthTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shallow => "shallow",
            Self::Deep => "deep",
            Self::Comprehensive => "comprehensive",
        })
    }
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
    /// How often it was asked until this was known; 1 without a retry.
    #[serde(default = "once")]
    pub attempts: u32,
    /// How long until the next report of the same check is due, if it is asked at intervals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
}

fn once() -> u32 {
    1
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
            attempts: 1,
            interval: None,
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

    /// The same, known only after asking so often.
    pub fn after_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The same of a check that is asked at this interval.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// Whether the target does its work: healthy or degraded.
    pub fn is_up(&self) -> bool {
        self.state <= HealthState::Degraded
    }

    /// Whether it still says something at `now`: it is not older than this many intervals of its
    /// check, or of its tier where the check has none. What is older counts as unknown.
    ///
    /// ```
    /// use homeostasis::core::signal::{HealthReport, HealthState};
    /// use homeostasis::core::{Target, Timestamp};
    /// let at = Timestamp::from_secs(0);
    /// let report = HealthReport::new(at, Target::service("shop")?, "http", HealthState::Healthy);
    /// assert!(report.is_fresh(Timestamp::from_secs(30), 3));
    /// assert!(!report.is_fresh(Timestamp::from_secs(31), 3));
    /// # Ok::<(), homeostasis::core::NameError>(())
    /// ```
    pub fn is_fresh(&self, now: Timestamp, intervals: u32) -> bool {
        let interval = self.interval.unwrap_or(self.tier.plan().interval);
        now.since(self.at) <= interval.saturating_mul(intervals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_report_without_attempts_is_one_of_one_attempt() {
        let report = HealthReport::new(
            Timestamp::EPOCH,
            Target::service("shop").unwrap(),
            "http",
            HealthState::Healthy,
        );
        let mut stored = serde_json::to_value(&report).unwrap();
        for newer in ["tier", "attempts"] {
            assert!(stored.as_object_mut().unwrap().remove(newer).is_some());
        }
        assert_eq!(
            serde_json::from_value::<HealthReport>(stored).unwrap(),
            report
        );
    }

    #[test]
    fn the_defaults_of_every_tier_are_within_its_ranges() {
        for plan in HealthTier::ALL.map(HealthTier::plan) {
            assert!(plan.intervals.contains(&plan.interval), "{plan:?}");
            assert!(plan.timeouts.contains(&plan.timeout), "{plan:?}");
            // All attempts fit into the shortest interval.
            assert!(plan.timeout * (plan.retries + 1) < *plan.intervals.start());
        }
    }
}
