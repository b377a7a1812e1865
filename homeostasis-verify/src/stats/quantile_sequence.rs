//! Confidence sequences of a quantile: limits one may look at as often as one likes.

use super::error_increase::log_beta;

/// The ranks, from 1, of the values between which the `p`-quantile lies, in samples of every size
/// at once, except with probability `alpha`; a side without a limit is `None`.
///
/// The number of values up to the quantile is a sum of `n` trials with the share `p`. Its likelihood
/// ratio against a share drawn from `Beta(w p, w (1 - p))` is a martingale; the limits are where it
/// reaches `1 / alpha`. It holds for every continuous distribution of independent values; where
/// values repeat it is conservative.
///
/// Source: S. R. Howard and A. Ramdas, *Sequential estimation of quantiles with applications to A/B
/// testing and best-arm identification*, Bernoulli 28 (2022), section 3, the beta-binomial bound,
/// doi:10.3150/21-BEJ1388. Deviation: `w` is fixed to 200, which is tightest for some thousand
/// values.
///
/// `None` if `p` is not in `0..1`, `alpha` not in `0..1`, or both sides are without a limit.
/// O(log n).
///
/// ```
/// use homeostasis::verify::stats::quantile_ranks;
/// let (low, high) = quantile_ranks(10_000, 0.5, 0.05).unwrap();
/// assert!(low > Some(4700) && high < Some(5300));
/// assert_eq!(quantile_ranks(3, 0.5, 0.05), None);
/// ```
pub fn quantile_ranks(n: u64, p: f64, alpha: f64) -> Option<(Option<u64>, Option<u64>)> {
    const WEIGHT: f64 = 200.0;
    let inside = |share: f64| share > 0.0 && share < 1.0;
    if n == 0 || !inside(p) || !inside(alpha) {
        return None;
    }
    let total = n as f64;
    let (a, b) = (WEIGHT * p, WEIGHT * (1.0 - p));
    let refuted = |k: u64| {
        let below = k as f64;
        let log_e = log_beta(below + a, total - below + b)
            - log_beta(a, b)
            - below * libm::log(p)
            - (total - below) * libm::log1p(-p);
        log_e >= -libm::log(alpha)
    };
    // Evidence falls towards n * p and rises beyond it, so each limit is found by halving.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and n"
    )]
    let center = (total * p).round() as u64;
    // The quantile is above the k-th value if at least n - k values lie above it, and so on.
    let low = refuted(0).then(|| first(1, center, |k| !refuted(k)));
    let high = refuted(n).then(|| first(center, n, refuted));
    (low.is_some() || high.is_some()).then_some((low, high))
}

/// The first number in `from..=to` that `holds`; `to` if none before does.
fn first(mut from: u64, mut to: u64, holds: impl Fn(u64) -> bool) -> u64 {
    while from < to {
        let middle = from + (to - from) / 2;
        if holds(middle) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use proptest::prelude::*;

    #[test]
    fn the_limits_hold_at_all_times_at_once() {
        // Uniform values: the p-quantile is p, and the k-th value is above it exactly if fewer than
        // k values lie below it.
        for (seed, p) in [(1, 0.5), (2, 0.95), (3, 0.99)] {
            let mut rng = Rng::from_seed(seed);
            let broken = (0..400)
                .filter(|_| {
                    let mut below = 0;
                    (1..=2000_u64).any(|n| {
                        below += u64::from(rng.unit() < p);
                        n % 10 == 0
                            && quantile_ranks(n, p, 0.05).is_some_and(|(low, high)| {
                                low.is_some_and(|k| below < k) || high.is_some_and(|k| below >= k)
                            })
                    })
                })
                .count();
            // 5 % of 400, and three standard deviations.
            assert!(broken <= 33, "{p}: {broken} of 400");
        }
    }

    #[test]
    fn ranks_agree_with_the_stored_reference() {
        // scipy.special.betaln, a linear search: testdata/quantile_ranks.py
        type Row = (u64, f64, f64, Option<u64>, Option<u64>);
        let rows: Vec<Row> =
            serde_json::from_str(include_str!("../../testdata/quantile_ranks.json")).unwrap();
        assert!(rows.len() >= 20);
        for (n, p, alpha, low, high) in rows {
            let expected = (low.is_some() || high.is_some()).then_some((low, high));
            assert_eq!(quantile_ranks(n, p, alpha), expected, "{n} {p} {alpha}");
        }
    }

    proptest! {
        #[test]
        fn the_quantile_of_the_sample_is_within(n in 1_u64..100_000, p in 0.01..0.99_f64, alpha in 0.001..0.2_f64) {
            let center = n as f64 * p;
            if let Some((low, high)) = quantile_ranks(n, p, alpha) {
                prop_assert!(low.is_none_or(|k| k >= 1 && k as f64 <= center + 1.0));
                prop_assert!(high.is_none_or(|k| k <= n && k as f64 >= center - 1.0));
            }
        }
    }

    #[test]
    fn what_is_no_share_has_no_limits() {
        for (p, alpha) in [
            (0.0, 0.05),
            (1.0, 0.05),
            (f64::NAN, 0.05),
            (0.5, 0.0),
            (0.5, f64::NAN),
        ] {
            assert_eq!(quantile_ranks(1000, p, alpha), None);
        }
        assert_eq!(quantile_ranks(0, 0.5, 0.05), None);
    }
}
