//! Time to breach: alarms before a limit is reached, not after.

use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Direction, Expectation};
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Ratio, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::breach::Crossing;
use super::drift::{Drift, FEWEST};
use super::timeline::Timeline;
use crate::{check, prose, scale, state};

/// How many means of the past are kept, and to how many a line is fitted.
const KEPT: usize = 512;
const FITTED: usize = 256;
/// A line is fitted each time this part of what is remembered, or of the horizon, has passed.
const PER_SPAN: i64 = 8;
/// Samples in a row that the line does not explain, and at how many deviations, end its word.
const OFF: u32 = 3;
const OFF_DEVIATIONS: f64 = 3.0;
/// Of how many samples the usual distance from the line is the mean.
const SPREAD_SAMPLES: f64 = 64.0;
/// A slope is trusted for this many times as long as it has lasted.
const FURTHER: f64 = 2.0;

/// Which limit a [`TimeToBreach`] watches, and how early it says so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeToBreachConfig {
    /// The value that must not be reached, in the unit of the series: 90 for a disk in percent, the limit of memory in
    /// bytes. Finite; no default.
    pub limit: f64,
    /// Whether the limit is below the series (free space) and not above it; default no.
    #[serde(default)]
    pub is_low: bool,
    /// How far ahead a breach is looked for; default 1 day, above 0.
    #[serde(default = "default_horizon", with = "crate::duration_text")]
    pub horizon: Duration,
    /// From what probability of a breach within the horizon on it alarms; default 0.9, above 0 and below 1.
    #[serde(default = "default_confidence")]
    pub confidence: Ratio,
    /// How far back it looks; default 14 days, above 0. Further back it sees slower leaks and longer seasons (it needs two
    /// of them), and new leaks later: it sees a 256th of this at a time.
    #[serde(default = "default_history", with = "crate::duration_text")]
    pub history: Duration,
    /// After what time the series repeats itself; default: looked for. Above 0.
    #[serde(default, with = "crate::duration_text::option")]
    pub period: Option<Duration>,
}

fn default_horizon() -> Duration {
    Duration::from_secs(86_400)
}

fn default_confidence() -> Ratio {
    Ratio::saturating(0.9)
}

fn default_history() -> Duration {
    Duration::from_secs(14 * 86_400)
}

impl TimeToBreachConfig {
    /// The defaults for a limit that is above the series.
    pub fn above(limit: f64) -> Self {
        Self {
            limit,
            is_low: false,
            horizon: default_horizon(),
            confidence: default_confidence(),
            history: default_history(),
            period: None,
        }
    }

    /// The defaults for a limit that is below the series.
    pub fn below(limit: f64) -> Self {
        Self {
            is_low: true,
            ..Self::above(limit)
        }
    }
}

/// When a limit will be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breach {
    /// When it is as likely before as after.
    pub expected: Timestamp,
    /// With a probability of one tenth it is before this.
    pub earliest: Timestamp,
    /// With a probability of one tenth it is after this; `None` if it may never be.
    pub latest: Option<Timestamp>,
    /// How probable it is within the horizon.
    pub probability: Ratio,
    /// By how much the series grows per hour, its season apart.
    pub slope_per_hour: f64,
}

/// Alarms when a series will probably reach a limit within a horizon, and says when.
///
/// For disks, memory, connections, certificates, quotas: *reaches 90 in about 3h10m (2h40m to 4h)*.
/// A line is laid through up to 256 means of the past, each time an eighth of it, of the horizon, or of the time that is
/// left to the breach has passed; with [`stagger`](SeriesDetector::stagger) up to twice as often, so that series that
/// began together, or that the same event shook, are not all fitted with the same sample.
/// When three samples in a row are where the line does not explain them, a new one is laid within an eighth of that time,
/// and if they are on the side away from the limit (a restart, a disk that was cleared), no breach is told until then.
/// It may have begun to grow at some time (a leak), may have been set back (a restart that freed memory: the slope goes
/// on), and the daily or other season is taken out.
/// A slope is trusted for twice as long as it has lasted: what an hour shows says nothing of tomorrow.
/// Noise that persists widens the interval, so that a wandering series does not alarm.
///
/// The score is 0.5 where the breach is as probable as `confidence` asks, and grows with the odds; it stands between
/// fits.
/// The surprise is the logarithm of 1 plus those odds in odds of the confidence.
/// A value that is at the limit already counts as a breach.
/// *What it cannot know:* that a process is restarted each night before it breaks; until it has seen two
/// such cycles it may take one for a leak.
///
/// *Gaps:* parts of time without samples are bridged by a straight line.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is not
/// learned; beyond ±1e150 values count as ±1e150, and where squares are not finite there is no line.
/// O(1) time per sample and up to some 10 ms per fit; memory for 512 means.
///
/// # Examples
/// A detector that opens a preventive incident with a severity and a playbook:
/// ```
/// use homeostasis::core::record::Severity;
/// use homeostasis::detect::{PerSeries, Selector, TimeToBreach, TimeToBreachConfig};
///
/// let disk = TimeToBreach::new(TimeToBreachConfig::above(90.0))?;
/// let detector = PerSeries::new("disk_will_fill", Selector::metric("disk_used_percent"), move |_| disk.clone())?
///     .with_severity(Severity::Sev3)
///     .with_playbook("free_disk_space");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TimeToBreach {
    config: TimeToBreachConfig,
    /// Where its series lies among others.
    place: Ratio,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    timeline: Timeline,
    last: Option<Timestamp>,
    /// When the line was last fitted.
    fitted: Option<Timestamp>,
    breach: Option<Breach>,
    /// That it is within the horizon, also where no breach is expected.
    probability: Ratio,
    /// Whether the last sample was beyond the limit.
    is_beyond: bool,
    /// What was fitted.
    line: Option<Line>,
    /// How many samples in a row it does not explain, all above it or all below.
    n_off: u32,
    is_off_high: bool,
    /// When there were enough of them.
    off_since: Option<Timestamp>,
}

