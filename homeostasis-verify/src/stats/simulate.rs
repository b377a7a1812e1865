//! Two arms drawn by chance: for forecasts, and for tests of error rates.

use homeostasis_core::Rng;
use homeostasis_core::record::ArmInterval;

/// Requests per interval and how they fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arms {
    /// Requests of the canary and of the baseline.
    pub(crate) requests: (f64, f64),
    /// The share of the baseline's requests that fails.
    pub(crate) base: f64,
    /// How many times as many of the canary's fail.
    pub(crate) ratio: f64,
    /// The variance of the logarithm of each arm's rate.
    pub(crate) noise: f64,
}

impl Arms {
    /// One interval of the canary and of the baseline.
    pub(crate) fn draw(self, rng: &mut Rng) -> (ArmInterval, ArmInterval) {
        let mut arm = |requests: f64, share: f64| {
            let factor = libm::exp(libm::sqrt(self.noise) * normal(rng));
            let share = (share * factor).min(1.0);
            let failed = poisson(rng, requests * share);
            let good = poisson(rng, requests * (1.0 - share));
            ArmInterval::new(failed + good, failed)
        };
        let canary = arm(self.requests.0, self.base * self.ratio);
        (canary, arm(self.requests.1, self.base))
    }
}

/// A standard normal value (G. E. P. Box and M. E. Muller 1958).
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - rng.unit()));
    radius * libm::cos(core::f64::consts::TAU * rng.unit())
}

/// A Poisson count: by inversion, from a mean of 60 on by the normal approximation.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded and at least 0; a mean is far below 2^53"
)]
pub(crate) fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    if mean >= 60.0 {
        return (mean + libm::sqrt(mean) * normal(rng)).round().max(0.0) as u64;
    }
    let mut left = rng.unit();
    let mut p = libm::exp(-mean);
    let mut count = 0;
    while left >= p && count < 1000 {
        left -= p;
        count += 1;
        p *= mean / count as f64;
    }
    count
}

/// In how many of `runs` runs, each a clone of `start`, `step` says yes within `n` steps.
#[cfg(test)]
pub(crate) fn ever<T: Clone>(
    seed: u64,
    runs: usize,
    n: usize,
    mut step: impl FnMut(&mut Rng, &mut T) -> bool,
    start: &T,
) -> usize {
    let mut rng = Rng::from_seed(seed);
    (0..runs)
        .filter(|_| {
            let mut run = start.clone();
            (0..n).any(|_| step(&mut rng, &mut run))
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_the_mean_and_the_variance_of_a_poisson_variable() {
        for (seed, mean) in [(1, 0.3), (2, 15.0), (3, 59.0), (4, 200.0)] {
            let mut rng = Rng::from_seed(seed);
            let n = 20_000.0;
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..20_000 {
                let count = poisson(&mut rng, mean) as f64;
                sum += count;
                squares += (count - mean) * (count - mean);
            }
            assert!((sum / n - mean).abs() < 5.0 * (mean / n).sqrt(), "{mean}");
            assert!((squares / n / mean - 1.0).abs() < 0.08, "{mean}");
        }
    }
}
