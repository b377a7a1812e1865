//! What is usual around one time of another day.

use std::time::Duration;

use homeostasis_core::Timestamp;

use crate::stats;

/// Stretches looked at before and after the one that counts, each as long as it.
const NEIGHBORS: u32 = 6;

/// Stretches farther from the median than so many scaled median absolute deviations are trouble of
/// that day and no measure for this one (the identifier of F. Hampel, The breakdown points of the mean
/// combined with some rejection rules, Technometrics 27, 1985).
const MAX_DEVIATIONS: f64 = 3.0;

/// The standard deviation of a normal distribution in median absolute deviations.
const SCALE: f64 = 1.4826;

/// A band of what one statistic was in stretches around one time, trouble left out.
///
/// If the present belongs to the same distribution as the n stretches, it lies above the highest of
/// them with a probability of 1 / (n + 1), whatever that distribution is: the conformal argument
/// (V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, 2005, section 2).
/// Neighbors of one day are not independent, so this is a guide and not a level of significance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usual {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) n_stretches: usize,
}

impl Usual {
    /// Fewer stretches are no band.
    pub(super) const MIN_STRETCHES: usize = 5;

    /// What `statistic` is in up to 13 stretches of `window` around the one that ends at `then`,
    /// leaving out those it knows nothing of; or how many it knows if those are too few.
    pub(super) fn around(
        then: Timestamp,
        window: Duration,
        statistic: impl Fn((Timestamp, Timestamp)) -> Option<f64>,
    ) -> Result<Self, usize> {
        let first = then - window * NEIGHBORS;
        let ends = (0..=2 * NEIGHBORS).map(|idx| first + window * idx);
        let known: Vec<f64> = ends
            .filter_map(|end| statistic((end - window + Duration::from_nanos(1), end)))
            .collect();
        let median = stats::median(&known).filter(|_| known.len() >= Self::MIN_STRETCHES);
        let median = median.ok_or(known.len())?;
        let deviations: Vec<f64> = known.iter().map(|value| (value - median).abs()).collect();
        let limit = MAX_DEVIATIONS * SCALE * stats::median(&deviations).unwrap_or_default();
        // More than half of them are left, the median among them or around it.
        let usual: Vec<f64> = known
            .into_iter()
            .filter(|value| (value - median).abs() <= limit)
            .collect();
        Ok(Self {
            median,
            low: usual.iter().copied().fold(median, f64::min),
            high: usual.iter().copied().fold(median, f64::max),
            n_stretches: usual.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_band_is_what_was_seen_around_that_time_and_too_little_is_none() {
        let then = Timestamp::from_secs(10_000);
        let window = Duration::from_secs(60);
        let seen = |from: i64| {
            move |(_, end): (Timestamp, Timestamp)| {
                let secs = end.since(Timestamp::EPOCH).as_secs_f64();
                (end >= Timestamp::from_secs(from)).then_some(secs)
            }
        };
        let usual = Usual::around(then, window, seen(0)).unwrap();
        assert_eq!(
            (usual.low, usual.median, usual.high, usual.n_stretches),
            (9_640.0, 10_000.0, 10_360.0, 13)
        );
        assert_eq!(Usual::around(then, window, seen(10_180)), Err(4));
        assert_eq!(
            Usual::around(then, window, seen(10_120)).map(|usual| usual.n_stretches),
            Ok(5)
        );
    }

    #[test]
    fn trouble_of_that_day_is_not_usual() {
        let then = Timestamp::from_secs(10_000);
        let window = Duration::from_secs(60);
        let statistic = |(_, end): (Timestamp, Timestamp)| match end {
            end if end == then => Some(50.0),
            end if end < then => Some(1.0),
            _ => Some(1.2),
        };
        let usual = Usual::around(then, window, statistic).unwrap();
        assert_eq!((usual.low, usual.high, usual.n_stretches), (1.0, 1.2, 12));
    }
}
