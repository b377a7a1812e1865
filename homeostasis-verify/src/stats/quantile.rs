//! Means, medians and the exact confidence limit of a median.

/// The mean of the numbers in `values`; `None` if there are none. NaN is left out.
pub fn mean(values: &[f64]) -> Option<f64> {
    let numbers = values.iter().filter(|value| !value.is_nan());
    let n = numbers.clone().count();
    (n > 0).then(|| numbers.sum::<f64>() / n as f64)
}

/// The median of the numbers in `values`, the middle of the two middle ones if their number is
/// even; `None` if there are none. NaN is left out. O(n log n).
pub fn median(values: &[f64]) -> Option<f64> {
    let mut numbers: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    numbers.sort_by(f64::total_cmp);
    let upper = *numbers.get(numbers.len() / 2)?;
    if numbers.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = numbers[numbers.len() / 2 - 1];
    Some(lower + (upper - lower) / 2.0)
}

/// The smallest rank `k` (from 1) such that the `k`-th smallest of `n` independent values lies below
/// their true median with probability `risk` at most; `None` if `n` is too small.
///
/// The number of values below the median is at most binomial with share 1/2, so the limit holds for
/// every distribution (H. A. David and H. N. Nagaraja, *Order Statistics*, 3rd ed. 2003, section
/// 7.1). O(n).
///
/// ```
/// use homeostasis::verify::stats::median_upper_limit_rank;
/// assert_eq!(median_upper_limit_rank(8, 0.005), Some(8));
/// assert_eq!(median_upper_limit_rank(7, 0.005), None);
/// ```
pub fn median_upper_limit_rank(n: usize, risk: f64) -> Option<usize> {
    let total = n as f64;
    let log_half = libm::log(0.5);
    let log_factorial = |k: f64| libm::lgamma(k + 1.0);
    let mut tail = 0.0;
    let mut rank = None;
    for k in (1..=n).rev() {
        let of = k as f64;
        tail += libm::exp(
            log_factorial(total) - log_factorial(of) - log_factorial(total - of) + total * log_half,
        );
        // NaN compares as false: no rank.
        if tail > risk || risk.is_nan() {
            break;
        }
        rank = Some(k);
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{Binomial, DiscreteCDF};

    #[test]
    fn nothing_measured_has_neither_mean_nor_median() {
        assert_eq!(mean(&[f64::NAN]), None);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, f64::NAN, 1.0]), Some(2.0));
        assert_eq!(median(&[3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(mean(&[3.0, f64::NAN, 1.0]), Some(2.0));
    }

    #[test]
    fn ranks_agree_with_the_binomial_distribution_of_statrs() {
        for n in [5_u64, 8, 9, 30, 101, 1000] {
            for risk in [0.05, 0.005, 0.0005] {
                let binomial = Binomial::new(0.5, n).unwrap();
                let expected = (1..=n).find(|k| binomial.sf(k - 1) <= risk);
                let found = median_upper_limit_rank(usize::try_from(n).unwrap(), risk);
                assert_eq!(found.map(|k| k as u64), expected, "n = {n}, risk = {risk}");
            }
        }
        assert_eq!(median_upper_limit_rank(50, f64::NAN), None);
        assert_eq!(median_upper_limit_rank(0, 0.5), None);
    }
}
