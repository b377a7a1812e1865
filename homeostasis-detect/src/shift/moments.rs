//! Number, mean and sum of squares of samples, one by one.

use serde::{Deserialize, Serialize};

use crate::scale;

/// What is known of a level: so many samples, their mean, the sum of their squared distances from it.
///
/// Source: B. P. Welford, *Note on a method for calculating corrected sums of squares and products*,
/// Technometrics 4 (1962).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moments {
    pub(super) n: u64,
    pub(super) mean: f64,
    pub(super) squares: f64,
}

impl Moments {
    pub(super) fn add(&mut self, value: f64) {
        self.n = self.n.saturating_add(1);
        let delta = value - self.mean;
        self.mean += delta / self.n as f64;
        self.squares += delta * (value - self.mean);
    }

    /// Both together.
    ///
    /// Source: T. F. Chan, G. H. Golub and R. J. `LeVeque`, *Updating formulae and a pairwise algorithm for computing
    /// sample variances*, COMPSTAT 1982.
    pub(super) fn with(self, other: Self) -> Self {
        if self.n == 0 || other.n == 0 {
            return if self.n == 0 { other } else { self };
        }
        let (n, m) = (self.n as f64, other.n as f64);
        let delta = other.mean - self.mean;
        Self {
            n: self.n.saturating_add(other.n),
            mean: self.mean + delta * (m / (n + m)),
            squares: self.squares + other.squares + delta * delta * (n * m / (n + m)),
        }
    }

    /// The mean of the squared distances; 0 without samples.
    pub(super) fn variance(&self) -> f64 {
        self.squares / self.n.max(1) as f64
    }

    /// The standard deviation with `n - 1` degrees of freedom, not less than what can be told apart.
    pub(super) fn sigma(&self, resolution: f64) -> f64 {
        let freedom = self.n.saturating_sub(1).max(1) as f64;
        (self.squares / freedom)
            .sqrt()
            .max(scale::floor(self.mean, resolution))
    }

    pub(super) fn can_be(&self) -> bool {
        self.squares >= 0.0
    }
}
