//! Histograms whose buckets grow exponentially.

use std::collections::BTreeMap;

use super::message::{ExponentialBuckets, ExponentialPoint};
use crate::intake::cumulative::Cumulative;

/// The scales that are taken: from buckets that grow by a factor of `2^1024` to `2^(2^-20)`.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;
/// The most buckets of each sign; SDKs make 160 at most unless told otherwise.
const MAX_BUCKETS: usize = 1024;

/// Counts by bucket: bucket `i` holds what lies in `(base^i, base^(i+1)]`, base = `2^(2^-scale)`.
///
/// Buckets of a higher scale fall whole into those of a lower one, so any two histograms can be
/// compared and added at the lower of their scales.
///
/// Source: *OpenTelemetry*, "Metrics Data Model", `ExponentialHistogram`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ExponentialHistogram {
    scale: i32,
    /// How many lie within `zero_threshold` of zero.
    zero: f64,
    zero_threshold: f64,
    positive: BTreeMap<i32, f64>,
    /// By the bucket of the absolute value.
    negative: BTreeMap<i32, f64>,
}

impl ExponentialHistogram {
    /// The counts of a data point.
    ///
    /// # Errors
    /// A scale or a bucket out of range, too many buckets, or a threshold that is no distance.
    pub(super) fn new(point: &ExponentialPoint) -> Result<Self, String> {
        if !SCALES.contains(&point.scale) {
            return Err(format!("scale = {}, expected -10 to 20", point.scale));
        }
        if !(point.zero_threshold >= 0.0 && point.zero_threshold.is_finite()) {
            let threshold = point.zero_threshold;
            return Err(format!("zeroThreshold = {threshold}, expected at least 0"));
        }
        Ok(Self {
            scale: point.scale,
            zero: point.zero_count as f64,
            zero_threshold: point.zero_threshold,
            positive: buckets(&point.positive)?,
            negative: buckets(&point.negative)?,
        })
    }

    /// Adds the counts of `other`.
    pub(super) fn add(&mut self, other: Self) {
        let other = self.meet(other);
        self.zero += other.zero;
        for (mine, theirs) in [
            (&mut self.positive, other.positive),
            (&mut self.negative, other.negative),
        ] {
            for (index, count) in theirs {
                *mine.entry(index).or_insert(0.0) += count;
            }
        }
    }

    /// The `q`-quantile, interpolated within its bucket: exponentially, and linearly in the bucket
    /// around zero. `None` without observations or if `q` is not in `0..=1`. O(buckets).
    ///
    /// Off by at most a factor of `base` from the observation of that rank, provided that it lies
    /// outside the zero bucket.
    /// Source: `histogram_quantile` of Prometheus for native histograms, as documented.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let count: f64 =
            self.zero + self.positive.values().sum::<f64>() + self.negative.values().sum::<f64>();
        if count <= 0.0 || !count.is_finite() || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = q * count;
        let mut below = 0.0;
        let mut last = None;
        // Where in the bucket the rank lies, if it lies there.
        let mut within = |inside: f64| {
            let fraction = (rank - below) / inside;
            below += inside;
            (fraction <= 1.0).then(|| fraction.max(0.0))
        };
        for (index, inside) in self.negative.iter().rev().filter(|(_, n)| **n > 0.0) {
            let fraction = within(*inside);
            let value = |fraction: f64| -self.power(f64::from(*index) + 1.0 - fraction);
            if let Some(fraction) = fraction {
                return Some(value(fraction));
            }
            last = Some(value(1.0));
        }
        if self.zero > 0.0 {
            // A histogram of one sign has its zeros on that side.
            let lower = if self.negative.is_empty() {
                0.0
            } else {
                -self.zero_threshold
            };
            let upper = if self.positive.is_empty() {
                0.0
            } else {
                self.zero_threshold
            };
            if let Some(fraction) = within(self.zero) {
                return Some(lower + (upper - lower) * fraction);
            }
            last = Some(upper);
        }
        for (index, inside) in self.positive.iter().filter(|(_, n)| **n > 0.0) {
            let fraction = within(*inside);
            let value = |fraction: f64| self.power(f64::from(*index) + fraction);
            if let Some(fraction) = fraction {
                return Some(value(fraction));
            }
            last = Some(value(1.0));
        }
        // Rounding may leave the last rank a hair above the last bucket.
        last
    }

    /// `base^exponent`, within what a number can be.
    fn power(&self, exponent: f64) -> f64 {
        (exponent * f64::from(-self.scale).exp2())
            .exp2()
            .min(f64::MAX)
    }

    /// Brings this and `other` to one scale and one zero bucket: the coarser of both.
    fn meet(&mut self, mut other: Self) -> Self {
        let scale = self.scale.min(other.scale);
        let threshold = self.zero_threshold.max(other.zero_threshold);
        for histogram in [self, &mut other] {
            histogram.coarsen(scale);
            histogram.widen(threshold);
        }
        other
    }

    fn coarsen(&mut self, scale: i32) {
        let by = self.scale - scale;
        if by <= 0 {
            return;
        }
        self.scale = scale;
        for buckets in [&mut self.positive, &mut self.negative] {
            for (index, count) in std::mem::take(buckets) {
                *buckets.entry(index >> by.min(31)).or_insert(0.0) += count;
            }
        }
    }

    /// Moves the buckets that lie within `threshold` of zero to the zero bucket.
    fn widen(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        self.zero_threshold = threshold;
        let factor = f64::from(-self.scale).exp2();
        let inside = |index: i32| ((f64::from(index) + 1.0) * factor).exp2() <= threshold;
        for buckets in [&mut self.positive, &mut self.negative] {
            while let Some(first) = buckets.first_entry()
                && inside(*first.key())
            {
                self.zero += first.remove();
            }
        }
    }
}

