//! To which side a deviation counts, and how much of a change is meant.

use homeostasis_core::Violations;
use homeostasis_core::record::Direction;
use serde::{Deserialize, Serialize};

use crate::check;

/// Which deviations count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Both.
    #[default]
    Both,
    /// Only upwards: too much.
    High,
    /// Only downwards: too little.
    Low,
}

impl Side {
    /// Whether upward deviations count.
    pub fn counts_high(self) -> bool {
        self != Self::Low
    }

    /// Whether downward deviations count.
    pub fn counts_low(self) -> bool {
        self != Self::High
    }

    /// `deviation` if it counts on this side, else 0.
    #[inline]
    pub(crate) fn of(self, deviation: f64) -> f64 {
        match self {
            Self::Both => deviation,
            Self::High => deviation.max(0.0),
            Self::Low => deviation.min(0.0),
        }
    }
}

/// The direction of a signed deviation.
pub(crate) fn direction(deviation: f64) -> Direction {
    if deviation > 0.0 {
        Direction::High
    } else if deviation < 0.0 {
        Direction::Low
    } else {
        Direction::Other
    }
}

/// An amount of change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// As a share of where it began: 0.3 is 30 %.
    Relative(f64),
    /// In the unit of the series.
    Absolute(f64),
}

impl Amount {
    /// The amount in the unit of the series, for a change that began at `base`.
    ///
    /// A relative amount of a base nearer to 0 than `resolution` is that of `resolution`, so that
    /// nothing is divided by zero.
    pub(crate) fn allowed(self, base: f64, resolution: f64) -> f64 {
        match self {
            Self::Relative(share) => share * base.abs().max(resolution),
            Self::Absolute(amount) => amount,
        }
    }

    pub(crate) fn check(self, found: &mut Violations, path: &str) {
        let (Self::Relative(amount) | Self::Absolute(amount)) = self;
        check::positive(found, path, amount);
    }
}
