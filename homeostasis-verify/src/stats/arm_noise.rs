//! How much do two groups of the same version differ by themselves?

use serde::{Deserialize, Serialize};

use super::{ArmPair, FailureSplit};

/// Each candidate for the noise is so many times the next smaller one, from eight times the
/// assumption down to a 45th of it.
const STEP: f64 = core::f64::consts::SQRT_2;
const N_CANDIDATES: usize = 18;
/// Which one is the assumption.
const ASSUMED: usize = 6;
/// The largest candidate, in multiples of the assumption.
const WIDEST: f64 = 8.0;
/// The 95 % quantile of the standard normal distribution.
const Z: f64 = 1.645;
/// Fewer intervals say nothing.
const ENOUGH: u32 = 20;

/// How much the logarithm of a group's failure rate varies from interval to interval, learnt from
/// pairs of groups that run the same version.
///
/// It is a dispersion check with an upper limit: for each of 18 candidate variances, the squared
/// deviations of the pairs from an even split, in units of what the candidate makes one expect
/// ([`FailureSplit`]), are summed, along with the variance of that sum. A candidate is refuted by a sum
/// more than 1.645 standard deviations below what it makes one expect; the smallest refuted
/// variance, interpolated, is an upper limit of the noise that errs in at most about one case of twenty. The
/// assumption is contradicted by a sum as far above.
///
/// Source: the statistic is Pearson's, as in [`dispersion_index`](super::dispersion_index); the
/// limit inverts the test (E. L. Lehmann and J. P. Romano, *Testing Statistical Hypotheses*, 3rd ed.
/// 2005, section 3.5).
///
/// Because the pairs were seen *before* the run they are used for, choosing by them does not touch
/// the error rates of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmNoise {
    assumed: f64,
    n: u32,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Candidate {
    noise: f64,
    seen: f64,
    expected: f64,
    variance: f64,
}

impl Candidate {
    /// How many standard deviations were seen more than expected.
    fn excess(&self) -> f64 {
        if self.variance > 0.0 {
            (self.seen - self.expected) / libm::sqrt(self.variance)
        } else {
            0.0
        }
    }
}

/// What is known of the noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseLimit {
    /// Nothing contradicts the assumption, and nothing proves less: its variance.
    Assumed(f64),
    /// The upper limit of the variance: below the assumption, or above one that is contradicted;
    /// at most eight times the assumption.
    Measured(f64),
    /// More than eight times the assumption: counts of failures prove nothing.
    Exceeded,
}

impl ArmNoise {
    /// Nothing learnt; noise of the variance `assumed` (of the logarithm of a rate) is taken for
    /// granted until less is proven.
    pub fn new(assumed: f64) -> Self {
        let mut noise = assumed * WIDEST;
        let candidates = (0..N_CANDIDATES)
            .map(|_| {
                let candidate = Candidate {
                    noise,
                    seen: 0.0,
                    expected: 0.0,
                    variance: 0.0,
                };
                noise /= STEP;
                candidate
            })
            .collect();
        Self {
            assumed,
            n: 0,
            candidates,
        }
    }

    /// Adds an interval of two groups that run the same version. O(1).
    pub fn observe(&mut self, pair: &ArmPair) {
        let n = pair.failures();
        self.n = self.n.saturating_add(1);
        if n == 0.0 {
            return;
        }
        for candidate in &mut self.candidates {
            let split = FailureSplit::new(pair, 1.0, candidate.noise);
            let spread = split.mean() * (1.0 - split.mean());
            let off = pair.canary_failures() - n * split.mean();
            let inflated = n + split.correlation() * n * (n - 1.0);
            candidate.seen += off * off / (spread * inflated);
            candidate.expected += 1.0;
            // Of the squared deviation of a binomial count, and 2 of a normal one.
            candidate.variance += 2.0 + (1.0 / spread - 6.0) * n / (inflated * inflated);
        }
    }

    /// How many intervals were seen.
    pub fn n(&self) -> u32 {
        self.n
    }

