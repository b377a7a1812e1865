//! The last values of a series, sorted, for medians and quartiles that are exact.

use std::time::Duration;

use homeostasis_core::Violations;
use homeostasis_core::document::format_duration;
use serde::{Deserialize, Serialize};

use crate::check;

/// The last values in the order of their arrival, and sorted.
///
/// A push finds two places by bisection and moves what lies between them: O(log n) comparisons and, for values
/// without order, a third of the window moved as one block of memory. For windows of some hundred values this is
/// faster than two heaps or an approximate sketch, and nothing is approximated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "Ring")]
pub(crate) struct SortedWindow {
    /// Once it is full the oldest value stands at `next`.
    ring: Vec<f64>,
    next: usize,
    #[serde(skip)]
    sorted: Vec<f64>,
}

/// What of a [`SortedWindow`] is stored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ring {
    ring: Vec<f64>,
    next: usize,
}

impl From<Ring> for SortedWindow {
    fn from(Ring { ring, next }: Ring) -> Self {
        let mut sorted = ring.clone();
        sorted.sort_by(f64::total_cmp);
        Self { ring, next, sorted }
    }
}

impl SortedWindow {
    /// The bytes it holds on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        (self.ring.capacity() + self.sorted.capacity()) * size_of::<f64>()
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes a finite value; gives back the oldest one if `capacity` were there.
    pub(crate) fn push(&mut self, value: f64, capacity: usize) -> Option<f64> {
        // One zero: -0 has no place of its own in the order.
        let value = value + 0.0;
        let to = self.place(value);
        if self.ring.len() < capacity {
            self.ring.push(value);
            self.sorted.insert(to, value);
            return None;
        }
        let old = std::mem::replace(self.ring.get_mut(self.next)?, value);
        self.next = if self.next + 1 < capacity {
            self.next + 1
        } else {
            0
        };
        let from = self.place(old);
        if from < to {
            self.sorted.copy_within(from + 1..to, from);
            self.sorted[to - 1] = value;
        } else {
            self.sorted.copy_within(to..from, to + 1);
            self.sorted[to] = value;
        }
        Some(old)
    }

    /// How many values are smaller.
    fn place(&self, value: f64) -> usize {
        self.sorted.partition_point(|other| *other < value)
    }

    /// The middle rank `value` would have among the values and itself, from -1 (lowest) to 1 (highest).
    ///
    /// Over all orders of the same values the mean of it is 0, ties or not.
    pub(crate) fn rank(&self, value: f64) -> f64 {
        let below = self.place(value);
        let above = self.sorted.len() - self.sorted.partition_point(|other| *other <= value);
        (below as f64 - above as f64) / (self.sorted.len() + 1) as f64
    }

    /// The quantile `part / of` by linear interpolation between the two values around it, as numpy does; 0 if empty.
    ///
    /// Source: R. Hyndman and Y. Fan, *Sample quantiles in statistical packages*, The American Statistician 50
    /// (1996), definition 7.
    #[inline]
    pub(crate) fn quantile(&self, part: usize, of: usize) -> f64 {
        let Some(end) = self.sorted.len().checked_sub(1) else {
            return 0.0;
        };
        let (idx, rest) = (end * part / of, end * part % of);
        let below = self.sorted[idx];
        let above = self.sorted[(idx + 1).min(end)];
        below + rest as f64 / of as f64 * (above - below)
    }

    /// The median of the distances from `middle`; 0 if empty.
    pub(crate) fn median_distance(&self, middle: f64) -> f64 {
        let n = self.sorted.len();
        if n == 0 {
            return 0.0;
        }
        f64::midpoint(
            self.nth_distance(middle, (n - 1) / 2),
            self.nth_distance(middle, n / 2),
        )
    }

    /// The distance with `nth` smaller ones.
    ///
    /// The `nth + 1` values nearest to `middle` stand side by side; the farther end of such a block is nearest
    /// where its two ends are about equally far, which is found by bisection.
    fn nth_distance(&self, middle: f64, nth: usize) -> f64 {
        let values = &self.sorted;
        let n_starts = values.len() - nth;
        let ends = |start: usize| (middle - values[start], values[start + nth] - middle);
        let (mut low, mut high) = (0, n_starts);
        while low < high {
            let start = usize::midpoint(low, high);
            let (left, right) = ends(start);
            if right >= left {
                high = start;
            } else {
                low = start + 1;
            }
        }
        let right = (low < n_starts).then(|| ends(low).1);
        let left = low.checked_sub(1).map(|start| ends(start).0);
        right.into_iter().chain(left).fold(f64::INFINITY, f64::min)
    }

    /// Whether a stored window is one of this capacity.
    pub(crate) fn fits(&self, capacity: usize) -> bool {
        let n = self.ring.len();
        let is_usable = |value: &f64| value.is_finite();
        n <= capacity
            && self.ring.iter().all(is_usable)
            && if n == capacity {
                self.next < n
            } else {
                self.next == 0
            }
    }
}

/// The smallest and the largest window of sorted values.
const SIZES: std::ops::RangeInclusive<usize> = 8..=10_000;

/// Checks what windows of sorted values have in common, below `name`.
pub(crate) fn check(
    found: &mut Violations,
    name: &str,
    (window, warm_up): (usize, usize),
    forget_after: Duration,
) {
    check::that(
        found,
        SIZES.contains(&window),
        &format!("{name}.window"),
        window,
        "8 to 10000 samples",
    );
    check::that(
        found,
        warm_up >= 4 && warm_up <= window,
        &format!("{name}.warm_up"),
        warm_up,
        &format!("4 to {window} samples, the window"),
    );
    check::that(
        found,
        !forget_after.is_zero(),
        &format!("{name}.forget_after"),
        format_duration(forget_after),
        "a duration above 0s",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_sorted_window_with_its_quartiles_and_distances(
            values in prop::collection::vec(prop_oneof![-9.0_f64..9.0, Just(-0.0), Just(0.0), Just(3.0)], 1..80),
            capacity in 8_usize..20,
        ) {
            let mut window = SortedWindow::default();
            for (idx, value) in values.iter().enumerate() {
                let old = window.push(*value, capacity);
                prop_assert_eq!(old, idx.checked_sub(capacity).map(|old| values[old]));
            }
            let mut last = values[values.len().saturating_sub(capacity)..].to_vec();
            last.sort_by(f64::total_cmp);
            let end = last.len() - 1;
            prop_assert_eq!(&window.sorted, &last);
            prop_assert_eq!(window.quantile(1, 1), last[end]);
            let middle = window.quantile(1, 2);
            prop_assert_eq!(middle, last[end / 2] + 0.5 * (last[end.div_ceil(2)] - last[end / 2]));
            let mut distances: Vec<f64> = last.iter().map(|value| (value - middle).abs()).collect();
            distances.sort_by(f64::total_cmp);
            let expected = f64::midpoint(distances[end / 2], distances[end.div_ceil(2)]);
            prop_assert_eq!(window.median_distance(middle), expected);

            let text = serde_json::to_string(&window).unwrap();
            let read: SortedWindow = serde_json::from_str(&text).unwrap();
            prop_assert!(read.fits(capacity) && read == window);
        }
    }
}
