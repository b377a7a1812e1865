//! Seasonality: a sample against what is usual at this hour of this weekday.

use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::band::Band;
use crate::side::{Side, direction};
use crate::{check, prose, scale, state};

/// From the 5th to the 95th percentile of a normal distribution, in standard deviations.
const BAND_PER_SIGMA: f64 = 3.289_707_253_902_945;
const HOURS: usize = 24;
const WEEKDAYS: [&str; 7] = [
    "Mondays",
    "Tuesdays",
    "Wednesdays",
    "Thursdays",
    "Fridays",
    "Saturdays",
    "Sundays",
];

/// What a [`Seasonality`] learns from and when it alarms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeasonalityConfig {
    /// How far local time is ahead of UTC, in minutes; default 0, range -1080 to 1080.
    /// Where clocks change, take the offset of most of the year: for the rest the hours are off by one.
    pub utc_offset_minutes: i32,
    /// How far beyond the band the limit is, in widths of the band; default 0.5, range 0.01 to 1e6.
    /// With 0.5 it is at 3.3 standard deviations of a normal distribution.
    pub k: f64,
    /// How many samples an hour must have before it is judged; default 20, range 10 to 200.
    pub min_samples: u32,
    /// On how many different days they must have been; default 2, range 1 to 1000.
    pub min_days: u32,
    /// The least width of a band assumed, in the unit of the series; default 1e-6, above 0.
    pub resolution: f64,
    /// Which deviations count; default both.
    pub side: Side,
}

impl Default for SeasonalityConfig {
    fn default() -> Self {
        Self {
            utc_offset_minutes: 0,
            k: 0.5,
            min_samples: 20,
            min_days: 2,
            resolution: 1e-6,
            side: Side::Both,
        }
    }
}

