//! Trend: growth that does not stop, as a leak shows it.

use std::collections::VecDeque;
use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Ratio, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::slope::Line;
use crate::side::{Amount, Side, direction};
use crate::{check, prose, scale, state};

/// What a [`Trend`] calls sustained growth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrendConfig {
    /// How far it looks back; default 1 hour, above 0.
    #[serde(with = "crate::duration_text")]
    pub window: Duration,
    /// Into how many equal parts the window is cut, each of which gives one mean; default 30, range 8 to 240.
    pub n_buckets: usize,
    /// How many parts must have samples; default 12, range 6 to `n_buckets`.
    pub min_points: usize,
    /// Which share of the window the parts with samples must reach across; default 0.75.
    pub min_span: Ratio,
    /// Growth per window that is still fine; default 5 % (`relative: 0.05`), above 0.
    /// A relative one is measured by the level at the beginning of the window.
    pub min_growth: Amount,
    /// How many of the pairs of parts must rise, less those that fall (Kendall's tau); default 0.7,
    /// range 0 to 1. One step up reaches 0.5, two reach 0.67.
    pub min_monotonicity: Ratio,
    /// By how many standard deviations of the noise around the line the window must grow; default 4,
    /// 0 or more.
    pub min_signal_to_noise: f64,
    /// What share of the slope of the earlier half the later half must still have; default 0.5.
    /// A warm-up that levels off has less.
    pub min_persistence: Ratio,
    /// A level at which something breaks, for the explanation: the memory limit in bytes, 100 for a disk
    /// in percent. It does not change the score. Default none.
    pub limit: Option<f64>,
    /// The least level by which a relative growth is measured, in the unit of the series; default 1e-6, above 0.
    pub resolution: f64,
    /// Which trends count; default upwards.
    pub side: Side,
}

impl Default for TrendConfig {
    fn default() -> Self {
        let share = Ratio::saturating;
        Self {
            window: Duration::from_secs(3600),
            n_buckets: 30,
            min_points: 12,
            min_span: share(0.75),
            min_growth: Amount::Relative(0.05),
            min_monotonicity: share(0.7),
            min_signal_to_noise: 4.0,
            min_persistence: share(0.5),
            limit: None,
            resolution: 1e-6,
            side: Side::High,
        }
    }
}

/// Judges a series by whether it keeps growing: *more than 5 % per hour, sustained*.
///
/// For memory, connections, queue lengths, disks.
/// A robust line is laid through the means of the parts of the window each time a part ends.
/// It scores above 0.5 only if all of these hold, and 0 unless the last four do:
/// it grows by more than `min_growth` per window; enough parts have samples, over enough of the window;
/// it is monotonic; the growth stands out of the noise; the later half still grows.
/// So a sawtooth whose teeth are shorter than the window, a single step and a warm-up that levels off
/// within about half a window say nothing.
/// A sawtooth whose teeth are longer than the window looks like a leak until it falls: choose the window longer
/// than a cycle of garbage collection or log rotation.
///
/// The score is 0.5 when the growth equals `min_growth`; between the ends of parts it stands.
/// There is no tail probability behind the surprise: for a growth of `r` limits it is `ln(1 + r²)`.
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample
/// is not learned; beyond ±1e150 values count as ±1e150.
/// O(1) time per sample and O(`n_buckets`²) once per part; memory for `n_buckets` means.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{Trend, TrendConfig};
///
/// let mut trend = Trend::new(TrendConfig { limit: Some(512e6), ..TrendConfig::default() })?;
/// let mut score = 0.0;
/// for minute in 0..70_i32 {
///     let bytes = 200e6 + 1e6 * f64::from(minute);
///     score = trend.update(Timestamp::from_secs(60 * i64::from(minute)), Some(bytes)).score.get();
/// }
/// assert!(score > 0.5);
/// assert!(trend.explain().unwrap().contains("reaches 512000000 in about"));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    config: TrendConfig,
    width_nanos: i64,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Parts that ended, oldest first.
    buckets: VecDeque<Bucket>,
    /// The part that goes on.
    open: Option<Bucket>,
    last: Option<Timestamp>,
    found: Option<Found>,
}

/// The mean of one part of the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bucket {
    /// Which part since the epoch.
    idx: i64,
    mean: f64,
    n: u64,
}

/// A sustained trend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    /// Growth per window, in limits.
    growth: f64,
    /// In the unit of the series, per second.
    slope: f64,
    /// The line at the beginning and at the end of the window.
    begin: f64,
    end: f64,
}