/// A line, and how far samples are from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    drift: Drift,
    /// The middle of the last mean it was laid through, and how long such a part is.
    middle: Timestamp,
    width_nanos: i64,
    /// The mean square of the distance of samples, which vary more than means do.
    spread: f64,
}

impl Line {
    /// How `value` is beyond what the line explains: above it, below it or not at all.
    fn off(&mut self, at: Timestamp, value: f64) -> Option<bool> {
        let passed = at.as_nanos().saturating_sub(self.middle.as_nanos());
        let ahead = (passed as f64 / self.width_nanos as f64).max(1.0);
        let (mean, variance) = self.drift.at(ahead);
        let distance = value - mean;
        let most = OFF_DEVIATIONS * variance.max(self.spread).sqrt() + self.drift.slope.abs();
        let square = distance.powi(2).min(most.powi(2));
        self.spread += (square - self.spread) / SPREAD_SAMPLES;
        (distance.abs() > most).then_some(distance > 0.0)
    }
}

impl TimeToBreach {
    /// A watch that has seen nothing.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `time_to_breach`.
    pub fn new(config: TimeToBreachConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let limit = config.limit;
        check::that(
            &mut found,
            limit.is_finite(),
            "time_to_breach.limit",
            limit,
            "a finite number",
        );
        check::lasting(&mut found, "time_to_breach.horizon", config.horizon);
        check::lasting(&mut found, "time_to_breach.history", config.history);
        if let Some(period) = config.period {
            check::lasting(&mut found, "time_to_breach.period", period);
        }
        let confidence = config.confidence.get();
        let holds = confidence > 0.0 && confidence < 1.0;
        let path = "time_to_breach.confidence";
        check::that(&mut found, holds, path, confidence, "above 0 and below 1");
        found.into_result(Self {
            config,
            place: Ratio::ZERO,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &TimeToBreachConfig {
        &self.config
    }

    /// When the limit will be reached, as of the last fit; `None` while there is too little past, and where a breach
    /// is not expected.
    pub fn breach(&self) -> Option<Breach> {
        self.state.breach
    }

    /// How probable a breach within the horizon is, as of the last fit.
    pub fn probability(&self) -> Ratio {
        if self.state.is_beyond {
            Ratio::ONE
        } else {
            self.state.probability
        }
    }

    fn learn(&mut self, at: Timestamp, value: f64) {
        let state = &mut self.state;
        state.last = Some(at);
        state.is_beyond = if self.config.is_low {
            value <= self.config.limit
        } else {
            value >= self.config.limit
        };
        let max_age = i64::try_from(self.config.history.as_nanos()).unwrap_or(i64::MAX);
        state.timeline.push(at, value, KEPT, max_age);
        let horizon = i64::try_from(self.config.horizon.as_nanos()).unwrap_or(i64::MAX);
        let off = state.line.as_mut().and_then(|line| line.off(at, value));
        state.n_off = match off {
            None => 0,
            Some(is_high) if is_high == state.is_off_high => state.n_off.saturating_add(1),
            Some(_) => 1,
        };
        state.is_off_high = off.unwrap_or_default();
        if state.n_off <= OFF {
            state.off_since = (state.n_off == OFF).then_some(at);
        }
        let passed = |since: Timestamp| at.as_nanos().saturating_sub(since.as_nanos());
        let left = match (state.breach, state.fitted) {
            (Some(breach), Some(fitted)) => {
                let left = breach.expected.as_nanos().saturating_sub(fitted.as_nanos());
                // A line changes with a new mean only.
                left.max(
                    state
                        .line
                        .as_ref()
                        .map_or(0, |line| line.width_nanos.saturating_mul(PER_SPAN)),
                )
            }
            _ => i64::MAX,
        };
        let mut wait = state.timeline.span_nanos().min(horizon).min(left) / PER_SPAN;
        let mut is_too_early = false;
        if state.n_off >= OFF {
            wait /= PER_SPAN;
            // What shakes one series often shakes many at once.
            let most = Duration::from_nanos(u64::try_from(wait).unwrap_or(0));
            let late = most.mul_f64(self.place.get());
            is_too_early = state.off_since.is_some_and(|since| at.since(since) < late);
            if state.is_off_high == self.config.is_low {
                (state.breach, state.probability) = (None, Ratio::ZERO);
            }
        }
        let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or(0));
        let wait = wait.mul_f64(1.0 - self.place.get() / 2.0);
        let is_due =
            |fitted| u128::try_from(passed(fitted)).is_ok_and(|nanos| nanos >= wait.as_nanos());
        if state.fitted.is_none_or(is_due) && !is_too_early {
            state.fitted = Some(at);
            self.fit();
        }
    }

    fn fit(&mut self) {
        (self.state.breach, self.state.probability) = (None, Ratio::ZERO);
        (self.state.line, self.state.n_off) = (None, 0);
        let Some((width, end, values)) = self.state.timeline.even(FITTED) else {
            return;
        };
        if (values.len() as f64) < FEWEST as f64 * (1.0 + self.place.get()) {
            return;
        }
        let steps = |duration: Duration| duration.as_nanos() as f64 / width as f64;
        let period = self.config.period.and_then(|period| {
            let nearest = steps(period).round();
            (2..=FITTED).find(|m| *m as f64 >= nearest)
        });
        let Some(drift) = Drift::fit(&values, period) else {
            return;
        };
        let reach = FURTHER * drift.lasted;
        let horizon = steps(self.config.horizon).min(reach).max(1.0);
        let crossing = Crossing::of(&drift, self.config.limit, self.config.is_low, horizon);
        self.state.probability = crossing.within;
        // The last mean stands for the middle of its part.
        let middle = end.as_nanos().saturating_sub(width / 2);
        let when = |ahead: f64| {
            let after =
                Duration::try_from_secs_f64(ahead * width as f64 / 1e9).unwrap_or(Duration::MAX);
            Timestamp::from_nanos(middle) + after
        };
        if let (Some(earliest), Some(median)) = (crossing.earliest, crossing.median) {
            self.state.breach = Some(Breach {
                expected: when(median),
                earliest: when(earliest),
                latest: crossing.latest.map(when),
                probability: crossing.within,
                slope_per_hour: drift.slope * 3.6e12 / width as f64,
            });
        }
        self.state.line = Some(Line {
            middle: Timestamp::from_nanos(middle),
            width_nanos: width,
            spread: drift.at(1.0).1,
            drift,
        });
    }
}

impl SeriesDetector for TimeToBreach {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let config = self.config;
        let expected = Expectation::Words(format!(
            "{} {} for the next {}",
            if config.is_low { "above" } else { "below" },
            prose::number(config.limit),
            format_duration(config.horizon)
        ));
        let Some(value) = scale::usable(value) else {
            return KernelScore::normal(expected);
        };
        if self.state.last.is_none_or(|last| at > last) {
            self.learn(at, value);
        }
        let odds = |share: f64| share / (1.0 - share);
        let ratio = odds(self.probability().get().min(1.0 - 1e-9)) / odds(config.confidence.get());
        KernelScore {
            score: scale::score(ratio.sqrt()),
            surprise: scale::surprise(ratio.sqrt()),
            direction: match (ratio > 0.0, config.is_low) {
                (false, _) => Direction::Other,
                (true, true) => Direction::Low,
                (true, false) => Direction::High,
            },
            expected,
        }
    }

    fn explain(&self) -> Option<String> {
        let limit = prose::number(self.config.limit);
        if self.state.is_beyond {
            return Some(format!("has reached {limit}"));
        }
        let (breach, now) = (self.state.breach?, self.state.last?);
        let after = |when: Timestamp| rough(when.since(now));
        let latest = breach.latest.map_or_else(|| "never".to_owned(), after);
        Some(format!(
            "reaches {limit} in about {} ({} to {latest}, {:.0} % confident that it does within {})",
            after(breach.expected),
            after(breach.earliest),
            // Never certain.
            (100.0 * breach.probability.get()).min(99.0),
            format_duration(self.config.horizon)
        ))
    }

    fn stagger(&mut self, place: Ratio) {
        self.place = place;
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of time_to_breach", value)?;
        let line = loaded.line.as_ref();
        state::require(
            loaded.timeline.is_sound(KEPT)
                && line.is_none_or(|line| {
                    // So that its multiples are times too.
                    (1..=i64::MAX / PER_SPAN).contains(&line.width_nanos)
                        && line.spread >= 0.0
                        && line.drift.is_sound(FITTED)
                }),
            "state of time_to_breach",
            &format!("at most {KEPT} parts of time, oldest first, and a whole line"),
        )?;
        self.state = loaded;
        Ok(())
    }
}

/// A duration as people say it: two units at most, no seconds beside hours.
fn rough(duration: Duration) -> String {
    let secs = duration.as_secs();
    let unit = match secs {
        0..600 => 1,
        600..86_400 => 60,
        _ => 3600,
    };
    format_duration(Duration::from_secs((secs / unit * unit).max(1)))
}

#[cfg(test)]
mod tests;
