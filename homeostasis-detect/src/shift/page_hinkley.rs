//! Page-Hinkley: a change of the mean against the running mean since the last change.

use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hold::Hold;
use super::moments::Moments;
use crate::side::{Side, direction};
use crate::{check, scale, state};

/// One sample counts for at most this share of the limit: an outlier is no change.
const SHARE: f64 = 0.25;

/// What a [`PageHinkley`] passes over and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageHinkleyConfig {
    /// The change per sample that is passed over, in standard deviations; default 0.25, range `0 < delta <= 100`.
    pub delta: f64,
    /// The limit of the sum, in standard deviations; default 25, range `0 < lambda <= 1e6`.
    /// A shift by `d` standard deviations is found after about `lambda / (d - delta)` samples.
    pub lambda: f64,
    /// How many samples are learned before the first is judged; default 30, range 8 to 1 000 000.
    pub warm_up: u32,
    /// For how many samples after it was found a change keeps its score; default 10, range 0 to 1 000 000.
    pub hold: u32,
    /// The least standard deviation assumed, in the unit of the series; default 1e-6, above 0.
    pub resolution: f64,
    /// Which changes count; default both.
    pub side: Side,
}

impl Default for PageHinkleyConfig {
    fn default() -> Self {
        Self {
            delta: 0.25,
            lambda: 25.0,
            warm_up: 30,
            hold: 10,
            resolution: 1e-6,
            side: Side::Both,
        }
    }
}

/// The Page-Hinkley test: sums how far samples lie beyond the mean of all samples since the last change.
///
/// For drift: a level that moves to another one and stays, slowly or at once. When it has found a change it
/// starts over with the new level, so each change is told once, for `hold` samples.
/// With `z = (x - mean) / sigma`, both over the samples since the last change, and `z` clipped to a quarter of the
/// limit, the gauge upwards is `max(0, gauge + z - delta)`, which equals the distance of the cumulated sum from its
/// minimum; downwards likewise. The score is 0.5 when a gauge reaches `lambda`.
/// The surprise is `2 · delta` times the gauge, the log-likelihood ratio of a shift by `2 · delta`.
///
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is
/// scored and not learned; beyond ±1e150 values count as ±1e150. It counts samples, not time: a gap is nothing.
/// O(1) time and memory.
///
/// Sources: E. S. Page, *Continuous inspection schemes*, Biometrika 41 (1954); D. V. Hinkley, *Inference about the
/// change-point from cumulative sum tests*, Biometrika 58 (1971). Measuring in standard deviations and the clipping
/// are ours.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::{Rng, Timestamp};
/// use homeostasis::detect::{PageHinkley, PageHinkleyConfig};
///
/// let (mut test, mut rng) = (PageHinkley::new(PageHinkleyConfig::default())?, Rng::from_seed(1));
/// let mut found = Vec::new();
/// for second in 0..600 {
///     let level = if second < 300 { 10.0 } else { 11.0 };
///     if test.update(Timestamp::from_secs(second), Some(level + rng.unit())).score.get() > 0.5 {
///         found.push(second);
///     }
/// }
/// assert!(300 < found[0] && found[0] < 320);
/// assert_eq!(found.len(), 11);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PageHinkley {
    config: PageHinkleyConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    level: Moments,
    high: Gauge,
    low: Gauge,
    hold: Hold,
    last: Option<Timestamp>,
}

/// The sum above its minimum, and over how many samples.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gauge {
    sum: f64,
    n: u64,
}

impl Gauge {
    fn after(self, z: f64, delta: f64) -> Self {
        let sum = self.sum + z - delta;
        if sum > 0.0 {
            Self {
                sum,
                n: self.n.saturating_add(1),
            }
        } else {
            Self::default()
        }
    }
}

