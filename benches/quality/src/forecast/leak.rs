//! Leaks added to real series, and what a watch makes of them.

use homeostasis::core::Timestamp;
use homeostasis::core::stage::SeriesDetector;
use homeostasis::detect::{TimeToBreach, TimeToBreachConfig};
use serde_json::{Value, json};

use super::{LEAST, Samples};

/// At most this many samples of a series are used.
const MOST: usize = 2000;

/// One way to add a leak.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// By how many standard deviations of the series it grows until the breach.
    pub(super) growth: f64,
    /// After what share of the series it begins.
    pub(super) onset: f64,
    /// Whether a restart frees a fifth of the growth, a quarter of the way from the beginning of the leak.
    pub(super) has_restart: bool,
}

/// What was foretold half of the way to the breach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// Of the foretold time to the breach, as a share of the true one; infinite where no breach was foretold.
    pub(super) error: f64,
    /// The same of a line by least squares through what is known to be the leak alone: what can be had from the series.
    pub(super) yardstick: f64,
    /// Whether the true time lay between the earliest and the latest.
    pub(super) is_covered: bool,
}

impl Case {
    pub(super) fn name(self) -> String {
        let begins = if self.onset > 0.0 {
            "after a quarter"
        } else {
            "at once"
        };
        let restart = if self.has_restart { ", restarted" } else { "" };
        format!("{} deviations, {begins}{restart}", self.growth)
    }

    /// `None` for a series that is too short or constant.
    pub(super) fn outcome(self, series: &Samples) -> Option<Outcome> {
        let series = &series[..series.len().min(MOST)];
        let (mean, deviation) = spread(series)?;
        let (begin, end) = (
            series.first()?.0.as_secs_f64(),
            series.last()?.0.as_secs_f64(),
        );
        let onset = begin + self.onset * (end - begin);
        let growth = self.growth * deviation;
        let freed = if self.has_restart { growth / 5.0 } else { 0.0 };
        let half = f64::midpoint(onset, end);
        let restart = onset + (end - onset) / 4.0;
        let mut watch = TimeToBreach::new(TimeToBreachConfig::above(mean + growth - freed)).ok()?;
        let (mut now, mut leak) = (series.first()?.0, Vec::new());
        let known_from = if self.has_restart { restart } else { onset };
        for (at, value) in series
            .iter()
            .take_while(|sample| sample.0.as_secs_f64() <= half)
        {
            let secs = at.as_secs_f64();
            let leaked = growth * ((secs - onset) / (end - onset)).max(0.0);
            let set_back = if secs >= restart { freed } else { 0.0 };
            let value = value + leaked - set_back;
            watch.update(*at, Some(value));
            if secs >= known_from {
                leak.push((secs, value));
            }
            now = *at;
        }
        let left = |until: Timestamp| until.since(now).as_secs_f64();
        let truth = end - now.as_secs_f64();
        let reached = crossing(&leak, watch.config().limit);
        let yardstick = reached.map_or(f64::INFINITY, |at| (at - end).abs() / truth);
        Some(watch.breach().map_or(
            Outcome {
                error: f64::INFINITY,
                yardstick,
                is_covered: false,
            },
            |breach| Outcome {
                error: (left(breach.expected) - truth).abs() / truth,
                yardstick,
                is_covered: left(breach.earliest) <= truth
                    && breach.latest.is_none_or(|latest| truth <= left(latest)),
            },
        ))
    }
}

/// When the line by least squares through these points reaches the limit; `None` if it does not rise.
fn crossing(points: &[(f64, f64)], limit: f64) -> Option<f64> {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (center, level) = (mean(|point| point.0), mean(|point| point.1));
    let (mut covariance, mut spread) = (0.0, 0.0);
    for (at, value) in points {
        covariance += (at - center) * (value - level);
        spread += (at - center) * (at - center);
    }
    let slope = covariance / spread;
    (slope > 0.0).then(|| center + (limit - level) / slope)
}

/// Mean and standard deviation; `None` for a series that is too short or constant.
fn spread(series: &[(Timestamp, f64)]) -> Option<(f64, f64)> {
    let n = series.len() as f64;
    let mean = series.iter().map(|sample| sample.1).sum::<f64>() / n;
    let square = series
        .iter()
        .map(|sample| (sample.1 - mean).powi(2))
        .sum::<f64>()
        / n;
    (series.len() >= LEAST && square > 0.0).then(|| (mean, square.sqrt()))
}

/// Whether a watch alarms at any time though the limit lies half the range of the series above its highest value.
///
/// It looks ahead for a quarter of the length of the series.
pub(super) fn false_alarm(series: &Samples) -> Option<bool> {
    let series = &series[..series.len().min(MOST)];
    spread(series)?;
    let values = || series.iter().map(|sample| sample.1);
    let (low, high) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    let length = series.last()?.0.since(series.first()?.0);
    let config = TimeToBreachConfig {
        horizon: length / 4,
        ..TimeToBreachConfig::above(high + (high - low) / 2.0)
    };
    let mut watch = TimeToBreach::new(config).ok()?;
    Some(
        series
            .iter()
            .any(|(at, value)| watch.update(*at, Some(*value)).score.get() > 0.5),
    )
}

/// The share of outcomes with at most this error.
pub(super) fn within(outcomes: &[Outcome], error: f64) -> f64 {
    share(outcomes, |outcome| outcome.error <= error)
}

/// The share of outcomes whose interval held the truth.
pub(super) fn covered(outcomes: &[Outcome]) -> f64 {
    share(outcomes, |outcome| outcome.is_covered)
}

fn share(outcomes: &[Outcome], holds: impl Fn(&Outcome) -> bool) -> f64 {
    let n = outcomes.iter().filter(|outcome| holds(outcome)).count();
    n as f64 / (outcomes.len() as f64).max(1.0)
}

/// This quantile of the errors; nothing where no breach was foretold in so many cases.
pub(super) fn quantile(outcomes: &[Outcome], at: f64) -> Option<f64> {
    let mut errors: Vec<f64> = outcomes.iter().map(|outcome| outcome.error).collect();
    errors.sort_by(f64::total_cmp);
    let place = at * errors.len() as f64;
    let found = errors
        .into_iter()
        .enumerate()
        .find(|(i, _)| *i as f64 + 1.0 >= place)?;
    Some(found.1).filter(|error| error.is_finite())
}

/// The distribution of the errors.
pub(super) fn summary(outcomes: &[Outcome]) -> Value {
    json!({
        "cases": outcomes.len(),
        "within_10": within(outcomes, 0.1),
        "within_20": within(outcomes, 0.2),
        "within_50": within(outcomes, 0.5),
        "error_quantiles": {
            "25": quantile(outcomes, 0.25),
            "50": quantile(outcomes, 0.5),
            "75": quantile(outcomes, 0.75),
            "90": quantile(outcomes, 0.9),
        },
        "interval_80_covers": covered(outcomes),
        "known_leak_within_20": share(outcomes, |outcome| outcome.yardstick <= 0.2),
    })
}
