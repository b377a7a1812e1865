//! Order statistics that shrug off outliers and values that are no numbers.

use homeostasis_core::Timestamp;

/// The quantile `q` in `0..=1` of values sorted upwards, interpolated linearly between neighbors
/// (type 7 of Hyndman and Fan, "Sample quantiles in statistical packages", 1996).
///
/// `None` without values.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    // Walking up avoids a cast from float to index.
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = (0..=last).rev().find(|idx| *idx as f64 <= place)?;
    let above = (below + 1).min(last);
    let share = place - below as f64;
    Some(sorted[below] + (sorted[above] - sorted[below]) * share)
}

/// The same quantile of values in any order, which it changes. O(n).
fn select(values: &mut [f64], q: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = (0..=last).rev().find(|idx| *idx as f64 <= place)?;
    let share = place - below as f64;
    let (_, lower, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let lower = *lower;
    let upper = above
        .iter()
        .copied()
        .min_by(f64::total_cmp)
        .unwrap_or(lower);
    Some(lower + (upper - lower) * share)
}

/// The finite values, sorted upwards.
pub(crate) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The median of the finite values; `None` without any.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

/// What is normal for a series: its middle, and the unit in which deviations are counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    pub(crate) median: f64,
    pub(crate) scale: f64,
}

impl Level {
    /// No scale is smaller.
    pub(crate) const MIN_SCALE: f64 = 1e-9;

    /// The level of `values`; `scale` is the largest of IQR/1.349, 1.4826 MAD, 5 % of the median
    /// and `floor`. `None` with fewer than `min_values` finite values.
    pub(crate) fn of(
        values: impl IntoIterator<Item = f64>,
        min_values: usize,
        floor: f64,
    ) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        if values.len() < min_values.max(1) {
            return None;
        }
        let iqr = select(&mut values, 0.75)? - select(&mut values, 0.25)?;
        let median = select(&mut values, 0.5)?;
        for value in &mut values {
            *value = (*value - median).abs();
        }
        let mad = select(&mut values, 0.5)?;
        let scale = (iqr / 1.349)
            .max(mad * 1.4826)
            .max(median.abs() * 0.05)
            .max(floor)
            .max(Self::MIN_SCALE);
        // Values near the ends of f64 may overflow a difference; such a level says nothing.
        (median.is_finite() && scale.is_finite()).then_some(Self { median, scale })
    }

    /// How many scales `value` lies above the median; negative below it.
    pub(crate) fn z(self, value: f64) -> f64 {
        (value - self.median) / self.scale
    }
}

/// The largest mean over contiguous runs of at least two, with where that run begins; `None` for
/// fewer than two values.
///
/// Any longer run splits into runs of two and three, one of which has a mean at least as large, so
/// that only those are looked at: O(n).
pub(crate) fn scan(values: &[f64]) -> Option<(f64, usize)> {
    let mean = |run: &[f64]| run.iter().sum::<f64>() / run.len() as f64;
    let twos = values.windows(2).map(mean).enumerate();
    let threes = values.windows(3).map(mean).enumerate();
    twos.chain(threes)
        .map(|(start, mean)| (mean, start))
        .filter(|(mean, _)| mean.is_finite())
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
}

/// The median slope over all pairs of points (Theil 1950; Sen, "Estimates of the regression
/// coefficient based on Kendall's tau", 1968). `None` without two different times. O(n²).
pub(crate) fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let slopes = points.iter().enumerate().flat_map(|(idx, a)| {
        points[idx + 1..]
            .iter()
            .filter(|b| b.0 > a.0)
            .map(|b| (b.1 - a.1) / (b.0 - a.0))
    });
    median(slopes)
}

/// The normal score of Mann's and Kendall's trend test (Mann, "Nonparametric tests against trend",
/// 1945), with continuity correction and without correction for ties, which makes it cautious for
/// series that mostly stand still. Zero for fewer than three values. O(n²).
pub(crate) fn mann_kendall(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.len() < 3 {
        return 0.0;
    }
    let mut s = 0.0;
    for (idx, a) in values.iter().enumerate() {
        for b in &values[idx + 1..] {
            s += if b > a {
                1.0
            } else if b < a {
                -1.0
            } else {
                0.0
            };
        }
    }
    let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    if s == 0.0 {
        0.0
    } else {
        (s - f64::signum(s)) / deviation
    }
}

