//! Did the typical value rise? A betting e-process over signs.

use super::{log_mean_exp, median_upper_limit_rank};

/// How much of the capital the gamblers stake; one eighth to seven eighths.
const STAKES: [f64; 7] = [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875];

/// An e-process against "the median after is not above the median before, by more than a margin".
///
/// The median before is not known, only its exact upper confidence limit
/// ([`median_upper_limit_rank`]); the limit errs with probability `risk`. Above it, enlarged by the
/// margin, a value after is a success that a gambler at fair odds bets on. The capital, averaged
/// over several stakes, is a non-negative supermartingale while each value lies above with
/// probability 1/2 at most, whatever came before. So the whole errs with probability
/// `risk + alpha` at most if one stops at `1 / alpha`.
///
/// Source: G. Shafer, *Testing by betting*, JRSS A 184 (2021), doi:10.1111/rssa.12647; the sign
/// bets are those on a coin.
/// Deviation: a fixed mixture of stakes instead of an adaptive stake, for the same bits everywhere.
///
/// Values may have any distribution, but those before must not depend strongly on each other; a
/// generous margin makes up for slow drift.
///
/// ```
/// use homeostasis::verify::stats::HigherMedian;
/// let before: Vec<f64> = (0..30).map(|i| 0.100 + f64::from(i % 7) / 1000.0).collect();
/// let mut test = HigherMedian::new(&before, 1.2, 0.0, 0.005).unwrap();
/// (0..12).for_each(|_| test.observe(0.2));
/// assert!(test.log_e() > 200.0_f64.ln());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct HigherMedian {
    threshold: f64,
    n_above: u64,
    n_below: u64,
}

impl HigherMedian {
    /// A test against these values; NaN is left out.
    ///
    /// A value counts as higher above `limit + max(|limit| * (ratio - 1), absolute)`, where `limit`
    /// is the upper confidence limit of the median of `before`; `ratio` is at least 1, `absolute`
    /// at least 0 in the unit of the values. `None` if `before` has too few values for `risk`
    /// (8 for 0.005) or the limit is infinite.
    pub fn new(before: &[f64], ratio: f64, absolute: f64, risk: f64) -> Option<Self> {
        let mut sorted: Vec<f64> = before.iter().copied().filter(|v| !v.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let rank = median_upper_limit_rank(sorted.len(), risk)?;
        let limit = sorted[rank - 1];
        let margin = (limit.abs() * (ratio - 1.0)).max(absolute).max(0.0);
        (limit + margin).is_finite().then_some(Self {
            threshold: limit + margin,
            n_above: 0,
            n_below: 0,
        })
    }

    /// The same judged against the higher one of two thresholds: both medians must be exceeded.
    #[must_use]
    pub fn and_above(mut self, other: &Self) -> Self {
        self.threshold = self.threshold.max(other.threshold);
        self
    }

    /// Adds a value after; NaN changes nothing.
    pub fn observe(&mut self, value: f64) {
        if value > self.threshold {
            self.n_above += 1;
        } else if !value.is_nan() {
            self.n_below += 1;
        }
    }

    /// What a value must exceed to count as higher.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// How many values were higher.
    pub fn n_above(&self) -> u64 {
        self.n_above
    }

    /// How many values there were.
    pub fn n(&self) -> u64 {
        self.n_above + self.n_below
    }

    /// The natural logarithm of the e-process; 0 without values. O(1).
    pub fn log_e(&self) -> f64 {
        log_mean_exp(&STAKES.map(|stake| {
            self.n_above as f64 * libm::log1p(stake) + self.n_below as f64 * libm::log1p(-stake)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    /// Heavy-tailed latencies: `median * exp(z)` with `z` the difference of two exponentials.
    fn latency(rng: &mut Rng, median: f64) -> f64 {
        let exponential = |rng: &mut Rng| -libm::log(1.0 - rng.unit());
        median * libm::exp(exponential(rng) - exponential(rng))
    }

    fn ever_rejects(rng: &mut Rng, n0: usize, n1: usize, rise: f64) -> Option<usize> {
        let before: Vec<f64> = (0..n0).map(|_| latency(rng, 0.1)).collect();
        let mut test = HigherMedian::new(&before, 1.0, 0.0, 0.005).unwrap();
        (0..n1).find(|_| {
            test.observe(latency(rng, 0.1 * rise));
            test.log_e() >= libm::log(200.0)
        })
    }

    #[test]
    fn looking_after_every_value_keeps_the_false_alarms_below_alpha() {
        for (seed, n0) in [(1, 8), (2, 30), (3, 200)] {
            let mut rng = Rng::from_seed(seed);
            let alarms = (0..2000)
                .filter(|_| ever_rejects(&mut rng, n0, 300, 1.0).is_some())
                .count();
            assert!(
                alarms <= 20,
                "n0 = {n0}: {alarms} of 2000, expected 20 at most"
            );
        }
    }

    #[test]
    fn a_tenfold_heavy_tailed_latency_is_found_within_forty_values() {
        let mut rng = Rng::from_seed(4);
        let found = (0..200)
            .filter(|_| ever_rejects(&mut rng, 30, 40, 10.0).is_some())
            .count();
        // About 90 % lie above the limit, which takes 20 values on average.
        assert!(found >= 190, "{found} of 200");
    }

    #[test]
    fn the_margin_is_relative_and_absolute_and_a_short_history_gives_no_test() {
        let zeros = [0.0; 20];
        assert_eq!(
            HigherMedian::new(&zeros, 1.2, 0.005, 0.005)
                .unwrap()
                .threshold(),
            0.005
        );
        let negative = [-10.0; 20];
        assert_eq!(
            HigherMedian::new(&negative, 1.5, 0.0, 0.005)
                .unwrap()
                .threshold(),
            -5.0
        );
        assert_eq!(HigherMedian::new(&zeros[..7], 1.2, 0.0, 0.005), None);
        assert_eq!(
            HigherMedian::new(&[f64::INFINITY; 20], 1.2, 0.0, 0.005),
            None
        );
    }

    #[test]
    fn nan_is_no_value_and_infinity_is_a_high_one() {
        let mut test = HigherMedian::new(&[1.0; 20], 1.0, 0.0, 0.005).unwrap();
        test.observe(f64::NAN);
        assert_eq!((test.n(), test.log_e()), (0, 0.0));
        test.observe(f64::INFINITY);
        assert_eq!((test.n(), test.n_above()), (1, 1));
    }
}
