//! A change is news for a while: its score is kept up for some samples after it was found.

use serde::{Deserialize, Serialize};

use crate::prose;

/// The last change found.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hold {
    /// For how many more samples it counts.
    left: u32,
    /// In limits, and in nats.
    ratio: f64,
    surprise: f64,
    /// The level before and after it.
    from: f64,
    to: f64,
}

impl Hold {
    /// Keeps up a change of `ratio` limits for `n` samples.
    pub(super) fn begin(n: u32, ratio: f64, surprise: f64, (from, to): (f64, f64)) -> Self {
        Self {
            left: n,
            ratio,
            surprise,
            from,
            to,
        }
    }

    /// Counts a sample; the larger of what it shows by itself and of the change that is kept up, as limits,
    /// nats and whether it went up.
    pub(super) fn step(&mut self) -> Option<(f64, f64, f64)> {
        self.left = self.left.checked_sub(1)?;
        Some((self.ratio, self.surprise, self.to - self.from))
    }

    /// The same without counting it.
    pub(super) fn peek(&self) -> Option<(f64, f64, f64)> {
        (self.left > 0).then_some((self.ratio, self.surprise, self.to - self.from))
    }

    pub(super) fn explain(&self) -> String {
        format!(
            "its mean went from {} to {}",
            prose::number(self.from),
            prose::number(self.to)
        )
    }
}
