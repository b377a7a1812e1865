//! Features in standard deviations from their means.

use serde::{Deserialize, Serialize};

use crate::scale;

/// Beyond this many standard deviations a value is as far as it gets, so that one feature does not outweigh
/// all others.
pub(super) const CLIP: f64 = 20.0;

/// Means and standard deviations of features, by Welford's recurrence; missing values do not count.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scaler {
    means: Vec<f64>,
    /// Sums of squares until [`finish`](Self::finish).
    deviations: Vec<f64>,
    counts: Vec<f64>,
}

impl Scaler {
    pub(super) fn new(width: usize) -> Self {
        Self {
            means: vec![0.0; width],
            deviations: vec![0.0; width],
            counts: vec![0.0; width],
        }
    }

    pub(super) fn width(&self) -> usize {
        self.means.len()
    }

    pub(super) fn learn(&mut self, row: &[f64]) {
        let features = self
            .means
            .iter_mut()
            .zip(&mut self.deviations)
            .zip(&mut self.counts);
        for (((mean, squares), count), value) in features.zip(row) {
            if let Some(value) = scale::usable(Some(*value)) {
                *count += 1.0;
                let off = value - *mean;
                *mean += off / *count;
                *squares += off * (value - *mean);
            }
        }
    }

    /// Ends learning; no deviation is less than `resolution`.
    pub(super) fn finish(&mut self, resolution: f64) {
        let features = self
            .deviations
            .iter_mut()
            .zip(&self.means)
            .zip(&self.counts);
        for ((deviation, mean), count) in features {
            let sample = (*deviation / count.max(1.0)).sqrt();
            *deviation = sample.max(scale::floor(*mean, resolution));
        }
    }

    /// The values of a row, `None` where they are missing.
    pub(super) fn scaled<'a>(&'a self, row: &'a [f64]) -> impl Iterator<Item = Option<f64>> + 'a {
        let features = self.means.iter().zip(&self.deviations).zip(row);
        features.map(|((mean, deviation), value)| {
            let value = scale::usable(Some(*value))?;
            Some(((value - mean) / deviation).clamp(-CLIP, CLIP))
        })
    }

    /// Whether it can have been learned.
    pub(super) fn is_sound(&self) -> bool {
        let width = self.width();
        self.deviations.len() == width
            && self.counts.len() == width
            && self.means.iter().all(|mean| mean.is_finite())
            && self.deviations.iter().all(|deviation| *deviation > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_do_not_count_and_far_ones_are_clipped() {
        let mut scaler = Scaler::new(2);
        for value in [1.0, 3.0, f64::NAN, 1.0, 3.0] {
            scaler.learn(&[value, 7.0]);
        }
        scaler.finish(0.5);
        let scaled: Vec<_> = scaler.scaled(&[4.0, 8.0]).collect();
        assert_eq!(scaled, [Some(2.0), Some(2.0)]);
        let far: Vec<_> = scaler.scaled(&[f64::MIN, f64::NAN]).collect();
        assert_eq!(far, [Some(-CLIP), None]);
        assert!(scaler.is_sound());
    }
}
