//! A forecast of a series: the model that was least wrong on what was held back, with intervals that hold.

use serde::{Deserialize, Serialize};

use super::arima::Arima;
use super::calibration::{Calibration, Errors};
use super::season;
use super::smoothing::{Growth, Season, Smoothing, SmoothingShape};
use crate::scale;

/// No number of a stored model is further from 0, so that its squares are finite.
pub(super) const MOST_SOUND: f64 = 1e153;
/// How much smaller the error of a later candidate must be than that of the simpler ones before it.
const GAIN: f64 = 0.98;
/// From how many origins in the half held back forecasts are made.
const MOST_ORIGINS: usize = 256;
/// The fewest values a model is fitted to.
const FEWEST: usize = 40;

/// What is expected of one step to come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// The forecast.
    pub mean: f64,
    /// Between these the value lies in 80 of 100 cases.
    pub interval_80: (f64, f64),
    /// Between these the value lies in 95 of 100 cases.
    pub interval_95: (f64, f64),
}

/// A model of a series with regular steps, chosen and calibrated on its own past.
///
/// *Candidates*, simple ones first: exponential smoothing without growth, with a damped one and with a linear one, and
/// ARIMA; for each period the same with an additive season, a multiplicative one where all values are above 0, and
/// ARIMA of the rest.
/// Each is fitted to the first half and makes forecasts from up to 256 origins in the second.
/// The one with the smallest mean absolute error wins, where a later one must be 2 % better, and is fitted to all.
///
/// *Intervals* are those errors' quantiles in standard deviations of the model, kept apart for 1, 2 to 3, 4 to 7 and
/// more steps ahead, so they need no normal distribution and may be lopsided (see `docs/detection.md` for the coverage
/// measured).
///
/// # Examples
/// ```
/// use homeostasis::detect::ForecastModel;
///
/// let daily: Vec<f64> = (0..240).map(|hour| 100.0 + 40.0 * f64::from(hour % 24 / 6)).collect();
/// let model = ForecastModel::fit(&daily, 24, None, 1e-6).expect("240 values are enough");
/// let tomorrow = model.forecast(24);
/// assert!((tomorrow[13].mean - 180.0).abs() < 1.0);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForecastModel {
    core: Core,
    calibration: Calibration,
    /// The least standard deviation that means anything.
    floor: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Core {
    Smoothing(Smoothing),
    Arima(Arima),
}

impl Core {
    fn step(&mut self, value: f64) {
        match self {
            Self::Smoothing(model) => model.step(value),
            Self::Arima(model) => model.step(value),
        };
    }

