//! How often something comes, learnt from the windows of time that are past.

use serde::{Deserialize, Serialize};

/// Mean and variance of counts in windows of one length, the newest counting most.
///
/// A new count is judged by a negative binomial distribution with this mean and variance, both
/// widened by what so few windows leave open: counts of log records vary more than a Poisson
/// distribution allows. The upper tail is bounded by a geometric series from its first term, so that
/// a judgement takes constant time.
/// Source: N. L. Johnson, A. W. Kemp, S. Kotz, *Univariate Discrete Distributions*, third edition,
/// Wiley 2005, chapter 5.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rate {
    /// How many windows were learnt, at most as many as are remembered.
    n: f64,
    mean: f64,
    variance: f64,
}

/// Larger than the variance of any counts a host could log; keeps arithmetic finite.
const LARGEST: f64 = 1e15;

impl Rate {
    pub(super) fn n_windows(&self) -> f64 {
        self.n
    }

    /// Whether it can have been learnt.
    pub(super) fn is_sound(&self) -> bool {
        let largest = LARGEST * LARGEST;
        [self.n, self.mean, self.variance]
            .iter()
            .all(|value| (0.0..=largest).contains(value))
    }

    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// Learns the count of one window, when so many are remembered.
    pub(super) fn learn(&mut self, count: f64, history: u32) {
        self.n = (self.n + 1.0).min(f64::from(history));
        let share = 1.0 / self.n;
        let step = count.min(LARGEST) - self.mean;
        self.mean += share * step;
        self.variance = (1.0 - share) * (self.variance + share * step * step);
    }

    /// Learns windows in which nothing came.
    pub(super) fn learn_silence(&mut self, n_windows: u64, history: u32) {
        // After so many there is nothing left to forget.
        let most = 16 * u64::from(history);
        for _ in 0..n_windows.min(most) {
            self.learn(0.0, history);
        }
    }

    /// What another has learnt of things that turn out to be the same.
    pub(super) fn join(&mut self, other: Self) {
        self.n = self.n.max(other.n);
        self.mean += other.mean;
        self.variance += other.variance;
    }

    /// Mean, and the parameter of the negative binomial that gives the variance, when the mean is
    /// not below `least`.
    fn expected(&self, least: f64) -> (f64, f64) {
        let n = self.n.max(1.0);
        let own = self.mean + 0.5 / n;
        let mean = own.max(least);
        let spread = (self.variance.min(LARGEST) / own).max(1.0) * (1.0 + 1.0 / n);
        // The variance is the mean times the spread.
        (mean, mean / (spread - 1.0))
    }

    /// The surprise of `count` or more in one window, in nats, if at least `least` are expected
    /// anyway; 0 for no more than is expected.
    pub(super) fn surprise(&self, count: f64, least: f64) -> f64 {
        let (mean, size) = self.expected(least);
        if count <= mean {
            return 0.0;
        }
        let share = mean / (size + mean);
        let ratio = ((count + size) / (count + 1.0) * share).max(share);
        if ratio >= 1.0 {
            return 0.0;
        }
        let log_ways = libm::lgamma(count + size) - libm::lgamma(size) - libm::lgamma(count + 1.0);
        let log_first = log_ways - size * libm::log1p(mean / size) + count * libm::log(share);
        (libm::log1p(-ratio) - log_first).max(0.0)
    }

    /// The surprise of so many windows without anything, in nats.
    pub(super) fn surprise_of_silence(&self, n_windows: f64) -> f64 {
        if self.mean <= 0.0 {
            return 0.0;
        }
        let (_, size) = self.expected(0.0);
        (n_windows * size * libm::log1p(self.mean / size)).max(0.0)
    }

    /// The smallest whole count whose surprise is at least `limit`.
    pub(super) fn limit(&self, limit: f64, least: f64) -> f64 {
        let (mut low, mut high) = (0_u64, 1_u64);
        let is_enough = |count: u64| self.surprise(count as f64, least) >= limit;
        while !is_enough(high) && high < 1 << 50 {
            (low, high) = (high, high * 2);
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            if is_enough(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn learnt(counts: &[u32]) -> Rate {
        let mut rate = Rate::default();
        for count in counts {
            rate.learn(f64::from(*count), 1000);
        }
        rate
    }

    #[test]
    fn mean_and_variance_are_those_of_the_counts() {
        let rate = learnt(&[4, 8, 6, 2]);
        assert_eq!((rate.mean, rate.n), (5.0, 4.0));
        assert!((rate.variance - 5.0).abs() < 1e-12);
    }

    #[test]
    fn the_bound_is_close_to_the_tail_and_never_below_it() {
        // Sums of the probabilities themselves, for a mean of 5 and a variance of 10.
        let rate = Rate {
            n: 1e12,
            mean: 5.0,
            variance: 10.0,
        };
        // Size 5, chance of one more 1/2: P(X = k) = C(k + 4, 4) / 2^(k + 5).
        let mass =
            |k: f64| (k + 4.0) * (k + 3.0) * (k + 2.0) * (k + 1.0) / 24.0 * 0.5_f64.powf(k + 5.0);
        for count in [8.0, 12.0, 20.0, 40.0] {
            let tail: f64 = (0..400).map(|i| mass(count + f64::from(i))).sum();
            let (surprise, exact) = (rate.surprise(count, 0.0), -tail.ln());
            assert!(
                surprise <= exact + 1e-6 && exact - surprise < 0.35,
                "{count}: {surprise} of {exact}"
            );
        }
        assert!((rate.surprise_of_silence(3.0) - 3.0 * 5.0 * 2.0_f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn what_never_came_surprises_by_how_long_it_was_watched() {
        let mut short = Rate::default();
        short.learn_silence(3, 1000);
        let mut long = Rate::default();
        long.learn_silence(500, 1000);
        assert!(long.surprise(10.0, 0.0) > short.surprise(10.0, 0.0) + 10.0);
        assert_eq!(Rate::default().surprise_of_silence(1e9), 0.0);
    }

    #[test]
    fn the_limit_is_the_first_count_that_is_enough() {
        let rate = learnt(&[10, 12, 8, 11, 9]);
        let limit = rate.limit(16.0, 0.0);
        assert!(rate.surprise(limit, 0.0) >= 16.0 && rate.surprise(limit - 1.0, 0.0) < 16.0);
        assert!(rate.limit(16.0, 1000.0) > 1000.0);
    }

    proptest! {
        #[test]
        fn more_is_never_less_surprising(
            counts in prop::collection::vec(0_u32..10_000, 0..40),
            a in 0.0_f64..1e6,
            b in 0.0_f64..1e6,
            least in 0.0_f64..1e4,
        ) {
            let rate = learnt(&counts);
            let (small, large) = if a < b { (a, b) } else { (b, a) };
            let (less, more) = (rate.surprise(small.floor(), least), rate.surprise(large.floor(), least));
            prop_assert!(less.is_finite() && more.is_finite());
            prop_assert!(less <= more + 1e-6 * more.abs(), "{less} > {more}");
        }
    }
}
