//! Exponential smoothing: the Holt-Winters family.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::model::MOST_SOUND;
use super::season::{self, Kind};
use super::simplex;

/// How a [`Smoothing`] lets its level grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// Not at all: simple exponential smoothing.
    #[default]
    None,
    /// By the same amount in each step: Holt's method.
    Linear,
    /// By an amount that fades: a damped trend.
    Damped,
}

/// How a [`Smoothing`] repeats itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Season {
    /// Not at all.
    #[default]
    None,
    /// The season adds to the level.
    Additive,
    /// The season multiplies the level; for series above 0.
    Multiplicative,
}

/// Which member of the Holt-Winters family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmoothingShape {
    /// How the level grows.
    pub growth: Growth,
    /// How it repeats itself.
    pub season: Season,
    /// After how many steps; 2 or more with a season, else without meaning.
    pub period: usize,
}

impl fmt::Display for SmoothingShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.growth {
            Growth::None => "exponential smoothing",
            Growth::Linear => "linear smoothing",
            Growth::Damped => "damped smoothing",
        })?;
        let kind = match self.season {
            Season::None => return Ok(()),
            Season::Additive => "an additive",
            Season::Multiplicative => "a multiplicative",
        };
        write!(f, " with {kind} season of {} steps", self.period)
    }
}

/// How quickly a [`Smoothing`] learns; each 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmoothingWeights {
    /// α: the weight of a new value in the level.
    pub level: f64,
    /// β\*: the weight of a new change of level in the slope.
    pub slope: f64,
    /// γ: the weight of a new deviation in the season.
    pub season: f64,
    /// φ: what share of the slope is left after a step; 1 unless the growth is damped.
    pub damping: f64,
}

/// A member of the Holt-Winters family, fitted or given.
///
/// With the forecast `ŷ = level + φ·slope` plus or times the season of one period before, and the error
/// `e = y - ŷ`, each value moves `level` by `α·e`, `slope` by `α·β*·e` and the season by `γ·e`
/// (with a multiplicative season by `α·e/season`, `α·β*·e/season` and `γ·e/(level + φ·slope)`).
/// A missing value (NaN) moves the level along its slope and teaches nothing.
///
/// Sources: C. C. Holt, ONR Memorandum 52, 1957; P. R. Winters, *Management Science* 6 (1960);
/// R. Hyndman et al., *Forecasting with Exponential Smoothing*, 2008, tables 2.2 (recursions) and 6.1 (variances).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smoothing {
    shape: SmoothingShape,
    weights: SmoothingWeights,
    level: f64,
    slope: f64,
    /// The season, where that of the next step stands at `place`.
    season: Vec<f64>,
    place: usize,
    /// Of the errors one step ahead.
    variance: f64,
}

impl Smoothing {
    /// Whether a stored one can be ours: what [`new`](Self::new) asks for, with numbers whose squares are finite.
    pub(super) fn is_sound(&self) -> bool {
        let numbers = [self.level, self.slope, self.variance.max(0.0).sqrt()];
        let mut numbers = numbers.iter().chain(&self.season);
        self.variance >= 0.0
            && self.place < self.season.len().max(1)
            && numbers.all(|number| number.abs() <= MOST_SOUND)
            && Self::new(
                self.shape,
                self.weights,
                self.level,
                self.slope,
                self.season.clone(),
            )
            .is_some()
    }

    /// The member `shape` with given weights, level, slope and season before the first value.
    ///
    /// `None` unless all is finite, the weights lie within 0 and 1 and there is a season of each step of a period.
    pub fn new(
        shape: SmoothingShape,
        weights: SmoothingWeights,
        level: f64,
        slope: f64,
        season: Vec<f64>,
    ) -> Option<Self> {
        let n_phases = if shape.season == Season::None {
            0
        } else {
            shape.period.max(2)
        };
        let shares = [
            weights.level,
            weights.slope,
            weights.season,
            weights.damping,
        ];
        let is_sound = shares.iter().all(|share| (0.0..=1.0).contains(share))
            && season.iter().chain([&level, &slope]).all(|x| x.is_finite())
            && season.len() == n_phases;
        is_sound.then_some(Self {
            shape,
            weights,
            level,
            slope,
            season,
            place: 0,
            variance: 0.0,
        })
    }

