//! Which arm was worse, interval by interval? Bets on signs that need no model of the noise.

use serde::{Deserialize, Serialize};

use super::log_mean_exp;

/// How much of the capital the gamblers stake; one eighth to seven eighths.
const STAKES: [f64; 7] = [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875];
/// From so many failures on, thinning is taken for its mean.
const EXACT: u64 = 2000;

/// An e-process against "the expected score is 0 at most, whatever came before", for scores between
/// -1 and 1.
///
/// A gambler who stakes `s` has the capital `product of (1 + s * score)`; the e-process is the mean
/// over several stakes.
/// Source: I. Waudby-Smith and A. Ramdas, *Estimating means of bounded random variables by betting*,
/// JRSS B 86 (2024), section 4, doi:10.1093/jrsssb/qkad009. Deviation: a fixed mixture of stakes
/// instead of adaptive ones.
///
/// With signs as scores it holds for noise of every size and shape, as long as each interval is
/// fair to both arms; it pays with time: no decision at `1 / alpha` comes before `log2(1 / alpha)`
/// intervals.
///
/// ```
/// use homeostasis::verify::stats::SignBet;
/// let mut bet = SignBet::default();
/// (0..12).for_each(|_| bet.observe(1.0));
/// assert!(bet.log_e() > 200.0_f64.ln());
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignBet {
    /// The logarithm of the capital of each stake.
    capitals: [f64; STAKES.len()],
    n: u64,
}

impl SignBet {
    /// Adds a score; it is brought into `-1..=1`, and NaN changes nothing.
    pub fn observe(&mut self, score: f64) {
        if score.is_nan() {
            return;
        }
        self.n = self.n.saturating_add(1);
        for (capital, stake) in self.capitals.iter_mut().zip(STAKES) {
            *capital += libm::log1p(stake * score.clamp(-1.0, 1.0));
        }
    }

    /// How many scores there were.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The natural logarithm of the e-process; 0 without scores. O(1).
    pub fn log_e(&self) -> f64 {
        log_mean_exp(&self.capitals)
    }
}

/// How sure the first of two counts is the larger one after thinning: the probability of more minus
/// the probability of fewer, when each of `a.0` failures is kept with the probability `a.1`, and
/// each of `b.0` with `b.1`. Between -1 and 1; 0 without failures.
///
/// Arms with different traffic cannot be compared by sign: the larger one fails more often. Thinned
/// to the same exposure they are alike, and the mean over all ways to thin is as fair as each and
/// needs no chance. It is exact up to 2,000 failures in each arm; beyond, it is the sign of the
/// difference of what is kept on average. Probabilities are brought into `0..=1`. O(failures).
///
/// ```
/// use homeostasis::verify::stats::thinned_sign;
/// assert_eq!(thinned_sign((3, 1.0), (3, 1.0)), 0.0);
/// assert_eq!(thinned_sign((4, 1.0), (3, 1.0)), 1.0);
/// // One failure in 20 requests, one in 80: the second one is kept with probability 1/4.
/// assert_eq!(thinned_sign((1, 1.0), (1, 0.25)), 0.75);
/// ```
pub fn thinned_sign(a: (u64, f64), b: (u64, f64)) -> f64 {
    let kept = |arm: (u64, f64)| (arm.0, if arm.1 > 0.0 { arm.1.min(1.0) } else { 0.0 });
    let (a, b) = (kept(a), kept(b));
    if a.0.max(b.0) > EXACT {
        let off = a.0 as f64 * a.1 - b.0 as f64 * b.1;
        return if off == 0.0 { 0.0 } else { off.signum() };
    }
    // P(A > B) - P(A < B) is the sum over k of P(A = k) (P(B < k) - P(B > k)).
    let (mut score, mut below) = (0.0, 0.0);
    for k in 0..=a.0 {
        let same = binomial(b, k);
        score += binomial(a, k) * (below - (1.0 - below - same));
        below += same;
    }
    score.clamp(-1.0, 1.0)
}

