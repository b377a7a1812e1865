//! Are failures so rare that their ratio does not matter?

use serde::{Deserialize, Serialize};

use super::log_mean_exp;

/// What the share may be, as parts of the limit, for the gamblers to win.
const PARTS: [f64; 2] = [0.0, 0.25];

/// An e-process against "at least a share of `limit` of the requests fails".
///
/// Failures of an interval are negative-binomial: Poisson with a mean that varies like a gamma
/// variable, so that intervals may differ. Each interval multiplies the likelihood ratio of "none"
/// and of "a quarter of the limit" against the limit into a capital.
///
/// Sources: A. Wald, *Sequential Analysis* (1947); M. Greenwood and G. U. Yule, *An inquiry into the
/// nature of frequency distributions*, JRSS 83 (1920), for the negative binomial.
///
/// It is what lets a service without any failures be promoted: the ratio of nothing to nothing
/// proves nothing.
///
/// ```
/// use homeostasis::verify::stats::RareFailures;
/// let mut rare = RareFailures::new(0.001, 0.43);
/// (0..4).for_each(|_| rare.observe(3000.0, 0.0));
/// assert!(rare.log_e() > 50.0_f64.ln());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RareFailures {
    limit: f64,
    /// The squared coefficient of variation of an interval's rate.
    variation: f64,
    capitals: [f64; PARTS.len()],
}

impl RareFailures {
    /// A test of a share `limit`, in `0..1`, of intervals whose rates have the squared coefficient
    /// of variation `variation`; with a limit of 0 it never finds anything.
    pub fn new(limit: f64, variation: f64) -> Self {
        Self {
            limit,
            variation,
            capitals: [0.0; PARTS.len()],
        }
    }

    /// Adds an interval. One failure ends the belief in "none". O(1).
    pub fn observe(&mut self, requests: f64, failures: f64) {
        if self.limit <= 0.0 || requests <= 0.0 {
            return;
        }
        let mean = requests * self.limit;
        let null = self.log_likelihood(mean, failures);
        // A capital that is lost stays finite, so that it can be stored.
        let gains = PARTS.map(|part| self.log_likelihood(mean * part, failures) - null);
        for (capital, gain) in self.capitals.iter_mut().zip(gains) {
            *capital = (*capital + gain).clamp(-1e9, 1e9);
        }
    }

    /// The natural logarithm of the e-process; 0 without requests.
    pub fn log_e(&self) -> f64 {
        log_mean_exp(&self.capitals)
    }

    /// Without what does not depend on the mean.
    fn log_likelihood(&self, mean: f64, failures: f64) -> f64 {
        if mean == 0.0 {
            return if failures > 0.0 { -1e9 } else { 0.0 };
        }
        if self.variation < 1e-9 {
            return failures * libm::log(mean) - mean;
        }
        let shape = 1.0 / self.variation;
        failures * libm::log(mean / (shape + mean)) - shape * libm::log1p(mean / shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::simulate::{Arms, ever};

    fn found(seed: u64, base: f64, noise: f64, requests: f64) -> usize {
        let arms = Arms {
            requests: (requests, requests),
            base,
            ratio: 1.0,
            noise,
        };
        let variation = libm::expm1(noise);
        ever(
            seed,
            1000,
            60,
            |rng, run: &mut RareFailures| {
                let (arm, _) = arms.draw(rng);
                run.observe(arm.requests as f64, arm.failed as f64);
                run.log_e() >= 50.0_f64.ln()
            },
            &RareFailures::new(0.001, variation),
        )
    }

    #[test]
    fn a_share_at_the_limit_is_seldom_called_rare() {
        for (seed, noise, requests) in [(1, 0.0, 3000.0), (2, 0.36, 3000.0), (3, 0.36, 300.0)] {
            let n = found(seed, 0.001, noise, requests);
            assert!(n <= 20, "{noise}: {n} of 1000, expected 20 at most");
        }
    }

    #[test]
    fn no_failures_and_few_ones_are_found_rare() {
        assert_eq!(found(4, 0.0, 0.36, 3000.0), 1000);
        assert!(found(5, 0.0002, 0.36, 3000.0) >= 900);
        assert_eq!(found(6, 0.01, 0.36, 3000.0), 0);
    }

    #[test]
    fn likelihood_ratios_agree_with_statrs() {
        use statrs::distribution::{Discrete, NegativeBinomial};
        let (limit, shape, requests) = (0.001, 2.5, 4000.0_f64);
        for failures in [0_u64, 1, 5] {
            let mass = |mean: f64| {
                let law = NegativeBinomial::new(shape, shape / (shape + mean)).unwrap();
                law.ln_pmf(failures)
            };
            let expected = mass(requests * limit * 0.25) - mass(requests * limit);
            let mut rare = RareFailures::new(limit, 1.0 / shape);
            rare.observe(requests, failures as f64);
            assert!((rare.capitals[1] - expected).abs() < 1e-9, "{failures}");
        }
        let mut none = RareFailures::new(0.0, 0.4);
        none.observe(4000.0, 0.0);
        assert_eq!(none.log_e(), 0.0);
    }
}