/// Medians of the finite points in at most `n` equal stretches of their time, as (seconds since
/// the first point, value); empty stretches are left out. O(points · log points).
pub(crate) fn buckets(points: &[(Timestamp, f64)], n: u32) -> Vec<(f64, f64)> {
    let points: Vec<_> = points.iter().filter(|(_, v)| v.is_finite()).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let seconds = |at: Timestamp| at.since(first.0).as_secs_f64();
    let width = seconds(last.0) / f64::from(n.max(1));
    if width <= 0.0 {
        return median(points.iter().map(|(_, v)| *v))
            .map(|v| (0.0, v))
            .into_iter()
            .collect();
    }
    let mut made = Vec::new();
    let mut rest = &points[..];
    for bucket in 1..=n.max(1) {
        let end = f64::from(bucket) * width;
        let taken = if bucket == n.max(1) {
            rest.len()
        } else {
            rest.partition_point(|(at, _)| seconds(*at) < end)
        };
        let (inside, after) = rest.split_at(taken);
        if let Some(middle) = median(inside.iter().map(|(_, v)| *v)) {
            let at = median(inside.iter().map(|(at, _)| seconds(*at))).unwrap_or_default();
            made.push((at, middle));
        }
        rest = after;
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_interpolate_as_numpy_does() {
        // numpy.quantile([1, 2, 4, 8], q)
        for (q, expected) in [
            (0.0, 1.0),
            (0.25, 1.75),
            (0.5, 3.0),
            (0.75, 5.0),
            (1.0, 8.0),
        ] {
            assert_eq!(quantile(&[1.0, 2.0, 4.0, 8.0], q), Some(expected));
        }
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn one_outlier_moves_neither_middle_nor_scale_much() {
        let calm: Vec<f64> = (0..20).map(|i| 100.0 + f64::from(i % 5)).collect();
        let mut loud = calm.clone();
        loud[7] = 1e12;
        loud[9] = f64::NAN;
        let (a, b) = (
            Level::of(calm, 4, 0.0).unwrap(),
            Level::of(loud, 4, 0.0).unwrap(),
        );
        assert!((a.median - b.median).abs() <= 1.0);
        assert!((a.scale - b.scale).abs() <= 0.5 * a.scale);
        assert!(a.scale >= 0.05 * a.median);
    }

    #[test]
    fn a_trend_is_told_from_a_sawtooth() {
        let ramp: Vec<f64> = (0..20).map(f64::from).collect();
        let saw: Vec<f64> = (0..20).map(|i| f64::from(i % 5)).collect();
        // S = 190 of 190 pairs, deviation sqrt(20·19·45/18) = 30.8221.
        assert!((mann_kendall(&ramp) - 189.0 / 30.822_070).abs() < 1e-6);
        assert!(mann_kendall(&saw) < 2.0);
        let points: Vec<_> = ramp.iter().map(|x| (*x, 3.0 * x + 1.0)).collect();
        assert_eq!(theil_sen(&points), Some(3.0));
    }

    #[test]
    fn buckets_cover_every_point_and_stand_still_for_one_instant() {
        let points: Vec<_> = (0..100)
            .map(|i| (Timestamp::from_secs(i), if i == 5 { f64::NAN } else { 1.0 }))
            .collect();
        let made = buckets(&points, 10);
        assert_eq!(made.len(), 10);
        assert!(made.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(buckets(&points[..1], 10), [(0.0, 1.0)]);
        assert!(buckets(&[], 10).is_empty());
    }

    proptest! {
        #[test]
        fn runs_of_two_and_three_are_enough(values in prop::collection::vec(-9.0..9.0f64, 2..20)) {
            let mut best = f64::MIN;
            for start in 0..values.len() {
                for end in start + 2..=values.len() {
                    let run = &values[start..end];
                    best = best.max(run.iter().sum::<f64>() / run.len() as f64);
                }
            }
            prop_assert!((scan(&values).unwrap().0 - best).abs() < 1e-9);
        }
    }
}
