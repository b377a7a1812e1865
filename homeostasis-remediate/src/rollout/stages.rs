//! Strategies: which share of the traffic a new version gets, and what must hold before it gets more.

use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{Violation, Violations};
use serde::{Deserialize, Serialize};

use crate::action::LONGEST_WATCH;

/// A stage: so much traffic, for at least so long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutStage {
    /// How much of the traffic the new version gets, in percent, 1 to 100.
    pub percent: u32,
    /// How long it stays at least, up to 22 h; it stays longer until it is decided. Default 5 min.
    #[serde(default = "RolloutStage::five_minutes", with = "duration_text")]
    pub at_least: Duration,
    /// The share of its requests that must succeed, `0..=1`. Default none; at 100 %, where there is
    /// nothing to compare with, 0.98.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_success: Option<f64>,
}

impl RolloutStage {
    /// A stage of at least five minutes without a share that must succeed.
    pub fn of(percent: u32) -> Self {
        Self {
            percent,
            at_least: Self::five_minutes(),
            min_success: None,
        }
    }

    const fn five_minutes() -> Duration {
        Duration::from_secs(300)
    }
}

/// How a new version comes to all of the traffic.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum RolloutStrategy {
    /// 1, 10, 50 and 100 %, each for at least five minutes. The default.
    #[default]
    Canary,
    /// 1 % for 10 min (99.9 % must succeed), 5 % for 30 min (99.5 %), 25 % for 1 h (99 %), 50 % for
    /// 2 h (99 %), 100 % (98 %).
    Progressive,
    /// `initial` percent, then `step` percent more each time.
    Stepwise {
        /// 1 to 100.
        initial: u32,
        /// 1 to 100.
        step: u32,
    },
    /// All at once.
    BlueGreen,
    /// `percent` for at least `at_least`, then all.
    AbTest {
        /// 1 to 99.
        percent: u32,
        /// Up to 22 h.
        #[serde(with = "duration_text")]
        at_least: Duration,
    },
    /// As written: each more than the one before, the last 100 %.
    Stages(Vec<RolloutStage>),
}

impl RolloutStrategy {
    /// Its stages.
    pub fn stages(&self) -> Vec<RolloutStage> {
        let plain = |percents: &[u32]| percents.iter().map(|it| RolloutStage::of(*it)).collect();
        match self {
            Self::Canary => plain(&[1, 10, 50, 100]),
            Self::Progressive => [
                (1, 10, 0.999),
                (5, 30, 0.995),
                (25, 60, 0.99),
                (50, 120, 0.99),
                (100, 5, 0.98),
            ]
            .map(|(percent, minutes, floor)| RolloutStage {
                percent,
                at_least: Duration::from_secs(60 * minutes),
                min_success: Some(floor),
            })
            .to_vec(),
            Self::Stepwise { initial, step } => {
                let mut percents = vec![(*initial).min(100)];
                while let Some(last) = percents.last().filter(|last| **last < 100) {
                    // A step of nothing is refused by `check`, and does not loop here either.
                    percents.push(last.saturating_add((*step).max(1)).min(100));
                }
                plain(&percents)
            }
            Self::BlueGreen => plain(&[100]),
            Self::AbTest { percent, at_least } => vec![
                RolloutStage {
                    at_least: *at_least,
                    ..RolloutStage::of(*percent)
                },
                RolloutStage::of(100),
            ],
            Self::Stages(stages) => stages.clone(),
        }
    }

    pub(super) fn check(&self, found: &mut Violations) {
        let percents = |found: &mut Violations, name: &str, percent: u32, max: u32| {
            if !(1..=max).contains(&percent) {
                let expected = format!("1 to {max} percent");
                found.push(Violation::new(
                    format!("strategy.{name}"),
                    percent,
                    expected,
                ));
            }
        };
        match self {
            Self::Stepwise { initial, step } => {
                percents(found, "initial", *initial, 100);
                percents(found, "step", *step, 100);
            }
            Self::AbTest { percent, .. } => percents(found, "percent", *percent, 99),
            _ => {}
        }
        let stages = self.stages();
        let mut before = 0;
        for (idx, stage) in stages.iter().enumerate() {
            let place = |name: &str| format!("strategy.stages[{idx}].{name}");
            if stage.percent <= before || stage.percent > 100 {
                let expected = format!("more than {before}, at most 100");
                found.push(Violation::new(place("percent"), stage.percent, expected));
            }
            before = stage.percent.max(before);
            if stage.at_least > LONGEST_WATCH {
                let value = format!("{:?}", stage.at_least);
                found.push(Violation::new(place("at_least"), value, "at most 22 h"));
            }
            let floor = stage.min_success;
            if floor.is_some_and(|floor| !(0.0..=1.0).contains(&floor)) {
                let value = floor.unwrap_or_default();
                found.push(Violation::new(place("min_success"), value, "0 to 1"));
            }
        }
        if before != 100 {
            let value = format!("{before} percent");
            let expected = "100 percent as the last stage";
            found.push(Violation::new("strategy.stages", value, expected));
        }
    }
}