/// Judges a sample by the band from the 5th to the 95th percentile of the same hour of the same weekday.
///
/// For load that follows people: the right value at the wrong time is found, and the rush of every Monday is not.
/// While an hour of a weekday has fewer than `min_samples` samples or `min_days` days, the same hour of all days
/// stands for it; while that has too few, nothing is judged.
/// A deviation is the distance from the median of the hour, and its limit the distance of `k` widths beyond the band
/// on that side: the score is 0.5 there. For the surprise the standard deviation is that of a normal distribution with
/// this band.
///
/// The percentiles are exact for the first 40 samples of an hour, and then estimates of the P² algorithm (a test holds
/// them to 4 % of the ranks), of its last 200 to 400 samples. What is learned is clipped to the limits.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample is
/// scored and not learned; beyond ±1e150 values count as ±1e150. Gaps and pauses are nothing: each hour waits for
/// its next day.
/// O(1) time; 192 bands of about 350 bytes, some more while they have fewer than 41 samples.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{Seasonality, SeasonalityConfig};
///
/// let mut model = Seasonality::new(SeasonalityConfig::default())?;
/// // Three weeks, every five minutes: busy from 8 to 18 h, except on Saturdays and Sundays.
/// let busy = |minute: i64| (8..18).contains(&(minute / 60 % 24)) && minute / 1440 % 7 < 5;
/// let monday = 1_699_833_600;
/// for minute in (0..3 * 7 * 1440).step_by(5) {
///     let load = if busy(minute) { 900.0 } else { 100.0 } + (minute * 7 % 31) as f64;
///     model.update(Timestamp::from_secs(monday + 60 * minute), Some(load));
/// }
/// let (night, noon) = (3 * 7 * 1440 + 3 * 60, 3 * 7 * 1440 + 12 * 60);
/// assert!(model.update(Timestamp::from_secs(monday + 60 * night), Some(900.0)).score.get() > 0.9);
/// assert!(model.explain().unwrap().contains("usual on Mondays from 3:00 to 4:00"));
/// assert!(model.update(Timestamp::from_secs(monday + 60 * noon), Some(900.0)).score.get() < 0.5);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Seasonality {
    config: SeasonalityConfig,
    state: State,
    /// What was said of the last sample, for the explanation.
    judged: Option<Judged>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The hours of the week from Monday on, then the hours of all days.
    cells: Vec<Cell>,
    last: Option<Timestamp>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            cells: vec![Cell::default(); 8 * HOURS],
            last: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cell {
    band: Band,
    /// The last day since the epoch, and how many there were.
    day: Option<i64>,
    n_days: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Judged {
    limits: Limits,
    value: f64,
    /// Which cell said it.
    cell: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Limits {
    low: f64,
    median: f64,
    high: f64,
    width: f64,
}

/// A place in the week: the day since the epoch, the hour of the week and the hour of the day as cells.
#[derive(Debug, Clone, Copy)]
struct Place {
    day: i64,
    cells: [usize; 2],
}

impl Seasonality {
    /// A week that is not known yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `seasonality`.
    pub fn new(config: SeasonalityConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        check::that(
            &mut found,
            (-1080..=1080).contains(&config.utc_offset_minutes),
            "seasonality.utc_offset_minutes",
            config.utc_offset_minutes,
            "-1080 to 1080 minutes",
        );
        let holds = (0.01..=1e6).contains(&config.k);
        check::that(
            &mut found,
            holds,
            "seasonality.k",
            config.k,
            "0.01 to 1000000",
        );
        check::that(
            &mut found,
            (10..=200).contains(&config.min_samples),
            "seasonality.min_samples",
            config.min_samples,
            "10 to 200 samples",
        );
        check::that(
            &mut found,
            (1..=1000).contains(&config.min_days),
            "seasonality.min_days",
            config.min_days,
            "1 to 1000 days",
        );
        check::positive(&mut found, "seasonality.resolution", config.resolution);
        found.into_result(Self {
            config,
            state: State::default(),
            judged: None,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SeasonalityConfig {
        &self.config
    }

    /// The 5th, 50th and 95th percentile that are usual at `at`; `None` while too little is known of that hour.
    pub fn percentiles(&self, at: Timestamp) -> Option<[f64; 3]> {
        let cell = self.cell(self.place(at))?;
        Some(self.state.cells[cell].band.percentiles())
    }

    fn place(&self, at: Timestamp) -> Place {
        let minutes = at.as_millis().div_euclid(60_000) + i64::from(self.config.utc_offset_minutes);
        let day = minutes.div_euclid(1440);
        let within = |n: i64| usize::try_from(n).unwrap_or_default();
        let hour = within(minutes.rem_euclid(1440) / 60);
        // The epoch was a Thursday.
        let weekday = within((day + 3).rem_euclid(7));
        Place {
            day,
            cells: [weekday * HOURS + hour, 7 * HOURS + hour],
        }
    }

    /// The first cell of the place that knows enough.
    fn cell(&self, place: Place) -> Option<usize> {
        place.cells.into_iter().find(|idx| {
            let cell = &self.state.cells[*idx];
            cell.band.len() >= self.config.min_samples && cell.n_days >= self.config.min_days
        })
    }

    fn limits(&self, cell: usize) -> Limits {
        let [low, median, high] = self.state.cells[cell].band.percentiles();
        let width = (high - low).max(scale::floor(median, self.config.resolution));
        Limits {
            low: low - self.config.k * width,
            median,
            high: high + self.config.k * width,
            width,
        }
    }
}

impl SeriesDetector for Seasonality {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        self.judged = None;
        let (side, place) = (self.config.side, self.place(at));
        let cell = self.cell(place);
        let limits = cell.map(|cell| self.limits(cell));
        let expected = Expectation::Between {
            low: limits
                .filter(|_| side.counts_low())
                .map(|limits| limits.low),
            high: limits
                .filter(|_| side.counts_high())
                .map(|limits| limits.high),
        };
        let Some(value) = scale::usable(value) else {
            return KernelScore::normal(expected);
        };
        let judged = match (cell, limits) {
            (Some(cell), Some(limits)) => {
                let deviation = side.of(value - limits.median);
                let limit = if deviation < 0.0 {
                    limits.median - limits.low
                } else {
                    limits.high - limits.median
                };
                self.judged = Some(Judged {
                    limits,
                    value,
                    cell,
                });
                KernelScore {
                    score: scale::score(deviation / limit),
                    surprise: scale::surprise(deviation * BAND_PER_SIGMA / limits.width),
                    direction: direction(deviation),
                    expected,
                }
            }
            _ => KernelScore::normal(expected),
        };
        if self.state.last.is_none_or(|last| at > last) {
            self.state.last = Some(at);
            let learned = limits.map_or(value, |limits| value.clamp(limits.low, limits.high));
            for idx in place.cells {
                let cell = &mut self.state.cells[idx];
                cell.band.push(learned);
                if cell.day != Some(place.day) {
                    cell.day = Some(place.day);
                    cell.n_days = cell.n_days.saturating_add(1);
                }
            }
        }
        judged
    }

    fn explain(&self) -> Option<String> {
        let Judged {
            limits,
            value,
            cell,
        } = self.judged?;
        let (hour, days) = (cell % HOURS, WEEKDAYS.get(cell / HOURS));
        Some(format!(
            "is {}, where {} to {} is usual on {} from {hour}:00 to {}:00",
            prose::number(value),
            prose::number(limits.low),
            prose::number(limits.high),
            days.unwrap_or(&"all days"),
            hour + 1
        ))
    }

    fn heap_bytes(&self) -> usize {
        self.state.cells.capacity() * size_of::<Cell>()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of seasonality", value)?;
        state::require(
            loaded.cells.len() == 8 * HOURS && loaded.cells.iter().all(|cell| cell.band.can_be()),
            "state of seasonality",
            "192 bands with their markers in order",
        )?;
        self.state = loaded;
        self.judged = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    /// A Monday, 0:00 UTC.
    const MONDAY: i64 = 1_699_833_600;

    fn trained(
        config: SeasonalityConfig,
        days: i64,
        load: impl Fn(i64, i64) -> f64,
    ) -> Seasonality {
        let mut model = Seasonality::new(config).unwrap();
        let mut rng = Rng::from_seed(1);
        for minute in (0..days * 1440).step_by(5) {
            let value = load(minute / 1440, minute / 60 % 24) + rng.unit();
            model.update(Timestamp::from_secs(MONDAY + 60 * minute), Some(value));
        }
        model
    }

    fn score(model: &mut Seasonality, day: i64, hour: i64, value: f64) -> f64 {
        let at = Timestamp::from_secs(MONDAY + day * 86_400 + hour * 3600 + 1);
        model.update(at, Some(value)).score.get()
    }

    #[test]
    fn the_right_value_at_the_wrong_time_is_found() {
        let load = |_, hour| if (8..18).contains(&hour) { 100.0 } else { 10.0 };
        let mut model = trained(SeasonalityConfig::default(), 15, load);
        assert!(score(&mut model, 15, 12, 100.5) < 0.5);
        assert!(score(&mut model, 15, 20, 100.5) > 0.9);
        assert!(score(&mut model, 16, 12, 10.5) > 0.9);
    }

    #[test]
    fn the_hour_of_all_days_stands_for_a_weekday_that_is_not_known_yet() {
        let load = |_, hour| if hour == 9 { 100.0 } else { 10.0 };
        // Three days are known, no weekday twice.
        let mut model = trained(SeasonalityConfig::default(), 3, load);
        assert!(score(&mut model, 3, 9, 100.5) < 0.5);
        assert!(model.explain().unwrap().contains("on all days from 9:00"));
        assert!(score(&mut model, 3, 10, 100.5) > 0.9);
    }

    #[test]
    fn hours_are_those_of_the_place() {
        let tokyo = SeasonalityConfig {
            utc_offset_minutes: 540,
            ..SeasonalityConfig::default()
        };
        let mut model = trained(tokyo, 3, |_, hour| if hour == 0 { 100.0 } else { 10.0 });
        assert!(score(&mut model, 3, 1, 100.5) > 0.9);
        assert!(model.explain().unwrap().contains("from 10:00 to 11:00"));
        let before: Timestamp = "1969-12-31T23:30:00Z".parse().unwrap();
        let utc = Seasonality::new(SeasonalityConfig::default()).unwrap();
        // A Wednesday.
        assert_eq!(utc.place(before).cells, [2 * 24 + 23, 7 * 24 + 23]);
    }

    #[test]
    fn a_weekday_of_its_own_is_learned() {
        let load = |day: i64, _| if day % 7 == 5 { 10.0 } else { 100.0 };
        let mut model = trained(SeasonalityConfig::default(), 4 * 7, load);
        assert!(score(&mut model, 28 + 5, 12, 10.5) < 0.5);
        assert!(score(&mut model, 28 + 6, 12, 10.5) > 0.9);
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = Seasonality::new(SeasonalityConfig {
            utc_offset_minutes: 1081,
            k: 0.0,
            min_samples: 9,
            min_days: 0,
            resolution: f64::NAN,
            side: Side::Both,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 5);
    }
}
