//! Forecaster: judges a series by its own forecast, and tells what comes.

use std::collections::VecDeque;
use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Ratio, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::{ForecastModel, Prediction};
use crate::side::{Side, direction};
use crate::{check, scale, state};

/// From how many intervals between samples the usual one is taken.
const INTERVALS: usize = 9;
/// A fit that failed is tried again after this many steps.
const RETRY_EVERY: usize = 16;
/// How many steps ahead a sample is judged at most.
const FURTHEST: usize = 1024;
/// By how much the width moves when a sample was outside; it settles where 5 in 100 are.
const STRETCH_RATE: f64 = 0.05;
/// Between which the logarithm of the width stays.
const LEAST_STRETCH: f64 = -1.5;
const MOST_STRETCH: f64 = 3.0;
/// How many standard deviations a 95 % interval of a normal distribution reaches to each side.
const SIGMAS_95: f64 = 1.959_963_984_540_054;

/// What a [`Forecaster`] remembers and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForecasterConfig {
    /// The distance between the steps of the forecast; default: the median of the first nine intervals between
    /// samples. Above 0. Samples within one step are averaged.
    #[serde(with = "crate::duration_text::option")]
    pub step: Option<Duration>,
    /// After what time the series repeats itself; default: looked for. At least two steps.
    #[serde(with = "crate::duration_text::option")]
    pub period: Option<Duration>,
    /// How many steps are remembered; default 1024, range 64 to 8192.
    pub history: usize,
    /// For how many steps ahead the model is chosen; default 24, range 1 to 1024.
    pub horizon: usize,
    /// How many steps are remembered before the first model is fitted; default 64, range 40 to `history`.
    pub warm_up: usize,
    /// After how many steps the model is chosen and fitted anew; default 256, range 16 to 1 000 000.
    pub refit_every: usize,
    /// The limit, in distances from the forecast to the end of the 95 % interval on that side; default 2,
    /// range 0.1 to 1000. **Warning:** at 1, five of a hundred normal samples are beyond it.
    pub limit: f64,
    /// The least deviation that means anything, in the unit of the series; default 1e-6, above 0.
    pub resolution: f64,
    /// Which deviations count; default both.
    pub side: Side,
}

impl Default for ForecasterConfig {
    fn default() -> Self {
        Self {
            step: None,
            period: None,
            history: 1024,
            horizon: 24,
            warm_up: 64,
            refit_every: 256,
            limit: 2.0,
            resolution: 1e-6,
            side: Side::Both,
        }
    }
}

/// Judges a sample by the forecast made before it, and forecasts what comes.
///
/// It keeps the last `history` steps, chooses a model for them every `refit_every` steps (see [`ForecastModel`]) and
/// lets it learn each step in between.
/// The first fit that succeeds ends the warm-up; the second comes earlier by a part of `refit_every` that depends on the
/// values, so that series that began together are not all fitted at the same time;
/// with [`stagger`](SeriesDetector::stagger) the first comes up to half of `warm_up` later, too.
/// The score is 0.5 where the value is `limit` times as far from the forecast as the end of its 95 % interval.
/// The interval's width follows what is seen: a sample outside widens it and one inside narrows it, so that 95 of 100
/// lie inside in the long run even where the series changes its ways.
/// What lies beyond the limit teaches the model no more than what lies on it; the next fit sees it whole.
///
/// *Gaps:* steps without a sample are missing; the forecast goes on and its interval grows. After `history` of them
/// it begins anew.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is scored
/// and not learned; beyond ±1e150 values count as ±1e150.
/// O(steps since the last sample) time per sample, and a fit now and then: milliseconds to some tenths of a second at
/// 1024 steps, by the seasons that are tried; memory for `history` numbers and a period.
///
/// Source: I. Gibbs, E. Candès, *Adaptive conformal inference under distribution shift*, `NeurIPS` 2021 (the width).
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{Forecaster, ForecasterConfig};
///
/// let mut forecaster = Forecaster::new(ForecasterConfig::default())?;
/// let at = |hour: i32| Timestamp::from_secs(3600 * i64::from(hour));
/// for hour in 0..200 {
///     let visits = if hour % 24 < 8 { 20.0 } else { 150.0 };
///     forecaster.update(at(hour), Some(visits + f64::from(hour % 5)));
/// }
/// assert!(forecaster.update(at(200), Some(900.0)).score.get() > 0.5);
/// assert_eq!(forecaster.forecast(24).len(), 24);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Forecaster {
    config: ForecasterConfig,
    /// Where its series lies among others.
    place: Ratio,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    last: Option<Timestamp>,
    /// The first samples, until the step is known.
    early: Vec<(Timestamp, f64)>,
    grid: Option<Grid>,
    /// The values of the steps that ended, oldest first.
    values: VecDeque<Option<f64>>,
    model: Option<ForecastModel>,
    /// How many of the last steps were missing; the model stands before them.
    n_missing: usize,
    /// Steps since the last attempt to fit.
    since_fit: usize,
    /// The logarithm of the factor by which the interval is wider than the model has it.
    stretch: f64,
}