impl Trend {
    /// A window that is still empty.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `trend`.
    pub fn new(config: TrendConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let nanos = i64::try_from(config.window.as_nanos()).unwrap_or(0);
        let n_buckets = i64::try_from(config.n_buckets).unwrap_or(i64::MAX);
        let width_nanos = nanos / n_buckets.max(1);
        check::that(
            &mut found,
            width_nanos > 0,
            "trend.window",
            format_duration(config.window),
            "a duration of at least 1us and at most 100 years",
        );
        check::that(
            &mut found,
            (8..=240).contains(&config.n_buckets),
            "trend.n_buckets",
            config.n_buckets,
            "8 to 240 parts",
        );
        check::that(
            &mut found,
            config.min_points >= 6 && config.min_points <= config.n_buckets,
            "trend.min_points",
            config.min_points,
            &format!("6 to {} parts, as n_buckets says", config.n_buckets),
        );
        config.min_growth.check(&mut found, "trend.min_growth");
        let noise = config.min_signal_to_noise;
        check::that(
            &mut found,
            noise.is_finite() && noise >= 0.0,
            "trend.min_signal_to_noise",
            noise,
            "a finite number of 0 or more",
        );
        if let Some(limit) = config.limit {
            check::that(
                &mut found,
                limit.is_finite(),
                "trend.limit",
                limit,
                "a finite number",
            );
        }
        check::positive(&mut found, "trend.resolution", config.resolution);
        found.into_result(Self {
            config,
            width_nanos,
            state: State::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &TrendConfig {
        &self.config
    }

    /// Whether the parts of the window show a sustained trend.
    fn find(&self) -> Option<Found> {
        let config = &self.config;
        let buckets = &self.state.buckets;
        let (first, last) = (buckets.front()?.idx, buckets.back()?.idx);
        let span = (last.saturating_sub(first) as f64 + 1.0) / config.n_buckets as f64;
        if buckets.len() < config.min_points || span < config.min_span.get() {
            return None;
        }
        let points: Vec<(f64, f64)> = buckets
            .iter()
            .map(|bucket| (bucket.idx.saturating_sub(first) as f64, bucket.mean))
            .collect();
        let line = Line::through(&points)?;
        let sign = config.side.of(line.slope).signum();
        if config.side.of(line.slope) == 0.0 {
            return None;
        }
        let reach = last.saturating_sub(first) as f64;
        let grown = sign * line.slope * reach;
        if sign * line.tau < config.min_monotonicity.get()
            || grown < config.min_signal_to_noise * line.noise
        {
            return None;
        }
        let (earlier, later) = points.split_at(points.len() / 2);
        let (earlier, later) = (Line::through(earlier)?, Line::through(later)?);
        let persistent = sign * later.slope >= config.min_persistence.get() * sign * earlier.slope;
        if !persistent || sign * later.slope <= 0.0 {
            return None;
        }
        let n_buckets = config.n_buckets as f64;
        let begin = line.at(0.0);
        let allowed = config
            .min_growth
            .allowed(begin, scale::floor(0.0, config.resolution));
        Some(Found {
            growth: line.slope * n_buckets / allowed,
            slope: line.slope * 1e9 / self.width_nanos as f64,
            begin,
            end: line.at(reach),
        })
    }

    fn learn(&mut self, at: Timestamp, value: f64) {
        self.state.last = Some(at);
        let idx = at.as_nanos().div_euclid(self.width_nanos);
        if let Some(open) = self.state.open.as_mut().filter(|open| open.idx == idx) {
            open.n = open.n.saturating_add(1);
            open.mean += (value - open.mean) / open.n as f64;
            return;
        }
        let ended = self.state.open.replace(Bucket {
            idx,
            mean: value,
            n: 1,
        });
        self.state.buckets.extend(ended);
        let n_buckets = i64::try_from(self.config.n_buckets).unwrap_or(i64::MAX);
        let oldest = idx.saturating_sub(n_buckets);
        while self
            .state
            .buckets
            .front()
            .is_some_and(|bucket| bucket.idx < oldest)
        {
            self.state.buckets.pop_front();
        }
        self.state.found = self.find();
    }

    /// When the line crosses the limit, counted from the end of the window.
    fn until_limit(&self, found: &Found) -> Option<Duration> {
        let secs = (self.config.limit? - found.end) / found.slope;
        Duration::try_from_secs_f64(secs).ok()
    }
}

impl SeriesDetector for Trend {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let limit = match self.config.min_growth {
            Amount::Relative(share) => format!("{} %", prose::number(share * 100.0)),
            Amount::Absolute(amount) => prose::number(amount),
        };
        let expected = Expectation::Words(format!(
            "no sustained trend of more than {limit} per {}",
            format_duration(self.config.window)
        ));
        let Some(value) = scale::usable(value) else {
            return KernelScore::normal(expected);
        };
        if self.state.last.is_none_or(|last| at > last) {
            self.learn(at, value);
        }
        match self.state.found {
            None => KernelScore::normal(expected),
            Some(found) => KernelScore {
                score: scale::score(found.growth),
                surprise: scale::surprise(found.growth),
                direction: direction(found.growth),
                expected,
            },
        }
    }

    fn explain(&self) -> Option<String> {
        let found = self.state.found?;
        let verb = if found.slope > 0.0 {
            "grows"
        } else {
            "shrinks"
        };
        let per_hour = found.slope.abs() * 3600.0;
        let base = found.begin.abs().max(self.config.resolution);
        let projection = match (self.config.limit, self.until_limit(&found)) {
            (Some(limit), Some(left)) => format!(
                " and reaches {} in about {}",
                prose::number(limit),
                format_duration(Duration::from_secs(left.as_secs().max(1)))
            ),
            _ => String::new(),
        };
        Some(format!(
            "{verb} steadily by {} ({:.1} %) per hour, from {} to {} over the last {}{projection}",
            prose::number(per_hour),
            per_hour / base * 100.0,
            prose::number(found.begin),
            prose::number(found.end),
            format_duration(self.config.window),
        ))
    }

    fn heap_bytes(&self) -> usize {
        self.state.buckets.capacity() * size_of::<Bucket>()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of trend", value)?;
        let all = loaded.buckets.iter().chain(&loaded.open);
        let idxs: Vec<i64> = all.map(|bucket| bucket.idx).collect();
        state::require(
            loaded.buckets.len() <= self.config.n_buckets + 1
                && idxs.windows(2).all(|pair| pair[0] < pair[1]),
            "state of trend",
            &format!("at most {} parts, oldest first", self.config.n_buckets + 1),
        )?;
        self.state = loaded;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    /// The highest score of six hours of `level(minute)`, sampled every 15 seconds with noise of ±`noise`.
    fn highest(config: TrendConfig, noise: f64, level: impl Fn(f64) -> f64) -> f64 {
        let (mut trend, mut rng) = (Trend::new(config).unwrap(), Rng::from_seed(5));
        (0..6 * 240)
            .map(|i| {
                let value = level(f64::from(i) / 4.0) + noise * (2.0 * rng.unit() - 1.0);
                let at = Timestamp::from_secs(i64::from(i) * 15);
                trend.update(at, Some(value)).score.get()
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn a_leak_of_ten_percent_per_hour_is_found_through_noise() {
        let score = highest(TrendConfig::default(), 2.0, |minute| {
            100.0 + minute * 10.0 / 60.0
        });
        assert!(score > 0.5, "{score}");
    }

    #[test]
    fn growth_below_the_limit_stays_below_one_half() {
        let score = highest(TrendConfig::default(), 0.1, |minute| {
            100.0 + minute * 3.0 / 60.0
        });
        assert!(score > 0.0 && score < 0.5, "{score}");
    }

    #[test]
    fn noise_a_sawtooth_a_step_and_a_warm_up_are_no_trend() {
        let config = TrendConfig::default();
        for (name, level) in [
            ("noise", (|_| 100.0) as fn(f64) -> f64),
            ("sawtooth", |minute| 100.0 + 2.0 * (minute % 35.0)),
            ("step", |minute| if minute < 150.0 { 100.0 } else { 160.0 }),
            ("warm-up", |minute| 200.0 - 150.0 * (-minute / 10.0).exp()),
            ("wave", |minute| {
                100.0 + 30.0 * (minute / 20.0 * std::f64::consts::TAU).sin()
            }),
        ] {
            let score = highest(config, 1.0, level);
            assert!(score < 0.5, "{name}: {score}");
        }
    }

    #[test]
    fn a_shrinking_series_is_found_on_its_side_only() {
        let level = |minute: f64| 1000.0 - minute;
        assert_eq!(highest(TrendConfig::default(), 0.1, level), 0.0);
        let low = TrendConfig {
            side: Side::Low,
            ..TrendConfig::default()
        };
        assert!(highest(low, 0.1, level) > 0.5);
    }

    #[test]
    fn the_explanation_gives_slope_and_time_to_the_limit() {
        let mut trend = Trend::new(TrendConfig {
            limit: Some(1000.0),
            ..TrendConfig::default()
        })
        .unwrap();
        for minute in 0..=64 {
            let value = 100.0 + f64::from(minute);
            trend.update(Timestamp::from_secs(60 * i64::from(minute)), Some(value));
        }
        let text = trend.explain().unwrap();
        assert!(
            text.contains("grows steadily by 60 (") && text.contains("per hour"),
            "{text}"
        );
        // The last part, minutes 62 and 63, has a mean of 162.5; 837.5 minutes are left.
        assert!(text.contains("reaches 1000 in about 13h57m30s"), "{text}");
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = Trend::new(TrendConfig {
            window: Duration::ZERO,
            n_buckets: 7,
            min_points: 50,
            min_growth: Amount::Absolute(0.0),
            min_signal_to_noise: f64::NAN,
            limit: Some(f64::INFINITY),
            resolution: 0.0,
            ..TrendConfig::default()
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 7);
    }
}
