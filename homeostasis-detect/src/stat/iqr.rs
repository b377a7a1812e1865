//! Interquartile range: a sample against the fences around the middle half.

use std::time::Duration;

use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Score, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::side::{Side, direction};
use crate::window::{self, SortedWindow};
use crate::{check, scale, state};

/// The interquartile range of a normal distribution, in standard deviations.
const IQR_PER_SIGMA: f64 = 1.348_979_500_392_163_4;

/// How an [`Iqr`] looks back and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IqrConfig {
    /// How many samples it looks back; default 100, range 8 to 10 000.
    pub window: usize,
    /// How far beyond the quartiles the fences stand, in interquartile ranges; default 1.5, range 0.1 to 1e6.
    /// Of normal noise 0.7 % lie beyond 1.5, 0.0002 % beyond 3.
    pub k: f64,
    /// How many samples are learned before the first is judged; default 30, range 4 to `window`.
    pub warm_up: usize,
    /// The least interquartile range assumed, in the unit of the series; default 1e-6, above 0.
    /// Where more than half of the samples are equal, it decides.
    pub resolution: f64,
    /// After a gap longer than this the window is emptied and warms up again; default 1 day, above 0.
    #[serde(with = "crate::duration_text")]
    pub forget_after: Duration,
    /// Which deviations count; default both.
    pub side: Side,
}

impl Default for IqrConfig {
    fn default() -> Self {
        Self {
            window: 100,
            k: 1.5,
            warm_up: 30,
            resolution: 1e-6,
            forget_after: Duration::from_secs(86_400),
            side: Side::Both,
        }
    }
}

/// Judges a sample by Tukey's fences: `k` interquartile ranges below the first and above the third quartile of the
/// last `window` samples.
///
/// For skewed series, such as latencies: each side has its own quartile, and up to a quarter of the window may be
/// outliers without moving the fences far.
/// The quartiles are exact (definition 7 of Hyndman and Fan, as numpy's default); nothing is approximated.
///
/// A deviation is the distance from the median, and its limit the distance of the fence on that side: the score is
/// 0.5 at the fence. For the surprise the standard deviation is that of a normal distribution with this
/// interquartile range.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is
/// scored and not learned; beyond ±1e150 values count as ±1e150.
/// O(log `window`) comparisons and one move within the window per sample; 16 bytes of memory per sample of the window.
///
/// Source: J. W. Tukey, *Exploratory Data Analysis*, 1977, section 2D (fences).
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{Iqr, IqrConfig};
///
/// let mut iqr = Iqr::new(IqrConfig::default())?;
/// for second in 0..200_i32 {
///     iqr.update(Timestamp::from_secs(second.into()), Some(f64::from(second % 9)));
/// }
/// assert!(iqr.update(Timestamp::from_secs(200), Some(11.0)).score.get() < 0.5);
/// assert!(iqr.update(Timestamp::from_secs(201), Some(13.0)).score.get() > 0.5);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Iqr {
    config: IqrConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    window: SortedWindow,
    last: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Fences {
    low: f64,
    median: f64,
    high: f64,
    spread: f64,
}

impl Iqr {
    /// A window that is still empty.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `iqr`.
    pub fn new(config: IqrConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let sizes = (config.window, config.warm_up);
        window::check(&mut found, "iqr", sizes, config.forget_after);
        let holds = (0.1..=1e6).contains(&config.k);
        check::that(&mut found, holds, "iqr.k", config.k, "0.1 to 1000000");
        check::positive(&mut found, "iqr.resolution", config.resolution);
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &IqrConfig {
        &self.config
    }

    /// First quartile, median and third quartile of the window; `None` while it is empty.
    pub fn quartiles(&self) -> Option<[f64; 3]> {
        let window = &self.state.window;
        (window.len() > 0).then(|| [1, 2, 3].map(|part| window.quantile(part, 4)))
    }

    /// `None` while it warms up.
    #[inline]
    fn fences(&self) -> Option<Fences> {
        let window = &self.state.window;
        if window.len() < self.config.warm_up {
            return None;
        }
        let (first, third) = (window.quantile(1, 4), window.quantile(3, 4));
        let median = window.quantile(2, 4);
        let spread = (third - first).max(scale::floor(median, self.config.resolution));
        Some(Fences {
            low: first - self.config.k * spread,
            median,
            high: third + self.config.k * spread,
            spread,
        })
    }

    /// The deviation that counts, in limits of its side.
    #[inline]
    fn ratio(&self, fences: Fences, value: f64) -> f64 {
        let deviation = self.config.side.of(value - fences.median);
        let limit = if deviation < 0.0 {
            fences.median - fences.low
        } else {
            fences.high - fences.median
        };
        deviation / limit
    }

    /// Empties the window if the sample comes after too long a gap.
    #[inline]
    fn forget(&mut self, at: Timestamp) {
        let last = self.state.last;
        if last.is_some_and(|last| at.since(last) > self.config.forget_after) {
            self.state.window.clear();
        }
    }

    #[inline]
    fn learn(&mut self, at: Timestamp, value: f64) {
        if self.state.last.is_none_or(|last| at > last) {
            self.state.last = Some(at);
            self.state.window.push(value, self.config.window);
        }
    }
}

impl SeriesDetector for Iqr {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let usable = scale::usable(value);
        if usable.is_some() {
            self.forget(at);
        }
        let (fences, side) = (self.fences(), self.config.side);
        let expected = Expectation::Between {
            low: fences.filter(|_| side.counts_low()).map(|f| f.low),
            high: fences.filter(|_| side.counts_high()).map(|f| f.high),
        };
        let Some(value) = usable else {
            return KernelScore::normal(expected);
        };
        let judged = match fences {
            None => KernelScore::normal(expected),
            Some(fences) => {
                let ratio = self.ratio(fences, value);
                let deviation = side.of(value - fences.median);
                KernelScore {
                    score: scale::score(ratio),
                    surprise: scale::surprise(deviation * IQR_PER_SIGMA / fences.spread),
                    direction: direction(deviation),
                    expected,
                }
            }
        };
        self.learn(at, value);
        judged
    }

