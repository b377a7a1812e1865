//! Rank correlation of two series, one of which may follow the other.

use std::time::Duration;

use homeostasis_core::Timestamp;

/// Bins the time both series have in common is cut into, if both have as many points there.
const MAX_BINS: usize = 48;
/// Fewer bins in common say nothing.
const MIN_BINS: usize = 12;

/// How two series go together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaggedCorrelation {
    /// Spearman's rank correlation at the best lag, -1 to 1.
    pub rho: f64,
    /// By how much one follows the other there.
    pub lag: Duration,
    /// Whether the first leads: the second follows it by `lag`. True for a lag of zero.
    pub first_leads: bool,
    /// How surprising that is if they had nothing to do with each other, in nats, for the best of all lags tried.
    pub surprise: f64,
}

/// The strongest rank correlation of two series over lags of up to `max_lag` either way.
///
/// The series are points in the order of time; the time they have in common is cut into equal bins, as many as the shorter
/// has points there and at most 48, and a series is in each bin what its last point before the bin's end was.
/// Ranks of equal values are their mean, so that a series of few levels is judged fairly, and a monotone relation of
/// any shape counts fully.
/// Of equally strong lags the smallest is told.
/// Nothing if they have no time in common, one has fewer than 12 points there, or one of them is constant there.
///
/// The surprise follows from Fisher's transformation with the variance of Spearman's coefficient and Bonferroni's bound
/// for the number of lags.
/// **Warning:** series that drift go together more often than this says: it compares pairs that were already found to
/// deviate, and proves no cause.
/// O(l n log n) for n bins and l lags, at most 48 of them.
///
/// Sources: C. Spearman, *The proof and measurement of association between two things*, American Journal of Psychology
/// 15 (1904); E. C. Fieller, H. O. Hartley, E. S. Pearson, *Tests for rank correlation coefficients I*, Biometrika 44
/// (1957), equation 11.
///
/// # Examples
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::lagged_rank_correlation;
/// use std::time::Duration;
///
/// let wave = |i: i64, late: i64| (Timestamp::from_secs(10 * i), (((i - late) as f64) / 4.0).sin());
/// let first: Vec<_> = (0..96).map(|i| wave(i, 0)).collect();
/// let second: Vec<_> = (0..96).map(|i| wave(i, 2)).collect();
/// let found = lagged_rank_correlation(&first, &second, Duration::from_secs(60)).unwrap();
/// assert!(found.rho > 0.95 && found.first_leads, "{found:?}");
/// assert_eq!(found.lag.as_secs(), 19, "a bin of 19.8 seconds");
/// ```
pub fn lagged_rank_correlation(
    first: &[(Timestamp, f64)],
    second: &[(Timestamp, f64)],
    max_lag: Duration,
) -> Option<LaggedCorrelation> {
    let from = first.first()?.0.max(second.first()?.0);
    let to = first.last()?.0.min(second.last()?.0);
    let shared = |points: &[(Timestamp, f64)]| {
        points
            .iter()
            .filter(|(at, _)| (from..=to).contains(at))
            .count()
    };
    let n_bins = shared(first).min(shared(second)).min(MAX_BINS);
    if n_bins < MIN_BINS {
        return None;
    }
    let bin = to.since(from) / u32::try_from(n_bins).ok()?;
    if bin.is_zero() {
        return None;
    }
    let (first, second) = (
        binned(first, n_bins, from, bin),
        binned(second, n_bins, from, bin),
    );
    let mut best: Option<(f64, usize, bool)> = None;
    let mut n_lags = 0_u32;
    for lag in 0..=n_bins - MIN_BINS {
        if lag > 0 && bin.saturating_mul(u32::try_from(lag).ok()?) > max_lag {
            break;
        }
        for first_leads in [true, false] {
            if lag == 0 && !first_leads {
                continue;
            }
            n_lags += 1;
            let n = n_bins - lag;
            let rho = if first_leads {
                spearman(&first[..n], &second[lag..])
            } else {
                spearman(&first[lag..], &second[..n])
            };
            if let Some(rho) = rho
                && best.is_none_or(|(known, ..)| rho.abs() > known.abs() + 1e-12)
            {
                best = Some((rho, lag, first_leads));
            }
        }
    }
    let (rho, lag, first_leads) = best?;
    Some(LaggedCorrelation {
        rho,
        lag: bin * u32::try_from(lag).ok()?,
        first_leads,
        surprise: (surprise(rho, n_bins - lag) - f64::from(n_lags).ln()).max(0.0),
    })
}

/// What the series was at the end of each bin.
fn binned(points: &[(Timestamp, f64)], n_bins: usize, from: Timestamp, bin: Duration) -> Vec<f64> {
    let mut next = 0;
    let mut value = points.first().map_or(0.0, |point| point.1);
    let mut bins = Vec::with_capacity(n_bins);
    let mut end = from;
    for _ in 0..n_bins {
        end = end + bin;
        while let Some((_, seen)) = points.get(next).filter(|(at, _)| *at <= end) {
            value = *seen;
            next += 1;
        }
        bins.push(value);
    }
    bins
}

