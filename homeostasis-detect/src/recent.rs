//! The last points of a series, for the picture of an anomaly.

use std::collections::VecDeque;

use homeostasis_core::Timestamp;
use homeostasis_core::record::Anomaly;
use serde::{Deserialize, Serialize};

/// Points kept as they came.
const FINE: usize = 40;
/// Older ones, kept as the least and the greatest of a group.
const COARSE: usize = Anomaly::MAX_POINTS - FINE;
/// How many points are such a group.
const GROUP: usize = 16;

/// At most [`Anomaly::MAX_POINTS`] finite points, in the order of time.
///
/// The newest 24 to 40 are all there; of the 192 before them the least and the greatest of each 16, so that
/// a picture shows what was normal before an anomaly that lasts, and loses no peak. O(1) amortized.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recent {
    coarse: VecDeque<(Timestamp, f64)>,
    fine: VecDeque<(Timestamp, f64)>,
}

impl Recent {
    /// Takes a point unless it is not later than the last one: late points are no part of the picture.
    pub(crate) fn push(&mut self, at: Timestamp, value: f64) {
        if self.fine.back().is_some_and(|(last, _)| at <= *last) {
            return;
        }
        if self.fine.capacity() == 0 {
            // Doubling would waste a third of what thousands of series hold.
            self.fine.reserve_exact(FINE);
        }
        // What was stored may be longer than what we keep.
        while self.fine.len() >= FINE {
            self.thin();
        }
        self.fine.push_back((at, value));
    }

    /// Makes two points of the oldest group.
    fn thin(&mut self) {
        let group = || self.fine.iter().take(GROUP).enumerate();
        let by_value = |a: &(usize, &(Timestamp, f64)), b: &(usize, &(Timestamp, f64))| {
            a.1.1.total_cmp(&b.1.1)
        };
        let (Some(least), Some(greatest)) = (group().min_by(by_value), group().max_by(by_value))
        else {
            return;
        };
        let (first, second) = if least.0 <= greatest.0 {
            (least, greatest)
        } else {
            (greatest, least)
        };
        let is_one = first.0 == second.0;
        let (first, second) = (*first.1, *second.1);
        if self.coarse.capacity() == 0 {
            self.coarse.reserve_exact(COARSE + 2);
        }
        self.coarse.push_back(first);
        if !is_one {
            self.coarse.push_back(second);
        }
        self.fine.drain(..GROUP.min(self.fine.len()));
        let excess = self.coarse.len().saturating_sub(COARSE);
        self.coarse.drain(..excess);
    }

    /// The bytes it holds on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        (self.coarse.capacity() + self.fine.capacity()) * size_of::<(Timestamp, f64)>()
    }

    pub(crate) fn to_vec(&self) -> Vec<(Timestamp, f64)> {
        let skipped = (self.coarse.len() + self.fine.len()).saturating_sub(Anomaly::MAX_POINTS);
        let points = self.coarse.iter().chain(&self.fine);
        points.skip(skipped).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_points_thin_out_and_their_peaks_stay() {
        let mut recent = Recent::default();
        for second in 0..1000_i32 {
            // One peak, 150 points before the end.
            let value = if second == 850 {
                9.0
            } else {
                f64::from(second % 2)
            };
            recent.push(Timestamp::from_secs(i64::from(second)), value);
        }
        let points = recent.to_vec();
        assert!(
            points.len() <= Anomaly::MAX_POINTS && points.len() >= 40,
            "{}",
            points.len()
        );
        assert!(points.is_sorted_by_key(|(at, _)| *at));
        assert!(points.contains(&(Timestamp::from_secs(850), 9.0)));
        assert!(points[0].0 <= Timestamp::from_secs(999 - 192));
        let newest: Vec<i64> = (976..1000).collect();
        let kept = &points[points.len() - newest.len()..];
        assert!(
            kept.iter()
                .zip(newest)
                .all(|(point, secs)| point.0 == Timestamp::from_secs(secs))
        );
    }

    #[test]
    fn stored_points_beyond_the_bound_are_let_go() {
        let many: VecDeque<_> = (0..500).map(|s| (Timestamp::from_secs(s), 1.0)).collect();
        let mut recent = Recent {
            coarse: many.clone(),
            fine: many,
        };
        assert_eq!(recent.to_vec().len(), Anomaly::MAX_POINTS);
        recent.push(Timestamp::from_secs(500), 2.0);
        assert!(recent.fine.len() <= FINE && recent.coarse.len() <= COARSE);
    }
}
