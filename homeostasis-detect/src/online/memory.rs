//! What values were seen: a bounded, sorted set of prototypes.

use serde::{Deserialize, Serialize};

/// When a prototype was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Seen {
    /// The time of day, in days, at first.
    time: f64,
    /// The sample, counted from the first, that it last stood for.
    last: u64,
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

/// Values that stand for those near to them, sorted, so that the nearest is found in O(log n).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    values: Vec<f64>,
    seen: Vec<Seen>,
    /// Where the last value belonged: the next is often near. It changes no result.
    #[serde(skip)]
    hint: usize,
}

impl Memory {
    pub(super) fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<f64>() + self.seen.capacity() * size_of::<Seen>()
    }

    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// Whether it is sorted, finite and small enough.
    pub(super) fn is_sound(&self, capacity: usize) -> bool {
        self.values.len() <= capacity
            && self.values.len() == self.seen.len()
            && self.values.iter().all(|value| value.is_finite())
            && self.values.is_sorted()
            && self.seen.iter().all(|one| (0.0..=1.0).contains(&one.time))
    }

    /// Where `value`, seen at `time` of the day, belongs, if a day apart counts like `apart` in value.
    /// O(log n), and the prototypes within the distance found if `apart` is not 0.
    pub(super) fn place(&self, value: f64, time: f64, apart: f64) -> Place {
        let before = self.before(value);
        let mut place = Place {
            before,
            nearest: 0,
            distance: f64::INFINITY,
        };
        for i in (0..before).rev() {
            if !self.improve(&mut place, i, value - self.values[i], time, apart) {
                break;
            }
        }
        for i in before..self.values.len() {
            if !self.improve(&mut place, i, self.values[i] - value, time, apart) {
                break;
            }
        }
        place
    }

    /// How many prototypes are less than `value`.
    fn before(&self, value: f64) -> usize {
        let hint = self.hint.min(self.values.len());
        let (low, high) = self.values.split_at(hint);
        if low.last().is_none_or(|one| *one < value) && high.first().is_none_or(|one| *one >= value)
        {
            hint
        } else {
            self.values.partition_point(|one| *one < value)
        }
    }

    /// Takes the prototype `i` if it is nearer; whether one farther in value can be nearer still.
    fn improve(&self, place: &mut Place, i: usize, by_value: f64, time: f64, apart: f64) -> bool {
        if by_value >= place.distance {
            return false;
        }
        let mut distance = by_value;
        if apart > 0.0 {
            let days = (self.seen[i].time - time).abs();
            distance += apart * days.min(1.0 - days);
        }
        if distance < place.distance {
            (place.nearest, place.distance) = (i, distance);
        }
        apart > 0.0
    }

    /// The prototype nearest to what was found at `place` stands for it too.
    pub(super) fn matched(&mut self, place: Place, now: u64) {
        self.seen[place.nearest].last = now;
        self.hint = place.before;
    }

    /// `value`, found at `place`, becomes a prototype; if there are `capacity` already, the one that was
    /// not matched for longest leaves. O(n), and rare.
    pub(super) fn insert(
        &mut self,
        value: f64,
        time: f64,
        mut place: Place,
        now: u64,
        capacity: usize,
    ) {
        if self.values.len() >= capacity {
            let oldest = (0..self.seen.len()).min_by_key(|i| self.seen[*i].last);
            if let Some(oldest) = oldest {
                self.values.remove(oldest);
                self.seen.remove(oldest);
                place.before -= usize::from(oldest < place.before);
            }
        }
        self.hint = place.before;
        self.values.insert(place.before, value);
        self.seen.insert(place.before, Seen { time, last: now });
    }

    /// Forgets what was last matched before the sample `since`.
    pub(super) fn forget(&mut self, since: u64) {
        if self.seen.iter().any(|one| one.last < since) {
            let mut kept = self.seen.iter().map(|one| one.last >= since);
            self.values.retain(|_| kept.next().unwrap_or(true));
            self.seen.retain(|one| one.last >= since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPACITY: usize = 8;

    /// The distance to the nearest by looking at each.
    fn nearest(memory: &Memory, value: f64, time: f64, apart: f64) -> f64 {
        let each = memory.values.iter().zip(&memory.seen).map(|(one, seen)| {
            let days = (seen.time - time).abs();
            (one - value).abs() + apart * days.min(1.0 - days)
        });
        each.fold(f64::INFINITY, f64::min)
    }

    proptest! {
        #[test]
        fn the_nearest_is_that_of_a_search_through_all(
            values in prop::collection::vec((-5.0..5.0_f64, 0.0..1.0_f64), 1..40),
            apart in prop_oneof![Just(0.0), 0.0..3.0_f64],
        ) {
            let mut memory = Memory::default();
            for (now, (value, time)) in (1..).zip(values) {
                let place = memory.place(value, time, apart);
                prop_assert_eq!(place.distance, nearest(&memory, value, time, apart));
                if place.distance > 0.5 {
                    memory.insert(value, time, place, now, CAPACITY);
                } else {
                    memory.matched(place, now);
                }
                memory.forget(now.saturating_sub(20));
                prop_assert!(memory.is_sound(CAPACITY) && !memory.values.is_empty());
            }
        }
    }

    #[test]
    fn a_full_memory_forgets_what_was_not_matched_for_longest() {
        let mut memory = Memory::default();
        for (now, value) in [(1, 1.0), (2, 2.0), (3, 3.0)] {
            let place = memory.place(value, 0.0, 0.0);
            memory.insert(value, 0.0, place, now, 3);
        }
        memory.matched(memory.place(1.1, 0.0, 0.0), 4);
        let place = memory.place(9.0, 0.0, 0.0);
        memory.insert(9.0, 0.0, place, 5, 3);
        assert_eq!(memory.values(), [1.0, 3.0, 9.0]);
    }
}