/// Spearman's coefficient; nothing if one of them is constant or there are too few.
fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() < MIN_BINS {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    // Ranks are 1 to n, their mean is known.
    let mean = (a.len() + 1) as f64 / 2.0;
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(&b) {
        let (a, b) = (a - mean, b - mean);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    (aa > 0.0 && bb > 0.0).then(|| (ab / (aa * bb).sqrt()).clamp(-1.0, 1.0))
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let value = values[order[from]];
        let n = order[from..]
            .iter()
            .take_while(|i| values[**i] == value)
            .count()
            .max(1);
        // from + 1 to from + n.
        let rank = from as f64 + f64::midpoint(n as f64, 1.0);
        for i in &order[from..from + n] {
            ranks[*i] = rank;
        }
        from += n;
    }
    ranks
}

/// The negative logarithm of the probability of a coefficient at least as strong, of `n` pairs without a relation.
fn surprise(rho: f64, n: usize) -> f64 {
    let z = rho.abs().min(1.0 - 1e-12).atanh() * ((n as f64 - 3.0) / 1.06).sqrt();
    // Both sides of a normal distribution; its tail by Mills' ratio where erfc underflows.
    let tail = libm::erfc(z / std::f64::consts::SQRT_2);
    if tail > 1e-300 {
        -tail.ln()
    } else {
        z * z / 2.0 + (z * (std::f64::consts::PI / 2.0).sqrt()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    fn series(values: impl IntoIterator<Item = f64>) -> Vec<(Timestamp, f64)> {
        let at = |i: i64| Timestamp::from_secs(10 * i);
        (0..).map(at).zip(values).collect()
    }

    /// Python's `statistics.correlation` of the mean ranks of the same numbers.
    #[test]
    fn ties_share_their_mean_rank() {
        let a = [1.0, 2.0, 2.0, 3.0, 5.0, 5.0, 5.0, 8.0, 9.0, 1.0, 4.0, 7.0];
        let b = [2.0, 1.0, 3.0, 3.0, 4.0, 6.0, 5.0, 9.0, 7.0, 0.0, 4.0, 4.0];
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert!((spearman(&a, &b).unwrap() - 0.914_439_955_453_690_4).abs() < 1e-12);
        assert_eq!(spearman(&a, &[1.0; 12]), None);
    }

    #[test]
    fn any_monotone_relation_is_full_and_its_lag_and_sign_are_found() {
        let mut rng = Rng::from_seed(51);
        let noise: Vec<f64> = (0..480).map(|_| rng.unit()).collect();
        // Steps as long as a bin, so that bins see what there is.
        let first = series((0..480_usize).map(|i| noise[i / 10]));
        let second = series((0..480_usize).map(|i| -noise[(i / 10).saturating_sub(3)].powi(3)));
        let found = lagged_rank_correlation(&first, &second, Duration::from_secs(600)).unwrap();
        assert!(
            found.rho < -0.95 && found.first_leads && found.surprise > 20.0,
            "{found:?}"
        );
        assert!((250..=350).contains(&found.lag.as_secs()), "{found:?}");
        let back = lagged_rank_correlation(&second, &first, Duration::from_secs(600)).unwrap();
        assert!(
            !back.first_leads && (back.rho - found.rho).abs() < 0.05,
            "{back:?}"
        );
    }

    #[test]
    fn noise_is_rarely_surprising() {
        let mut rng = Rng::from_seed(52);
        let mut n_surprising = 0;
        for _ in 0..1000 {
            let mut draw = || series((0..48).map(|_| rng.unit()).collect::<Vec<_>>());
            let (a, b) = (draw(), draw());
            let found = lagged_rank_correlation(&a, &b, Duration::from_secs(60)).unwrap();
            n_surprising += u32::from(found.surprise > 100_f64.ln());
        }
        // One in a hundred, and Bonferroni's bound is on the safe side.
        assert!(n_surprising <= 20, "{n_surprising}");
    }

    #[test]
    fn without_time_in_common_or_change_there_is_nothing() {
        let (a, constant) = (series((0..50).map(f64::from)), series([1.0; 50]));
        let later: Vec<_> = a
            .iter()
            .map(|(at, v)| (*at + Duration::from_secs(10_000), *v))
            .collect();
        let lag = Duration::from_secs(60);
        assert_eq!(lagged_rank_correlation(&a, &later, lag), None);
        assert_eq!(lagged_rank_correlation(&a, &constant, lag), None);
        assert_eq!(lagged_rank_correlation(&a, &[], lag), None);
        assert_eq!(
            lagged_rank_correlation(&a, &a, Duration::ZERO).unwrap().rho,
            1.0
        );
    }
}
