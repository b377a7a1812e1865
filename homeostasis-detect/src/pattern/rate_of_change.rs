//! Rate of change: too much within too short a time.

use std::collections::VecDeque;
use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::side::{Amount, Side, direction};
use crate::{check, prose, scale, state};

/// Across how many windows a straight line is drawn between two samples; beyond it is a gap.
const GAP_WINDOWS: u32 = 4;

/// What a [`RateOfChange`] calls too fast.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateOfChangeConfig {
    /// The time within which the change happens; default 1 minute, above 0.
    #[serde(with = "crate::duration_text")]
    pub window: Duration,
    /// The change that is still fine; default 30 % (`relative: 0.3`), above 0.
    /// A relative change is measured by the value it began at.
    pub limit: Amount,
    /// Which changes count; default both.
    pub side: Side,
    /// A relative change of a value nearer to 0 than this is measured by this, in the unit of the
    /// series; default 1e-6, above 0.
    /// **Warning:** a series that starts from 0 rises by more than any share; give the least base that
    /// matters, such as 0.05 for a CPU ratio.
    pub resolution: f64,
    /// How many samples of the window are kept; default 256, range 2 to 65 536.
    /// Faster samples than `window / max_samples` shorten the window.
    pub max_samples: usize,
}

impl Default for RateOfChangeConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            limit: Amount::Relative(0.3),
            side: Side::Both,
            resolution: 1e-6,
            max_samples: 256,
        }
    }
}

/// Judges a sample by how far it is from the lowest and the highest value within a window before it.
///
/// For *more than 30 % up within 1 minute* or *more than 50 % down within 5 minutes*.
/// A slow change of the same size does not alarm, however long it lasts (see [`Trend`](crate::Trend)).
///
/// The rise is measured from the lowest and the fall from the highest value of the window.
/// The value at the beginning of the window is read off the straight line between the samples around it, so
/// that samples further apart than the window are judged by their slope; across gaps of more than
/// four windows no line is drawn and the first sample scores 0.
/// The score is 0.5 when the change equals the limit.
/// There is no tail probability behind the surprise: for a change of `r` limits it is `ln(1 + r²)`, the score
/// on a scale that does not saturate.
///
/// *Missing, late and huge values:* NaN and infinities are missing; what is not later than the last sample
/// scores against the present window and is not learned; beyond ±1e150 values count as ±1e150.
/// O(1) amortized time, at most `3 · max_samples` points of memory.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::core::Timestamp;
/// use homeostasis::detect::{Amount, RateOfChange, RateOfChangeConfig, Side};
/// use std::time::Duration;
///
/// let mut drop = RateOfChange::new(RateOfChangeConfig {
///     window: Duration::from_secs(300),
///     limit: Amount::Relative(0.5),
///     side: Side::Low,
///     ..RateOfChangeConfig::default()
/// })?;
/// drop.update(Timestamp::from_secs(0), Some(1000.0));
/// assert!(drop.update(Timestamp::from_secs(60), Some(600.0)).score.get() < 0.5);
/// assert!(drop.update(Timestamp::from_secs(120), Some(400.0)).score.get() > 0.5);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RateOfChange {
    config: RateOfChangeConfig,
    state: State,
    /// The last change judged, for the explanation.
    judged: Option<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Change {
    from: f64,
    to: f64,
}

type Point = (Timestamp, f64);

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The newest point that left the window.
    before: Option<Point>,
    /// The points of the window, oldest first.
    points: VecDeque<Point>,
    /// Those of them that are lower than all later ones, and higher than all later ones.
    lows: VecDeque<Point>,
    highs: VecDeque<Point>,
}

impl State {
    fn last(&self) -> Option<Point> {
        self.points.back().copied().or(self.before)
    }

    fn push(&mut self, point: Point) {
        while self.lows.back().is_some_and(|low| low.1 >= point.1) {
            self.lows.pop_back();
        }
        while self.highs.back().is_some_and(|high| high.1 <= point.1) {
            self.highs.pop_back();
        }
        self.points.push_back(point);
        self.lows.push_back(point);
        self.highs.push_back(point);
    }

    fn pop(&mut self) {
        let Some(oldest) = self.points.pop_front() else {
            return;
        };
        self.before = Some(oldest);
        for extremes in [&mut self.lows, &mut self.highs] {
            while extremes.front().is_some_and(|point| point.0 <= oldest.0) {
                extremes.pop_front();
            }
        }
    }

    fn forget_before(&mut self, start: Timestamp) {
        while self.points.front().is_some_and(|oldest| oldest.0 < start) {
            self.pop();
        }
    }