impl Cumulative for ExponentialHistogram {
    fn since(&self, before: &Self) -> Option<Self> {
        let mut grown = self.clone();
        let before = grown.meet(before.clone());
        grown.zero -= before.zero;
        for (mine, theirs) in [
            (&mut grown.positive, before.positive),
            (&mut grown.negative, before.negative),
        ] {
            for (index, count) in theirs {
                *mine.entry(index).or_insert(0.0) -= count;
            }
            if mine.values().any(|count| *count < 0.0) {
                return None;
            }
            mine.retain(|_, count| *count > 0.0);
        }
        (grown.zero >= 0.0).then_some(grown)
    }
}

fn buckets(read: &ExponentialBuckets) -> Result<BTreeMap<i32, f64>, String> {
    let n = read.counts.len();
    let last = i32::try_from(n)
        .ok()
        .and_then(|n| read.offset.checked_add(n));
    if n > MAX_BUCKETS || last.is_none() {
        let offset = read.offset;
        return Err(format!(
            "{n} buckets from {offset}, expected at most {MAX_BUCKETS} with indices of 32 bits"
        ));
    }
    // The counts come first: asked for one index more, a range that ends at the last overflows.
    Ok(read
        .counts
        .iter()
        .zip(read.offset..)
        .filter(|(count, _)| **count > 0)
        .map(|(count, index)| (index, *count as f64))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Puts values into buckets by the definition: the largest `i` with `base^i < |value|`.
    fn of(values: &[f64], scale: i32) -> ExponentialHistogram {
        let mut histogram = ExponentialHistogram {
            scale,
            ..ExponentialHistogram::default()
        };
        for value in values {
            if *value == 0.0 {
                histogram.zero += 1.0;
                continue;
            }
            let exponent = value.abs().log2() * f64::from(scale).exp2();
            let side = if *value > 0.0 {
                &mut histogram.positive
            } else {
                &mut histogram.negative
            };
            #[expect(
                clippy::cast_possible_truncation,
                reason = "small by the range of values"
            )]
            let index = exponent.ceil() as i32 - 1;
            *side.entry(index).or_insert(0.0) += 1.0;
        }
        histogram
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![-1e6_f64..-1e-6, Just(0.0), 1e-6_f64..1e6]
    }

    proptest! {
        #[test]
        fn a_quantile_is_off_by_at_most_the_growth_of_a_bucket(
            mut values in proptest::collection::vec(any_value(), 1..200),
            q in 0.0_f64..=1.0,
            scale in 0_i32..8,
        ) {
            let estimate = of(&values, scale).quantile(q).unwrap();
            values.sort_by(f64::total_cmp);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rank of at most 200"
            )]
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            let base = f64::from(-scale).exp2().exp2() * (1.0 + 1e-9);
            if exact == 0.0 {
                prop_assert_eq!(estimate, 0.0);
            } else {
                let ratio = estimate / exact;
                prop_assert!(ratio <= base && ratio >= 1.0 / base, "{} for {}", estimate, exact);
            }
        }

        #[test]
        fn what_came_later_is_found_again_whatever_the_scales(
            before in proptest::collection::vec(any_value(), 0..50),
            later in proptest::collection::vec(any_value(), 0..50),
            (a, b) in (-2_i32..8, -2_i32..8),
        ) {
            let mut sum = of(&before, a);
            sum.add(of(&later, b));
            let all: Vec<f64> = before.iter().chain(&later).copied().collect();
            prop_assert_eq!(&sum, &of(&all, a.min(b)));
            let grown = sum.since(&of(&before, a)).unwrap();
            prop_assert_eq!(grown, of(&later, a.min(b)));
        }
    }

    #[test]
    fn counts_that_fell_are_a_reset_and_a_wider_zero_bucket_is_none() {
        let before = of(&[0.5, 8.0, 8.0], 0);
        assert_eq!(of(&[0.5, 8.0], 0).since(&before), None);
        let mut wider = of(&[8.0, 8.0, 8.0], 0);
        wider.zero = 2.0;
        wider.zero_threshold = 1.0;
        let grown = wider.since(&before).unwrap();
        assert_eq!((grown.zero, grown.positive[&2]), (1.0, 1.0));
        // Half of the zero bucket on the side that has values, then the bucket (4, 8].
        assert_eq!(grown.quantile(0.25), Some(0.5));
        assert_eq!(grown.quantile(1.0), Some(8.0));
        assert_eq!(of(&[], 0).quantile(0.5), None);
    }

    #[test]
    fn the_last_bucket_there_can_be_is_taken() {
        let mut point = ExponentialPoint::default();
        point.positive.offset = i32::MAX - 1;
        point.positive.counts = vec![1];
        let histogram = ExponentialHistogram::new(&point).unwrap();
        assert_eq!(histogram.positive, [(i32::MAX - 1, 1.0)].into());
        assert_eq!(histogram.quantile(0.5), Some(f64::MAX));
    }

    #[test]
    fn points_out_of_range_are_refused_with_what_was_expected() {
        let refused = |change: fn(&mut ExponentialPoint)| {
            let mut point = ExponentialPoint::default();
            change(&mut point);
            ExponentialHistogram::new(&point).unwrap_err()
        };
        assert_eq!(
            refused(|point| point.scale = 21),
            "scale = 21, expected -10 to 20"
        );
        assert!(refused(|point| point.zero_threshold = f64::NAN).contains("at least 0"));
        assert!(refused(|point| point.positive.counts = vec![0; 1025]).starts_with("1025 buckets"));
        let edge = refused(|point| {
            point.negative.offset = i32::MAX;
            point.negative.counts = vec![1];
        });
        assert!(edge.contains("indices of 32 bits"));
    }
}
