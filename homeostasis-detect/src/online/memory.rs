//! What values were seen: a bounded, sorted set of prototypes.

use serde::{Deserialize, Serialize};

/// A value that stands for those near to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Prototype {
    pub(super) value: f64,
    /// The time of day it was first seen at, in days.
    pub(super) time: f64,
    /// The sample, counted from the first, that it last stood for.
    pub(super) matched: u64,
}

/// Where a value belongs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// Before which prototype it would stand.
    before: usize,
    /// The nearest prototype; 0 of none.
    nearest: usize,
    /// How far that is; infinite if there is none.
    pub(super) distance: f64,
}

/// At most `capacity` prototypes, sorted by value: the nearest is found in O(log n).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Memory {
    prototypes: Vec<Prototype>,
    capacity: usize,
}

impl Memory {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            prototypes: Vec::new(),
            capacity,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.prototypes.capacity() * size_of::<Prototype>()
    }

    pub(super) fn prototypes(&self) -> &[Prototype] {
        &self.prototypes
    }

    /// One of this capacity with those, if they are sorted, finite and few enough.
    pub(super) fn of(&self, prototypes: Vec<Prototype>) -> Option<Self> {
        let finite = |one: &Prototype| one.value.is_finite() && (0.0..=1.0).contains(&one.time);
        let sound = prototypes.len() <= self.capacity
            && prototypes.iter().all(finite)
            && prototypes.is_sorted_by(|a, b| a.value <= b.value);
        sound.then_some(Self {
            prototypes,
            capacity: self.capacity,
        })
    }

    /// Where `value`, seen at `time` of the day, belongs, if half a day apart counts like `apart / 2` in
    /// value. O(log n) and the prototypes within the distance found.
    pub(super) fn place(&self, value: f64, time: f64, apart: f64) -> Place {
        let all = &self.prototypes;
        let before = all.partition_point(|one| one.value < value);
        let (mut nearest, mut distance) = (0, f64::INFINITY);
        let mut closer = |i: usize| {
            let one = &all[i];
            let by_value = (one.value - value).abs();
            if by_value >= distance {
                return false;
            }
            let hours = (one.time - time).abs();
            let d = by_value + apart * hours.min(1.0 - hours);
            if d < distance {
                (nearest, distance) = (i, d);
            }
            true
        };
        let (mut below, mut above) = (before, before);
        while below > 0 && closer(below - 1) {
            below -= 1;
        }
        while above < all.len() && closer(above) {
            above += 1;
        }
        Place {
            before,
            nearest,
            distance,
        }
    }

    /// The prototype nearest to what was found at `place` stands for it too.
    pub(super) fn matched(&mut self, place: Place, now: u64) {
        self.prototypes[place.nearest].matched = now;
    }

    /// `value`, found at `place`, becomes a prototype; if there is no room, that which was not
    /// matched for longest leaves. O(n), and rare.
    pub(super) fn insert(&mut self, value: f64, time: f64, mut place: Place, now: u64) {
        if self.prototypes.len() == self.capacity {
            let oldest = (0..self.capacity).min_by_key(|i| self.prototypes[*i].matched);
            if let Some(oldest) = oldest {
                self.prototypes.remove(oldest);
                place.before -= usize::from(oldest < place.before);
            }
        }
        let one = Prototype {
            value,
            time,
            matched: now,
        };
        self.prototypes.insert(place.before, one);
    }

    /// Forgets what was last matched before the sample `since`.
    pub(super) fn forget(&mut self, since: u64) {
        self.prototypes.retain(|one| one.matched >= since);
    }
}
