//! A channel: how far a statistic is from everything it was before.

use serde::{Deserialize, Serialize};

use super::memory::{Memory, Place};
use super::rarity::{self, Rarity};

/// The samples after which a prototype that stood for none of them is forgotten.
const FORGET: u64 = 8000;
/// How often prototypes are looked through for that, in samples.
const SWEEP: u64 = 64;
/// The samples in which the range relaxes towards the mean by a factor of e.
pub(super) const RELAX: f64 = 4000.0;
/// The most prototypes a channel keeps; one that heeds the time of day has twice as many.
const CAPACITY: usize = 256;
/// Half a day apart is like this share of the range apart, in a channel that heeds the time of day.
const DAY: f64 = 0.3;
/// Samples after which gaps are learned: the first ones are far from each other in any series.
const BURN_IN: u64 = 50;
/// Nats of rarity at which a gap counts with its size.
pub(super) const NATS: f64 = 5.0;

/// What a channel says of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    place: Place,
    /// The distance to the nearest prototype, in ranges of the statistic.
    gap: f64,
    /// The gap, weighed by its rarity.
    pub(super) evidence: f64,
}

/// Prototypes, the running range, and the rarity of gaps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Channel {
    /// Within this share of the range two numbers are the same.
    grain: f64,
    /// What a day counts, in ranges; 0 if the time of day does not matter.
    day: f64,
    memory: Memory,
    low: f64,
    high: f64,
    mean: f64,
    n: u64,
    rarity: Rarity,
}

/// A channel as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    memory: Memory,
    low: f64,
    high: f64,
    mean: f64,
    n: u64,
    rarity: Rarity,
}

impl Channel {
    pub(super) fn new(grain: f64, heeds_time: bool) -> Self {
        Self {
            grain,
            day: if heeds_time { DAY } else { 0.0 },
            memory: Memory::default(),
            low: 0.0,
            high: 0.0,
            mean: 0.0,
            n: 0,
            rarity: Rarity::new(),
        }
    }

    fn capacity(&self) -> usize {
        if self.day > 0.0 {
            2 * CAPACITY
        } else {
            CAPACITY
        }
    }

    /// The range of the statistic so far, at least `floor`.
    pub(super) fn range(&self, floor: f64) -> f64 {
        (self.high - self.low).max(floor)
    }

    /// Looks at `y` at `time` of the day; differences below `resolution` are none, and no range is
    /// below `floor`.
    pub(super) fn look(&self, y: f64, time: f64, floor: f64, resolution: f64) -> Look {
        let range = self.range(floor);
        let place = self.memory.place(y, time, self.day * range);
        let gap = if self.n == 0 || place.distance < resolution {
            0.0
        } else {
            (place.distance / range).min(rarity::LARGEST)
        };
        let evidence = if self.n < BURN_IN {
            0.0
        } else {
            gap * self.rarity.excess(gap) / NATS
        };
        Look {
            place,
            gap,
            evidence,
        }
    }

    /// Learns `y`, of which [`Channel::look`] said `seen`.
    pub(super) fn learn(&mut self, y: f64, time: f64, seen: Look) {
        self.n = self.n.saturating_add(1);
        if self.n == 1 {
            (self.low, self.high) = (y, y);
        }
        if self.n == 1 || seen.gap > self.grain {
            let capacity = self.capacity();
            self.memory.insert(y, time, seen.place, self.n, capacity);
        } else {
            self.memory.matched(seen.place, self.n);
        }
        if self.n.is_multiple_of(SWEEP) {
            self.memory.forget(self.n.saturating_sub(FORGET));
        }
        self.mean += (1.0 / self.n as f64).max(1.0 / RELAX) * (y - self.mean);
        (self.low, self.high) = (self.low.min(y), self.high.max(y));
        self.high -= (self.high - self.mean) / RELAX;
        self.low += (self.mean - self.low) / RELAX;
        if self.n > BURN_IN {
            self.rarity.learn(seen.gap);
        }
    }

    /// The prototypes next to `y` on both sides.
    pub(super) fn neighbors(&self, y: f64) -> (Option<f64>, Option<f64>) {
        let all = self.memory.values();
        let above = all.partition_point(|one| *one <= y);
        (
            above.checked_sub(1).map(|i| all[i]),
            all.get(above).copied(),
        )
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.memory.heap_bytes() + self.rarity.heap_bytes()
    }

    pub(super) fn store(&self) -> Stored {
        Stored {
            memory: self.memory.clone(),
            low: self.low,
            high: self.high,
            mean: self.mean,
            n: self.n,
            rarity: self.rarity.clone(),
        }
    }

    /// The stored channel with this one's grain, if it can be one.
    pub(super) fn restored(&self, stored: Stored) -> Option<Self> {
        let sound = [stored.low, stored.high, stored.mean]
            .iter()
            .all(|x| x.is_finite())
            && stored.low <= stored.high
            && stored.rarity.is_sound()
            && stored.memory.is_sound(self.capacity())
            && (stored.n == 0) == stored.memory.values().is_empty();
        sound.then_some(Self {
            grain: self.grain,
            day: self.day,
            memory: stored.memory,
            low: stored.low,
            high: stored.high,
            mean: stored.mean,
            n: stored.n,
            rarity: stored.rarity,
        })
    }
}
