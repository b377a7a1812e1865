//! Quantiles of classic histograms.

/// One cumulative bucket: how many observations were at most `upper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The upper bound, inclusive; `+Inf` for the last.
    pub upper: f64,
    /// The number of observations at or below it.
    pub count: f64,
}

/// The `q`-quantile of a histogram, linear within its bucket.
///
/// `buckets` are sorted by `upper`; the last must be `+Inf`. Counts that fall from one bucket to
/// the next are raised to the one before, since buckets are not read at one instant.
/// - The lower bound of the first bucket is 0 if its upper bound is positive; otherwise its upper
///   bound is the answer.
/// - In the `+Inf` bucket the answer is the largest finite bound: the quantile is at least that.
///
/// `None` without observations, with fewer than two buckets, without a `+Inf` bucket, or if `q` is
/// not in `0..=1`. O(`n_buckets`).
///
/// Source: the function `histogram_quantile` of the Prometheus query language, as documented.
///
/// # Examples
/// ```
/// use homeostasis::signals::{Bucket, histogram_quantile};
///
/// let bucket = |upper, count| Bucket { upper, count };
/// let buckets = [bucket(0.1, 50.0), bucket(0.2, 100.0), bucket(f64::INFINITY, 100.0)];
/// assert_eq!(histogram_quantile(0.75, &buckets), Some(0.15000000000000002));
/// assert_eq!(histogram_quantile(0.5, &buckets[..2]), None);
/// ```
pub fn histogram_quantile(q: f64, buckets: &[Bucket]) -> Option<f64> {
    let last = buckets.last()?;
    if buckets.len() < 2 || last.upper != f64::INFINITY || !(0.0..=1.0).contains(&q) {
        return None;
    }
    let mut highest = 0.0_f64;
    let counts: Vec<f64> = buckets
        .iter()
        .map(|bucket| {
            highest = highest.max(bucket.count);
            highest
        })
        .collect();
    if highest <= 0.0 || !highest.is_finite() {
        return None;
    }
    let rank = q * highest;
    let within = counts
        .iter()
        .position(|count| *count >= rank)
        .unwrap_or(buckets.len() - 1);
    if within == buckets.len() - 1 {
        return Some(buckets[within - 1].upper);
    }
    let upper = buckets[within].upper;
    if within == 0 && upper <= 0.0 {
        return Some(upper);
    }
    let (lower, below) = if within == 0 {
        (0.0, 0.0)
    } else {
        (buckets[within - 1].upper, counts[within - 1])
    };
    let inside = counts[within] - below;
    if inside <= 0.0 {
        return Some(lower);
    }
    Some(lower + (upper - lower) * ((rank - below) / inside))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs
            .iter()
            .map(|&(upper, count)| Bucket { upper, count })
            .collect()
    }

    #[test]
    fn the_rules_for_the_edges_hold() {
        let infinity = f64::INFINITY;
        let usual = buckets(&[(0.1, 10.0), (0.5, 90.0), (1.0, 95.0), (infinity, 100.0)]);
        assert_eq!(histogram_quantile(0.05, &usual), Some(0.05));
        assert_eq!(histogram_quantile(0.9, &usual), Some(0.5));
        assert_eq!(histogram_quantile(0.99, &usual), Some(1.0));
        let below_zero = buckets(&[(-1.0, 5.0), (1.0, 6.0), (infinity, 6.0)]);
        assert_eq!(histogram_quantile(0.5, &below_zero), Some(-1.0));
        let none = buckets(&[(1.0, 0.0), (infinity, 0.0)]);
        assert_eq!(histogram_quantile(0.5, &none), None);
        assert_eq!(histogram_quantile(f64::NAN, &usual), None);
        let falling = buckets(&[(0.1, 10.0), (0.5, 9.0), (infinity, 10.0)]);
        assert_eq!(histogram_quantile(1.0, &falling), Some(0.1));
    }

    proptest! {
        #[test]
        fn a_quantile_grows_with_q_and_stays_within_the_finite_bounds(
            steps in proptest::collection::vec((0.001_f64..10.0, 0.0_f64..50.0), 1..12),
            (a, b) in (0.0_f64..=1.0, 0.0_f64..=1.0),
        ) {
            let (mut upper, mut count) = (0.0, 0.0);
            let mut histogram: Vec<Bucket> = steps
                .iter()
                .map(|(width, more)| {
                    upper += width;
                    count += more;
                    Bucket { upper, count }
                })
                .collect();
            histogram.push(Bucket { upper: f64::INFINITY, count: count + 1.0 });
            let low = histogram_quantile(a.min(b), &histogram).unwrap();
            let high = histogram_quantile(a.max(b), &histogram).unwrap();
            prop_assert!(low <= high + 1e-9);
            prop_assert!((0.0..=upper).contains(&low) && high <= upper + 1e-9);
        }
    }
}
