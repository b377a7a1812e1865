//! Exponentially weighted moving average: recent samples weigh more.

use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Score, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::side::{Side, direction};
use crate::{check, scale, state};

/// The standard deviation of a normal distribution by its mean absolute deviation: √(π/2).
const SIGMA_PER_MEAN_DEVIATION: f64 = 1.253_314_137_315_500_3;
/// From how many usual intervals on a pause is a gap and not jitter.
const GAP: f64 = 2.0;
/// How quickly the usual interval between samples is learned.
const INTERVAL_WEIGHT: f64 = 0.1;

/// How an [`Ewma`] weighs and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EwmaConfig {
    /// The weight of a new sample in the mean; default 0.3, range `0 < alpha <= 1`.
    /// At 1 every sample is compared with the one before it.
    pub alpha: f64,
    /// The weight of a new deviation in the spread; default 0.05, range `0 < deviation_alpha <= 1`.
    /// Smaller than `alpha`, because a spread needs more samples than a mean.
    pub deviation_alpha: f64,
    /// The limit in standard deviations; default 3, range `0 < k <= 1e6`.
    /// **Warning:** below 2 a normal series alarms all the time.
    pub k: f64,
    /// How many samples are learned before the first is judged; default 20, range 2 to 1 000 000.
    pub warm_up: u32,
    /// The least standard deviation assumed, in the unit of the series; default 1e-6, above 0.
    /// A constant series alarms on a change of more than `k` times this.
    pub resolution: f64,
    /// Which deviations count; default both.
    pub side: Side,
}

impl Default for EwmaConfig {
    fn default() -> Self {
        Self {
            alpha: 0.3,
            deviation_alpha: 0.05,
            k: 3.0,
            warm_up: 20,
            resolution: 1e-6,
            side: Side::Both,
        }
    }
}

/// Judges a sample by its distance from an exponentially weighted mean, in deviations of the past.
///
/// For a noisy series whose level drifts.
/// It follows a lasting shift within some ten samples and then calls it normal; who needs to hear of the
/// shift as long as it lasts uses a [`SustainedCondition`](crate::SustainedCondition).
///
/// With `d = x - mean` and the spread `s = √(π/2) · deviation`:
/// `mean ← mean + alpha · d'` and `deviation ← deviation + deviation_alpha · (|d'| - deviation)`, where
/// `d'` is `d` clipped to `±k · s`, so that one outlier does not teach the model that outliers are normal.
/// While warming up nothing is clipped and both are plain averages at first.
/// The score is 0.5 at `k · s`, the surprise follows Cantelli's bound (see [`KernelScore::surprise`]).
///
/// *Gaps:* after `m` usual intervals without a value (`m > 2`) the next one weighs
/// `1 - (1 - alpha)^m`, and the limit widens by `√(1 + (m - 1) · alpha²)`, the standard deviation of a
/// forecast `m` steps ahead.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample
/// is scored and not learned; beyond ±1e150 values count as ±1e150.
/// O(1) time and memory.
///
/// Sources: R. G. Brown, *Statistical Forecasting for Inventory Control*, 1959 (mean and smoothed mean
/// absolute deviation); D. J. Wright, *Forecasting data published at irregular time intervals using an
/// extension of Holt's method*, Management Science 32 (1986), equation 4 (gaps); R. Hyndman et al.,
/// *Forecasting with Exponential Smoothing*, 2008, table 6.1 (variance of a forecast).
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{Ewma, EwmaConfig};
///
/// let mut ewma = Ewma::new(EwmaConfig::default())?;
/// for second in 0..60 {
///     let value = if second % 2 == 0 { 0.20 } else { 0.22 };
///     assert!(ewma.update(Timestamp::from_secs(second), Some(value)).score.get() < 0.5);
/// }
/// assert!(ewma.update(Timestamp::from_secs(60), Some(0.9)).score.get() > 0.9);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Ewma {
    config: EwmaConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    n: u64,
    mean: f64,
    deviation: f64,
    last: Option<Timestamp>,
    interval_nanos: f64,
}

