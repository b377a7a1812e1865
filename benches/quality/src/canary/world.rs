//! Made-up canaries: traffic, noise, missing data, drift.

use std::time::Duration;

use homeostasis::core::record::{ArmInterval, CanaryInterval};
use homeostasis::core::{Rng, Timestamp};

/// Intervals of one run, a minute each.
pub(super) const MINUTES: u32 = 30;
/// Intervals before it, of two groups of the old version.
pub(super) const CALIBRATION: u32 = 240;
/// The share of the old version's requests that fails.
const BASE: f64 = 0.005;
/// How much the world moves both arms alike: the standard deviation of the logarithm.
const SHARED_NOISE: f64 = 0.3;

/// What is wrong with the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// One interval of five is missing.
    Missing,
    /// Traffic and failures of both arms rise and fall by the hour.
    Drift,
    /// The canary fails ten times as often in its first minute.
    ColdStart,
    /// Nobody comes.
    NoTraffic,
}

impl Trouble {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Missing => "20 % missing",
            Self::Drift => "drift",
            Self::ColdStart => "cold start",
            Self::NoTraffic => "no traffic",
        }
    }
}

/// One kind of made-up canary.
#[derive(Debug, Clone, Copy)]
pub(super) struct World {
    /// Requests per minute of the canary and of the baseline.
    pub(super) traffic: (f64, f64),
    /// How much each arm moves by itself: the standard deviation of the logarithm.
    pub(super) noise: f64,
    pub(super) trouble: Trouble,
}

impl World {
    /// The interval that ends `minute` minutes after the beginning, for a canary that fails `ratio`
    /// times as often.
    pub(super) fn interval(self, minute: i32, ratio: f64, rng: &mut Rng) -> CanaryInterval {
        let shared = (SHARED_NOISE * normal(rng)).exp();
        let swing = match self.trouble {
            Trouble::Drift => 1.0 + 0.8 * (f64::from(minute) / 60.0 * std::f64::consts::TAU).sin(),
            _ => 1.0,
        };
        let warm = match (self.trouble, minute) {
            (Trouble::ColdStart, 1) => 10.0,
            _ => 1.0,
        };
        let mut arm = |requests: f64, ratio: f64| {
            let own = (self.noise * normal(rng)).exp();
            let share = (BASE * swing * ratio * shared * own).min(1.0);
            let failed = poisson(rng, requests * swing * share);
            let good = poisson(rng, requests * swing * (1.0 - share));
            ArmInterval::new(failed + good, failed)
        };
        let (canary, baseline) = match self.trouble {
            Trouble::NoTraffic => (0.0, 0.0),
            _ => self.traffic,
        };
        let arms = (arm(canary, ratio * warm), arm(baseline, 1.0));
        let there = self.trouble != Trouble::Missing || rng.unit() >= 0.2;
        CanaryInterval {
            ended: Timestamp::from_secs(60 * i64::from(minute)),
            length: Duration::from_secs(60),
            canary: there.then_some(arms.0),
            baseline: there.then_some(arms.1),
        }
    }
}

/// A standard normal value (G. E. P. Box and M. E. Muller 1958).
fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.unit()).ln()).sqrt() * (std::f64::consts::TAU * rng.unit()).cos()
}

/// A Poisson count: by inversion, from a mean of 60 on by the normal approximation.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded and at least 0; a mean is far below 2^53"
)]
fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    if mean >= 60.0 {
        return (mean + mean.sqrt() * normal(rng)).round().max(0.0) as u64;
    }
    let mut left = rng.unit();
    let mut p = (-mean).exp();
    let mut count = 0_u32;
    while left >= p && count < 1000 {
        left -= p;
        count += 1;
        p *= mean / f64::from(count);
    }
    u64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(world: World, ratio: f64) -> (f64, f64) {
        let mut rng = Rng::from_seed(1);
        let (mut canary, mut baseline) = ((0, 0), (0, 0));
        for _ in 0..4000 {
            let interval = world.interval(2, ratio, &mut rng);
            if let (Some(c), Some(b)) = (interval.canary, interval.baseline) {
                canary = (canary.0 + c.failed, canary.1 + c.requests);
                baseline = (baseline.0 + b.failed, baseline.1 + b.requests);
            }
        }
        let share = |(failed, requests): (u64, u64)| failed as f64 / requests as f64;
        (share(canary), share(baseline))
    }

    #[test]
    fn arms_fail_as_often_as_asked() {
        let world = World {
            traffic: (300.0, 900.0),
            noise: 0.0,
            trouble: Trouble::Missing,
        };
        let (canary, baseline) = shares(world, 2.0);
        // The mean of the shared noise is exp(0.3^2 / 2).
        assert!((baseline / BASE / 1.046 - 1.0).abs() < 0.04, "{baseline}");
        assert!((canary / baseline / 2.0 - 1.0).abs() < 0.05, "{canary}");
    }

    #[test]
    fn trouble_is_what_its_name_says() {
        let world = |trouble| World {
            traffic: (3000.0, 3000.0),
            noise: 0.0,
            trouble,
        };
        let mut rng = Rng::from_seed(2);
        let n_there = (0..1000)
            .filter(|_| {
                world(Trouble::Missing)
                    .interval(1, 1.0, &mut rng)
                    .canary
                    .is_some()
            })
            .count();
        assert!((740..860).contains(&n_there), "{n_there}");
        let nobody = world(Trouble::NoTraffic).interval(1, 1.0, &mut rng);
        assert_eq!(nobody.canary, Some(ArmInterval::default()));
        let cold = world(Trouble::ColdStart);
        let mut failed = |minute| -> u64 {
            (0..50)
                .filter_map(|_| cold.interval(minute, 1.0, &mut rng).canary)
                .map(|arm| arm.failed)
                .sum()
        };
        assert!(failed(1) > 6 * failed(2));
    }
}
