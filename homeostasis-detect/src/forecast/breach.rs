//! When a line through noise reaches a limit: the probability by each time to come.

use homeostasis_core::Ratio;
use serde::{Deserialize, Serialize};

use super::drift::Drift;

/// From one look ahead to the next the distance grows by this factor, once it is above some steps.
const STRIDE: f64 = 1.01;
/// How far is looked, in steps.
const FURTHEST: f64 = 1e6;

/// When the limit is reached, in steps from the last value; `None` where that is not expected at all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Crossing {
    /// With a probability of one tenth it is reached before.
    pub(super) earliest: Option<f64>,
    /// It is as likely before as after.
    pub(super) median: Option<f64>,
    /// With a probability of one tenth it is not reached until then.
    pub(super) latest: Option<f64>,
    /// That it is reached within the horizon.
    pub(super) within: Ratio,
}

impl Crossing {
    /// When `drift` reaches `limit` from below (from above if `is_low`), and whether within `horizon` steps.
    ///
    /// By a time it counts as reached with the largest probability of lying beyond the limit at any step until then,
    /// for values that are distributed normally around the line.
    /// Looked for at each of the first 100 steps, then at distances that grow by 1 % up to a million steps.
    pub(super) fn of(drift: &Drift, limit: f64, is_low: bool, horizon: f64) -> Self {
        let sign = if is_low { -1.0 } else { 1.0 };
        let beyond = |ahead: f64| {
            let (mean, variance) = drift.at(ahead);
            let distance = sign * (mean - limit);
            if variance > 0.0 {
                normal(distance / variance.sqrt())
            } else {
                f64::from(u8::from(distance >= 0.0))
            }
        };
        let (mut reached, mut last, mut ahead) = (0.0_f64, 0.0, 1.0);
        let mut times = [None; 3];
        let mut within = beyond(horizon);
        while ahead <= FURTHEST {
            let before = reached;
            reached = reached.max(beyond(ahead));
            for (time, share) in times.iter_mut().zip([0.1, 0.5, 0.9]) {
                if time.is_none() && reached >= share {
                    // Interpolated, so that the times have no steps.
                    let part = (share - before) / (reached - before);
                    *time = Some(last + part * (ahead - last));
                }
            }
            if ahead <= horizon {
                within = within.max(reached);
            } else if times[2].is_some() {
                break;
            }
            last = ahead;
            ahead = (ahead * STRIDE).max(ahead + 1.0);
        }
        let [earliest, median, latest] = times;
        Self {
            earliest,
            median,
            latest,
            within: Ratio::saturating(within),
        }
    }
}

/// The normal distribution function; error below 1.5e-7.
///
/// Source: M. Abramowitz, I. Stegun, *Handbook of Mathematical Functions*, 1964, 7.1.26.
fn normal(z: f64) -> f64 {
    const A: [f64; 5] = [
        0.254_829_592,
        -0.284_496_736,
        1.421_413_741,
        -1.453_152_027,
        1.061_405_429,
    ];
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = A.iter().rev().fold(0.0, |sum, a| (sum + a) * t);
    let tail = 0.5 * series * (-x * x).exp();
    if z > 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    fn line(slope: f64, noise: f64) -> Drift {
        let mut rng = Rng::from_seed(6);
        let values: Vec<f64> = (0..120)
            .map(|t| slope * f64::from(t) + noise * (2.0 * rng.unit() - 1.0))
            .collect();
        Drift::fit(&values, None).unwrap()
    }

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        for (z, expected) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746),
            (-1.959_964, 0.025),
            (3.0, 0.998_650_102),
        ] {
            assert!((normal(z) - expected).abs() < 2e-7, "{z}");
        }
    }

    #[test]
    fn a_steady_line_reaches_its_limit_when_it_should() {
        let crossing = Crossing::of(&line(1.0, 3.0), 219.0, false, 150.0);
        let median = crossing.median.unwrap();
        assert!((median - 100.0).abs() < 5.0, "{crossing:?}");
        assert!(crossing.earliest.unwrap() < median && median < crossing.latest.unwrap());
        assert!(crossing.within.get() > 0.99, "{crossing:?}");
        assert!(
            Crossing::of(&line(1.0, 3.0), 219.0, false, 50.0)
                .within
                .get()
                < 0.01
        );
    }

    #[test]
    fn away_from_the_limit_it_is_never_reached_and_without_noise_it_is_certain() {
        let away = Crossing::of(&line(-1.0, 0.5), 50.0, false, 1000.0);
        assert_eq!((away.median, away.latest), (None, None));
        let low = Crossing::of(&line(-1.0, 0.0), -319.0, true, 300.0);
        assert!((low.median.unwrap() - 200.0).abs() < 2.0, "{low:?}");
        assert!(low.within.get() > 0.99);
        // Already beyond.
        assert!(
            Crossing::of(&line(1.0, 0.1), 50.0, false, 10.0)
                .latest
                .unwrap()
                <= 1.0
        );
    }
}
