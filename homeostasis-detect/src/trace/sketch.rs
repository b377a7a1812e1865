//! Quantiles in bounded memory, with a bounded relative error.

use std::collections::VecDeque;

use homeostasis_core::{ConfigError, Ratio, Violation};
use serde::{Deserialize, Serialize};

/// The least value that is told from 0: a nanosecond, if the unit is seconds.
const LEAST: f64 = 1e-9;
/// The greatest; what is beyond counts as this.
const GREATEST: f64 = 1e12;
/// Buckets kept; at an accuracy of 1 % they span a factor of 7e8.
const MAX_BUCKETS: usize = 1024;

/// Quantiles of positive values with a bounded *relative* error: a 99th percentile of 1 % accuracy is within 1 % of
/// the exact one, whether it is a millisecond or a minute.
///
/// Bucket `i` counts the values in `(gamma^(i-1), gamma^i]` with `gamma = (1 + accuracy) / (1 - accuracy)`; its values
/// are said to be `2 gamma^i / (gamma + 1)`.
/// At most 1024 buckets are kept: beyond that the lowest are put together, so that high quantiles keep their accuracy.
/// Values of at most 1e-9 (zero and negative ones too) count as 0, those above 1e12 as 1e12; NaN is ignored.
/// Two sketches of the same accuracy merge without loss.
/// O(1) amortized per value; O(buckets) per quantile and merge.
///
/// Source: C. Masson, J. E. Rim, H. K. Lee, *`DDSketch`: a fast and fully-mergeable quantile sketch with relative-error
/// guarantees*, PVLDB 12 (2019), pages 2195-2205, algorithms 1 to 4.
///
/// # Examples
/// ```
/// use homeostasis::core::Ratio;
/// use homeostasis::detect::QuantileSketch;
///
/// let mut sketch = QuantileSketch::new(Ratio::new(0.01)?)?;
/// for millis in 1..=1000 {
///     sketch.add(f64::from(millis) / 1000.0);
/// }
/// let p99 = sketch.quantile(Ratio::new(0.99)?).unwrap();
/// assert!((p99 / 0.990 - 1.0).abs() <= 0.0101, "{p99}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantileSketch {
    accuracy: f64,
    n_zero: u64,
    /// The index of the first bucket.
    first: i32,
    buckets: VecDeque<u64>,
}

