//! What success means, as data: part of a plan, hashed and approved with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::record::bounds::{DAY, HOUR, MILLISECOND, at_most, finite, within};
use crate::target::Target;
use crate::unit::Ratio;

/// One thing that must hold after a remedy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Criterion {
    /// A condition over metrics holds `consecutive` times in a row, `interval` apart.
    Metric {
        /// What must hold.
        condition: Condition,
        /// Over whose metrics.
        target: Target,
        /// How far back a value may lie to count.
        window: Duration,
        /// How many times in a row; at least 1.
        consecutive: u32,
    },
    /// Health checks of a target pass.
    Health {
        /// Whose checks.
        target: Target,
        /// At least this share of them.
        pass_rate: Ratio,
        /// Over this long.
        window: Duration,
    },
    /// A metric compared with what it was before the incident.
    Comparison {
        /// Which metric.
        metric: String,
        /// Whose.
        target: Target,
        /// What it must be.
        comparison: Comparison,
        /// How long the stretches are that are compared.
        window: Duration,
    },
}

impl Criterion {
    fn violation(&self) -> Option<String> {
        let (window, broken) = match self {
            Self::Metric {
                window,
                consecutive,
                ..
            } => (window, within("consecutive", consecutive, &(1..=u32::MAX))),
            Self::Health { window, .. } => (window, None),
            Self::Comparison {
                window, comparison, ..
            } => {
                let (Comparison::AtMost(times) | Comparison::AtLeast(times)) = comparison;
                (window, finite("comparison", *times))
            }
        };
        broken.or_else(|| within("window", window, &(Duration::ZERO..=DAY)))
    }
}

/// How a metric may relate to its baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// At most this many times the baseline: error rate 1.10, latency 1.20.
    AtMost(f64),
    /// At least this many times the baseline: throughput 0.90.
    AtLeast(f64),
}

/// When and how a plan's outcome is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerificationSpec {
    /// What must hold; empty means the verdict rests on the anomalies being gone.
    pub criteria: Vec<Criterion>,
    /// How long to wait before the first look.
    pub wait: Duration,
    /// How long to watch at most; when it is over and nothing is decided, the verdict is uncertain.
    pub watch: Duration,
    /// How far apart two looks are.
    pub interval: Duration,
}

impl VerificationSpec {
    /// Criteria a plan may have.
    pub const MAX_CRITERIA: usize = 64;

    /// The post-conditions the engine checks as part of a plan's, as a sentence if broken.
    ///
    /// At most [`MAX_CRITERIA`](Self::MAX_CRITERIA) criteria, with windows of at most 24 h and
    /// finite numbers; a wait of at most 1 h, a watch of at most 24 h, looks 1 ms to 1 h apart.
    pub fn violation(&self) -> Option<String> {
        at_most("criteria", self.criteria.len(), Self::MAX_CRITERIA)
            .or_else(|| within("wait", &self.wait, &(Duration::ZERO..=HOUR)))
            .or_else(|| within("watch", &self.watch, &(Duration::ZERO..=DAY)))
            .or_else(|| within("interval", &self.interval, &(MILLISECOND..=HOUR)))
            .or_else(|| {
                let mut criteria = self.criteria.iter().enumerate();
                criteria.find_map(|(idx, criterion)| {
                    let broken = criterion.violation()?;
                    Some(format!("criterion {}: {broken}", idx + 1))
                })
            })
    }
}

impl Default for VerificationSpec {
    /// Wait 5 s, then look every second for at most two minutes.
    fn default() -> Self {
        Self {
            criteria: Vec::new(),
            wait: Duration::from_secs(5),
            watch: Duration::from_secs(120),
            interval: Duration::from_secs(1),
        }
    }
}
