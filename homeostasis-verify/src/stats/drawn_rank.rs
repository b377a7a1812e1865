//! Where a quantile of a part of a sample lies in the whole of it.

/// More terms than this do not change the sum below a hundred million values.
const MOST_TERMS: u32 = 200_000;

/// The probability that the `rank`-th smallest (from 1) of `drawn` values, drawn without replacement
/// from `n`, is one of the `below` smallest ones.
///
/// Quantiles of samples of different size are not alike even if nothing differs: the one of the
/// smaller sample is spread more. Comparing the smaller sample with all ways to draw as many from
/// the larger one is as fair as comparing two of the same size, and needs no chance.
///
/// It is the upper tail of the hypergeometric distribution (N. L. Johnson, A. W. Kemp and S. Kotz,
/// *Univariate Discrete Distributions*, 3rd ed. 2005, section 6.2), summed from its largest term
/// on. `below` and `drawn` beyond `n` count as `n`. O(sqrt(n)).
///
/// ```
/// use homeostasis::verify::stats::drawn_rank_below;
/// // The smaller one of two of three values is the smallest in two cases of three.
/// assert!((drawn_rank_below(3, 1, 2, 1) - 2.0 / 3.0).abs() < 1e-12);
/// assert_eq!(drawn_rank_below(3, 3, 2, 2), 1.0);
/// ```
pub fn drawn_rank_below(n: u64, below: u64, drawn: u64, rank: u64) -> f64 {
    let (below, drawn) = (below.min(n), drawn.min(n));
    let least = drawn.saturating_sub(n - below);
    if rank <= least {
        return 1.0;
    }
    if rank > below.min(drawn) {
        return 0.0;
    }
    let (all, k, m, rank) = (n as f64, below as f64, drawn as f64, rank as f64);
    let mode = (m + 1.0) * (k + 1.0) / (all + 2.0);
    let upward = rank > mode;
    let mut at = if upward { rank } else { rank - 1.0 };
    let mut term = libm::exp(choose(k, at) + choose(all - k, m - at) - choose(all, m));
    let mut sum = 0.0;
    for _ in 0..MOST_TERMS {
        sum += term;
        term *= if upward {
            (k - at) * (m - at) / ((at + 1.0) * (all - k - m + at + 1.0))
        } else {
            at * (all - k - m + at) / ((k - at + 1.0) * (m - at + 1.0))
        };
        at += if upward { 1.0 } else { -1.0 };
        if term <= sum * 1e-17 {
            break;
        }
    }
    (if upward { sum } else { 1.0 - sum }).clamp(0.0, 1.0)
}

/// The logarithm of the number of ways to choose `k` of `n`.
fn choose(n: f64, k: f64) -> f64 {
    libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use statrs::distribution::{DiscreteCDF, Hypergeometric};

    proptest! {
        #[test]
        fn it_agrees_with_the_distribution_of_statrs(n in 1_u64..300, below in 0_u64..300, drawn in 0_u64..300, rank in 1_u64..300) {
            let (below, drawn) = (below.min(n), drawn.min(n));
            let law = Hypergeometric::new(n, below, drawn).unwrap();
            let expected = 1.0 - law.cdf(rank - 1);
            let found = drawn_rank_below(n, below, drawn, rank);
            prop_assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
        }
    }

    #[test]
    fn large_samples_are_answered_at_once() {
        let half = drawn_rank_below(100_000_000, 50_000_000, 50_000_000, 25_000_000);
        assert!((half - 0.5).abs() < 1e-3, "{half}");
        let most = u64::MAX;
        assert!((0.0..=1.0).contains(&drawn_rank_below(most, most / 2, most / 2, most / 4)));
    }
}
