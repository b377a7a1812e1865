//! CUSUM: small lasting shifts of the mean, summed until they show.

use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::moments::Moments;
use crate::side::{Side, direction};
use crate::{check, scale, state};

/// A sum learns at most this many limits, so that it is over soon after the shift is.
const CAP: f64 = 2.0;

/// What a [`Cusum`] sums and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CusumConfig {
    /// The allowance in standard deviations; default 0.5, range `0 < k <= 100`.
    /// Half of the shift to find: 0.5 finds shifts of one standard deviation soonest.
    pub k: f64,
    /// The limit of the sums in standard deviations; default 8, range `0 < h <= 1e6`.
    /// With `k = 0.5` and a known level, normal noise passes 4 once in 168 samples, 5 once in 465 and 8 once in
    /// ten thousand.
    pub h: f64,
    /// From how many samples level and spread are learned; default 100, range 8 to 1 000 000.
    pub warm_up: u32,
    /// The level to keep, if it is known; default learned.
    pub target: Option<f64>,
    /// The standard deviation around it, if it is known; default learned. Above 0, at most 1e150.
    pub sigma: Option<f64>,
    /// After how many samples in a row beyond the limit the new level is learned as the normal one; default 100,
    /// range 1 to 1 000 000. A given `target` stays.
    pub accept_after: u32,
    /// The least standard deviation assumed, in the unit of the series; default 1e-6, above 0.
    pub resolution: f64,
    /// After a gap longer than this everything is learned anew; default 1 day, above 0.
    #[serde(with = "crate::duration_text")]
    pub forget_after: Duration,
    /// Which shifts count; default both.
    pub side: Side,
}

impl Default for CusumConfig {
    fn default() -> Self {
        Self {
            k: 0.5,
            h: 8.0,
            warm_up: 100,
            target: None,
            sigma: None,
            accept_after: 100,
            resolution: 1e-6,
            forget_after: Duration::from_secs(86_400),
            side: Side::Both,
        }
    }
}

/// The tabular two-sided CUSUM: it alarms on a shift of the mean that is too small to see in single samples.
///
/// For a value that should stay at a level: a hit ratio, a clock offset, the duration of the same job.
/// With `z = (x - target) / sigma`: `high ← max(0, high + z - k)` and `low ← max(0, low - z - k)`.
/// The score is 0.5 when the larger of both reaches `h`; it stays up as long as the shift does, until
/// `accept_after` samples in a row have made the new level the normal one.
/// Level and spread are learned from the first `warm_up` samples unless they are given, and then kept: a level that
/// drifts is a shift sooner or later (see [`PageHinkley`](crate::PageHinkley) for one that may drift).
///
/// The surprise is `2 · k` times the larger sum, the log-likelihood ratio of a shift by `2 · k` standard deviations
/// that began where the sum was last 0.
/// What is learned of a sum ends at `2 · h`, so that one huge outlier is forgotten within `h / k` samples.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is
/// scored and not learned; beyond ±1e150 values count as ±1e150.
/// O(1) time and memory.
///
/// Sources: E. S. Page, *Continuous inspection schemes*, Biometrika 41 (1954); D. C. Montgomery, *Introduction to
/// Statistical Quality Control*, section 9.1 (the tabular form); D. Siegmund, *Sequential Analysis*, 1985 (lengths
/// of runs).
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::{Rng, Timestamp};
/// use homeostasis::detect::{Cusum, CusumConfig};
///
/// let (mut cusum, mut rng) = (Cusum::new(CusumConfig::default())?, Rng::from_seed(1));
/// let mut last = 0.0;
/// for second in 0..400 {
///     // From 300 on the mean is up by one and a half standard deviations: no sample looks odd by itself.
///     let shift = if second >= 300 { 0.43 } else { 0.0 };
///     let judged = cusum.update(Timestamp::from_secs(second), Some(10.0 + rng.unit() + shift));
///     assert!(second >= 300 || judged.score.get() < 0.5);
///     last = judged.score.get();
/// }
/// assert!(last > 0.5);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Cusum {
    config: CusumConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    level: Moments,
    high: f64,
    low: f64,
    n_beyond: u32,
    last: Option<Timestamp>,
}

