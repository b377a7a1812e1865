//! Tests that may be looked at as often as one likes: e-processes and what they need.
//!
//! An e-process is a non-negative process that starts at 1 and whose expected value is at most 1 at
//! every stopping time while the null hypothesis is true.
//! By Ville's inequality it ever reaches `1 / alpha` with probability `alpha` at most, so one may
//! look after every sample and stop when one likes (A. Ramdas, P. Grünwald, V. Vovk, G. Shafer,
//! *Game-theoretic statistics and safe anytime-valid inference*, Statistical Science 38 (2023),
//! doi:10.1214/23-STS894).
//! The arithmetic mean of e-processes is one again, whatever their dependence.

mod arm_noise;
mod count_ratio;
mod dispersion;
mod error_increase;
mod failure_split;
mod higher_median;
mod quantile;
mod quantile_sequence;
mod rare_failures;
mod sign_bet;
pub(crate) mod simulate;

pub use arm_noise::{ArmNoise, NoiseLimit};
pub use count_ratio::CountRatio;
pub use dispersion::dispersion_index;
pub use error_increase::{Counts, ErrorIncrease};
pub use failure_split::{ArmPair, FailureSplit};
pub use higher_median::HigherMedian;
pub use quantile::{mean, median, median_upper_limit_rank};
pub use quantile_sequence::quantile_ranks;
pub use rare_failures::RareFailures;
pub use sign_bet::{SignBet, thinned_sign};

/// The natural logarithm of the mean of `exp(x)`; negative infinity for an empty slice.
///
/// It does not overflow. NaN counts as negative infinity, that is as no evidence.
///
/// ```
/// use homeostasis::verify::stats::log_mean_exp;
/// assert_eq!(log_mean_exp(&[2000.0, 2000.0]), 2000.0);
/// assert_eq!(log_mean_exp(&[]), f64::NEG_INFINITY);
/// ```
pub fn log_mean_exp(logs: &[f64]) -> f64 {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !top.is_finite() {
        return top;
    }
    let sum: f64 = logs
        .iter()
        .filter(|log| !log.is_nan())
        .map(|log| libm::exp(log - top))
        .sum();
    top + libm::log(sum / logs.len() as f64)
}
