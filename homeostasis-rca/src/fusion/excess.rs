//! How far a series lies above its calm, counted in what the calm itself does now and then.

use std::time::Duration;

use homeostasis_core::Timestamp;

use super::bundle::{EvidenceSeries, Worse};
use crate::meaning::{Meaning, Resource};
use crate::stats::{Level, quantile, sorted};

/// What happens in this time after the onset is left out: processes restart, caches warm, and
/// windows hold both the calm and the incident.
pub(super) const SETTLE: Duration = Duration::from_secs(60);

/// Fewer calm values are no calm.
const MIN_CALM: usize = 8;

/// A calm longer than this is cut to its end: it bounds the work for one series.
pub(super) const MAX_CALM: usize = 1024;

/// Of a series of which less is worse, the smallest scale, as a share of its highest value.
const DOWN_FLOOR: f64 = 0.0005;

/// Farther than this many scales nothing gets farther: sums of it stay numbers.
const FAR: f64 = 1e9;

/// A series in units of its calm; more is worse.
#[derive(Debug, Clone)]
pub(super) struct Excess {
    /// The calm, in units of itself.
    calm: Vec<f64>,
    /// The rest, with when.
    pub(super) points: Vec<(Timestamp, f64)>,
    pub(super) median: f64,
    worse: Worse,
    top: f64,
}

impl Excess {
    /// `None` if too little is known of the calm.
    pub(super) fn of(series: &EvidenceSeries) -> Option<Self> {
        let calm = &series.calm[series.calm.len().saturating_sub(MAX_CALM)..];
        let finite = || calm.iter().copied().filter(|value| value.is_finite());
        let top = finite().fold(f64::NEG_INFINITY, f64::max);
        // What falls short of the best seen counts up from zero.
        let oriented = |value: f64| match series.worse {
            Worse::Down => top - value,
            Worse::Up | Worse::Either => value,
        };
        let floor = match series.worse {
            Worse::Down => top.abs() * DOWN_FLOOR,
            Worse::Up | Worse::Either => 0.0,
        };
        let mut level = Level::of(finite().map(oriented), MIN_CALM, floor)?;
        if level.scale <= Level::MIN_SCALE {
            let farthest = finite()
                .map(|value| (oriented(value) - level.median).abs())
                .fold(0.0, f64::max);
            level.scale = unit_of_idle(&series.metric, farthest).max(level.scale);
        }
        let z = |value: f64| {
            let z = level.z(oriented(value)).clamp(-FAR, FAR);
            match series.worse {
                Worse::Either => z.abs(),
                Worse::Up | Worse::Down => z,
            }
        };
        let points = series.points.iter();
        let points: Vec<_> = points
            .filter(|(_, value)| value.is_finite())
            .map(|(at, value)| (*at, z(*value)))
            .collect();
        Some(Self {
            calm: finite().map(z).collect(),
            points,
            median: level.median,
            worse: series.worse,
            top,
        })
    }

    /// The median of the calm as it was measured.
    pub(super) fn calm_level(&self) -> f64 {
        match self.worse {
            Worse::Down => self.top - self.median,
            Worse::Up | Worse::Either => self.median,
        }
    }

    /// The points in `from..=to`.
    pub(super) fn within(&self, from: Timestamp, to: Timestamp) -> Vec<f64> {
        let inside = |(at, _): &&(Timestamp, f64)| *at >= from && *at <= to;
        self.points.iter().filter(inside).map(|(_, z)| *z).collect()
    }

    /// What is sustained in each stretch of `n` values of the calm, newest first.
    pub(super) fn calm_scans(&self, n: usize) -> Vec<f64> {
        let stretches = self.calm.rchunks_exact(n.max(2));
        stretches.filter_map(sustained).collect()
    }

    /// The level that the calm exceeds in one of `1 / (1 - q)` stretches of `n` values, at least 1.
    pub(super) fn calm_top(&self, n: usize, q: f64) -> f64 {
        let scans = sorted(self.calm_scans(n));
        quantile(&scans, q).unwrap_or(1.0).max(1.0)
    }
}

