//! Median absolute deviation: the identifier of Hampel, looking back only.

use std::time::Duration;

use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::side::{Side, direction};
use crate::window::{self, SortedWindow};
use crate::{check, scale, state};

/// The standard deviation of a normal distribution by its median absolute deviation.
pub(crate) const SIGMA_PER_MAD: f64 = 1.482_602_218_505_602;

/// How a [`Mad`] looks back and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MadConfig {
    /// How many samples it looks back; default 100, range 8 to 10 000.
    pub window: usize,
    /// The limit in standard deviations; default 3, range 0.1 to 1e6.
    /// **Warning:** below 2 a normal series alarms all the time.
    pub k: f64,
    /// How many samples are learned before the first is judged; default 30, range 4 to `window`.
    pub warm_up: usize,
    /// The least standard deviation assumed, in the unit of the series; default 1e-6, above 0.
    /// Where more than half of the samples are equal, it decides.
    pub resolution: f64,
    /// After a gap longer than this the window is emptied and warms up again; default 1 day, above 0.
    #[serde(with = "crate::duration_text")]
    pub forget_after: Duration,
    /// Which deviations count; default both.
    pub side: Side,
}

impl Default for MadConfig {
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

/// Judges a sample by its distance from the median of the last `window` samples, in standard deviations
/// estimated from their median absolute deviation: Hampel's identifier, looking back only.
///
/// For series with bursts of outliers: nearly half of the window may be outliers before median and deviation move
/// far, where one outlier is enough to widen the limit of a [`MovingAverage`](crate::MovingAverage).
/// Median and deviation are exact.
/// The score is 0.5 at `k` standard deviations, the surprise follows Cantelli's bound.
///
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is
/// scored and not learned; beyond ±1e150 values count as ±1e150.
/// O(log `window`) comparisons and one move within the window per sample; 16 bytes of memory per sample of the window.
///
/// Sources: F. R. Hampel, *The influence curve and its role in robust estimation*, Journal of the American
/// Statistical Association 69 (1974); L. Davies and U. Gather, *The identification of multiple outliers*, the same
/// journal 88 (1993).
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{Mad, MadConfig};
///
/// let mut mad = Mad::new(MadConfig::default())?;
/// for second in 0..200_i32 {
///     // One sample of three is an outlier.
///     let value = if second % 3 == 0 { 1e6 } else { f64::from(second % 5) };
///     mad.update(Timestamp::from_secs(second.into()), Some(value));
/// }
/// assert!(mad.update(Timestamp::from_secs(200), Some(1e6)).score.get() > 0.99);
/// assert!(mad.update(Timestamp::from_secs(201), Some(4.0)).score.get() < 0.5);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Mad {
    config: MadConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    window: SortedWindow,
    last: Option<Timestamp>,
}

impl Mad {
    /// A window that is still empty.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `mad`.
    pub fn new(config: MadConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let sizes = (config.window, config.warm_up);
        window::check(&mut found, "mad", sizes, config.forget_after);
        let holds = (0.1..=1e6).contains(&config.k);
        check::that(&mut found, holds, "mad.k", config.k, "0.1 to 1000000");
        check::positive(&mut found, "mad.resolution", config.resolution);
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &MadConfig {
        &self.config
    }

    /// The median of the window and the median distance from it; `None` while it is empty.
    pub fn median(&self) -> Option<(f64, f64)> {
        let window = &self.state.window;
        (window.len() > 0).then(|| {
            let median = window.quantile(1, 2);
            (median, window.median_distance(median))
        })
    }
}

impl SeriesDetector for Mad {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let usable = scale::usable(value);
        let (config, last) = (self.config, self.state.last);
        if usable.is_some() && last.is_some_and(|last| at.since(last) > config.forget_after) {
            self.state.window.clear();
        }
        let is_warm = self.state.window.len() >= config.warm_up;
        let (median, distance) = self.median().unwrap_or_default();
        let spread = (SIGMA_PER_MAD * distance).max(scale::floor(median, config.resolution));
        let width = config.k * spread;
        let expected = Expectation::Between {
            low: (is_warm && config.side.counts_low()).then_some(median - width),
            high: (is_warm && config.side.counts_high()).then_some(median + width),
        };
        let Some(value) = usable else {
            return KernelScore::normal(expected);
        };
        let judged = if is_warm {
            let deviation = config.side.of(value - median);
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
            self.state.window.push(value, config.window);
        }
        judged
    }

    fn heap_bytes(&self) -> usize {
        self.state.window.heap_bytes()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of mad", value)?;
        state::require(
            loaded.window.fits(self.config.window),
            "state of mad",
            &format!(
                "at most {} samples, as the window holds",
                self.config.window
            ),
        )?;
        self.state = loaded;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = Mad::new(MadConfig {
            window: 20_000,
            k: 0.0,
            warm_up: 3,
            resolution: f64::INFINITY,
            forget_after: Duration::ZERO,
            side: Side::Both,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 5);
        assert_eq!(
            error.violations()[0].to_string(),
            "mad.window = 20000, expected 8 to 10000 samples"
        );
    }

    #[test]
    fn median_and_deviation_are_those_of_the_worked_example() {
        // P. J. Rousseeuw and M. Hubert, *Robust statistics for outlier detection*, WIREs Data Mining and
        // Knowledge Discovery 1 (2011): median 6.28, and 0.044 as the deviation, which is 1.483 * 0.03; here in hundredths.
        let mut model = Mad::new(MadConfig {
            warm_up: 4,
            ..MadConfig::default()
        })
        .unwrap();
        for (second, value) in (0..).zip([625.0, 627.0, 628.0, 634.0, 6310.0]) {
            model.update(Timestamp::from_secs(second), Some(value));
        }
        let (median, distance) = model.median().unwrap();
        assert_eq!(median, 628.0);
        assert_eq!(distance, 3.0);
        let limit = median + 3.0 * SIGMA_PER_MAD * distance;
        let judged = model.update(Timestamp::from_secs(9), Some(limit));
        assert!((judged.score.get() - 0.5).abs() < 1e-9);
    }
}