impl QuantileSketch {
    /// An empty sketch of this relative accuracy.
    ///
    /// # Errors
    /// If `accuracy` is not in 0.001 to 0.5.
    pub fn new(accuracy: Ratio) -> Result<Self, ConfigError> {
        let accuracy = accuracy.get();
        if !(0.001..=0.5).contains(&accuracy) {
            let expected = "0.001 to 0.5";
            let violation = Violation::new("quantile_sketch.accuracy", accuracy, expected);
            return Err(violation.into());
        }
        Ok(Self {
            accuracy,
            n_zero: 0,
            first: 0,
            buckets: VecDeque::new(),
        })
    }

    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        if value <= LEAST {
            self.n_zero = self.n_zero.saturating_add(1);
        } else {
            self.count(self.index(value.min(GREATEST)), 1);
        }
    }

    /// How many values were counted.
    pub fn len(&self) -> u64 {
        let add = |sum: u64, n: &u64| sum.saturating_add(*n);
        self.buckets.iter().fold(self.n_zero, add)
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        (self.n_zero, self.first) = (0, 0);
        self.buckets.clear();
    }

    /// The value of rank `floor(q (n - 1))`, counted from 0; `None` if there is none.
    pub fn quantile(&self, q: Ratio) -> Option<f64> {
        let n = self.len();
        if n == 0 {
            return None;
        }
        let rank = (q.get() * (n - 1) as f64).floor();
        let mut below = self.n_zero;
        if rank < below as f64 {
            return Some(0.0);
        }
        let mut index = self.first;
        for count in &self.buckets {
            below = below.saturating_add(*count);
            if rank < below as f64 {
                break;
            }
            index += 1;
        }
        Some(self.value(index))
    }

    /// Counts what `other` counted.
    ///
    /// # Errors
    /// If its accuracy is another one; nothing is counted then.
    pub fn merge(&mut self, other: &Self) -> Result<(), ConfigError> {
        if self.accuracy != other.accuracy {
            let expected = format!("{}, as here", self.accuracy);
            let path = "quantile_sketch.accuracy";
            return Err(Violation::new(path, other.accuracy, expected).into());
        }
        self.n_zero += other.n_zero;
        for (index, count) in (other.first..).zip(&other.buckets) {
            if *count > 0 {
                self.count(index, *count);
            }
        }
        Ok(())
    }

    /// Whether it can have come about by counting; what was stored may be wrong.
    pub(crate) fn is_sound(&self) -> bool {
        (0.001..=0.5).contains(&self.accuracy)
            && self.buckets.len() <= MAX_BUCKETS
            && self.first.abs() <= 100_000
    }

    fn ln_gamma(&self) -> f64 {
        ((1.0 + self.accuracy) / (1.0 - self.accuracy)).ln()
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the logarithm of 1e-9 to 1e12 is within ±28, its multiple by 1 / ln gamma within ±14 000"
    )]
    fn index(&self, value: f64) -> i32 {
        (value.ln() / self.ln_gamma()).ceil() as i32
    }

    fn value(&self, index: i32) -> f64 {
        let gamma = (1.0 + self.accuracy) / (1.0 - self.accuracy);
        2.0 * (f64::from(index) * self.ln_gamma()).exp() / (gamma + 1.0)
    }

    fn count(&mut self, index: i32, n: u64) {
        if self.buckets.is_empty() {
            self.first = index;
        }
        let len = i32::try_from(self.buckets.len()).unwrap_or(i32::MAX);
        let max = i32::try_from(MAX_BUCKETS).unwrap_or(i32::MAX);
        // The lowest bucket there may be beside the highest there will be.
        let lowest = (self.first + len - 1).max(index) - max + 1;
        let index = index.max(lowest);
        while self.first < lowest {
            // The lowest bucket goes into the next one.
            let Some(count) = self.buckets.pop_front() else {
                break;
            };
            self.first += 1;
            if let Some(next) = self.buckets.front_mut() {
                *next = next.saturating_add(count);
            } else {
                self.first = lowest;
                self.buckets.push_front(count);
            }
        }
        while self.first > index {
            self.first -= 1;
            self.buckets.push_front(0);
        }
        let place = usize::try_from(index - self.first).unwrap_or(0);
        while self.buckets.len() <= place {
            self.buckets.push_back(0);
        }
        self.buckets[place] = self.buckets[place].saturating_add(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use proptest::prelude::*;

    fn sketch() -> QuantileSketch {
        QuantileSketch::new(Ratio::saturating(0.01)).unwrap()
    }

    fn exact(sorted: &[f64], q: f64) -> f64 {
        let rank = (q * (sorted.len() - 1) as f64).floor();
        let at = sorted.iter().enumerate().find(|(i, _)| *i as f64 >= rank);
        *at.unwrap().1
    }

    #[test]
    fn quantiles_of_heavy_tails_are_within_one_percent() {
        let (mut sketch, mut rng) = (sketch(), Rng::from_seed(5));
        // Pareto with shape 1: no mean.
        let mut values: Vec<f64> = (0..20_000).map(|_| 1e-3 / (1.0 - rng.unit())).collect();
        for value in &values {
            sketch.add(*value);
        }
        values.sort_by(f64::total_cmp);
        for q in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (told, exact) = (
                sketch.quantile(Ratio::saturating(q)).unwrap(),
                exact(&values, q),
            );
            assert!(
                (told / exact - 1.0).abs() <= 0.01 + 1e-9,
                "{q}: {told} for {exact}"
            );
        }
    }

    #[test]
    fn the_extremes_of_numbers_stay_within_bounds() {
        let mut sketch = sketch();
        assert_eq!(sketch.quantile(Ratio::ONE), None);
        for value in [
            f64::NAN,
            f64::INFINITY,
            f64::MAX,
            -1.0,
            0.0,
            f64::MIN_POSITIVE,
            1e-8,
            1.0,
        ] {
            sketch.add(value);
        }
        assert_eq!(sketch.len(), 7);
        assert!(sketch.buckets.len() <= MAX_BUCKETS && sketch.is_sound());
        assert_eq!(sketch.quantile(Ratio::ZERO), Some(0.0));
        let most = sketch.quantile(Ratio::ONE).unwrap();
        assert!((most / GREATEST - 1.0).abs() <= 0.0101, "{most}");
        for value in [1e-8, 1e11, 1e-8, 1e12] {
            sketch.add(value);
        }
        assert_eq!((sketch.len(), sketch.buckets.len()), (11, MAX_BUCKETS));
    }

    #[test]
    fn accuracies_out_of_range_and_unequal_ones_are_refused() {
        for accuracy in [0.0, 0.6] {
            assert!(QuantileSketch::new(Ratio::saturating(accuracy)).is_err());
        }
        let error = sketch()
            .merge(&QuantileSketch::new(Ratio::saturating(0.02)).unwrap())
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("quantile_sketch.accuracy = 0.02"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn merging_is_counting_together_and_the_error_is_bounded(
            a in prop::collection::vec(1e-6..1e3_f64, 0..60),
            b in prop::collection::vec(1e-6..1e3_f64, 1..60),
            q in 0.0..=1.0_f64,
        ) {
            let (mut left, mut right, mut both) = (sketch(), sketch(), sketch());
            for v in &a {
                left.add(*v);
            }
            for v in &b {
                right.add(*v);
            }
            let mut all = [a, b].concat();
            for v in &all {
                both.add(*v);
            }
            left.merge(&right).unwrap();
            let q_ = Ratio::saturating(q);
            prop_assert_eq!(left.quantile(q_), both.quantile(q_));
            all.sort_by(f64::total_cmp);
            let told = both.quantile(q_).unwrap();
            prop_assert!((told / exact(&all, q) - 1.0).abs() <= 0.0101);
        }
    }
}
