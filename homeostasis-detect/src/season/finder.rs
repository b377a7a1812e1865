//! Periods of a stream: a bounded history at equal steps, whatever the times of its samples.

use std::time::Duration;

use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};

use super::period::find_periods;
use crate::{check, scale};

/// How many steps of history are kept.
const N_SLOTS: usize = 2048;

/// How a [`PeriodFinder`] looks back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeriodFinderConfig {
    /// The finest step of the history; default 1 minute, at least 1us, at most 1 day. Periods below two steps are not seen.
    #[serde(with = "crate::duration_text")]
    pub step: Duration,
    /// The longest history; default 28 days, at least 2048 steps, at most 100 years. Periods above a third of it are not seen.
    #[serde(with = "crate::duration_text")]
    pub span: Duration,
}

impl Default for PeriodFinderConfig {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(60),
            span: Duration::from_secs(28 * 86_400),
        }
    }
}

/// Keeps the means of a series at equal steps, at most 2048 of them, and finds its periods there.
///
/// When the history is full, its steps are joined two by two until it spans `span`; from then on the older half goes.
/// So after a day it sees periods of minutes and hours, and after weeks the day and the week.
/// NaN and infinities are missing values; what is older than the history is passed over; a step without samples is
/// filled by a straight line when periods are looked for.
/// O(1) amortized time per sample, 32 KiB of memory; [`periods`](Self::periods) takes O(n log n), below a millisecond
/// or two, and is meant to be called now and then.
///
/// # Examples
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{PeriodFinder, PeriodFinderConfig};
/// use std::time::Duration;
///
/// let mut finder = PeriodFinder::new(PeriodFinderConfig::default())?;
/// for minute in 0..1200_i32 {
///     // A job every half hour.
///     let load = if minute % 30 < 4 { 80.0 } else { f64::from(minute * 7 % 5) };
///     finder.push(Timestamp::from_secs(60 * i64::from(minute)), load);
/// }
/// assert_eq!(finder.periods()[0].0, Duration::from_secs(1800));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodFinder {
    config: PeriodFinderConfig,
    /// The present step, in nanoseconds.
    width: i64,
    /// Which step since the epoch the history begins with.
    start: i64,
    /// Sums and numbers of samples.
    slots: Vec<(f64, u32)>,
}