impl Cusum {
    /// Sums of nothing.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `cusum`.
    pub fn new(config: CusumConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let holds = config.k > 0.0 && config.k <= 100.0;
        check::that(&mut found, holds, "cusum.k", config.k, "0 < k <= 100");
        let holds = config.h > 0.0 && config.h <= 1e6;
        check::that(&mut found, holds, "cusum.h", config.h, "0 < h <= 1e6");
        check::that(
            &mut found,
            (8..=1_000_000).contains(&config.warm_up),
            "cusum.warm_up",
            config.warm_up,
            "8 to 1000000 samples",
        );
        if let Some(target) = config.target {
            let holds = target.abs() <= 1e150;
            check::that(
                &mut found,
                holds,
                "cusum.target",
                target,
                "a number of at most 1e150",
            );
        }
        if let Some(sigma) = config.sigma {
            let holds = sigma > 0.0 && sigma <= 1e150;
            check::that(
                &mut found,
                holds,
                "cusum.sigma",
                sigma,
                "a number above 0 and at most 1e150",
            );
        }
        check::that(
            &mut found,
            (1..=1_000_000).contains(&config.accept_after),
            "cusum.accept_after",
            config.accept_after,
            "1 to 1000000 samples",
        );
        check::positive(&mut found, "cusum.resolution", config.resolution);
        check::that(
            &mut found,
            !config.forget_after.is_zero(),
            "cusum.forget_after",
            format_duration(config.forget_after),
            "a duration above 0s",
        );
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &CusumConfig {
        &self.config
    }

    /// The upper and the lower sum, in standard deviations.
    pub fn sums(&self) -> (f64, f64) {
        (self.state.high, self.state.low)
    }

    fn is_warm(&self) -> bool {
        let is_given = self.config.target.is_some() && self.config.sigma.is_some();
        is_given || self.state.level.n >= u64::from(self.config.warm_up)
    }

    fn learn(&mut self, at: Timestamp, value: f64, (high, low): (f64, f64)) {
        let (config, is_warm) = (self.config, self.is_warm());
        let state = &mut self.state;
        state.last = Some(at);
        if !is_warm {
            state.level.add(value);
            return;
        }
        let cap = CAP * config.h;
        (state.high, state.low) = (high.min(cap), low.min(cap));
        if high.max(low) <= config.h {
            state.n_beyond = 0;
            return;
        }
        state.n_beyond = state.n_beyond.saturating_add(1);
        if state.n_beyond >= config.accept_after && config.target.is_none() {
            *state = State {
                last: Some(at),
                ..State::default()
            };
            state.level.add(value);
        }
    }
}

impl SeriesDetector for Cusum {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let usable = scale::usable(value);
        let (config, last) = (self.config, self.state.last);
        if usable.is_some() && last.is_some_and(|last| at.since(last) > config.forget_after) {
            self.state = State::default();
        }
        let (is_warm, state) = (self.is_warm(), &self.state);
        let target = config.target.unwrap_or(state.level.mean);
        let sigma = config
            .sigma
            .unwrap_or_else(|| state.level.sigma(config.resolution));
        let room = |sum: f64| sigma * (config.h + config.k - sum);
        let expected = Expectation::Between {
            low: (is_warm && config.side.counts_low()).then(|| target - room(state.low)),
            high: (is_warm && config.side.counts_high()).then(|| target + room(state.high)),
        };
        let Some(value) = usable else {
            return KernelScore::normal(expected);
        };
        let z = (value - target) / sigma;
        let sum = |counts: bool, sum: f64, z: f64| {
            if counts {
                (sum + z - config.k).max(0.0)
            } else {
                0.0
            }
        };
        let sums = (
            sum(config.side.counts_high(), state.high, z),
            sum(config.side.counts_low(), state.low, -z),
        );
        let judged = if is_warm {
            let (high, low) = sums;
            let larger = high.max(low);
            KernelScore {
                score: scale::score(larger / config.h),
                surprise: (2.0 * config.k * larger).min(f64::MAX),
                direction: direction(high - low),
                expected,
            }
        } else {
            KernelScore::normal(expected)
        };
        if last.is_none_or(|last| at > last) {
            self.learn(at, value, sums);
        }
        judged
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of cusum", value)?;
        let range = 0.0..=CAP * self.config.h;
        state::require(
            loaded.level.can_be() && range.contains(&loaded.high) && range.contains(&loaded.low),
            "state of cusum",
            "sums from 0 to twice the limit, and a sum of squares of 0 or more",
        )?;
        self.state = loaded;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn the_sums_are_those_of_the_textbook() {
        // D. C. Montgomery, *Introduction to Statistical Quality Control*, table 9.1 and 9.2: target 10,
        // sigma 1, k = 0.5, h = 5; it signals at sample 29.
        let table = [
            (9.45, 0.0, 0.05),
            (7.99, 0.0, 1.56),
            (9.29, 0.0, 1.77),
            (11.66, 1.16, 0.0),
            (12.16, 2.82, 0.0),
            (10.18, 2.50, 0.0),
            (8.04, 0.04, 1.46),
            (11.46, 1.00, 0.0),
            (9.20, 0.0, 0.30),
            (10.34, 0.0, 0.0),
            (9.03, 0.0, 0.47),
            (11.47, 0.97, 0.0),
            (10.51, 0.98, 0.0),
            (9.40, 0.0, 0.10),
            (10.08, 0.0, 0.0),
            (9.37, 0.0, 0.13),
            (10.62, 0.12, 0.0),
            (10.31, 0.0, 0.0),
            (8.52, 0.0, 0.98),
            (10.84, 0.34, 0.0),
            (10.90, 0.74, 0.0),
            (9.33, 0.0, 0.17),
            (12.29, 1.79, 0.0),
            (11.50, 2.79, 0.0),
            (10.60, 2.89, 0.0),
            (11.08, 3.47, 0.0),
            (10.38, 3.35, 0.0),
            (11.62, 4.47, 0.0),
            (11.31, 5.28, 0.0),
            (10.52, 5.30, 0.0),
        ];
        let mut model = Cusum::new(CusumConfig {
            h: 5.0,
            target: Some(10.0),
            sigma: Some(1.0),
            ..CusumConfig::default()
        })
        .unwrap();
        for (sample, (value, high, low)) in (1..).zip(table) {
            let judged = model.update(at(sample), Some(value));
            let sums = model.sums();
            assert!(
                (sums.0 - high).abs() < 1e-9 && (sums.1 - low).abs() < 1e-9,
                "sample {sample}: {sums:?}, expected {high} and {low}"
            );
            assert_eq!(judged.score.get() > 0.5, sample >= 29, "sample {sample}");
        }
    }