    /// The value at `start`, on the line from the point before it to the next one.
    fn at_start(&self, start: Timestamp, window: Duration, now: Point) -> Option<f64> {
        let (t0, v0) = self.before?;
        let (t1, v1) = self.points.front().copied().unwrap_or(now);
        let length = t1.since(t0);
        if length.is_zero() || length > window.saturating_mul(GAP_WINDOWS) {
            return None;
        }
        let share = start.since(t0).as_secs_f64() / length.as_secs_f64();
        (share <= 1.0).then_some(v0 + share * (v1 - v0))
    }

    fn fits(&self, max_samples: usize) -> bool {
        let in_order = |points: &VecDeque<Point>| {
            points
                .iter()
                .zip(points.iter().skip(1))
                .all(|(a, b)| a.0 < b.0)
        };
        self.points.len() <= max_samples
            && self.lows.len() <= self.points.len()
            && self.highs.len() <= self.points.len()
            && [&self.points, &self.lows, &self.highs]
                .into_iter()
                .all(in_order)
    }
}

impl RateOfChange {
    /// A window that is still empty.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `rate_of_change`.
    pub fn new(config: RateOfChangeConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        check::lasting(&mut found, "rate_of_change.window", config.window);
        config.limit.check(&mut found, "rate_of_change.limit");
        check::positive(&mut found, "rate_of_change.resolution", config.resolution);
        check::that(
            &mut found,
            (2..=65_536).contains(&config.max_samples),
            "rate_of_change.max_samples",
            config.max_samples,
            "2 to 65536 samples",
        );
        found.into_result(Self {
            config,
            state: State::default(),
            judged: None,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &RateOfChangeConfig {
        &self.config
    }

    /// How much a change from `base` may be.
    fn allowed(&self, base: f64) -> f64 {
        self.config
            .limit
            .allowed(base, scale::floor(0.0, self.config.resolution))
    }

    /// The lowest and the highest value of the window that ends at `now`.
    fn extremes(&self, start: Timestamp, now: Point) -> Option<(f64, f64)> {
        let at_start = self.state.at_start(start, self.config.window, now);
        let low = self.state.lows.front().map(|point| point.1);
        let high = self.state.highs.front().map(|point| point.1);
        Some((
            low.into_iter().chain(at_start).reduce(f64::min)?,
            high.into_iter().chain(at_start).reduce(f64::max)?,
        ))
    }
}

impl SeriesDetector for RateOfChange {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let side = self.config.side;
        self.judged = None;
        let open = Expectation::Between {
            low: None,
            high: None,
        };
        let Some(value) = scale::usable(value) else {
            return KernelScore::normal(open);
        };
        let last = self.state.last();
        let is_new = last.is_none_or(|last| at > last.0);
        let start = if is_new {
            at - self.config.window
        } else {
            last.map_or(at, |last| last.0) - self.config.window
        };
        if is_new {
            self.state.forget_before(start);
        }
        let judged = match self.extremes(start, (at, value)) {
            None => KernelScore::normal(open),
            Some((low, high)) => {
                let (rise, fall) = (self.allowed(low), self.allowed(high));
                let up = side.of(value - low).max(0.0) / rise;
                let down = side.of(value - high).min(0.0) / fall;
                let (r, from) = if up >= -down { (up, low) } else { (down, high) };
                self.judged = Some(Change { from, to: value });
                let (mut least, mut most) = (
                    side.counts_low().then_some(high - fall),
                    side.counts_high().then_some(low + rise),
                );
                // After a leap no value is near enough to both ends of the window: say what was broken.
                if least > most && most.is_some() {
                    if r > 0.0 { least = None } else { most = None }
                }
                KernelScore {
                    score: scale::score(r),
                    surprise: scale::surprise(r),
                    direction: direction(r),
                    expected: Expectation::Between {
                        low: least,
                        high: most,
                    },
                }
            }
        };
        if is_new {
            if self.state.points.len() >= self.config.max_samples {
                self.state.pop();
            }
            self.state.push((at, value));
        }
        judged
    }

    fn explain(&self) -> Option<String> {
        let Change { from, to } = self.judged?;
        let share = match self.config.limit {
            Amount::Relative(_) => {
                let base = from.abs().max(self.config.resolution);
                format!(" ({:+.1} %)", (to - from) / base * 100.0)
            }
            Amount::Absolute(_) => String::new(),
        };
        let limit = match self.config.limit {
            Amount::Relative(limit) => format!("{} %", prose::number(limit * 100.0)),
            Amount::Absolute(limit) => prose::number(limit),
        };
        Some(format!(
            "went from {} to {}{share} within {}, expected a change of at most {limit}",
            prose::number(from),
            prose::number(to),
            format_duration(self.config.window),
        ))
    }

    fn heap_bytes(&self) -> usize {
        let state = &self.state;
        let n = state.points.capacity() + state.lows.capacity() + state.highs.capacity();
        n * size_of::<Point>()
    }

    fn save(&self) -> Option<Value> {
        state::save(&self.state)
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: State = state::load("state of rate_of_change", value)?;
        state::require(
            loaded.fits(self.config.max_samples),
            "state of rate_of_change",
            &format!("at most {} points, oldest first", self.config.max_samples),
        )?;
        self.state = loaded;
        self.judged = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::record::Direction;
    use proptest::prelude::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn kernel(side: Side, limit: Amount) -> RateOfChange {
        RateOfChange::new(RateOfChangeConfig {
            limit,
            side,
            ..RateOfChangeConfig::default()
        })
        .unwrap()
    }

    fn scores(kernel: &mut RateOfChange, points: &[(i64, f64)]) -> Vec<f64> {
        points
            .iter()
            .map(|(secs, value)| kernel.update(at(*secs), Some(*value)).score.get())
            .collect()
    }

    #[test]
    fn a_rise_alarms_when_it_is_fast_and_not_when_it_is_slow() {
        let mut fast = kernel(Side::High, Amount::Relative(0.3));
        let ramp: Vec<_> = (0..=6).map(|i| (i * 10, 1.0 + 0.06 * i as f64)).collect();
        assert!(scores(&mut fast, &ramp)[6] > 0.5);
        let mut slow = kernel(Side::High, Amount::Relative(0.3));
        let ramp: Vec<_> = (0..60).map(|i| (i * 10, 1.0 + 0.03 * i as f64)).collect();
        assert!(scores(&mut slow, &ramp).iter().all(|score| *score < 0.5));
    }

    #[test]
    fn exactly_the_limit_scores_one_half() {
        let mut model = kernel(Side::Both, Amount::Absolute(5.0));
        assert_eq!(scores(&mut model, &[(0, 10.0), (10, 15.0)])[1], 0.5);
        let mut model = kernel(Side::Both, Amount::Absolute(5.0));
        assert_eq!(scores(&mut model, &[(0, 10.0), (10, 5.0)])[1], 0.5);
    }

    #[test]
    fn only_the_side_asked_for_counts() {
        let mut up = kernel(Side::High, Amount::Relative(0.3));
        assert_eq!(scores(&mut up, &[(0, 10.0), (10, 1.0)])[1], 0.0);
        let mut down = kernel(Side::Low, Amount::Relative(0.3));
        assert_eq!(scores(&mut down, &[(0, 10.0), (10, 100.0)])[1], 0.0);
        let judged = down.update(at(20), Some(1.0));
        assert_eq!(judged.direction, Direction::Low);
        assert!(
            down.explain()
                .unwrap()
                .starts_with("went from 100 to 1 (-99.0 %)")
        );
    }

    #[test]
    fn samples_further_apart_than_the_window_are_judged_by_their_slope() {
        let mut gentle = kernel(Side::Both, Amount::Absolute(10.0));
        assert!(scores(&mut gentle, &[(0, 0.0), (120, 18.0)])[1] < 0.5);
        let mut steep = kernel(Side::Both, Amount::Absolute(10.0));
        assert!(scores(&mut steep, &[(0, 0.0), (120, 22.0)])[1] > 0.5);
    }

    #[test]
    fn nothing_is_said_across_a_gap() {
        let mut model = kernel(Side::Both, Amount::Relative(0.3));
        assert_eq!(scores(&mut model, &[(0, 1.0), (10_000, 100.0)]), [0.0, 0.0]);
    }

    #[test]
    fn a_rise_from_zero_is_measured_by_the_resolution() {
        let mut model = RateOfChange::new(RateOfChangeConfig {
            resolution: 0.1,
            ..RateOfChangeConfig::default()
        })
        .unwrap();
        let found = scores(&mut model, &[(0, 0.0), (10, 0.02), (20, 0.04)]);
        assert!(found[1] < 0.5 && found[2] > 0.5, "{found:?}");
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = RateOfChange::new(RateOfChangeConfig {
            window: Duration::ZERO,
            limit: Amount::Relative(-0.3),
            side: Side::Both,
            resolution: 0.0,
            max_samples: 0,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 4);
    }

    proptest! {
        #[test]
        fn the_extremes_of_the_window_are_those_of_its_points(
            steps in prop::collection::vec((1_i64..40, -100.0_f64..100.0), 2..80)
        ) {
            let mut model = kernel(Side::Both, Amount::Absolute(1.0));
            let mut seen: Vec<(i64, f64)> = Vec::new();
            let mut now = 0;
            for (step, value) in steps {
                now += step;
                let judged = model.update(at(now), Some(value));
                let inside = seen.iter().filter(|point| point.0 >= now - 60).map(|point| point.1);
                // The line into the window lies between its ends, so the points decide when they are extreme.
                let far = inside.map(|other| (value - other).abs()).fold(0.0, f64::max);
                prop_assert!(judged.score.get() >= far * far / (1.0 + far * far) - 1e-9);
                prop_assert!(model.state.fits(256));
                seen.push((now, value));
            }
        }
    }
}
