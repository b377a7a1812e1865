//! Flapping: a state that changes too often.

use std::collections::VecDeque;
use std::time::Duration;

use homeostasis_core::record::{Direction, Expectation};
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Ratio, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{check, prose, scale, state};

/// How much the oldest and the newest change count.
const OLDEST: f64 = 0.75;
const NEWEST: f64 = 1.25;

/// What a [`Flapping`] counts and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlappingConfig {
    /// Above this the state is up, at or below it down; default 0.5, finite.
    pub level: f64,
    /// How far beyond the level a value must go to change the state; default 0, finite, 0 or more.
    pub hysteresis: f64,
    /// How many of the last samples are looked at; default 21, range 3 to 1000.
    pub samples: usize,
    /// What share of them must change the state for flapping to begin; default 20 %, above 0.
    pub start: Ratio,
    /// At this share it ends; default 5 %, above 0, at most `start`.
    pub stop: Ratio,
    /// Samples older than this do not count; default 1 hour, above 0.
    #[serde(with = "crate::duration_text")]
    pub max_age: Duration,
}

impl Default for FlappingConfig {
    fn default() -> Self {
        Self {
            level: 0.5,
            hysteresis: 0.0,
            samples: 21,
            start: Ratio::saturating(0.2),
            stop: Ratio::saturating(0.05),
            max_age: Duration::from_secs(3600),
        }
    }
}

/// Judges how often a state changes: the weighted share of the last samples that changed it.
///
/// For `up`, a readiness, a leader that is elected again and again, a circuit breaker; for any other series it
/// counts the crossings of `level`.
/// A change counts from 0.75 when it is the oldest to 1.25 when it is the newest. Flapping begins above `start` and
/// ends at `stop`: the score is 0.5 at `start` while the state is steady and at `stop` while it flaps.
/// Samples that are not there yet count as unchanged, so a series that begins does not flap.
///
/// There is no tail probability behind the surprise: for a share of `r` limits it is `ln(1 + r²)`.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is given the
/// present score and not learned.
/// O(`samples`) time per sample and memory.
///
/// Source: the algorithm of Nagios, *Detection and handling of state flapping* in its documentation (21 checks, 20 %
/// and 5 %), with a limit in age and a hysteresis in value added.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{Flapping, FlappingConfig};
///
/// let mut flapping = Flapping::new(FlappingConfig::default())?;
/// let mut last = 0.0;
/// for minute in 0..40_i32 {
///     let up = if minute < 30 || minute % 2 == 0 { 1.0 } else { 0.0 };
///     last = flapping.update(Timestamp::from_secs(60 * i64::from(minute)), Some(up)).score.get();
/// }
/// assert!(last > 0.5);
/// assert!(flapping.explain().unwrap().starts_with("changed its state 9 times in 21 samples"));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Flapping {
    config: FlappingConfig,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The last samples and whether the state was up, oldest first.
    seen: VecDeque<(Timestamp, bool)>,
    is_flapping: bool,
}

