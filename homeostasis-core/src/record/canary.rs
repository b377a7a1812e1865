//! A canary and its baseline: what was seen of both, and what is decided.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Latencies;
use crate::time::Timestamp;
use crate::unit::Ratio;

/// The requests one arm answered within an interval.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ArmInterval {
    /// How many.
    pub requests: u64,
    /// How many of them failed; more than `requests` count as all.
    pub failed: u64,
    /// How long they took; empty if that was not measured.
    #[serde(default, skip_serializing_if = "Latencies::is_empty")]
    pub latencies: Latencies,
}

impl ArmInterval {
    /// Requests without latencies.
    pub fn new(requests: u64, failed: u64) -> Self {
        Self {
            requests,
            failed,
            latencies: Latencies::default(),
        }
    }
}

/// What was seen of both arms within the same interval.
///
/// Both arms must see the same kind of requests at the same time; their shares of the traffic may
/// differ, and may change from one interval to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryInterval {
    /// When it ended.
    pub ended: Timestamp,
    /// How long it was.
    pub length: Duration,
    /// The new version; `None` if it was not measured.
    pub canary: Option<ArmInterval>,
    /// The old version, at the same time; `None` if it was not measured.
    pub baseline: Option<ArmInterval>,
}

/// The four answers to "is the new version at least as good?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryAnswer {
    /// Not known yet: go on watching.
    Continue,
    /// It is proven not to be worse than the margin allows.
    Promote,
    /// It is proven to be worse.
    RollBack,
    /// The time is over and neither is proven.
    Uncertain,
}

impl fmt::Display for CanaryAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Continue => "continue",
            Self::Promote => "promote",
            Self::RollBack => "roll back",
            Self::Uncertain => "uncertain",
        })
    }
}

/// What one metric says. Evidence is the natural logarithm of an e-value: 0 says nothing either
/// way, and it is always finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanaryEvidence {
    /// The metric: `failures`, `latency_p95`.
    pub metric: String,
    /// The test, as far as it was chosen by the data.
    pub test: String,
    /// Evidence that the canary is worse.
    pub harm_log_e: f64,
    /// Evidence that it is not worse than the margin allows.
    pub safe_log_e: f64,
    /// The numbers seen, in words.
    pub detail: String,
}

/// What is decided, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanaryDecision {
    /// The answer. [`RollBack`](CanaryAnswer::RollBack) stays; if intervals are fed after
    /// [`Promote`](CanaryAnswer::Promote), only `RollBack` can replace it.
    pub answer: CanaryAnswer,
    /// Why, in one sentence.
    pub reason: String,
    /// What would settle it; `None` if it is settled.
    pub settled_by: Option<String>,
    /// What [`harm_log_e`](CanaryEvidence::harm_log_e) of all metrics together must reach.
    pub harm_limit: f64,
    /// What [`safe_log_e`](CanaryEvidence::safe_log_e) of every metric must reach.
    pub safe_limit: f64,
    /// What it rests on, by metric.
    pub evidence: Vec<CanaryEvidence>,
}

/// What is known before a canary starts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CanaryTraffic {
    /// Requests of both arms together.
    pub requests_per_minute: f64,
    /// The share of them that the canary gets.
    pub canary_share: Ratio,
    /// The share of requests that fail with the old version.
    pub failure_ratio: Ratio,
}

/// What a canary can tell, said before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanaryForecast {
    /// The smallest factor of more failures that is found before the time is over, in at least half
    /// of all cases; `None` if not even a hundredfold is.
    pub minimum_effect: Option<f64>,
    /// When a canary with twice the failures is expected to be rolled back; `None` if not before
    /// the time is over.
    pub twice_found_after: Option<Duration>,
    /// When a canary as good as the old version is expected to be promoted; `None` if not before
    /// the time is over.
    pub promoted_after: Option<Duration>,
    /// The same in words, for the page that asks for approval.
    pub summary: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_survives_being_stored_and_an_arm_may_be_missing() {
        let mut arm = ArmInterval::new(7, 1);
        arm.latencies.record(Duration::from_millis(3), 7);
        let interval = CanaryInterval {
            ended: Timestamp::EPOCH,
            length: Duration::from_secs(60),
            canary: Some(arm),
            baseline: None,
        };
        let text = serde_json::to_string(&interval).unwrap();
        let read: CanaryInterval = serde_json::from_str(&text).unwrap();
        assert_eq!(read, interval);
        let bare = serde_json::to_string(&ArmInterval::new(7, 1)).unwrap();
        assert_eq!(bare, r#"{"requests":7,"failed":1}"#);
    }
}
