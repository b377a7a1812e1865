//! What success means, as data: part of a plan, hashed and approved with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::record::Scenario;
use crate::record::bounds::{DAY, HOUR, MILLISECOND, at_most, finite, within};
use crate::signal::HealthTier;
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
        /// Only checks that look so deep; `None` for all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<HealthTier>,
    },
    /// Requests and functions of the host that must answer as they should.
    Functional {
        /// What is done, and what is expected.
        scenario: Scenario,
    },
    /// A metric compared with what it was at another time.
    Comparison {
        /// Which metric.
        metric: String,
        /// Whose.
        target: Target,
        /// What it must be.
        comparison: Comparison,
        /// How long the stretches are that are compared.
        window: Duration,
        /// With which time.
        #[serde(default, skip_serializing_if = "Baseline::is_default")]
        baseline: Baseline,
    },
}

/// The time a metric is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Baseline {
    /// Right before the trouble began.
    #[default]
    BeforeIncident,
    /// 24 hours ago, with what is usual around that time as a band.
    Yesterday,
    /// Seven days ago, with what is usual around that time as a band.
    LastWeek,
}

impl Baseline {
    /// How long ago it was; `None` for the time before the incident.
    pub fn ago(self) -> Option<Duration> {
        match self {
            Self::BeforeIncident => None,
            Self::Yesterday => Some(DAY),
            Self::LastWeek => Some(7 * DAY),
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
            Self::Functional { scenario } => return scenario.violation(),
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
///
/// | phase | what is judged | how long |
/// |---|---|---|
/// | immediate | [`Phases::immediate`] | at most [`Phases::immediate_within`] after the remedy |
/// | short watch | metric and health criteria, and that the anomalies are gone | after `wait`, at most `watch` |
/// | functional | functional criteria, [`Phases::min_pass_rate`] of them | at most their time limits |
/// | stability | what the short watch judged must stay | [`Phases::stability`] |
/// | comparison | comparisons | at the end of the stability watch, or within the short one if there is none |
///
/// A phase with nothing to judge is left out.
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
    /// What comes before and after that watch.
    #[serde(skip_serializing_if = "Phases::is_default")]
    pub phases: Phases,
}

/// What comes before and after the short watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// What must hold at once, before anything else is judged: metric and health criteria. Default
    /// none.
    pub immediate: Vec<Criterion>,
    /// How soon after the remedy it must. Default 30 s, at most 1 h.
    pub immediate_within: Duration,
    /// The share of functional criteria that must pass. Default all.
    pub min_pass_rate: Ratio,
    /// How long what holds must go on holding. Default 0: there is no stability watch. At most 24 h.
    pub stability: Duration,
    /// How far apart two looks of the stability watch are. Default 60 s, 1 ms to 1 h.
    pub stability_interval: Duration,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            immediate: Vec::new(),
            immediate_within: Duration::from_secs(30),
            min_pass_rate: Ratio::ONE,
            stability: Duration::ZERO,
            stability_interval: Duration::from_secs(60),
        }
    }
}

impl Phases {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn violation(&self) -> Option<String> {
        let is_other = |criterion: &&Criterion| {
            !matches!(
                criterion,
                Criterion::Metric { .. } | Criterion::Health { .. }
            )
        };
        let other = self.immediate.iter().find(is_other).map(|_| {
            "an immediate criterion of another kind, expected metric or health".to_owned()
        });
        other
            .or_else(|| {
                within(
                    "immediate_within",
                    &self.immediate_within,
                    &(Duration::ZERO..=HOUR),
                )
            })
            .or_else(|| within("stability", &self.stability, &(Duration::ZERO..=DAY)))
            .or_else(|| {
                let range = MILLISECOND..=HOUR;
                within("stability_interval", &self.stability_interval, &range)
            })
    }
}

impl VerificationSpec {
    /// Criteria a plan may have, immediate ones included.
    pub const MAX_CRITERIA: usize = 64;

    /// The post-conditions the engine checks as part of a plan's, as a sentence if broken.
    ///
    /// At most [`MAX_CRITERIA`](Self::MAX_CRITERIA) criteria, with windows of at most 24 h and
    /// finite numbers; a wait of at most 1 h, a watch of at most 24 h, looks 1 ms to 1 h apart;
    /// [`Phases`] and [`Scenario`] say theirs.
    pub fn violation(&self) -> Option<String> {
        let n_criteria = self.criteria.len() + self.phases.immediate.len();
        at_most("criteria", n_criteria, Self::MAX_CRITERIA)
            .or_else(|| within("wait", &self.wait, &(Duration::ZERO..=HOUR)))
            .or_else(|| within("watch", &self.watch, &(Duration::ZERO..=DAY)))
            .or_else(|| within("interval", &self.interval, &(MILLISECOND..=HOUR)))
            .or_else(|| self.phases.violation())
            .or_else(|| {
                let criteria = self.criteria.iter().chain(&self.phases.immediate);
                criteria.enumerate().find_map(|(idx, criterion)| {
                    let broken = criterion.violation()?;
                    Some(format!("criterion {}: {broken}", idx + 1))
                })
            })
    }

    /// How long all phases together may take, from the end of the remedy.
    pub fn longest(&self) -> Duration {
        let functional = self
            .criteria
            .iter()
            .filter_map(|criterion| match criterion {
                Criterion::Functional { scenario } => Some(scenario.longest()),
                _ => None,
            });
        let immediate = if self.phases.immediate.is_empty() {
            Duration::ZERO
        } else {
            self.phases.immediate_within
        };
        [immediate, self.wait, self.watch, self.phases.stability]
            .into_iter()
            .chain(functional)
            .fold(Duration::ZERO, Duration::saturating_add)
    }
}

impl Default for VerificationSpec {
    /// Wait 5 s, then look every second for at most two minutes; no other phase.
    fn default() -> Self {
        Self {
            criteria: Vec::new(),
            wait: Duration::from_secs(5),
            watch: Duration::from_secs(120),
            interval: Duration::from_secs(1),
            phases: Phases::default(),
        }
    }
}
