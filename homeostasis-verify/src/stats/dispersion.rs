//! Do failures come one by one or in bursts?

use super::Counts;

/// Pearson's dispersion index of failures over intervals: about 1 for independent trials with one
/// share, more for bursts.
///
/// It is the chi-squared statistic of homogeneity over its degrees of freedom (D. R. Cox and E. J.
/// Snell, *Analysis of Binary Data*, 2nd ed. 1989). Intervals without trials are left
/// out. `None` with fewer than 8 intervals; 0 if none or all trials failed, where bursts cannot be
/// seen. O(n).
///
/// ```
/// use homeostasis::verify::stats::{Counts, dispersion_index};
/// let steady = vec![Counts::new(2, 98); 10];
/// assert_eq!(dispersion_index(&steady), Some(0.0));
/// assert_eq!(dispersion_index(&steady[..7]), None);
/// ```
pub fn dispersion_index(intervals: &[Counts]) -> Option<f64> {
    let used: Vec<_> = intervals.iter().filter(|c| c.trials() > 0).collect();
    if used.len() < 8 {
        return None;
    }
    let share = used
        .iter()
        .fold(Counts::default(), |sum, counts| sum.plus(**counts))
        .rate()?;
    if share <= 0.0 || share >= 1.0 {
        return Some(0.0);
    }
    let statistic: f64 = used
        .iter()
        .map(|counts| {
            let n = counts.trials() as f64;
            let off = counts.failures as f64 - n * share;
            off * off / (n * share * (1.0 - share))
        })
        .sum();
    Some(statistic / (used.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_show_and_independent_failures_do_not() {
        // chi-squared by hand: share 0.5, every interval is 5 off 5: 10 * 25 / 2.5 = 100, over 9.
        let bursts: Vec<_> = (0..10)
            .map(|i| {
                if i % 2 == 0 {
                    Counts::new(10, 0)
                } else {
                    Counts::new(0, 10)
                }
            })
            .collect();
        assert!((dispersion_index(&bursts).unwrap() - 100.0 / 9.0).abs() < 1e-12);
        let mut rng = homeostasis_core::Rng::from_seed(3);
        let steady: Vec<_> = (0..200)
            .map(|_| {
                let failures = (0..100).filter(|_| rng.unit() < 0.1).count() as u64;
                Counts::new(failures, 100 - failures)
            })
            .collect();
        let index = dispersion_index(&steady).unwrap();
        assert!((0.7..1.3).contains(&index), "{index}");
    }

    #[test]
    fn empty_intervals_say_nothing() {
        assert_eq!(dispersion_index(&[Counts::default(); 20]), None);
        assert_eq!(dispersion_index(&[Counts::new(0, 5); 20]), Some(0.0));
    }
}
