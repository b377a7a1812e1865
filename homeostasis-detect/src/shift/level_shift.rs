//! Level shift: the median of the last samples against that of the samples before them.

use std::time::Duration;

use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::side::{Side, direction};
use crate::stat::SIGMA_PER_MAD;
use crate::window::{self, SortedWindow};
use crate::{check, prose, scale, state};

/// Which samples a [`LevelShift`] compares and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LevelShiftConfig {
    /// How many of the last samples make the present level; default 10, range 3 to 10 000.
    /// A burst of fewer than half of them is no shift.
    pub recent: usize,
    /// How many samples before them make the level it is compared with; default 60, range 8 to 10 000.
    pub window: usize,
    /// How many of these there must be before anything is judged; default 30, range 4 to `window`.
    pub warm_up: usize,
    /// The limit in standard deviations of a single sample; default 3, range 0.1 to 1e6.
    pub k: f64,
    /// The least standard deviation assumed, in the unit of the series; default 1e-6, above 0.
    pub resolution: f64,
    /// After a gap longer than this both windows are emptied; default 1 day, above 0.
    #[serde(with = "crate::duration_text")]
    pub forget_after: Duration,
    /// Which shifts count; default both.
    pub side: Side,
}

impl Default for LevelShiftConfig {
    fn default() -> Self {
        Self {
            recent: 10,
            window: 60,
            warm_up: 30,
            k: 3.0,
            resolution: 1e-6,
            forget_after: Duration::from_secs(86_400),
            side: Side::Both,
        }
    }
}

/// Judges whether the series moved to another level: the median of the last `recent` samples against the median of
/// the `window` samples before them, in standard deviations estimated from their median absolute deviation.
///
/// For a level that is higher after a release, a failover, a change of configuration, where outliers must not count.
/// A shift shows after half of `recent` samples, and until half of `window` lie after it; then the new level is normal.
/// The score is 0.5 when the medians are `k` standard deviations apart; what is expected is where the median of the
/// last samples should lie. The surprise is that of a deviation as large as the shift.
///
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is given
/// the present score and not learned; beyond ±1e150 values count as ±1e150.
/// O(log n) comparisons and two moves within the windows per sample; 16 bytes of memory per sample of both windows.
///
/// Sources: D. Kifer, S. Ben-David and J. Gehrke, *Detecting change in data streams*, VLDB 2004 (two adjacent windows),
/// with medians for their distances; F. R. Hampel, *The influence curve and its role in robust estimation*, Journal of the
/// American Statistical Association 69 (1974).
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{LevelShift, LevelShiftConfig};
///
/// let mut shift = LevelShift::new(LevelShiftConfig::default())?;
/// for second in 0..110_i32 {
///     let level = if second < 100 { 40 } else { 60 };
///     shift.update(Timestamp::from_secs(second.into()), Some(f64::from(level + second * 7 % 5)));
/// }
/// assert_eq!(shift.explain().unwrap(), "its level went from 42 to 62");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LevelShift {
    config: LevelShiftConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    recent: SortedWindow,
    /// What left `recent`.
    before: SortedWindow,
    last: Option<Timestamp>,
}

/// Both levels, and the standard deviation of a sample.
#[derive(Debug, Clone, Copy)]
struct Levels {
    before: f64,
    now: f64,
    spread: f64,
}

impl LevelShift {
    /// Windows that are still empty.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `level_shift`.
    pub fn new(config: LevelShiftConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        check::that(
            &mut found,
            (3..=10_000).contains(&config.recent),
            "level_shift.recent",
            config.recent,
            "3 to 10000 samples",
        );
        let sizes = (config.window, config.warm_up);
        window::check(&mut found, "level_shift", sizes, config.forget_after);
        let holds = (0.1..=1e6).contains(&config.k);
        check::that(
            &mut found,
            holds,
            "level_shift.k",
            config.k,
            "0.1 to 1000000",
        );
        check::positive(&mut found, "level_shift.resolution", config.resolution);
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &LevelShiftConfig {
        &self.config
    }

    fn levels(&self) -> Option<Levels> {
        let State { recent, before, .. } = &self.state;
        if recent.len() < self.config.recent || before.len() < self.config.warm_up {
            return None;
        }
        let level = before.quantile(1, 2);
        let spread = SIGMA_PER_MAD * before.median_distance(level);
        Some(Levels {
            before: level,
            now: recent.quantile(1, 2),
            spread: spread.max(scale::floor(level, self.config.resolution)),
        })
    }

    /// The shift that counts, in limits.
    fn ratio(&self, levels: Levels) -> f64 {
        self.config.side.of(levels.now - levels.before) / (self.config.k * levels.spread)
    }
}

impl SeriesDetector for LevelShift {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let usable = scale::usable(value);
        let (config, last) = (self.config, self.state.last);
        if usable.is_some() && last.is_some_and(|last| at.since(last) > config.forget_after) {
            self.state = State::default();
        }
        let expected = |levels: Option<Levels>| Expectation::Between {
            low: levels
                .filter(|_| config.side.counts_low())
                .map(|levels| levels.before - config.k * levels.spread),
            high: levels
                .filter(|_| config.side.counts_high())
                .map(|levels| levels.before + config.k * levels.spread),
        };
        let Some(value) = usable else {
            return KernelScore::normal(expected(self.levels()));
        };
        if last.is_none_or(|last| at > last) {
            self.state.last = Some(at);
            if let Some(old) = self.state.recent.push(value, config.recent) {
                self.state.before.push(old, config.window);
            }
        }
        let levels = self.levels();
        let expected = expected(levels);
        let Some(levels) = levels else {
            return KernelScore::normal(expected);
        };
        let ratio = self.ratio(levels);
        KernelScore {
            score: scale::score(ratio),
            surprise: scale::surprise(config.k * ratio),
            direction: direction(ratio),
            expected,
        }
    }

    fn explain(&self) -> Option<String> {
        let levels = self
            .levels()
            .filter(|levels| self.ratio(*levels).abs() > 1.0)?;
        Some(format!(
            "its level went from {} to {}",
            prose::number(levels.before),
            prose::number(levels.now)
        ))
    }

    fn heap_bytes(&self) -> usize {
        self.state.recent.heap_bytes() + self.state.before.heap_bytes()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of level_shift", value)?;
        let (recent, window) = (self.config.recent, self.config.window);
        state::require(
            loaded.recent.fits(recent) && loaded.before.fits(window),
            "state of level_shift",
            &format!("at most {recent} and {window} samples, as the windows hold"),
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
    fn a_shift_is_told_while_it_is_new_and_a_burst_is_none() {
        let mut model = LevelShift::new(LevelShiftConfig::default()).unwrap();
        let mut rng = Rng::from_seed(2);
        let mut found = Vec::new();
        for second in 0..400 {
            let level = match second {
                100..104 => 500.0,
                200.. => 30.0,
                _ => 50.0,
            };
            let judged = model.update(at(second), Some(level + rng.unit()));
            if judged.score.get() > 0.5 {
                assert_eq!(judged.direction, Direction::Low);
                found.push(second);
            }
        }
        // With five of ten samples the median stands between both levels.
        assert_eq!(found[0], 204);
        // Then the ten last samples and half of the sixty before them lie after the shift.
        assert_eq!(found.last(), Some(&238));
        assert_eq!(found.len(), 35);
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = LevelShift::new(LevelShiftConfig {
            recent: 2,
            window: 2,
            warm_up: 50,
            k: 0.0,
            resolution: 0.0,
            forget_after: Duration::ZERO,
            side: Side::Both,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 6);
    }
}
