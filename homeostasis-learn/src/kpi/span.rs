//! Times, with median, p90, mean and an interval.

use std::time::Duration;

use homeostasis_core::Rng;
use serde::{Deserialize, Serialize};

use super::{KaplanMeier, Lifetime};

/// How often the sample is drawn again for the interval.
const RESAMPLES: usize = 1000;

/// Why an end of an interval has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknowable {
    /// Too many are cut off: it lies beyond what was seen.
    BeyondWhatWasSeen,
}

/// A distribution of times in a few numbers.
///
/// Median and p90 are of the Kaplan-Meier curve, so that incidents that still last count. The mean
/// is of those whose end was seen, and so too small when some are cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// How many times there are, cut off ones included.
    pub n: usize,
    /// How many of them are cut off.
    pub n_censored: usize,
    /// How many cases have no time, and are not in `n`.
    pub n_unknown: usize,
    /// By when half of them have ended; `None` if that was not seen.
    pub median: Option<Duration>,
    /// By when nine in ten of them have ended; `None` if that was not seen.
    pub p90: Option<Duration>,
    /// The mean of those whose end was seen; `None` if there are none.
    pub mean: Option<Duration>,
    /// The 95 % interval of the median; `None` if no end was seen or with fewer than 5 times.
    ///
    /// Percentile bootstrap of 1000 resamples of the pairs (time, cut off): B. Efron, *Censored
    /// data and the bootstrap*, JASA 76 (1981).
    pub interval: Option<(Duration, Result<Duration, Unknowable>)>,
}

impl Span {
    /// The numbers of `lifetimes`; `n_unknown` cases have none.
    pub fn of(lifetimes: &[Lifetime], n_unknown: usize, rng: &mut Rng) -> Self {
        let curve = KaplanMeier::of(lifetimes);
        let ended: Vec<_> = lifetimes.iter().filter(|l| !l.censored).collect();
        let total: f64 = ended.iter().map(|l| l.lasted.as_secs_f64()).sum();
        Self {
            n: lifetimes.len(),
            n_censored: lifetimes.len() - ended.len(),
            n_unknown,
            median: curve.quantile(0.5),
            p90: curve.quantile(0.9),
            mean: (!ended.is_empty())
                .then(|| Duration::try_from_secs_f64(total / ended.len() as f64).ok())
                .flatten(),
            interval: bootstrap(lifetimes, rng),
        }
    }
}

fn bootstrap(
    lifetimes: &[Lifetime],
    rng: &mut Rng,
) -> Option<(Duration, Result<Duration, Unknowable>)> {
    if lifetimes.len() < 5 {
        return None;
    }
    let n = lifetimes.len() as u64;
    // `None`, a median that was not seen, is longer than every one that was.
    let mut medians: Vec<(bool, Option<Duration>)> = (0..RESAMPLES)
        .map(|_| {
            let sample: Vec<_> = (0..n)
                .filter_map(|_| usize::try_from(rng.below(n)).ok())
                .map(|idx| lifetimes[idx])
                .collect();
            let median = KaplanMeier::of(&sample).quantile(0.5);
            (median.is_none(), median)
        })
        .collect();
    medians.sort_unstable();
    let cut = RESAMPLES / 40;
    let low = medians[cut].1?;
    let high = medians[RESAMPLES - 1 - cut].1;
    Some((low, high.ok_or(Unknowable::BeyondWhatWasSeen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(range: std::ops::Range<u64>) -> Vec<Lifetime> {
        range
            .map(|n| Lifetime::ended(Duration::from_secs(n)))
            .collect()
    }

    #[test]
    fn a_few_numbers_of_known_times() {
        let span = Span::of(&times(1..101), 2, &mut Rng::from_seed(1));
        assert_eq!((span.n, span.n_censored, span.n_unknown), (100, 0, 2));
        assert_eq!(span.median, Some(Duration::from_secs(50)));
        assert_eq!(span.p90, Some(Duration::from_secs(90)));
        assert_eq!(span.mean, Some(Duration::from_secs_f64(50.5)));
        let (low, high) = span.interval.unwrap();
        // Ranks of the exact order-statistic interval of n = 100: 40 and 61.
        assert!((36..=44).contains(&low.as_secs()), "{low:?}");
        assert!((56..=65).contains(&high.unwrap().as_secs()), "{high:?}");
    }

    #[test]
    fn the_interval_holds_the_true_median_about_nineteen_times_in_twenty() {
        let mut rng = Rng::from_seed(2);
        let truth = 100.0 * std::f64::consts::LN_2;
        let held = (0..60)
            .filter(|_| {
                let sample: Vec<_> = (0..40)
                    .map(|_| {
                        let lasted = -100.0 * (1.0 - rng.unit()).ln();
                        // Observed for 200 s at most.
                        if lasted > 200.0 {
                            Lifetime::cut_off(Duration::from_secs(200))
                        } else {
                            Lifetime::ended(Duration::from_secs_f64(lasted))
                        }
                    })
                    .collect();
                let (low, high) = Span::of(&sample, 0, &mut rng).interval.unwrap();
                low.as_secs_f64() <= truth && high.map_or(true, |high| truth <= high.as_secs_f64())
            })
            .count();
        // Binomial(60, 0.95): fewer than 50 has probability 0.02 %.
        assert!(held >= 50, "{held} of 60");
    }

    #[test]
    fn what_was_not_seen_has_no_value() {
        let mut all = times(1..4);
        all.extend((0..7).map(|_| Lifetime::cut_off(Duration::from_secs(3))));
        let span = Span::of(&all, 0, &mut Rng::from_seed(3));
        assert_eq!((span.median, span.p90), (None, None));
        assert_eq!(span.mean, Some(Duration::from_secs(2)));
        if let Some((_, high)) = span.interval {
            assert_eq!(high, Err(Unknowable::BeyondWhatWasSeen));
        }
        assert_eq!(Span::of(&[], 0, &mut Rng::from_seed(4)).interval, None);
        assert_eq!(
            Span::of(&times(1..5), 0, &mut Rng::from_seed(4)).interval,
            None
        );
    }
}
