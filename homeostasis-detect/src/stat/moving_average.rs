//! Moving average: the mean and standard deviation of the last samples.

use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Score, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::side::{Side, direction};
use crate::{check, scale, state};

/// When a sum of squares falls to this share of itself as a sample leaves, its digits are used up.
const CANCELLED: f64 = 1e-6;

/// How a [`MovingAverage`] looks back and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MovingAverageConfig {
    /// How many samples it looks back; default 100, range 2 to 100 000.
    pub window: usize,
    /// The limit in standard deviations; default 3, range `0 < k <= 1e6`.
    /// **Warning:** below 2 a normal series alarms all the time.
    pub k: f64,
    /// How many samples are learned before the first is judged; default 30, range 2 to `window`.
    pub warm_up: usize,
    /// The least standard deviation assumed, in the unit of the series; default 1e-6, above 0.
    pub resolution: f64,
    /// After a gap longer than this the window is emptied and warms up again; default 1 day, above 0.
    #[serde(with = "crate::duration_text")]
    pub forget_after: Duration,
    /// Which deviations count; default both.
    pub side: Side,
}

impl Default for MovingAverageConfig {
    fn default() -> Self {
        Self {
            window: 100,
            k: 3.0,
            warm_up: 30,
            resolution: 1e-6,
            forget_after: Duration::from_secs(86_400),
            side: Side::Both,
        }
    }
}

/// Judges a sample by its distance from the mean of the last `window` samples, in their standard
/// deviations (with `n - 1` degrees of freedom).
///
/// For a series with a steady level, such as the load of a process.
/// Everything in the window weighs the same and nothing is clipped: an outlier widens the limit until it
/// leaves the window, and a lasting shift is normal after about half a window.
/// The score is 0.5 at `k` standard deviations, the surprise follows Cantelli's bound.
///
/// Mean and sum of squares are updated as a sample enters and another leaves, and summed anew from the
/// window once per `window` samples and when a huge sample has left it, so that rounding does not accumulate.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample
/// is scored and not learned; beyond ±1e150 values count as ±1e150.
/// O(1) amortized time per sample, 8 bytes of memory per sample of the window.
///
/// Source of the update: B. P. Welford, *Note on a method for calculating corrected sums of squares and
/// products*, Technometrics 4 (1962), extended to a leaving sample.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{MovingAverage, MovingAverageConfig};
///
/// let mut average = MovingAverage::new(MovingAverageConfig::default())?;
/// for second in 0..200_i32 {
///     average.update(Timestamp::from_secs(second.into()), Some(f64::from(second % 5)));
/// }
/// let judged = average.update(Timestamp::from_secs(200), Some(20.0));
/// assert!(judged.score.get() > 0.9);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MovingAverage {
    config: MovingAverageConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The window; once it is full the oldest sample stands at `next`.
    ring: Vec<f64>,
    next: usize,
    mean: f64,
    /// The sum of squared distances from the mean.
    squares: f64,
    last: Option<Timestamp>,
}