impl Ewma {
    /// A model that has learned nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `ewma`.
    pub fn new(config: EwmaConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        for (path, weight) in [
            ("ewma.alpha", config.alpha),
            ("ewma.deviation_alpha", config.deviation_alpha),
        ] {
            let name = path.trim_start_matches("ewma.");
            let holds = weight > 0.0 && weight <= 1.0;
            check::that(&mut found, holds, path, weight, &format!("0 < {name} <= 1"));
        }
        let holds = config.k > 0.0 && config.k <= 1e6;
        check::that(&mut found, holds, "ewma.k", config.k, "0 < k <= 1e6");
        check::that(
            &mut found,
            (2..=1_000_000).contains(&config.warm_up),
            "ewma.warm_up",
            config.warm_up,
            "2 to 1000000 samples",
        );
        check::positive(&mut found, "ewma.resolution", config.resolution);
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &EwmaConfig {
        &self.config
    }

    /// The present mean; `None` before the first sample.
    pub fn mean(&self) -> Option<f64> {
        (self.state.n > 0).then_some(self.state.mean)
    }

    /// How many usual intervals have passed since the last sample; 1 unless there was a gap.
    fn steps(&self, at: Timestamp) -> f64 {
        let Some(last) = self.state.last else {
            return 1.0;
        };
        let usual = self.state.interval_nanos;
        let passed = nanos(at, last);
        if usual > 0.0 && passed > GAP * usual {
            (passed / usual).min(1e9)
        } else {
            1.0
        }
    }

    /// The standard deviation of what comes after `steps` intervals.
    fn spread(&self, steps: f64) -> f64 {
        let now = SIGMA_PER_MEAN_DEVIATION * self.state.deviation;
        let now = now.max(scale::floor(self.state.mean, self.config.resolution));
        now * (1.0 + (steps - 1.0) * self.config.alpha.powi(2)).sqrt()
    }

    fn expected(&self, spread: f64) -> Expectation {
        if !self.is_warm() {
            return Expectation::Between {
                low: None,
                high: None,
            };
        }
        let (side, width) = (self.config.side, self.config.k * spread);
        Expectation::Between {
            low: side.counts_low().then_some(self.state.mean - width),
            high: side.counts_high().then_some(self.state.mean + width),
        }
    }

    fn is_warm(&self) -> bool {
        self.state.n >= u64::from(self.config.warm_up)
    }

    /// Scores and learns samples as long as they are regular: warm, finite, in order, without a gap. Gives back
    /// how many there were.
    ///
    /// It is `update` with everything left out that is nothing for such samples; the numbers stay in registers.
    fn go_on(&mut self, samples: &[(Timestamp, f64)], scores: &mut Vec<Score>) -> usize {
        let (config, seen) = (self.config, self.state.n as f64);
        let is_steady = self.is_warm()
            && self.state.interval_nanos > 0.0
            && 1.0 / (seen + 1.0) <= config.alpha
            && 1.0 / seen <= config.deviation_alpha;
        let Some(mut last) = self.state.last.filter(|_| is_steady) else {
            return 0;
        };
        let State {
            mut mean,
            mut deviation,
            interval_nanos: mut interval,
            ..
        } = self.state;
        let before = scores.len();
        scores.extend(samples.iter().map_while(|(at, value)| {
            let passed = nanos(*at, last);
            if !(*at > last && passed <= GAP * interval && scale::is_usual(*value)) {
                return None;
            }
            let spread = SIGMA_PER_MEAN_DEVIATION * deviation;
            let limit = config.k * spread.max(scale::floor(mean, config.resolution));
            let delta = value - mean;
            let score = scale::score(config.side.of(delta) / limit);
            let delta = delta.max(-limit).min(limit);
            mean += config.alpha * delta;
            deviation += config.deviation_alpha * (delta.abs() - deviation);
            interval += INTERVAL_WEIGHT * (passed - interval);
            last = *at;
            Some(score)
        }));
        let n = scores.len() - before;
        self.state = State {
            n: self.state.n + n as u64,
            mean,
            deviation,
            last: Some(last),
            interval_nanos: interval,
        };
        n
    }

    fn learn(&mut self, at: Timestamp, value: f64, steps: f64, limit: f64) {
        let (config, is_warm) = (self.config, self.is_warm());
        let state = &mut self.state;
        if let Some(last) = state.last {
            let passed = nanos(at, last);
            if state.interval_nanos == 0.0 {
                state.interval_nanos = passed;
            } else {
                let learned = passed.min(GAP * state.interval_nanos);
                state.interval_nanos += INTERVAL_WEIGHT * (learned - state.interval_nanos);
            }
        }
        state.last = Some(at);
        if state.n == 0 {
            (state.n, state.mean) = (1, value);
            return;
        }
        let mut delta = value - state.mean;
        if is_warm {
            delta = delta.max(-limit).min(limit);
        }
        // 1 - (1 - alpha)^steps, exact for one step.
        let alpha = if steps > 1.0 {
            1.0 - (1.0 - config.alpha).powf(steps)
        } else {
            config.alpha
        };
        let seen = state.n as f64;
        state.mean += alpha.max(1.0 / (seen + 1.0)) * delta;
        state.deviation += config.deviation_alpha.max(1.0 / seen) * (delta.abs() - state.deviation);
        state.n = state.n.saturating_add(1);
    }
}

fn nanos(at: Timestamp, last: Timestamp) -> f64 {
    at.as_nanos().saturating_sub(last.as_nanos()).max(0) as f64
}

impl SeriesDetector for Ewma {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let steps = self.steps(at);
        let spread = self.spread(steps);
        let expected = self.expected(spread);
        let Some(value) = scale::usable(value) else {
            return KernelScore::normal(expected);
        };
        let judged = if self.is_warm() {
            let deviation = self.config.side.of(value - self.state.mean);
            KernelScore {
                score: scale::score(deviation / (self.config.k * spread)),
                surprise: scale::surprise(deviation / spread),
                direction: direction(deviation),
                expected,
            }
        } else {
            KernelScore::normal(expected)
        };
        if self.state.last.is_none_or(|last| at > last) {
            self.learn(at, value, steps, self.config.k * spread);
        }
        judged
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
        let loaded: State = state::load("state of ewma", value)?;
        state::require(
            loaded.deviation >= 0.0 && loaded.interval_nanos >= 0.0,
            "state of ewma",
            "a deviation and an interval of 0 or more",
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

    fn ewma(config: EwmaConfig) -> Ewma {
        Ewma::new(config).unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// A model that has seen `n` seconds of noise of ±1 around 10.
    fn trained(n: i64) -> Ewma {
        let (mut model, mut rng) = (ewma(EwmaConfig::default()), Rng::from_seed(1));
        for second in 0..n {
            model.update(at(second), Some(9.0 + 2.0 * rng.unit()));
        }
        model
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = Ewma::new(EwmaConfig {
            alpha: 1.7,
            deviation_alpha: f64::NAN,
            k: 0.0,
            warm_up: 1,
            resolution: f64::INFINITY,
            side: Side::Both,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 5);
        assert_eq!(
            error.violations()[0].to_string(),
            "ewma.alpha = 1.7, expected 0 < alpha <= 1"
        );
    }

    #[test]
    fn a_constant_series_ignores_noise_below_its_resolution() {
        let mut model = ewma(EwmaConfig::default());
        for second in 0..200 {
            let noise = if second % 3 == 0 { 1e-12 } else { 0.0 };
            let judged = model.update(at(second), Some(5.0 + noise));
            assert!(judged.score.get() < 0.01, "{judged:?}");
        }
        assert!(model.update(at(200), Some(5.1)).score.get() > 0.99);
    }

    #[test]
    fn rounding_of_huge_constants_is_no_anomaly() {
        let mut model = ewma(EwmaConfig::default());
        for second in 0..100 {
            let ulp = if second % 2 == 0 { 0.25 } else { 0.0 };
            let judged = model.update(at(second), Some(1e15 + ulp));
            assert!(judged.score.get() < 0.01, "{judged:?}");
        }
    }

    #[test]
    fn an_outlier_teaches_little() {
        let mut model = trained(300);
        let before = model.mean().unwrap();
        assert!(model.update(at(300), Some(1e9)).score.get() > 0.99);
        assert!((model.mean().unwrap() - before).abs() < 2.0);
        assert!(model.update(at(301), Some(10.0)).score.get() < 0.5);
    }

    #[test]
    fn a_lasting_shift_becomes_normal() {
        let mut model = trained(300);
        let scores: Vec<f64> = (300..420)
            .map(|second| model.update(at(second), Some(1000.0)).score.get())
            .collect();
        assert!(scores[0] > 0.9);
        assert!(scores[119] < 0.5, "{}", scores[119]);
    }

    #[test]
    fn sides_are_kept_apart() {
        let mut high = ewma(EwmaConfig {
            side: Side::High,
            ..EwmaConfig::default()
        });
        let mut low = ewma(EwmaConfig {
            side: Side::Low,
            ..EwmaConfig::default()
        });
        for second in 0..50 {
            high.update(at(second), Some(1.0));
            low.update(at(second), Some(1.0));
        }
        assert_eq!(high.clone().update(at(50), Some(0.0)).score.get(), 0.0);
        assert_eq!(low.clone().update(at(50), Some(2.0)).score.get(), 0.0);
        assert_eq!(high.update(at(50), Some(2.0)).direction, Direction::High);
        assert_eq!(low.update(at(50), Some(0.0)).direction, Direction::Low);
    }

    #[test]
    fn a_gap_widens_the_limit_and_lets_the_next_sample_weigh_more() {
        let (mut steady, mut paused) = (trained(300), trained(300));
        let (near, far) = (
            steady.update(at(300), Some(13.0)),
            paused.update(at(300 + 3600), Some(13.0)),
        );
        assert!(far.score < near.score);
        assert!(paused.mean().unwrap() > steady.mean().unwrap());
    }

    #[test]
    fn late_and_missing_samples_are_not_learned() {
        let mut model = trained(50);
        let before = model.clone();
        assert!(model.update(at(49), Some(100.0)).score.get() > 0.5);
        assert_eq!(model.update(at(60), None).score.get(), 0.0);
        assert_eq!(model.update(at(60), Some(f64::NAN)).score.get(), 0.0);
        assert_eq!(model.update(at(60), Some(f64::INFINITY)).score.get(), 0.0);
        assert_eq!(model, before);
    }

    #[test]
    fn a_state_that_cannot_be_is_refused_and_the_present_one_kept() {
        let mut model = trained(50);
        let before = model.clone();
        let mut value = model.save().unwrap();
        value["deviation"] = serde_json::json!(-1.0);
        assert!(model.load(&value).is_err());
        assert!(model.load(&serde_json::json!({"n": 1})).is_err());
        assert_eq!(model, before);
    }
}