    /// The member `shape` whose weights make the squared errors one step ahead of `values` smallest.
    ///
    /// Level, slope and season begin as Hyndman's section 2.6.1 has it: the season from a classical decomposition of
    /// at most five periods, level and slope from a line through the first ten values (a period, if that is longer).
    /// The model returned stands after the last value.
    /// `None` with fewer than 10 values or than two periods and two, or for a multiplicative season where a value
    /// is not above 0.
    /// O(n) for each of at most some 400 evaluations.
    pub fn fit(shape: SmoothingShape, values: &[f64]) -> Option<Self> {
        let begin = Self::begin(shape, values)?;
        let has_season = shape.season != Season::None;
        let weights_of = |p: &[f64]| {
            let mut rest = p.iter().copied();
            let level = rest.next().unwrap_or(0.5);
            let slope = if shape.growth == Growth::None {
                0.0
            } else {
                rest.next().unwrap_or(0.0)
            };
            let season = if has_season {
                rest.next().unwrap_or(0.0) * (1.0 - level)
            } else {
                0.0
            };
            let damping = if shape.growth == Growth::Damped {
                rest.next().unwrap_or(1.0)
            } else {
                1.0
            };
            SmoothingWeights {
                level,
                slope,
                season,
                damping,
            }
        };
        let mut trial = begin.clone();
        let mut loss = |p: &[f64]| {
            trial.restart(&begin);
            trial.weights = weights_of(p);
            let mut sum = 0.0;
            for value in values {
                if let Some(error) = trial.step(*value) {
                    sum += error * error;
                }
            }
            sum
        };
        let mut low = vec![1e-4];
        let mut high = vec![0.9999];
        let mut starts = [vec![0.1], vec![0.6]];
        if shape.growth != Growth::None {
            low.push(0.0);
            high.push(0.9999);
            starts[0].push(0.02);
            starts[1].push(0.1);
        }
        if has_season {
            low.push(0.0);
            high.push(0.9999);
            starts[0].push(0.05);
            starts[1].push(0.2);
        }
        if shape.growth == Growth::Damped {
            low.push(0.8);
            high.push(0.98);
            starts[0].push(0.95);
            starts[1].push(0.9);
        }
        let max_evals = 50 * low.len();
        let best = starts
            .iter()
            .map(|start| simplex::minimize(&mut loss, start, &low, &high, max_evals))
            .min_by(|a, b| a.1.total_cmp(&b.1))?;
        let n = values.iter().filter(|value| !value.is_nan()).count();
        let mut fitted = Self {
            weights: weights_of(&best.0),
            ..begin
        };
        for value in values {
            fitted.step(*value);
        }
        fitted.variance = best.1 / (n as f64 - low.len() as f64).max(1.0);
        (fitted.level.is_finite() && fitted.variance.is_finite()).then_some(fitted)
    }

    fn restart(&mut self, begin: &Self) {
        (self.level, self.slope, self.place) = (begin.level, begin.slope, begin.place);
        self.season.copy_from_slice(&begin.season);
    }

