//! How far a value is from the level of the series, on three time scales.

use serde::{Deserialize, Serialize};

/// The time scales, in samples.
const SCALES: [f64; 3] = [50.0, 500.0, 2000.0];
/// Beyond this many standard deviations a value teaches no more than at it.
const CLIP: f64 = 2.0;
/// The standard deviation of a normal distribution by its mean absolute deviation: √(π/2).
pub(super) const SIGMA: f64 = 1.253_314_137_315_500_3;
/// Samples that are learned as they are, before there is a spread to clip by.
const FREE: u64 = 10;
/// No deviation is judged before this many samples.
const WARM_UP: u64 = 5;
/// What share of a deviation is still felt one sample later.
const HOLD: f64 = 0.8;
/// No deviation is felt for longer than one of this many standard deviations: it is below 5 after ten
/// samples, so that a leap in a series without noise does not alarm for an hour.
const FELT: f64 = 50.0;

/// The samples of a block, whose largest distance from the level is kept.
const BLOCK: u32 = 32;
/// The blocks that are kept: what recurs in most of them is usual.
const BLOCKS: usize = 21;
/// The median of the largest of 32 standard normal distances: Φ⁻¹((1 + 2^(-1/32)) / 2).
const LARGEST_OF_BLOCK: f64 = 2.301;

/// Mean and mean absolute deviation of the recent past.
///
/// Clipped, the deviation shrinks to nothing where most samples have one value, and every ordinary event
/// would be far. So no standard deviation is below that of a normal distribution whose blocks have the
/// median of the largest distances of the last blocks: what comes in most blocks is usual, however rare,
/// and what fills less than half of them, however large and long, has no influence.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    mean: f64,
    deviation: f64,
    /// How many samples in a row were clipped.
    clipped: u32,
    /// The largest distances of the last blocks, in a ring; the median of those that are full.
    largest: [f64; BLOCKS],
    median: f64,
}

/// Robust levels on three time scales, and the deviation that is still felt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deviation {
    levels: [Level; 3],
    n: u64,
    felt: f64,
}

impl Level {
    fn sigma(&self, floor: f64) -> f64 {
        let recurrent = self.median / LARGEST_OF_BLOCK;
        (SIGMA * self.deviation).max(recurrent).max(floor)
    }

    fn clip_sigma(&self, floor: f64) -> f64 {
        (SIGMA * self.deviation).max(floor)
    }

    /// Learns the distance of the sample number `n`, from 0 on.
    fn keep(&mut self, n: u64, distance: f64) {
        let block = usize::try_from(n / u64::from(BLOCK) % BLOCKS as u64).unwrap_or(0);
        let begins = n.is_multiple_of(u64::from(BLOCK));
        let kept = if begins { 0.0 } else { self.largest[block] };
        self.largest[block] = kept.max(distance);
        if (n + 1).is_multiple_of(u64::from(BLOCK)) {
            let full =
                usize::try_from((n + 1) / u64::from(BLOCK)).map_or(BLOCKS, |n| n.min(BLOCKS));
            let mut sorted = self.largest;
            sorted[..full].sort_unstable_by(f64::total_cmp);
            // The lower one of two, so that a first block with an outlier counts no longer than it must.
            self.median = sorted[(full - 1) / 2];
        }
    }
}

impl Deviation {
    /// The mean over the scales of the distance of `x` from the level, in standard deviations.
    pub(super) fn of(&self, x: f64, floor: f64) -> f64 {
        if self.n < WARM_UP {
            return 0.0;
        }
        let z = |level: &Level| (x - level.mean).abs() / level.sigma(floor);
        self.levels.iter().map(z).sum::<f64>() / 3.0
    }

    /// `deviation`, or what is left of a larger one shortly before.
    pub(super) fn felt(&self, deviation: f64) -> f64 {
        deviation.max(HOLD * self.felt.min(FELT))
    }

    /// Mean and standard deviation on the middle scale.
    pub(super) fn level(&self, floor: f64) -> (f64, f64) {
        let [_, middle, _] = &self.levels;
        (middle.mean, middle.sigma(floor))
    }

    pub(super) fn is_warm(&self) -> bool {
        self.n >= WARM_UP
    }

    pub(super) fn learn(&mut self, x: f64, floor: f64) {
        self.felt = self.felt(self.of(x, floor));
        self.n = self.n.saturating_add(1);
        let n = self.n as f64;
        for (level, scale) in self.levels.iter_mut().zip(SCALES) {
            if self.n == 1 {
                level.mean = x;
                continue;
            }
            let mut delta = x - level.mean;
            if self.n > FREE {
                level.keep(self.n - FREE - 1, delta.abs());
            }
            let limit = CLIP * level.clip_sigma(floor);
            level.clipped = if delta.abs() > limit {
                level.clipped.saturating_add(1)
            } else {
                0
            };
            // What lasts as long as the scale is no outlier, it is the new level.
            if self.n > FREE && f64::from(level.clipped) <= scale {
                delta = delta.clamp(-limit, limit);
            }
            level.mean += (1.0 / n).max(1.0 / scale) * delta;
            level.deviation += (1.0 / (n - 1.0)).max(1.0 / scale) * (delta.abs() - level.deviation);
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        let finite = |level: &Level| level.mean.is_finite() && level.deviation >= 0.0;
        let kept = |level: &Level| {
            let sound = |x: &f64| x.is_finite() && *x >= 0.0;
            level.largest.iter().all(sound) && sound(&level.median)
        };
        self.levels.iter().all(finite) && self.levels.iter().all(kept) && self.felt >= 0.0
    }
}