impl PeriodFinder {
    /// An empty history.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `period_finder`.
    pub fn new(config: PeriodFinderConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let day = Duration::from_secs(86_400);
        let least = config.step.saturating_mul(2048);
        check::that(
            &mut found,
            (Duration::from_micros(1)..=day).contains(&config.step),
            "period_finder.step",
            homeostasis_core::document::format_duration(config.step),
            "1us to 1d",
        );
        check::that(
            &mut found,
            (least..=day * 36_500).contains(&config.span),
            "period_finder.span",
            homeostasis_core::document::format_duration(config.span),
            "at least 2048 steps, at most 100 years",
        );
        found.into_result(Self {
            config,
            width: i64::try_from(config.step.as_nanos()).unwrap_or(i64::MAX),
            start: 0,
            slots: Vec::new(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &PeriodFinderConfig {
        &self.config
    }

    /// The present step of the history.
    pub fn step(&self) -> Duration {
        Duration::from_nanos(self.width.unsigned_abs())
    }

    /// Takes a sample.
    pub fn push(&mut self, at: Timestamp, value: f64) {
        let Some(value) = scale::usable(Some(value)) else {
            return;
        };
        let slot = |width: i64| at.as_nanos().div_euclid(width);
        if self.slots.is_empty() {
            self.start = slot(self.width);
        }
        let idx = loop {
            let Ok(idx) = usize::try_from(slot(self.width) - self.start) else {
                return;
            };
            if idx < N_SLOTS {
                break idx;
            }
            let spans = u128::from(self.width.unsigned_abs()) * N_SLOTS as u128;
            if spans < self.config.span.as_nanos() {
                self.join();
            } else {
                // The older half goes, and all of it if the new sample is that far ahead.
                let gone = idx - N_SLOTS + 1;
                let gone = gone.max(N_SLOTS / 2);
                self.slots.drain(..gone.min(self.slots.len()));
                self.start += i64::try_from(gone).unwrap_or(i64::MAX);
            }
        };
        if self.slots.len() <= idx {
            self.slots.resize(idx + 1, (0.0, 0));
        }
        let (sum, n) = &mut self.slots[idx];
        // As a mean of at most u32::MAX samples; sums of huge values stay finite.
        *n = n.saturating_add(1);
        *sum += (value - *sum) / f64::from(*n);
    }

    /// Joins steps two by two.
    fn join(&mut self) {
        if self.start.rem_euclid(2) == 1 {
            self.slots.insert(0, (0.0, 0));
        }
        self.start = self.start.div_euclid(2);
        self.width = self.width.saturating_mul(2);
        self.slots = self
            .slots
            .chunks(2)
            .map(|pair| {
                pair.iter().fold((0.0, 0), |(mean, n), (other, m)| {
                    let all = n + m;
                    let share = if all == 0 {
                        0.0
                    } else {
                        f64::from(*m) / f64::from(all)
                    };
                    (mean + share * (other - mean), all)
                })
            })
            .collect();
    }

    /// The periods of the history and how strong each is, as [`find_periods`] finds them, the strongest first.
    pub fn periods(&self) -> Vec<(Duration, f64)> {
        let values: Vec<f64> = self
            .slots
            .iter()
            .map(|(mean, n)| if *n == 0 { f64::NAN } else { *mean })
            .collect();
        let period = |samples: f64| self.step().mul_f64(samples);
        find_periods(&values)
            .into_iter()
            .map(|found| (period(found.samples), found.strength))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    fn feed(finder: &mut PeriodFinder, minutes: std::ops::Range<i64>, value: impl Fn(i64) -> f64) {
        for minute in minutes {
            finder.push(Timestamp::from_secs(60 * minute), value(minute));
        }
    }

    #[test]
    fn the_day_is_found_after_days_of_minutes_in_bounded_memory() {
        let mut finder = PeriodFinder::new(PeriodFinderConfig::default()).unwrap();
        let day = |minute: i64| {
            if minute % 1440 < 500 {
                9.0
            } else {
                (minute % 3) as f64
            }
        };
        feed(&mut finder, 0..60 * 1440, day);
        assert!(finder.slots.len() <= N_SLOTS);
        let (period, strength) = finder.periods()[0];
        let off = period.as_secs_f64() / 86_400.0 - 1.0;
        assert!(off.abs() < 0.01 && strength > 0.8, "{period:?} {strength}");
        assert!(finder.step() * 2048 >= Duration::from_secs(28 * 86_400));
    }

    #[test]
    fn gaps_late_samples_and_leaps_to_the_end_of_time_are_survived() {
        let mut finder = PeriodFinder::new(PeriodFinderConfig::default()).unwrap();
        let wave = |minute: i64| if minute % 20 < 7 { 1.0 } else { 0.0 };
        feed(&mut finder, 10_000..11_000, wave);
        finder.push(Timestamp::from_secs(0), 5.0);
        feed(&mut finder, 11_300..11_900, wave);
        assert_eq!(finder.periods()[0].0, Duration::from_secs(1200));
        for at in [Timestamp::MAX, Timestamp::from_nanos(i64::MIN)] {
            finder.push(at, 1e300);
            finder.push(at, f64::NAN);
            assert!(finder.slots.len() <= N_SLOTS);
            finder.periods();
        }
        let mut rng = Rng::from_seed(1);
        for _ in 0..2000 {
            finder.push(
                Timestamp::from_nanos(rng.next_u64().cast_signed()),
                rng.unit(),
            );
        }
        assert!(finder.slots.len() <= N_SLOTS);
    }

    #[test]
    fn it_goes_on_after_it_was_stored() {
        let mut finder = PeriodFinder::new(PeriodFinderConfig::default()).unwrap();
        feed(&mut finder, 0..5000, |minute| (minute % 37) as f64 / 7.0);
        let text = serde_json::to_string(&finder).unwrap();
        let mut read: PeriodFinder = serde_json::from_str(&text).unwrap();
        feed(&mut finder, 5000..9000, |minute| (minute % 37) as f64 / 7.0);
        feed(&mut read, 5000..9000, |minute| (minute % 37) as f64 / 7.0);
        assert_eq!(read, finder);
        let error = PeriodFinder::new(PeriodFinderConfig {
            step: Duration::ZERO,
            span: Duration::MAX,
        });
        assert_eq!(error.unwrap_err().violations().len(), 2);
    }
}