/// Where steps begin, and the one that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grid {
    origin: Timestamp,
    step_nanos: i64,
    /// Which step since the origin.
    idx: i64,
    mean: f64,
    n: u32,
}

impl Grid {
    fn idx_of(&self, at: Timestamp) -> i64 {
        let passed = at.as_nanos().saturating_sub(self.origin.as_nanos());
        passed
            .saturating_add(self.step_nanos / 2)
            .div_euclid(self.step_nanos)
    }
}

impl Forecaster {
    /// A forecaster that has seen nothing.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `forecaster`.
    pub fn new(config: ForecasterConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        if let Some(step) = config.step {
            let holds = i64::try_from(step.as_nanos()).is_ok_and(|nanos| nanos > 0);
            let expected = "a duration above 0s and at most 290 years";
            check::that(
                &mut found,
                holds,
                "forecaster.step",
                format_duration(step),
                expected,
            );
        }
        if let Some(period) = config.period {
            let least = config
                .step
                .map_or(Duration::from_nanos(1), |step| step.saturating_mul(2));
            let expected = format!("at least two steps, {}", format_duration(least));
            let text = format_duration(period);
            check::that(
                &mut found,
                period >= least,
                "forecaster.period",
                text,
                &expected,
            );
        }
        let most = config.history;
        for (path, n, low, high) in [
            ("forecaster.history", config.history, 64, 8192),
            ("forecaster.horizon", config.horizon, 1, 1024),
            ("forecaster.warm_up", config.warm_up, 40, most),
            ("forecaster.refit_every", config.refit_every, 16, 1_000_000),
        ] {
            let holds = (low..=high).contains(&n);
            check::that(
                &mut found,
                holds,
                path,
                n,
                &format!("{low} to {high} steps"),
            );
        }
        let holds = (0.1..=1000.0).contains(&config.limit);
        check::that(
            &mut found,
            holds,
            "forecaster.limit",
            config.limit,
            "0.1 to 1000",
        );
        check::positive(&mut found, "forecaster.resolution", config.resolution);
        found.into_result(Self {
            config,
            place: Ratio::ZERO,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &ForecasterConfig {
        &self.config
    }

    /// What is expected in the next `n` steps, the one that goes on first; empty while warming up.
    pub fn forecast(&self, n: usize) -> Vec<(Timestamp, Prediction)> {
        let (Some(model), Some(grid)) = (&self.state.model, &self.state.grid) else {
            return Vec::new();
        };
        let missing = self.state.n_missing;
        let steps = model
            .forecast(missing.saturating_add(n))
            .into_iter()
            .skip(missing)
            .zip(grid.idx..);
        steps
            .map(|(predicted, idx)| {
                let nanos = grid
                    .origin
                    .as_nanos()
                    .saturating_add(idx.saturating_mul(grid.step_nanos));
                (Timestamp::from_nanos(nanos), predicted)
            })
            .collect()
    }

    /// The model in use; `None` while warming up.
    pub fn model(&self) -> Option<&ForecastModel> {
        self.state.model.as_ref()
    }

    /// Ends the steps before that of `at`, which is later than all samples so far.
    fn advance(&mut self, at: Timestamp) {
        let Some(grid) = self.state.grid.as_mut() else {
            return;
        };
        let idx = grid.idx_of(at);
        if idx <= grid.idx {
            return;
        }
        let ended = *grid;
        *grid = Grid {
            idx,
            mean: 0.0,
            n: 0,
            ..ended
        };
        let missed = usize::try_from(idx.saturating_sub(ended.idx) - 1).unwrap_or(usize::MAX);
        if missed >= self.config.history {
            let grid = self.state.grid;
            self.state = State {
                grid,
                ..State::default()
            };
            return;
        }
        self.end_step(Some(ended.mean));
        for _ in 0..missed {
            self.end_step(None);
        }
        self.fit_if_due();
    }

    /// Learns a sample that is later than all so far, once the steps before it have ended.
    fn learn(&mut self, at: Timestamp, value: f64) {
        self.state.last = Some(at);
        if let Some(grid) = self.state.grid.as_mut() {
            grid.n = grid.n.saturating_add(1);
            grid.mean += (value - grid.mean) / f64::from(grid.n);
        } else {
            self.state.early.push((at, value));
            self.begin();
        }
    }

    /// Fixes the step once enough intervals were seen, and takes up what was seen so far.
    fn begin(&mut self) {
        let step = match self.config.step {
            Some(step) => nanos(step),
            None if self.state.early.len() <= INTERVALS => return,
            None => {
                let pairs = self.state.early.windows(2);
                let mut gaps: Vec<i64> = pairs
                    .map(|pair| pair[1].0.as_nanos().saturating_sub(pair[0].0.as_nanos()))
                    .collect();
                gaps.sort_unstable();
                gaps[gaps.len() / 2]
            }
        };
        let early = std::mem::take(&mut self.state.early);
        let Some((origin, mean)) = early.first().copied() else {
            return;
        };
        let step_nanos = step.max(1);
        self.state.grid = Some(Grid {
            origin,
            step_nanos,
            idx: 0,
            mean,
            n: 1,
        });
        for (at, value) in early.into_iter().skip(1) {
            self.advance(at);
            self.learn(at, value);
        }
    }

    fn end_step(&mut self, value: Option<f64>) {
        match value {
            Some(value) => {
                // No more is learned of what lies beyond the limit than of what lies on it.
                let clipped = self
                    .bounds(1)
                    .map_or(value, |(_, low, high)| value.clamp(low, high));
                let missing = std::mem::take(&mut self.state.n_missing);
                if let Some(model) = self.state.model.as_mut() {
                    (0..missing).for_each(|_| model.step(f64::NAN));
                    model.step(clipped);
                }
            }
            None => self.state.n_missing += 1,
        }
        let state = &mut self.state;
        state.values.push_back(value);
        if state.values.len() > self.config.history {
            state.values.pop_front();
        }
        state.since_fit = state.since_fit.saturating_add(1);
    }

    /// Fits when it is time: once after a gap, however long.
    fn fit_if_due(&mut self) {
        let state = &self.state;
        let is_first = state.model.is_none();
        let wait = if is_first {
            RETRY_EVERY
        } else {
            self.config.refit_every
        };
        let later = self.place.get() * self.config.warm_up as f64 / 2.0;
        let warm_up = self.config.warm_up as f64 + if is_first { later } else { 0.0 };
        let is_warm = state.values.len() as f64 >= warm_up.min(self.config.history as f64);
        if !is_warm || state.since_fit < wait {
            return;
        }
        self.state.since_fit = 0;
        self.fit();
        if is_first && self.state.model.is_some() {
            self.state.since_fit = self.early_by();
        }
    }

    /// By how many steps the second fit comes earlier, less than `refit_every`: by the first values and where its
    /// series lies, so that series that began together are not fitted together ever after.
    fn early_by(&self) -> usize {
        let values = self.state.values.iter().flatten().take(64);
        let mixed = values.fold(self.place.get().to_bits(), |mixed, value| {
            (mixed ^ value.to_bits())
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        });
        usize::try_from(mixed % self.config.refit_every as u64).unwrap_or(0)
    }

    fn fit(&mut self) {
        let values = &self.state.values;
        let values: Vec<f64> = values
            .iter()
            .map(|value| value.unwrap_or(f64::NAN))
            .collect();
        let (horizon, resolution) = (self.config.horizon, self.config.resolution);
        let fitted = ForecastModel::fit(&values, horizon, self.period_in_steps(), resolution);
        if let Some(fitted) = fitted {
            (self.state.model, self.state.n_missing, self.state.stretch) = (Some(fitted), 0, 0.0);
        }
    }

    fn period_in_steps(&self) -> Option<usize> {
        let step = Duration::from_nanos(u64::try_from(self.state.grid?.step_nanos).ok()?);
        let steps = (self.config.period?.as_nanos() + step.as_nanos() / 2) / step.as_nanos();
        usize::try_from(steps).ok().filter(|steps| *steps >= 2)
    }

    /// Forecast and limits of the step `ahead` steps after the last that ended, as if no more than [`FURTHEST`].
    fn bounds(&self, ahead: usize) -> Option<(f64, f64, f64)> {
        let ahead = self.state.n_missing.saturating_add(ahead).min(FURTHEST);
        let predicted = *self.state.model.as_ref()?.forecast(ahead).last()?;
        let (low, high) = predicted.interval_95;
        let wide = self.config.limit * self.state.stretch.exp();
        let floor = scale::floor(predicted.mean, self.config.resolution);
        let reach = |distance: f64| wide * distance.max(floor);
        let mean = predicted.mean;
        let (below, above) = sides(mean, low, high);
        Some((mean, mean - reach(below), mean + reach(above)))
    }

    /// How many steps after the last that ended `at` lies, at least 1.
    fn ahead(&self, at: Timestamp) -> usize {
        let passed = self
            .state
            .grid
            .map_or(0, |grid| grid.idx_of(at).saturating_sub(grid.idx));
        usize::try_from(passed.max(0))
            .unwrap_or(FURTHEST)
            .saturating_add(1)
    }

    fn expected(&self, bounds: Option<(f64, f64, f64)>) -> Expectation {
        let side = self.config.side;
        Expectation::Between {
            low: bounds.filter(|_| side.counts_low()).map(|bounds| bounds.1),
            high: bounds.filter(|_| side.counts_high()).map(|bounds| bounds.2),
        }
    }
}

fn nanos(step: Duration) -> i64 {
    i64::try_from(step.as_nanos()).unwrap_or(i64::MAX)
}

/// How far the interval reaches to each side of the mean.
///
/// Where errors are to one side only it lies beside the mean: then half its width is the distance to the other.
fn sides(mean: f64, low: f64, high: f64) -> (f64, f64) {
    let half = (high - low) / 2.0;
    let side = |distance: f64| if distance > 0.0 { distance } else { half };
    (side(mean - low), side(high - mean))
}

impl SeriesDetector for Forecaster {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let Some(value) = scale::usable(value) else {
            return KernelScore::normal(self.expected(self.bounds(self.ahead(at))));
        };
        let is_new = self.state.last.is_none_or(|last| at > last);
        if is_new {
            self.advance(at);
        }
        let bounds = self.bounds(self.ahead(at));
        let mut judged = KernelScore::normal(self.expected(bounds));
        let mut is_outside = None;
        if let Some((mean, low, high)) = bounds {
            let off = value - mean;
            let width = if off < 0.0 { mean - low } else { high - mean };
            let deviation = self.config.side.of(off);
            judged.score = scale::score(deviation / width);
            judged.surprise = scale::surprise(deviation / width * self.config.limit * SIGMAS_95);
            judged.direction = direction(deviation);
            is_outside = Some(off.abs() * self.config.limit > width);
        }
        if is_new {
            if let Some(is_outside) = is_outside {
                let moved = STRETCH_RATE * (f64::from(u8::from(is_outside)) - 0.05);
                self.state.stretch =
                    (self.state.stretch + moved).clamp(LEAST_STRETCH, MOST_STRETCH);
            }
            self.learn(at, value);
        }
        judged
    }

    fn explain(&self) -> Option<String> {
        let model = self.state.model.as_ref()?;
        Some(format!("differs from what {} foretold", model.describe()))
    }

    fn stagger(&mut self, place: Ratio) {
        self.place = place;
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of forecaster", value)?;
        state::require(
            loaded.values.len() <= self.config.history
                && loaded.early.len() <= INTERVALS
                && loaded
                    .grid
                    .is_none_or(|grid| grid.step_nanos > 0 && grid.n > 0)
                && loaded.n_missing <= loaded.values.len()
                && (LEAST_STRETCH..=MOST_STRETCH).contains(&loaded.stretch)
                && loaded.model.as_ref().is_none_or(ForecastModel::is_sound),
            "state of forecaster",
            &format!(
                "at most {} steps, each longer than 0s, and a whole model",
                self.config.history
            ),
        )?;
        if let (Some(step), Some(grid)) = (self.config.step, loaded.grid) {
            let stored = Duration::from_nanos(grid.step_nanos.unsigned_abs());
            state::require(
                grid.step_nanos == nanos(step),
                &format!("a forecaster of steps of {}", format_duration(stored)),
                &format!("steps of {}, as step says", format_duration(step)),
            )?;
        }
        self.state = loaded;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