impl Flapping {
    /// A state that was never seen.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `flapping`.
    pub fn new(config: FlappingConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        check::that(
            &mut found,
            config.level.is_finite(),
            "flapping.level",
            config.level,
            "a finite number",
        );
        check::that(
            &mut found,
            config.hysteresis.is_finite() && config.hysteresis >= 0.0,
            "flapping.hysteresis",
            config.hysteresis,
            "a finite number of 0 or more",
        );
        check::that(
            &mut found,
            (3..=1000).contains(&config.samples),
            "flapping.samples",
            config.samples,
            "3 to 1000 samples",
        );
        check::positive(&mut found, "flapping.start", config.start.get());
        check::that(
            &mut found,
            config.stop > Ratio::ZERO && config.stop <= config.start,
            "flapping.stop",
            config.stop,
            &format!("above 0, at most {}, as `start`", config.start),
        );
        check::lasting(&mut found, "flapping.max_age", config.max_age);
        found.into_result(Self {
            config,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &FlappingConfig {
        &self.config
    }

    /// Whether it flaps at present.
    pub fn is_flapping(&self) -> bool {
        self.state.is_flapping
    }

    /// How many of the last samples changed the state, and their weighted share.
    fn changes(&self) -> (usize, f64) {
        let seen = &self.state.seen;
        let n_places = self.config.samples - 1;
        let slope = (NEWEST - OLDEST) / (n_places - 1) as f64;
        let first = self.config.samples - seen.len();
        let changed = seen.iter().zip(seen.iter().skip(1)).enumerate();
        let changed = changed.filter(|(_, (before, after))| before.1 != after.1);
        let (mut n, mut sum) = (0, 0.0);
        for (idx, _) in changed {
            n += 1;
            sum += OLDEST + slope * (first + idx) as f64;
        }
        (n, sum / n_places as f64)
    }

    fn limit(&self) -> f64 {
        let (start, stop) = (self.config.start.get(), self.config.stop.get());
        if self.state.is_flapping { stop } else { start }
    }

    fn learn(&mut self, at: Timestamp, value: f64) {
        let FlappingConfig {
            level, hysteresis, ..
        } = self.config;
        let state = &mut self.state;
        let is_up = match state.seen.back() {
            Some((_, true)) => value > level - hysteresis,
            Some((_, false)) => value > level + hysteresis,
            None => value > level,
        };
        let oldest = at - self.config.max_age;
        while state.seen.front().is_some_and(|seen| seen.0 < oldest) {
            state.seen.pop_front();
        }
        if state.seen.len() >= self.config.samples {
            state.seen.pop_front();
        }
        state.seen.push_back((at, is_up));
    }
}

impl SeriesDetector for Flapping {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let expected = Expectation::Between {
            low: None,
            high: None,
        };
        let Some(value) = scale::usable(value) else {
            return KernelScore::normal(expected);
        };
        let is_new = self.state.seen.back().is_none_or(|last| at > last.0);
        if is_new {
            self.learn(at, value);
        }
        let (_, share) = self.changes();
        let ratio = share / self.limit();
        if is_new {
            self.state.is_flapping = ratio > 1.0;
        }
        KernelScore {
            score: scale::score(ratio),
            surprise: scale::surprise(ratio),
            direction: Direction::Other,
            expected,
        }
    }

    fn explain(&self) -> Option<String> {
        if !self.state.is_flapping {
            return None;
        }
        let (n, share) = self.changes();
        Some(format!(
            "changed its state {n} times in {} samples ({} % by weight), expected at most {} %",
            self.state.seen.len(),
            prose::number(100.0 * share),
            prose::number(100.0 * self.config.start.get())
        ))
    }

    fn heap_bytes(&self) -> usize {
        self.state.seen.capacity() * size_of::<(Timestamp, bool)>()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of flapping", value)?;
        let seen = &loaded.seen;
        let in_order = seen.iter().zip(seen.iter().skip(1)).all(|(a, b)| a.0 < b.0);
        state::require(
            seen.len() <= self.config.samples && in_order,
            "state of flapping",
            &format!("at most {} samples, oldest first", self.config.samples),
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

    fn run(config: FlappingConfig, states: &[f64]) -> (Flapping, Vec<bool>) {
        let mut model = Flapping::new(config).unwrap();
        let alarms = (0..)
            .zip(states)
            .map(|(second, state)| model.update(at(second), Some(*state)).score.get() > 0.5)
            .collect();
        (model, alarms)
    }

    #[test]
    fn the_share_is_that_of_the_worked_example() {
        // The documentation of Nagios: 21 checks with changes at places 3, 4, 5, 9, 12, 16 and 19 of 20 are 35 %
        // unweighted; with weights rising linearly over the places it comes to nearly the same.
        let changes = [3, 4, 5, 9, 12, 16, 19];
        let mut state = 1.0;
        let states: Vec<f64> = (0..21)
            .map(|place| {
                if changes.contains(&place) {
                    state = 1.0 - state;
                }
                state
            })
            .collect();
        let (model, alarms) = run(FlappingConfig::default(), &states);
        let (n, share) = model.changes();
        let weights = changes.map(|place| 0.75 + 0.5 * (f64::from(place) - 1.0) / 19.0);
        assert_eq!(n, 7);
        assert!(
            (share - weights.iter().sum::<f64>() / 20.0).abs() < 1e-12,
            "{share}"
        );
        assert!((share - 0.35).abs() < 0.02);
        assert_eq!(alarms.last(), Some(&true));
    }

    #[test]
    fn it_begins_above_one_share_and_ends_at_another() {
        let mut states = vec![1.0; 30];
        states.extend([0.0, 1.0].repeat(5));
        states.extend([1.0; 30]);
        let (_, alarms) = run(FlappingConfig::default(), &states);
        let begin = alarms.iter().position(|alarm| *alarm).unwrap();
        let end = alarms.iter().rposition(|alarm| *alarm).unwrap();
        assert!(alarms[begin..=end].iter().all(|alarm| *alarm));
        // The fourth change of ten begins it; it ends when two of them are left.
        assert_eq!((begin, end), (33, 57));
    }

    #[test]
    fn values_near_the_level_do_not_change_the_state_and_old_ones_do_not_count() {
        let near: Vec<f64> = (0..40)
            .map(|i| if i % 2 == 0 { 79.0 } else { 81.0 })
            .collect();
        let config = FlappingConfig {
            level: 80.0,
            ..FlappingConfig::default()
        };
        let wide = FlappingConfig {
            hysteresis: 5.0,
            ..config
        };
        assert!(run(config, &near).1.contains(&true));
        assert!(!run(wide, &near).1.contains(&true));
        let brief = FlappingConfig {
            max_age: Duration::from_secs(2),
            ..config
        };
        assert!(!run(brief, &near).1.contains(&true));
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = Flapping::new(FlappingConfig {
            level: f64::NAN,
            hysteresis: -1.0,
            samples: 2,
            start: Ratio::ZERO,
            stop: Ratio::ONE,
            max_age: Duration::ZERO,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 6);
    }
}
