//! Whether a value is a deviation at all: novelty in the middle of the usual counts little.

use serde::{Deserialize, Serialize};

/// The time scales, in samples; the last is that of the spread of the whole series.
const SCALES: [f64; 4] = [50.0, 500.0, 2000.0, 1000.0];
/// The mean distance from the level, in standard deviations, from which on novelty counts fully.
const OPEN: f64 = 2.5;
/// What novelty counts at least.
const LEAST: f64 = 0.3;
/// Nothing is a deviation before this many samples.
const WARM_UP: u64 = 30;
/// This share of the level is no deviation.
const GRAIN: f64 = 1e-3;

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Moments {
    mean: f64,
    variance: f64,
}

/// Exponentially weighted moments, not robust on purpose: what happened often enough widens them, and
/// is no longer new, where the spread of [`Deviation`](super::deviation::Deviation) stays narrow and
/// tells of every recurrence.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gate {
    moments: [Moments; 4],
    n: u64,
}

impl Gate {
    /// How much novelty counts at `x`: 0.3 to 1.
    pub(super) fn of(&self, x: f64) -> f64 {
        if self.n < WARM_UP {
            return LEAST;
        }
        let z =
            |m: &Moments| (x - m.mean).abs() / (m.variance.sqrt() + GRAIN * m.mean.abs() + 1e-12);
        let mean = self.moments[..3].iter().map(z).sum::<f64>() / 3.0;
        (mean / OPEN).clamp(LEAST, 1.0)
    }

    /// The standard deviation of the whole series.
    pub(super) fn spread(&self) -> f64 {
        self.moments[3].variance.sqrt()
    }

    pub(super) fn learn(&mut self, x: f64) {
        self.n = self.n.saturating_add(1);
        for (m, scale) in self.moments.iter_mut().zip(SCALES) {
            let weight = (1.0 / self.n as f64).max(1.0 / scale);
            let delta = x - m.mean;
            m.mean += weight * delta;
            m.variance = (1.0 - weight) * (m.variance + weight * delta * delta);
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        let sound = |m: &Moments| m.mean.is_finite() && m.variance.is_finite() && m.variance >= 0.0;
        self.moments.iter().all(sound)
    }
}
