//! An anomaly in words.

use std::time::Duration;

use homeostasis_core::Timestamp;
use homeostasis_core::document::format_duration;

use super::window::Statistic;
use crate::prose::number;

/// What is known of a sample that is abnormal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Explanation {
    pub(super) reason: Reason,
    /// The band expected.
    pub(super) band: (f64, f64),
    /// The first abnormal sample of those in a row.
    pub(super) since: Timestamp,
}

/// Why a sample is abnormal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reason {
    /// A statistic was never near this number.
    New {
        what: Statistic,
        seen: f64,
        /// The nearest numbers seen before.
        below: Option<f64>,
        above: Option<f64>,
    },
    /// The place in the period is wrong for the value.
    Untimely { seen: f64, period: i64 },
    /// It is far from the level.
    Far { seen: f64, sigmas: f64 },
}

impl Explanation {
    pub(super) fn sentence(&self) -> String {
        let expected = format!(
            "expected {} to {}",
            number(self.band.0),
            number(self.band.1)
        );
        let what = match self.reason {
            Reason::New {
                what,
                seen,
                below,
                above,
            } => {
                let before = match (below, above) {
                    (Some(below), Some(above)) => format!(
                        "nothing between {} and {} was seen before",
                        number(below),
                        number(above)
                    ),
                    (Some(below), None) => format!("the highest before was {}", number(below)),
                    (None, Some(above)) => format!("the lowest before was {}", number(above)),
                    (None, None) => "nothing was seen before".to_owned(),
                };
                format!("has {} of {} ({before})", noun(what), number(seen))
            }
            Reason::Untimely { seen, period } => format!(
                "is {} at the wrong time of its period of {}",
                number(seen),
                format_duration(Duration::from_nanos(period.unsigned_abs()))
            ),
            Reason::Far { seen, sigmas } => format!(
                "is {}, {} standard deviations from its level",
                number(seen),
                number(sigmas)
            ),
        };
        format!("{what}, {expected}, since {}", self.since)
    }
}

/// A statistic in words.
pub(super) fn noun(what: Statistic) -> &'static str {
    match what {
        Statistic::Value | Statistic::CoarseValue => "a value",
        Statistic::Context => "a value at this time of the period",
        Statistic::Maximum => "a maximum of the last 24 samples",
        Statistic::Minimum => "a minimum of the last 24 samples",
        Statistic::Mean12 => "a mean of the last 12 samples",
        Statistic::Mean36 => "a mean of the last 36 samples",
        Statistic::Mean72 => "a mean of the last 72 samples",
        Statistic::Change => "a change over 72 samples",
        Statistic::Step => "a step between the means of 6 samples",
        Statistic::Activity => "steps between the last 12 samples",
        Statistic::Spread => "a standard deviation of the last 36 samples",
        Statistic::LogSpread => "a logarithm of the standard deviation of the last 72 samples",
    }
}
