//! Honest widths: intervals as wide as the errors on what was held back.

use serde::{Deserialize, Serialize};

/// How many quantiles of a band are kept.
const GRID: usize = 65;
/// By how much intervals are wider than the errors were: the series will change in ways it has not changed before. From
/// the quality suite `forecast` on the development series.
const WIDER: f64 = 1.15;

/// Errors that were made on values a model was not fitted to, in standard deviations as the model states them, by how
/// far ahead the forecast was: 1 step, 2 and 3, 4 to 7 and so on.
///
/// So the shape of the growth with the distance is the model's, and width and lopsidedness are the data's.
/// Forecasts from neighboring origins go wrong together, so that errors count as independent only when they are
/// a horizon apart; with few of those the quantile taken is further out than the level asked for, and beyond the
/// largest error seen if need be.
/// Source: V. Vovk et al., *Algorithmic Learning in a Random World*, 2005, section 2 (split conformal prediction).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Calibration {
    bands: Vec<Band>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Band {
    /// How many errors count as independent.
    n: f64,
    /// Evenly spaced quantiles from the smallest to the largest error.
    quantiles: Vec<f64>,
}

/// Errors while they are collected.
#[derive(Debug, Clone, Default)]
pub(super) struct Errors {
    bands: Vec<Vec<f64>>,
}

fn band(ahead: usize) -> usize {
    usize::try_from(ahead.max(1).ilog2()).unwrap_or(0)
}

impl Errors {
    /// Adds an error, in standard deviations, of a forecast `ahead` steps ahead.
    pub(super) fn add(&mut self, ahead: usize, error: f64) {
        let band = band(ahead);
        if self.bands.len() <= band {
            self.bands.resize(band + 1, Vec::new());
        }
        self.bands[band].push(error);
    }

    /// What they teach, when they were made over `span` steps; `None` if a band is empty or has errors that are not finite.
    pub(super) fn calibration(self, span: usize) -> Option<Calibration> {
        let bands = self
            .bands
            .into_iter()
            .enumerate()
            .map(|(band, mut errors)| {
                errors.sort_by(f64::total_cmp);
                if errors.is_empty() || !errors.iter().all(|error| error.is_finite()) {
                    return None;
                }
                let apart = 2.0_f64.powi(i32::try_from(band).ok()?);
                let n = (span as f64 / apart).clamp(1.0, errors.len() as f64);
                let kept = errors.len().min(GRID);
                let quantiles = (0..kept)
                    .map(|i| quantile(&errors, i as f64 / (kept - 1).max(1) as f64))
                    .collect();
                Some(Band { n, quantiles })
            });
        let bands: Vec<Band> = bands.collect::<Option<_>>()?;
        (!bands.is_empty()).then_some(Calibration { bands })
    }
}

impl Calibration {
    /// Whether a stored one can be ours.
    pub(super) fn is_sound(&self) -> bool {
        let is_sound = |band: &Band| band.n >= 1.0 && !band.quantiles.is_empty();
        !self.bands.is_empty() && self.bands.iter().all(is_sound)
    }

    /// How many standard deviations below and above the mean (a negative and a positive number, or both of one sign
    /// if the model is biased) the share `level` of the values `ahead` steps ahead lies between.
    pub(super) fn interval(&self, ahead: usize, level: f64) -> (f64, f64) {
        let Some(band) = self.bands.get(band(ahead)).or(self.bands.last()) else {
            return (f64::NEG_INFINITY, f64::INFINITY);
        };
        // The rank of the quantile among n independent errors and the one to come.
        let rank = (1.0 - level) / 2.0 * (band.n + 1.0) - 0.5;
        let share = rank.max(0.0) / band.n;
        let beyond = WIDER + 0.5 * (-rank).max(0.0);
        let [low, middle, high] = [share, 0.5, 1.0 - share].map(|at| quantile(&band.quantiles, at));
        (
            middle + beyond * (low - middle),
            middle + beyond * (high - middle),
        )
    }
}

/// The quantile of sorted values, interpolated.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len() - 1;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = (0..last).rev().find(|i| *i as f64 <= place).unwrap_or(0);
    let above = (below + 1).min(last);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    #[test]
    fn of_many_errors_the_interval_has_its_share_and_of_few_it_is_wider() {
        let mut rng = Rng::from_seed(3);
        let (mut many, mut few) = (Errors::default(), Errors::default());
        let (mut smallest, mut largest) = (2.0_f64, 0.0_f64);
        for i in 0..4000 {
            let error = rng.unit() * 2.0;
            many.add(1, error);
            if i < 8 {
                few.add(1, error);
                (smallest, largest) = (smallest.min(error), largest.max(error));
            }
        }
        let (many, few) = (
            many.calibration(8000).unwrap(),
            few.calibration(16).unwrap(),
        );
        let (low, high) = many.interval(1, 0.8);
        let reach = WIDER * 0.8;
        assert!(
            (low - (1.0 - reach)).abs() < 0.06 && (high - (1.0 + reach)).abs() < 0.06,
            "{low} {high}"
        );
        let (low, high) = few.interval(1, 0.95);
        assert!(high - low > 1.1 * (largest - smallest), "{low} {high}");
        assert_eq!(few.interval(100, 0.95), (low, high));
    }

    #[test]
    fn nothing_seen_and_what_is_not_finite_calibrate_nothing() {
        assert!(Errors::default().calibration(10).is_none());
        let mut errors = Errors::default();
        errors.add(1, f64::INFINITY);
        assert!(errors.calibration(10).is_none());
    }
}