impl MovingAverage {
    /// A window that is still empty.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `moving_average`.
    pub fn new(config: MovingAverageConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        check::that(
            &mut found,
            (2..=100_000).contains(&config.window),
            "moving_average.window",
            config.window,
            "2 to 100000 samples",
        );
        let holds = config.k > 0.0 && config.k <= 1e6;
        check::that(
            &mut found,
            holds,
            "moving_average.k",
            config.k,
            "0 < k <= 1e6",
        );
        check::that(
            &mut found,
            config.warm_up >= 2 && config.warm_up <= config.window,
            "moving_average.warm_up",
            config.warm_up,
            &format!("2 to {} samples, the window", config.window),
        );
        check::positive(&mut found, "moving_average.resolution", config.resolution);
        check::that(
            &mut found,
            !config.forget_after.is_zero(),
            "moving_average.forget_after",
            format_duration(config.forget_after),
            "a duration above 0s",
        );
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &MovingAverageConfig {
        &self.config
    }

    /// The mean of the window; `None` while it is empty.
    pub fn mean(&self) -> Option<f64> {
        (!self.state.ring.is_empty()).then_some(self.state.mean)
    }

    /// The standard deviation of the window; `None` for fewer than two samples.
    pub fn standard_deviation(&self) -> Option<f64> {
        let n = self.state.ring.len();
        (n >= 2).then(|| (self.state.squares / (n - 1) as f64).sqrt())
    }

    fn is_warm(&self) -> bool {
        self.state.ring.len() >= self.config.warm_up
    }

    /// Scores and learns samples as long as they are regular: a full window, finite, in order, without a gap that
    /// empties it. Gives back how many there were.
    fn go_on(&mut self, samples: &[(Timestamp, f64)], scores: &mut Vec<Score>) -> usize {
        let (config, n) = (self.config, self.state.ring.len());
        let Some(mut last) = self.state.last.filter(|_| n == config.window) else {
            return 0;
        };
        let longest = i64::try_from(config.forget_after.as_nanos()).unwrap_or(i64::MAX);
        let before = scores.len();
        scores.extend(samples.iter().map_while(|(at, value)| {
            let passed = at.as_nanos().saturating_sub(last.as_nanos());
            if !(passed > 0 && passed <= longest && scale::is_usual(*value)) {
                return None;
            }
            let spread = (self.state.squares / (n - 1) as f64).sqrt();
            let width = config.k * spread.max(scale::floor(self.state.mean, config.resolution));
            let deviation = config.side.of(value - self.state.mean);
            self.learn(*value);
            last = *at;
            Some(scale::score(deviation / width))
        }));
        self.state.last = Some(last);
        scores.len() - before
    }

    #[inline]
    fn learn(&mut self, value: f64) {
        let state = &mut self.state;
        if state.ring.len() < self.config.window {
            state.ring.push(value);
            let delta = value - state.mean;
            state.mean += delta / state.ring.len() as f64;
            state.squares += delta * (value - state.mean);
        } else {
            let old = std::mem::replace(&mut state.ring[state.next], value);
            state.next += 1;
            if state.next == self.config.window {
                state.next = 0;
            }
            let (before, squares) = (state.mean, state.squares);
            state.mean += (value - old) / self.config.window as f64;
            state.squares += (value - old) * (value - state.mean + old - before);
            if state.next == 0 || state.squares < CANCELLED * squares {
                state.sum_anew();
            }
        }
        state.squares = state.squares.max(0.0);
    }
}

impl State {
    /// Both sums from the window, in two passes.
    fn sum_anew(&mut self) {
        let n = self.ring.len() as f64;
        let mean = sum(&self.ring, |value| value) / n;
        // The second term corrects the rounding of the mean.
        let mean = mean + sum(&self.ring, |value| value - mean) / n;
        self.mean = mean;
        self.squares = sum(&self.ring, |value| (value - mean).powi(2));
    }
}

/// The sum of `term` of the values, in four parts that do not wait for each other.
fn sum(values: &[f64], term: impl Fn(f64) -> f64) -> f64 {
    let (fours, rest) = values.as_chunks::<4>();
    let parts = fours.iter().fold([0.0; 4], |[a, b, c, d], [w, x, y, z]| {
        [a + term(*w), b + term(*x), c + term(*y), d + term(*z)]
    });
    parts
        .into_iter()
        .chain(rest.iter().map(|value| term(*value)))
        .sum()
}

impl SeriesDetector for MovingAverage {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let usable = scale::usable(value);
        let (config, last) = (self.config, self.state.last);
        if usable.is_some() && last.is_some_and(|last| at.since(last) > config.forget_after) {
            self.state = State::default();
        }
        let level = self.state.mean;
        let spread = self
            .standard_deviation()
            .unwrap_or_default()
            .max(scale::floor(level, config.resolution));
        let width = config.k * spread;
        let is_warm = self.is_warm();
        let expected = Expectation::Between {
            low: (is_warm && config.side.counts_low()).then_some(level - width),
            high: (is_warm && config.side.counts_high()).then_some(level + width),
        };
        let Some(value) = usable else {
            return KernelScore::normal(expected);
        };
        let judged = if is_warm {
            let deviation = config.side.of(value - level);
            KernelScore {
                score: scale::score(deviation / width),
                surprise: scale::surprise(deviation / spread),
                direction: direction(deviation),
                expected,
            }
        } else {
            KernelScore::normal(expected)
        };
        if last.is_none_or(|last| at > last) {
            self.state.last = Some(at);
            self.learn(value);
        }
        judged
    }