    /// The model before the first value.
    fn begin(shape: SmoothingShape, values: &[f64]) -> Option<Self> {
        let n_known = values.iter().filter(|value| !value.is_nan()).count();
        let (m, season) = match shape.season {
            Season::None => (1, Vec::new()),
            Season::Additive | Season::Multiplicative => {
                let kind = if shape.season == Season::Additive {
                    Kind::Additive
                } else {
                    Kind::Multiplicative
                };
                let m = shape.period.max(2);
                (m, season::decompose(kind, m, values, 5)?)
            }
        };
        if n_known < 10 {
            return None;
        }
        let adjusted = |(i, y): (usize, &f64)| match shape.season {
            Season::None => *y,
            Season::Additive => y - season[i % m],
            Season::Multiplicative => y / season[i % m],
        };
        // A line through the first values, with t = 1 for the first.
        let mut n = 0.0_f64;
        let (mut st, mut sy, mut stt, mut sty) = (0.0, 0.0, 0.0, 0.0);
        for (i, y) in values
            .iter()
            .enumerate()
            .map(|pair| (pair.0, adjusted(pair)))
        {
            if y.is_nan() {
                continue;
            }
            let t = i as f64 + 1.0;
            n += 1.0;
            st += t;
            sy += y;
            stt += t * t;
            sty += t * y;
            if n >= 10.0_f64.max(m as f64) {
                break;
            }
        }
        let spread = n * stt - st * st;
        let slope = if spread > 0.0 {
            (n * sty - st * sy) / spread
        } else {
            0.0
        };
        let has_slope = shape.growth != Growth::None;
        let level = if has_slope {
            (sy - slope * st) / n
        } else {
            sy / n
        };
        let weights = SmoothingWeights {
            level: 0.5,
            slope: 0.0,
            season: 0.0,
            damping: 1.0,
        };
        Self::new(
            shape,
            weights,
            level,
            if has_slope { slope } else { 0.0 },
            season,
        )
    }

    /// Learns the next value (NaN: missing) and says by how much it was off; `None` for a missing one.
    pub fn step(&mut self, value: f64) -> Option<f64> {
        let weights = self.weights;
        let base = self.level + weights.damping * self.slope;
        self.slope *= weights.damping;
        self.level = base;
        let season = self.season.get(self.place).copied();
        let place = self.place;
        if !self.season.is_empty() {
            self.place = if place + 1 == self.season.len() {
                0
            } else {
                place + 1
            };
        }
        if value.is_nan() {
            return None;
        }
        let (error, per_level) = match (season, self.shape.season) {
            (Some(season), Season::Multiplicative) => {
                let error = value - base * season;
                // A season or a level of 0 says nothing of the other.
                let (by_season, by_base) = (checked(error / season), checked(error / base));
                self.season[place] = season + weights.season * by_base;
                (error, by_season)
            }
            (Some(season), _) => {
                let error = value - base - season;
                self.season[place] = season + weights.season * error;
                (error, error)
            }
            (None, _) => (value - base, value - base),
        };
        self.level += weights.level * per_level;
        self.slope += weights.level * weights.slope * per_level;
        Some(error)
    }

    /// What comes in each of the next `n` steps: its mean and its variance.
    ///
    /// The variance is that of Hyndman's table 6.1 (class 1); with a multiplicative season it is that of an
    /// additive one, times the squared season.
    pub fn forecast(&self, n: usize) -> Vec<(f64, f64)> {
        let weights = self.weights;
        let (mut sum, mut power, mut reach) = (1.0, 1.0, 0.0);
        (0..n)
            .map(|ahead| {
                power *= weights.damping;
                reach += power;
                let base = self.level + reach * self.slope;
                let m = self.season.len().max(1);
                let season = self.season.get((self.place + ahead) % m).copied();
                let variance = self.variance * sum;
                let c = weights.level
                    + weights.level * weights.slope * reach
                    + if m > 1 && (ahead + 1) % m == 0 {
                        weights.season
                    } else {
                        0.0
                    };
                sum += c * c;
                match (season, self.shape.season) {
                    (Some(season), Season::Multiplicative) => {
                        (base * season, variance * season * season)
                    }
                    (Some(season), _) => (base + season, variance),
                    (None, _) => (base, variance),
                }
            })
            .collect()
    }

    /// Which member it is.
    pub fn shape(&self) -> SmoothingShape {
        self.shape
    }

    /// How quickly it learns.
    pub fn weights(&self) -> SmoothingWeights {
        self.weights
    }

    /// The variance of its errors one step ahead, over what it was fitted to.
    pub fn variance(&self) -> f64 {
        self.variance
    }

    /// The same, where errors one step ahead have this variance.
    pub fn with_variance(mut self, variance: f64) -> Self {
        self.variance = variance.max(0.0);
        self
    }
}

fn checked(quotient: f64) -> f64 {
    if quotient.is_finite() { quotient } else { 0.0 }
}