/// The unit of a series whose calm is idle, at zero but for a few values, and so has no spread: half of the
/// farthest of these, or if there are none, the smallest deviation that can matter where the name of the
/// metric tells it. Without one, a processor that idles would be beside itself over the first ticks it works.
fn unit_of_idle(metric: &str, farthest: f64) -> f64 {
    if farthest > 0.0 {
        return farthest / 2.0;
    }
    let flow = Meaning::of(metric).map(|meaning| meaning.floor(metric));
    let stock = || Resource::of(metric).map(|resource| resource.floor);
    flow.or_else(stock).unwrap_or(0.0)
}

/// The highest level that two neighbors both reach: one spike, however high, is not enough. `None`
/// for fewer than two values.
pub(super) fn sustained(values: &[f64]) -> Option<f64> {
    let pairs = values.windows(2).map(|pair| pair[0].min(pair[1]));
    pairs.max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::super::bundle::SeriesKind;
    use super::*;

    fn series(worse: Worse, calm: &[f64], points: &[f64]) -> EvidenceSeries {
        EvidenceSeries {
            service: "a".to_owned(),
            callee: None,
            metric: "m".to_owned(),
            kind: SeriesKind::Other,
            worse,
            calm: calm.to_vec(),
            points: (0..)
                .map(Timestamp::from_secs)
                .zip(points.iter().copied())
                .collect(),
        }
    }

    fn calm() -> Vec<f64> {
        (0..40).map(|i| 100.0 + f64::from(i % 5)).collect()
    }

    #[test]
    fn the_unit_of_a_series_does_not_matter() {
        let of = |factor: f64| {
            let calm: Vec<f64> = calm().iter().map(|value| value * factor).collect();
            let excess = Excess::of(&series(Worse::Up, &calm, &[160.0 * factor])).unwrap();
            excess.points[0].1
        };
        assert!((of(1.0) - of(1e-3)).abs() < 1e-9 && (of(1.0) - of(1e6)).abs() < 1e-9);
    }

    #[test]
    fn an_idle_processor_that_works_a_little_has_not_moved() {
        let mut idle = series(Worse::Up, &[0.0; 60], &[0.02, 0.02, 0.04]);
        let of = |series: &EvidenceSeries| Excess::of(series).unwrap().points[2].1;
        assert!(
            of(&idle) > 1e6,
            "of a metric nobody knows every step is large"
        );
        idle.metric = "process_cpu_ratio".to_owned();
        assert!(of(&idle) < 1.0, "{}", of(&idle));
        idle.points[2].1 = 0.9;
        assert!(of(&idle) > 10.0, "{}", of(&idle));
        // One that ticks now and then, of whatever name and in whatever unit.
        for unit in [1.0, 1e3] {
            let mut ticks = series(Worse::Up, &[0.0; 60], &[0.0, 0.0, 0.04 * unit]);
            ticks.calm[20] = 0.02 * unit;
            assert!((of(&ticks) - 4.0).abs() < 1e-9, "{}", of(&ticks));
        }
    }

    #[test]
    fn a_fall_of_availability_counts_up() {
        let calm = vec![100.0; 20];
        let excess = Excess::of(&series(Worse::Down, &calm, &[99.0, 100.0])).unwrap();
        assert!(excess.points[0].1 > 10.0 && excess.points[1].1.abs() < 1e-9);
        assert!((excess.calm_level() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn one_spike_however_high_is_not_sustained() {
        assert_eq!(sustained(&[0.0, 900.0, 0.5, 0.0]), Some(0.5));
        assert_eq!(sustained(&[0.0, 3.0, 4.0]), Some(3.0));
        assert_eq!(sustained(&[9.0]), None);
    }

    #[test]
    fn without_calm_there_is_no_excess() {
        assert!(Excess::of(&series(Worse::Up, &[1.0; 7], &[9.0])).is_none());
        assert!(Excess::of(&series(Worse::Up, &[f64::NAN; 20], &[9.0])).is_none());
    }
}