/// The probability that exactly `k` are kept.
fn binomial((n, p): (u64, f64), k: u64) -> f64 {
    if k > n {
        return 0.0;
    }
    if p == 0.0 || p == 1.0 {
        let sure = if p == 0.0 { 0 } else { n };
        return if k == sure { 1.0 } else { 0.0 };
    }
    let (total, of) = (n as f64, k as f64);
    let choose =
        libm::lgamma(total + 1.0) - libm::lgamma(of + 1.0) - libm::lgamma(total - of + 1.0);
    libm::exp(choose + of * libm::log(p) + (total - of) * libm::log1p(-p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::simulate::{Arms, ever};
    use proptest::prelude::*;
    use statrs::distribution::{Binomial, Discrete};

    fn alarms(seed: u64, arms: Arms, runs: usize, n: usize) -> usize {
        ever(
            seed,
            runs,
            n,
            |rng, bet: &mut SignBet| {
                let (canary, baseline) = arms.draw(rng);
                let (c, b) = (canary.requests as f64, baseline.requests as f64);
                let least = c.min(b);
                bet.observe(thinned_sign(
                    (canary.failed, least / c),
                    (baseline.failed, least / b),
                ));
                bet.log_e() >= 100.0_f64.ln()
            },
            &SignBet::default(),
        )
    }

    #[test]
    fn false_alarms_stay_below_alpha_with_every_noise_and_uneven_arms() {
        for (seed, requests, noise) in [
            (1, (3000.0, 3000.0), 0.0),
            (2, (300.0, 3000.0), 0.36),
            (3, (300.0, 1200.0), 1.5),
            (4, (20.0, 80.0), 0.09),
        ] {
            let arms = Arms {
                requests,
                base: 0.01,
                ratio: 1.0,
                noise,
            };
            let n = alarms(seed, arms, 1000, 60);
            assert!(n <= 10, "{arms:?}: {n} of 1000, expected 10 at most");
        }
    }

    #[test]
    fn twice_the_failures_are_found_through_noise() {
        let arms = Arms {
            requests: (3000.0, 3000.0),
            base: 0.005,
            ratio: 2.0,
            noise: 0.09,
        };
        let n = alarms(5, arms, 400, 30);
        assert!(n >= 360, "{n} of 400");
    }

    #[test]
    fn the_score_agrees_with_the_distributions_of_statrs() {
        for (a, b) in [
            ((5, 0.3), (9, 0.6)),
            ((40, 0.9), (40, 0.5)),
            ((1, 0.5), (0, 0.5)),
        ] {
            let (first, second) = (
                Binomial::new(a.1, a.0).unwrap(),
                Binomial::new(b.1, b.0).unwrap(),
            );
            let mut expected = 0.0;
            for i in 0..=a.0 {
                for j in 0..=b.0 {
                    let sign = (i as f64 - j as f64).partial_cmp(&0.0).unwrap() as i8;
                    expected += f64::from(sign) * first.pmf(i) * second.pmf(j);
                }
            }
            assert!((thinned_sign(a, b) - expected).abs() < 1e-12);
        }
        assert_eq!(thinned_sign((5000, 0.5), (2500, 1.0)), 0.0);
        assert_eq!(thinned_sign((5000, 0.5), (2501, 1.0)), -1.0);
        assert_eq!(thinned_sign((3, f64::NAN), (1, 1.0)), -1.0);
    }

    proptest! {
        #[test]
        fn the_score_is_fair_to_both_arms(x in 0_u64..50, y in 0_u64..50, p in 0.0..=1.0_f64, q in 0.0..=1.0_f64) {
            let sum = thinned_sign((x, p), (y, q)) + thinned_sign((y, q), (x, p));
            prop_assert!(sum.abs() < 1e-9, "{sum}");
        }
    }

    #[test]
    fn a_score_that_is_no_number_changes_nothing() {
        let mut bet = SignBet::default();
        bet.observe(f64::NAN);
        assert_eq!((bet.n(), bet.log_e()), (0, 0.0));
        bet.observe(-7.0);
        assert!(bet.log_e() < 0.0 && bet.log_e().is_finite());
    }
}