impl PageHinkley {
    /// A test that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `page_hinkley`.
    pub fn new(config: PageHinkleyConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        for (path, value, most) in [
            ("page_hinkley.delta", config.delta, 100.0),
            ("page_hinkley.lambda", config.lambda, 1e6),
        ] {
            let holds = value > 0.0 && value <= most;
            let expected = format!("above 0, at most {most}");
            check::that(&mut found, holds, path, value, &expected);
        }
        check::that(
            &mut found,
            (8..=1_000_000).contains(&config.warm_up),
            "page_hinkley.warm_up",
            config.warm_up,
            "8 to 1000000 samples",
        );
        check::that(
            &mut found,
            config.hold <= 1_000_000,
            "page_hinkley.hold",
            config.hold,
            "0 to 1000000 samples",
        );
        check::positive(&mut found, "page_hinkley.resolution", config.resolution);
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &PageHinkleyConfig {
        &self.config
    }

    /// The mean since the last change; `None` before the first sample.
    pub fn mean(&self) -> Option<f64> {
        (self.state.level.n > 0).then_some(self.state.level.mean)
    }
}

impl SeriesDetector for PageHinkley {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let (config, state) = (self.config, &self.state);
        let is_warm = state.level.n >= u64::from(config.warm_up);
        let (mean, sigma) = (state.level.mean, state.level.sigma(config.resolution));
        let expected = Expectation::Between {
            low: (is_warm && config.side.counts_low()).then_some(mean - 3.0 * sigma),
            high: (is_warm && config.side.counts_high()).then_some(mean + 3.0 * sigma),
        };
        let Some(value) = scale::usable(value) else {
            return KernelScore::normal(expected);
        };
        let clip = SHARE * config.lambda + config.delta;
        let z = ((value - mean) / sigma).clamp(-clip, clip);
        let (high, low) = if is_warm {
            let z = (config.side.counts_high(), config.side.counts_low(), z);
            (
                if z.0 {
                    state.high.after(z.2, config.delta)
                } else {
                    Gauge::default()
                },
                if z.1 {
                    state.low.after(-z.2, config.delta)
                } else {
                    Gauge::default()
                },
            )
        } else {
            Default::default()
        };
        let (larger, sign) = if high.sum >= low.sum {
            (high, 1.0)
        } else {
            (low, -1.0)
        };
        let ratio = larger.sum / config.lambda;
        let surprise = 2.0 * config.delta * larger.sum;
        let is_new = state.last.is_none_or(|last| at > last);
        let kept = if is_new {
            self.state.hold.step()
        } else {
            state.hold.peek()
        };
        if is_new {
            let state = &mut self.state;
            state.last = Some(at);
            (state.high, state.low) = (high, low);
            if ratio > 1.0 {
                let shift = sigma * (larger.sum / larger.n as f64 + config.delta);
                *state = State {
                    hold: Hold::begin(config.hold, ratio, surprise, (mean, mean + sign * shift)),
                    last: Some(at),
                    ..State::default()
                };
                state.level.add(value);
            } else {
                state
                    .level
                    .add(if is_warm { mean + z * sigma } else { value });
            }
        }
        let own = (ratio, surprise, sign * larger.sum);
        let (ratio, surprise, shift) = kept.filter(|kept| kept.0 > ratio).unwrap_or(own);
        KernelScore {
            score: scale::score(ratio),
            surprise,
            direction: direction(shift),
            expected,
        }
    }

    fn explain(&self) -> Option<String> {
        let hold = &self.state.hold;
        hold.peek().map(|_| hold.explain())
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of page_hinkley", value)?;
        let sums = [loaded.high.sum, loaded.low.sum];
        state::require(
            loaded.level.can_be() && sums.iter().all(|sum| *sum >= 0.0),
            "state of page_hinkley",
            "sums of 0 or more",
        )?;
        self.state = loaded;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use homeostasis_core::record::Direction;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn the_gauge_is_the_cumulated_sum_above_its_minimum() {
        let mut test = PageHinkley::new(PageHinkleyConfig {
            warm_up: 8,
            lambda: 1e5,
            ..PageHinkleyConfig::default()
        })
        .unwrap();
        let mut rng = Rng::from_seed(4);
        let (mut values, mut sum, mut least) = (Vec::new(), 0.0, 0.0_f64);
        for second in 0..300 {
            let value = 5.0 + rng.unit();
            if second >= 8 {
                let n = values.len() as f64;
                let mean = values.iter().sum::<f64>() / n;
                let squares: f64 = values.iter().map(|x: &f64| (x - mean).powi(2)).sum();
                sum += (value - mean) / (squares / (n - 1.0)).sqrt() - 0.25;
                least = least.min(sum);
            }
            values.push(value);
            test.update(at(second), Some(value));
            assert!(
                (test.state.high.sum - (sum - least)).abs() < 1e-9,
                "{second}"
            );
        }
    }

    #[test]
    fn outliers_are_no_change_and_a_fall_is_explained() {
        let mut test = PageHinkley::new(PageHinkleyConfig::default()).unwrap();
        let mut rng = Rng::from_seed(4);
        let mut found = None;
        for second in 0..500 {
            let value = match second {
                100 | 200 | 300 => 1e9,
                400.. => 3.0 + rng.unit(),
                _ => 5.0 + rng.unit(),
            };
            let judged = test.update(at(second), Some(value));
            if judged.score.get() > 0.5 && found.is_none() {
                assert_eq!(judged.direction, Direction::Low);
                found = Some((second, test.explain().unwrap()));
            }
        }
        let (second, text) = found.unwrap();
        assert!((401..430).contains(&second), "{second}");
        assert!(
            text.starts_with("its mean went from 5.") && text.contains(" to "),
            "{text}"
        );
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = PageHinkley::new(PageHinkleyConfig {
            delta: 0.0,
            lambda: f64::NAN,
            warm_up: 0,
            hold: u32::MAX,
            resolution: 0.0,
            side: Side::Both,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 5);
    }
}