    fn heap_bytes(&self) -> usize {
        self.state.ring.capacity() * size_of::<f64>()
    }

    fn update_batch(&mut self, samples: &[(Timestamp, f64)], scores: &mut Vec<Score>) {
        scores.reserve(samples.len());
        let mut rest = samples;
        while let Some(((at, value), tail)) = rest.split_first() {
            match self.go_on(rest, scores) {
                0 => {
                    scores.push(self.update(*at, Some(*value)).score);
                    rest = tail;
                }
                n => rest = &rest[n..],
            }
        }
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of moving_average", value)?;
        let n = loaded.ring.len();
        let is_full = n == self.config.window;
        state::require(
            n <= self.config.window
                && if is_full {
                    loaded.next < n
                } else {
                    loaded.next == 0
                },
            "state of moving_average",
            &format!(
                "at most {} samples, as the window holds",
                self.config.window
            ),
        )?;
        state::require(
            loaded.squares >= 0.0,
            "state of moving_average",
            "a sum of squares of 0 or more",
        )?;
        self.state = loaded;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    fn average(config: MovingAverageConfig) -> MovingAverage {
        MovingAverage::new(config).unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = MovingAverage::new(MovingAverageConfig {
            window: 1,
            k: f64::NAN,
            warm_up: 5,
            resolution: -1.0,
            forget_after: Duration::ZERO,
            side: Side::Both,
        })
        .unwrap_err();
        let paths: Vec<_> = error.violations().iter().map(|v| v.path.as_str()).collect();
        assert_eq!(
            paths,
            ["window", "k", "warm_up", "resolution", "forget_after"]
                .map(|field| format!("moving_average.{field}"))
        );
    }

    #[test]
    fn a_sliding_window_equals_its_sum_even_after_values_of_very_different_size() {
        let mut model = average(MovingAverageConfig {
            window: 50,
            ..MovingAverageConfig::default()
        });
        let mut rng = Rng::from_seed(7);
        let mut all = Vec::new();
        for second in 0..1000 {
            let huge = if (100..120).contains(&second) {
                1e12
            } else {
                0.0
            };
            let value = 1e6 + rng.unit() + huge;
            all.push(value);
            model.update(at(second), Some(value));
            if second == 172 {
                // Three samples after the last huge one has left the window.
                assert!(model.standard_deviation().unwrap() < 1.0);
            }
        }
        let window = &all[950..];
        let mean = window.iter().sum::<f64>() / 50.0;
        let deviation = (window.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 49.0).sqrt();
        assert!((model.mean().unwrap() - mean).abs() < 1e-6);
        assert!((model.standard_deviation().unwrap() / deviation - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_long_gap_starts_over() {
        let mut model = average(MovingAverageConfig::default());
        for second in 0..200 {
            model.update(at(second), Some(1.0));
        }
        let judged = model.update(at(200 + 2 * 86_400), Some(50.0));
        assert_eq!(judged.score.get(), 0.0);
        assert_eq!(model.mean(), Some(50.0));
    }

    #[test]
    fn late_and_missing_samples_are_not_learned() {
        let mut model = average(MovingAverageConfig::default());
        for second in 0..50 {
            model.update(at(second), Some(1.0));
        }
        let before = model.clone();
        assert!(model.update(at(10), Some(100.0)).score.get() > 0.5);
        assert_eq!(model.update(at(90_000_000), None).score.get(), 0.0);
        assert_eq!(model.update(at(60), Some(f64::NAN)).surprise, 0.0);
        assert_eq!(model, before);
    }

    #[test]
    fn a_window_of_another_size_is_not_taken_up() {
        let mut large = average(MovingAverageConfig::default());
        for second in 0..150 {
            large.update(at(second), Some(1.0));
        }
        let mut small = average(MovingAverageConfig {
            window: 40,
            ..MovingAverageConfig::default()
        });
        let error = small.load(&large.save().unwrap()).unwrap_err();
        assert!(error.to_string().contains("at most 40 samples"), "{error}");
    }
}
