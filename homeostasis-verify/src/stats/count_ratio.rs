//! Does the canary fail more often, or not? A mixture e-process over counts.

use serde::{Deserialize, Serialize};

use super::{ArmPair, FailureSplit, log_mean_exp};

/// An e-process against "the canary fails at most `null` times as often as the baseline", or, with
/// alternatives below it, "at least `null` times".
///
/// Each interval multiplies, for every alternative ratio, the likelihood ratio of the canary's part
/// of the failures ([`FailureSplit`]) into a capital; the e-process is the mean of the capitals.
/// Because likelihood ratios of two ratios rise with the canary's part, the expected factor is 1 on
/// the edge of the null hypothesis and below 1 inside of it, whatever came before.
///
/// Sources: A. Wald, *Sequential Analysis* (1947), chapter 3, for the likelihood ratios; H. Robbins,
/// *Statistical methods related to the law of the iterated logarithm*, Ann. Math. Stat. 41 (1970),
/// for the mixture; J. ter Schure et al., *The safe logrank test*, JMLR 25 (2024), for the
/// conditional likelihood as an e-value.
///
/// *Weakness:* the noise must not be larger than said, and an arm that is worse than the other all
/// the time, for reasons that have nothing to do with the version, looks like a bad version.
///
/// ```
/// use homeostasis::core::record::ArmInterval;
/// use homeostasis::verify::stats::{ArmPair, CountRatio};
/// let mut worse = CountRatio::new(1.0, &[1.5, 2.5, 6.0]);
/// let pair = ArmPair::new(&ArmInterval::new(300, 12), &ArmInterval::new(300, 1)).unwrap();
/// worse.observe(&pair, 0.0);
/// assert!(worse.log_e() > 20.0_f64.ln());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountRatio {
    null: f64,
    /// Each alternative with the logarithm of its capital.
    capitals: Vec<(f64, f64)>,
}

impl CountRatio {
    /// A test of `null` against all of `alternatives`, weighed alike: ratios above 0, all of them
    /// on the same side of `null`.
    pub fn new(null: f64, alternatives: &[f64]) -> Self {
        Self {
            null,
            capitals: alternatives.iter().map(|ratio| (*ratio, 0.0)).collect(),
        }
    }

    /// Adds an interval in which the logarithm of each arm's rate varies with the variance `noise`.
    /// An interval without failures says nothing. O(alternatives).
    pub fn observe(&mut self, pair: &ArmPair, noise: f64) {
        if pair.failures() == 0.0 {
            return;
        }
        let null = FailureSplit::new(pair, self.null, noise).log_likelihood(pair);
        for (ratio, capital) in &mut self.capitals {
            *capital += FailureSplit::new(pair, *ratio, noise).log_likelihood(pair) - null;
        }
    }

    /// The natural logarithm of the e-process; 0 without failures.
    pub fn log_e(&self) -> f64 {
        let mut logs = [0.0; 8];
        let n = self.capitals.len().min(logs.len());
        for (log, (_, capital)) in logs.iter_mut().zip(&self.capitals) {
            *log = *capital;
        }
        if n < self.capitals.len() {
            let all: Vec<_> = self.capitals.iter().map(|(_, log)| *log).collect();
            return log_mean_exp(&all);
        }
        if n == 0 {
            0.0
        } else {
            log_mean_exp(&logs[..n])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::simulate::{Arms, ever};
    use homeostasis_core::record::ArmInterval;
    use proptest::prelude::*;

    const WORSE: [f64; 3] = [1.5, 2.5, 6.0];

    fn alarms(seed: u64, arms: Arms, test: &CountRatio, noise: f64, limit: f64) -> usize {
        ever(
            seed,
            1000,
            60,
            |rng, run: &mut CountRatio| {
                let (canary, baseline) = arms.draw(rng);
                if let Some(pair) = ArmPair::new(&canary, &baseline) {
                    run.observe(&pair, noise);
                }
                run.log_e() >= limit
            },
            test,
        )
    }

    #[test]
    fn looking_after_every_interval_keeps_false_alarms_below_alpha() {
        let limit = 100.0_f64.ln();
        let worse = CountRatio::new(1.0, &WORSE);
        let at = |requests, noise| Arms {
            requests,
            base: 0.01,
            ratio: 1.0,
            noise,
        };
        for (seed, arms) in [
            (1, at((300.0, 300.0), 0.0)),
            (2, at((300.0, 3000.0), 0.0)),
            (3, at((3000.0, 3000.0), 0.36)),
            (4, at((300.0, 2700.0), 0.36)),
            (5, at((20.0, 80.0), 0.09)),
        ] {
            let n = alarms(seed, arms, &worse, arms.noise, limit);
            assert!(n <= 10, "{arms:?}: {n} of 1000, expected 10 at most");
        }
    }

    #[test]
    fn a_canary_at_the_margin_is_seldom_called_safe() {
        let safe = CountRatio::new(1.5, &[0.7, 1.0]);
        for (seed, noise) in [(6, 0.0), (7, 0.36)] {
            let arms = Arms {
                requests: (3000.0, 3000.0),
                base: 0.005,
                ratio: 1.5,
                noise,
            };
            let n = alarms(seed, arms, &safe, noise, 50.0_f64.ln());
            assert!(n <= 20, "{n} of 1000, expected 20 at most");
        }
    }

    #[test]
    fn noise_that_is_not_told_breaks_it_and_told_does_not() {
        let worse = CountRatio::new(1.0, &WORSE);
        let arms = Arms {
            requests: (3000.0, 3000.0),
            base: 0.01,
            ratio: 1.0,
            noise: 0.36,
        };
        let untold = alarms(8, arms, &worse, 0.0, 100.0_f64.ln());
        assert!(untold > 100, "{untold} of 1000");
        let told = alarms(8, arms, &worse, 0.36, 100.0_f64.ln());
        assert!(told <= 10, "{told} of 1000");
    }

    #[test]
    fn twice_the_failures_are_found_and_no_change_is_called_safe() {
        let found = |ratio, test: &CountRatio| {
            let arms = Arms {
                requests: (3000.0, 3000.0),
                base: 0.005,
                ratio,
                noise: 0.0,
            };
            alarms(9, arms, test, 0.0, 200.0_f64.ln())
        };
        assert!(found(2.0, &CountRatio::new(1.0, &WORSE)) >= 990);
        assert!(found(1.0, &CountRatio::new(1.5, &[0.7, 1.0])) >= 950);
    }

    proptest! {
        #[test]
        fn more_failures_of_the_canary_are_more_evidence(n in 1_u64..5000, x in 0_u64..200, y in 0_u64..200, noise in 0.0..1.0_f64) {
            let (x, y) = (x.min(n), y.min(n));
            let log_e = |x: u64, y: u64| {
                let mut test = CountRatio::new(1.0, &WORSE);
                let pair = ArmPair::new(&ArmInterval::new(n, x), &ArmInterval::new(n, y)).unwrap();
                test.observe(&pair, noise);
                test.log_e()
            };
            prop_assert!(log_e(x, y).is_finite());
            // One failure moves from the baseline to the canary.
            if y > 0 && x < n {
                prop_assert!(log_e(x + 1, y - 1) >= log_e(x, y) - 1e-9);
            }
        }
    }
}