    fn update_batch(&mut self, samples: &[(Timestamp, f64)], scores: &mut Vec<Score>) {
        scores.extend(samples.iter().map(|(at, value)| {
            let Some(value) = scale::usable(Some(*value)) else {
                return Score::ZERO;
            };
            self.forget(*at);
            let fences = self.fences();
            let score = fences.map(|fences| scale::score(self.ratio(fences, value)));
            self.learn(*at, value);
            score.unwrap_or_default()
        }));
    }

    fn heap_bytes(&self) -> usize {
        self.state.window.heap_bytes()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of iqr", value)?;
        state::require(
            loaded.window.fits(self.config.window),
            "state of iqr",
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

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn trained(config: IqrConfig, values: impl IntoIterator<Item = f64>) -> Iqr {
        let mut model = Iqr::new(config).unwrap();
        for (second, value) in (0..).zip(values) {
            model.update(at(second), Some(value));
        }
        model
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = Iqr::new(IqrConfig {
            window: 7,
            k: f64::NAN,
            warm_up: 50,
            resolution: 0.0,
            forget_after: Duration::ZERO,
            side: Side::Both,
        })
        .unwrap_err();
        let paths: Vec<_> = error.violations().iter().map(|v| v.path.as_str()).collect();
        let fields = ["window", "warm_up", "forget_after", "k", "resolution"];
        assert_eq!(paths, fields.map(|field| format!("iqr.{field}")));
    }

    #[test]
    fn the_fences_are_those_of_the_handbook_and_score_one_half() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, 7.1.6, with quartiles of definition 7.
        let values = [
            30.0, 171.0, 184.0, 201.0, 212.0, 250.0, 265.0, 270.0, 272.0, 289.0, 305.0, 306.0,
            322.0, 322.0, 336.0, 346.0, 351.0, 370.0, 390.0, 404.0, 409.0, 411.0, 436.0, 437.0,
            439.0, 441.0, 444.0, 448.0, 451.0, 453.0, 470.0, 480.0, 482.0, 487.0, 494.0, 495.0,
            499.0, 503.0, 514.0, 521.0, 522.0, 527.0, 548.0, 550.0, 559.0, 560.0, 570.0, 572.0,
            574.0, 578.0, 585.0, 592.0, 592.0, 607.0, 616.0, 618.0, 621.0, 629.0, 637.0, 638.0,
            640.0, 656.0, 668.0, 707.0, 709.0, 719.0, 737.0, 739.0, 752.0, 758.0, 766.0, 792.0,
            792.0, 794.0, 802.0, 818.0, 830.0, 832.0, 843.0, 858.0, 860.0, 869.0, 918.0, 925.0,
            953.0, 991.0, 1000.0, 1005.0, 1068.0, 1441.0,
        ];
        let mut model = trained(IqrConfig::default(), values);
        let [first, median, third] = model.quartiles().unwrap();
        assert_eq!(median, 559.5);
        // The handbook's definition 6 gives 429.75 and 742.25.
        assert_eq!((first, third), (436.25, 738.5));
        let high = third + 1.5 * (third - first);
        let before = model.clone();
        assert_eq!(model.update(at(90), Some(high)).score.get(), 0.5);
        let mut model = before;
        assert!(model.update(at(90), Some(1441.0)).score.get() > 0.5);
    }

    #[test]
    fn a_quarter_of_outliers_does_not_hide_the_next_one() {
        let values = (0..100_i32).map(|i| if i % 5 == 0 { 1e6 } else { f64::from(i % 7) });
        let mut model = trained(IqrConfig::default(), values);
        assert!(model.update(at(100), Some(1e6)).score.get() > 0.99);
        assert_eq!(
            model.update(at(101), Some(1e6)).direction,
            homeostasis_core::record::Direction::High
        );
    }

    #[test]
    fn a_long_gap_starts_over_and_a_window_of_another_size_is_refused() {
        let mut model = trained(IqrConfig::default(), (0..150_i32).map(f64::from));
        let mut small = Iqr::new(IqrConfig {
            window: 40,
            ..IqrConfig::default()
        })
        .unwrap();
        let error = small.load(&model.save().unwrap()).unwrap_err();
        assert!(error.to_string().contains("at most 40 samples"), "{error}");
        assert_eq!(model.update(at(200_000), Some(1e9)).score, Score::ZERO);
        assert_eq!(model.quartiles(), Some([1e9; 3]));
    }
}
