//! The 5th, 50th and 95th percentile of a stream in seven numbers.

use serde::{Deserialize, Serialize};

/// The cumulative probabilities the markers stand at: the ends, the three quantiles, and one between each.
const PLACES: [f64; N] = [0.0, 0.025, 0.05, 0.5, 0.95, 0.975, 1.0];
const N: usize = 7;
/// So many samples are kept as they are; the sorted ones stand exactly at the places then.
const FIRST: usize = 41;
/// The most samples that are remembered; at least half of them are.
const MEMORY: u32 = 400;

/// The percentiles of the last 200 to 400 samples: when 400 are known, those go on that have seen only the later half.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Band {
    now: Markers,
    /// What has seen the samples since `now` had 200.
    next: Markers,
}

impl Band {
    /// How many samples it knows, below 400.
    pub(super) fn len(&self) -> u32 {
        self.now.n
    }

    /// The three percentiles; meaningful from some ten samples on.
    pub(super) fn percentiles(&self) -> [f64; 3] {
        self.now.percentiles()
    }

    pub(super) fn push(&mut self, value: f64) {
        self.now.push(value);
        if self.now.n > MEMORY / 2 {
            self.next.push(value);
        }
        if self.now.n >= MEMORY {
            self.now = std::mem::take(&mut self.next);
        }
    }

    pub(super) fn can_be(&self) -> bool {
        self.now.can_be() && self.next.can_be()
    }
}

/// The extended P² algorithm: the heights of seven markers, and how many samples are below each.
///
/// Up to 40 samples are kept sorted and the percentiles are exact; P² by itself needs as many to spread its markers.
///
/// Sources: R. Jain and I. Chlamtac, *The P² algorithm for dynamic calculation of quantiles and histograms without
/// storing observations*, Communications of the ACM 28 (1985); K. Raatikainen, *Simultaneous estimation of several
/// percentiles*, Simulation 49 (1987).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Markers {
    /// The first samples, sorted; empty once the markers are there.
    first: Vec<f64>,
    heights: [f64; N],
    /// Of the markers, from 1 on.
    positions: [u32; N],
    n: u32,
}

impl Markers {
    fn percentiles(&self) -> [f64; 3] {
        let Some(end) = self.first.len().checked_sub(1) else {
            return [self.heights[2], self.heights[3], self.heights[4]];
        };
        [5, 50, 95].map(|percent| {
            let (idx, rest) = (end * percent / 100, end * percent % 100);
            let below = self.first[idx];
            below + rest as f64 / 100.0 * (self.first[(idx + 1).min(end)] - below)
        })
    }

    fn push(&mut self, value: f64) {
        self.n = self.n.saturating_add(1);
        if self.positions[0] == 0 {
            let place = self.first.partition_point(|other| *other < value);
            // One zero: -0 has no place of its own in the order.
            self.first.insert(place, value + 0.0);
            if self.first.len() == FIRST {
                self.positions = [1, 2, 3, 21, 39, 40, 41];
                let places = [0, 1, 2, 20, 38, 39, 40];
                self.heights = places.map(|idx| self.first[idx]);
                self.first = Vec::new();
            }
            return;
        }
        self.heights[0] = self.heights[0].min(value);
        self.heights[N - 1] = self.heights[N - 1].max(value);
        let above = self.heights[1..N - 1].partition_point(|height| *height <= value) + 1;
        for position in &mut self.positions[above..] {
            *position += 1;
        }
        for idx in 1..N - 1 {
            self.adjust(idx);
        }
    }

    /// Moves a marker by one sample if it is off by one or more.
    fn adjust(&mut self, idx: usize) {
        let [before, own, after] =
            [idx - 1, idx, idx + 1].map(|idx| f64::from(self.positions[idx]));
        let off = 1.0 + f64::from(self.n - 1) * PLACES[idx] - own;
        let sign = if off >= 1.0 && after - own > 1.0 {
            1.0
        } else if off <= -1.0 && own - before > 1.0 {
            -1.0
        } else {
            return;
        };
        let [low, height, high] = [idx - 1, idx, idx + 1].map(|idx| self.heights[idx]);
        let parabolic = height
            + sign / (after - before)
                * ((own - before + sign) * (high - height) / (after - own)
                    + (after - own - sign) * (height - low) / (own - before));
        let (next, place) = if sign > 0.0 {
            (high, after)
        } else {
            (low, before)
        };
        self.heights[idx] = if low < parabolic && parabolic < high {
            parabolic
        } else {
            height + sign * (next - height) / (place - own)
        };
        self.positions[idx] = if sign > 0.0 {
            self.positions[idx] + 1
        } else {
            self.positions[idx] - 1
        };
    }

    fn can_be(&self) -> bool {
        let is_finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let in_order = |values: &[f64]| values.is_sorted_by(|a, b| a <= b);
        is_finite(&self.first)
            && is_finite(&self.heights)
            && in_order(&self.first)
            && in_order(&self.heights)
            && if self.positions[0] == 0 {
                self.first.len() < FIRST
                    && self.n < MEMORY
                    && u32::try_from(self.first.len()) == Ok(self.n)
            } else {
                self.first.is_empty()
                    && self.n < MEMORY
                    && self.positions[0] == 1
                    && self.positions[N - 1] == self.n
                    && self.positions.is_sorted_by(|a, b| a < b)
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    #[test]
    fn percentiles_of_normal_and_skewed_samples_are_near_the_exact_ones() {
        let mut rng = Rng::from_seed(1);
        for skewed in [false, true] {
            let (mut band, mut all) = (Band::default(), Vec::new());
            for _ in 0..390 {
                let normal = (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
                let value = if skewed { normal.exp() } else { normal };
                all.push(value);
                band.push(value);
            }
            all.sort_by(f64::total_cmp);
            for (found, rank) in band.percentiles().into_iter().zip([19, 195, 370]) {
                // Within 4 % of the ranks.
                assert!(
                    all[rank - 16] <= found && found <= all[rank + 16],
                    "{found} at {rank}"
                );
            }
            assert!(band.can_be());
        }
    }

    #[test]
    fn another_level_is_learned_in_the_time_of_its_memory() {
        let mut band = Band::default();
        let mut rng = Rng::from_seed(2);
        for n in 0..1000 {
            let level = if n < 600 { 0.0 } else { 100.0 };
            band.push(level + rng.unit());
            assert!(band.can_be());
        }
        let [low, median, high] = band.percentiles();
        assert!(
            median > 100.0 && high > 100.5 && low > 100.0,
            "{low} {median} {high}"
        );
    }
}