    #[test]
    fn a_level_that_lasts_becomes_the_normal_one() {
        let mut model = Cusum::new(CusumConfig::default()).unwrap();
        let mut rng = Rng::from_seed(2);
        let scores: Vec<f64> = (0..900)
            .map(|second| {
                let level = if second < 300 { 10.0 } else { 20.0 };
                let judged = model.update(at(second), Some(level + rng.unit()));
                judged.score.get()
            })
            .collect();
        assert!(scores[..300].iter().all(|score| *score < 0.5));
        assert!(scores[310..399].iter().all(|score| *score > 0.5));
        assert!(scores[401..].iter().all(|score| *score < 0.5));
    }

    #[test]
    fn one_outlier_is_over_soon_and_a_given_target_stays() {
        let mut model = Cusum::new(CusumConfig {
            target: Some(0.0),
            sigma: Some(1.0),
            accept_after: 3,
            ..CusumConfig::default()
        })
        .unwrap();
        assert!(model.update(at(0), Some(1e200)).score.get() > 0.99);
        let n_after = (1..100)
            .filter(|second| model.update(at(*second), Some(0.0)).score.get() > 0.5)
            .count();
        assert_eq!(n_after, 15);
        for second in 100..200 {
            model.update(at(second), Some(5.0));
        }
        assert!(model.update(at(200), Some(5.0)).score.get() > 0.5);
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = Cusum::new(CusumConfig {
            k: 0.0,
            h: f64::NAN,
            warm_up: 1,
            target: Some(f64::INFINITY),
            sigma: Some(0.0),
            accept_after: 0,
            resolution: -1.0,
            forget_after: Duration::ZERO,
            side: Side::Both,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 8);
    }
}