    fn forecast(&self, n: usize) -> Vec<(f64, f64)> {
        match self {
            Self::Smoothing(model) => model.forecast(n),
            Self::Arima(model) => model.forecast(n),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Candidate {
    Smoothing(SmoothingShape),
    Arima(Option<usize>),
}

impl Candidate {
    fn fit(self, values: &[f64]) -> Option<Core> {
        match self {
            Self::Smoothing(shape) => Smoothing::fit(shape, values).map(Core::Smoothing),
            Self::Arima(period) => Arima::fit(period, values).map(Core::Arima),
        }
    }

    /// All for a series with these periods, simple ones first.
    fn all(periods: &[usize]) -> Vec<Self> {
        let plain = |growth| {
            let shape = SmoothingShape {
                growth,
                ..SmoothingShape::default()
            };
            Self::Smoothing(shape)
        };
        let mut all = [Growth::None, Growth::Damped, Growth::Linear]
            .map(plain)
            .to_vec();
        all.push(Self::Arima(None));
        for period in periods.iter().copied() {
            let shapes = [
                (Growth::None, Season::Additive),
                (Growth::Damped, Season::Additive),
                (Growth::None, Season::Multiplicative),
            ];
            all.extend(shapes.map(|(growth, season)| {
                Self::Smoothing(SmoothingShape {
                    growth,
                    season,
                    period,
                })
            }));
            all.push(Self::Arima(Some(period)));
        }
        all
    }
}

impl ForecastModel {
    /// The best model of `values` (NaN: missing) for the next `horizon` steps.
    ///
    /// `period` is after how many steps the series repeats itself; if it is not given, up to two are looked for and a
    /// season is still taken only if it helps.
    /// `resolution` is the least deviation that means anything, in the unit of the series.
    /// `None` with fewer than 40 known values, or 20 in the first half, or where numbers are too large to be squared.
    /// Some 10 ms for 1000 values (O(n²) without a given period, O(n horizon) with one).
    pub fn fit(
        values: &[f64],
        horizon: usize,
        period: Option<usize>,
        resolution: f64,
    ) -> Option<Self> {
        let n_known = |values: &[f64]| values.iter().filter(|value| !value.is_nan()).count();
        let n = values.len();
        let cut = n / 2;
        if n_known(values) < FEWEST || n_known(&values[..cut]) < FEWEST / 2 {
            return None;
        }
        let largest = values
            .iter()
            .fold(0.0_f64, |top, value| top.max(value.abs()));
        let floor = scale::floor(largest, resolution);
        let horizon = horizon.clamp(1, (n - cut) / 2);
        let periods = period.map_or_else(|| season::periods(values), |period| vec![period]);
        let mut best: Option<(f64, Candidate, Calibration)> = None;
        for candidate in Candidate::all(&periods) {
            let tried = candidate
                .fit(&values[..cut])
                .and_then(|core| held_back(core, &values[cut..], horizon, floor));
            let Some((error, calibration)) = tried else {
                continue;
            };
            if best.as_ref().is_none_or(|best| error < GAIN * best.0) {
                best = Some((error, candidate, calibration));
            }
        }
        let (_, candidate, calibration) = best?;
        let core = candidate.fit(values)?;
        Some(Self {
            core,
            calibration,
            floor,
        })
    }

    /// Learns the next value (NaN: missing); the weights and the widths stay.
    pub fn step(&mut self, value: f64) {
        self.core.step(value);
    }

    /// What is expected in each of the next `n` steps.
    ///
    /// Beyond the horizon it was fitted for, the intervals grow as the model has it.
    pub fn forecast(&self, n: usize) -> Vec<Prediction> {
        let ahead = self.core.forecast(n).into_iter().enumerate();
        ahead
            .map(|(i, (mean, variance))| self.prediction(i + 1, mean, variance))
            .collect()
    }

    fn prediction(&self, ahead: usize, mean: f64, variance: f64) -> Prediction {
        let deviation = variance.sqrt().max(self.floor);
        let around = |level| {
            let (low, high) = self.calibration.interval(ahead, level);
            (mean + low * deviation, mean + high * deviation)
        };
        Prediction {
            mean,
            interval_80: around(0.8),
            interval_95: around(0.95),
        }
    }

    /// Whether a stored model can be one of ours.
    pub(super) fn is_sound(&self) -> bool {
        let is_sound = match &self.core {
            Core::Smoothing(model) => model.is_sound(),
            Core::Arima(model) => model.is_sound(),
        };
        is_sound && self.floor > 0.0 && self.floor.is_finite() && self.calibration.is_sound()
    }

    /// What kind of model it is, in a few words: `ARIMA(2,1,1)`, `damped smoothing with an additive season of 24 steps`.
    pub fn describe(&self) -> String {
        match &self.core {
            Core::Smoothing(model) => model.shape().to_string(),
            Core::Arima(model) => model.to_string(),
        }
    }
}

/// The mean absolute error of the forecasts from origins in `rest`, and how wide intervals must be.
fn held_back(
    mut core: Core,
    rest: &[f64],
    horizon: usize,
    floor: f64,
) -> Option<(f64, Calibration)> {
    let stride = (rest.len() / MOST_ORIGINS).max(1);
    let mut errors = Errors::default();
    let (mut sum, mut n) = (0.0, 0.0);
    for (origin, value) in rest.iter().enumerate() {
        if origin % stride == 0 {
            let to_come = &rest[origin..rest.len().min(origin + horizon)];
            for (i, ((mean, variance), seen)) in
                core.forecast(to_come.len()).iter().zip(to_come).enumerate()
            {
                if !seen.is_nan() {
                    sum += (seen - mean).abs();
                    n += 1.0;
                    errors.add(i + 1, (seen - mean) / variance.sqrt().max(floor));
                }
            }
        }
        core.step(*value);
    }
    let calibration = errors.calibration(rest.len())?;
    f64::is_finite(sum).then_some((sum / n, calibration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    #[test]
    fn intervals_of_a_noisy_wave_cover_what_comes() {
        let mut rng = Rng::from_seed(11);
        let mut value = |t: u32| {
            let visits = if t % 24 < 9 { 20.0 } else { 100.0 };
            visits + 4.0 * (rng.unit() + rng.unit() - 1.0)
        };
        let past: Vec<f64> = (0..480).map(&mut value).collect();
        let model = ForecastModel::fit(&past, 24, None, 1e-6).unwrap();
        assert!(model.describe().contains("24"), "{}", model.describe());
        let (mut in_80, mut in_95) = (0, 0);
        for (i, predicted) in model.forecast(240).iter().enumerate() {
            let seen = value(480 + u32::try_from(i).unwrap());
            in_80 += u32::from((predicted.interval_80.0..=predicted.interval_80.1).contains(&seen));
            in_95 += u32::from((predicted.interval_95.0..=predicted.interval_95.1).contains(&seen));
        }
        assert!(
            (168..=228).contains(&in_80) && (216..=240).contains(&in_95),
            "{in_80} {in_95}"
        );
    }

    #[test]
    fn a_constant_is_forecast_and_too_little_is_not() {
        let model = ForecastModel::fit(&[7.0; 60], 10, None, 1e-3).unwrap();
        let predicted = model.forecast(5)[4];
        assert_eq!(predicted.mean, 7.0);
        assert!(
            predicted.interval_95.1 - predicted.interval_95.0 < 0.01,
            "{predicted:?}"
        );
        assert!(ForecastModel::fit(&[7.0; 39], 10, None, 1e-3).is_none());
        let gaps: Vec<f64> = (0..60)
            .map(|t| if t < 30 { f64::NAN } else { 7.0 })
            .collect();
        assert!(ForecastModel::fit(&gaps, 10, None, 1e-3).is_none());
    }

    #[test]
    fn missing_values_are_stepped_over() {
        let mut rng = Rng::from_seed(2);
        let past: Vec<f64> = (0..300)
            .map(|t| {
                if t % 7 == 3 {
                    f64::NAN
                } else {
                    f64::from(t % 10) + rng.unit()
                }
            })
            .collect();
        let mut model = ForecastModel::fit(&past, 10, Some(10), 1e-6).unwrap();
        model.step(f64::NAN);
        for (i, predicted) in model.forecast(9).iter().enumerate() {
            let truth = f64::from(u32::try_from((301 + i) % 10).unwrap()) + 0.5;
            assert!((predicted.mean - truth).abs() < 1.0, "{i}: {predicted:?}");
        }
    }
}