    /// What is known; what was assumed, with fewer than 20 intervals.
    pub fn limit(&self) -> NoiseLimit {
        if self.n < ENOUGH {
            return NoiseLimit::Assumed(self.assumed);
        }
        let excess = |idx: usize| self.candidates.get(idx).map_or(0.0, Candidate::excess);
        let contradicted = excess(ASSUMED) > Z;
        match self.refuted() {
            Some(limit) if contradicted || limit < self.assumed => NoiseLimit::Measured(limit),
            None if contradicted && excess(0) > 0.0 => NoiseLimit::Exceeded,
            None if contradicted => NoiseLimit::Measured(self.assumed * WIDEST),
            _ => NoiseLimit::Assumed(self.assumed),
        }
    }

    /// The smallest variance that is refuted: between the last refuted candidate and the next one,
    /// where the excess comes to the limit; `None` if not even the largest is.
    fn refuted(&self) -> Option<f64> {
        let n = self
            .candidates
            .iter()
            .take_while(|c| c.excess() < -Z)
            .count();
        let last = self.candidates.get(n.checked_sub(1)?)?;
        let Some(next) = self.candidates.get(n) else {
            return Some(last.noise);
        };
        let part = (-Z - last.excess()) / (next.excess() - last.excess());
        Some(last.noise * libm::pow(next.noise / last.noise, part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::simulate::Arms;
    use homeostasis_core::Rng;

    fn limits(seed: u64, arms: Arms, n: usize) -> Vec<NoiseLimit> {
        let mut rng = Rng::from_seed(seed);
        (0..400)
            .map(|_| {
                let mut noise = ArmNoise::new(0.09);
                for _ in 0..n {
                    let (canary, baseline) = arms.draw(&mut rng);
                    noise.observe(&ArmPair::new(&canary, &baseline).unwrap());
                }
                noise.limit()
            })
            .collect()
    }

    fn arms(requests: f64, noise: f64) -> Arms {
        Arms {
            requests: (requests, requests),
            base: 0.005,
            ratio: 1.0,
            noise,
        }
    }

    #[test]
    fn the_limit_is_below_the_truth_in_few_cases() {
        for (seed, noise) in [(1, 0.09), (2, 0.36), (3, 0.01)] {
            let below = limits(seed, arms(3000.0, noise), 120)
                .iter()
                .filter(|limit| match limit {
                    NoiseLimit::Assumed(most) | NoiseLimit::Measured(most) => *most < noise,
                    NoiseLimit::Exceeded => false,
                })
                .count();
            // 5 % of 400, and three standard deviations.
            assert!(below <= 33, "{noise}: {below} of 400");
        }
    }

    #[test]
    fn calm_groups_are_found_calm_and_wild_ones_refused() {
        let calm = limits(4, arms(3000.0, 0.0), 240);
        let small = calm
            .iter()
            .filter(|limit| matches!(limit, NoiseLimit::Measured(most) if *most <= 0.033));
        let n = small.count();
        assert!(n >= 390, "{n} of 400");
        let wild = limits(5, arms(3000.0, 2.0), 120);
        let exceeded = wild.iter().filter(|limit| **limit == NoiseLimit::Exceeded);
        let n = exceeded.count();
        assert!(n >= 360, "{n} of 400");
    }

    #[test]
    fn too_few_intervals_or_failures_leave_the_assumption() {
        assert_eq!(ArmNoise::new(0.09).limit(), NoiseLimit::Assumed(0.09));
        let few = limits(6, arms(3000.0, 0.0), 19);
        assert!(few.iter().all(|limit| *limit == NoiseLimit::Assumed(0.09)));
        let mut rare = ArmNoise::new(0.09);
        let pair = ArmPair::new(
            &homeostasis_core::record::ArmInterval::new(10, 0),
            &homeostasis_core::record::ArmInterval::new(10, 0),
        );
        (0..100).for_each(|_| rare.observe(&pair.unwrap()));
        assert_eq!(rare.limit(), NoiseLimit::Assumed(0.09));
    }
}
