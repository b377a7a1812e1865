//! A long past in bounded memory: means over times that grow longer the further it reaches.

use std::collections::VecDeque;

use homeostasis_core::Timestamp;
use serde::{Deserialize, Serialize};

/// How long the first parts are: a 65536th of a day, 1.3 seconds. So a day, its halves, quarters and eighths are whole
/// numbers of parts however often the width doubles.
const FIRST_WIDTH: i64 = 86_400_000_000_000 / 65_536;

/// Means of the samples in consecutive parts of time, all of one width that doubles when there are too many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeline {
    width_nanos: i64,
    parts: VecDeque<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Which part since the epoch.
    idx: i64,
    mean: f64,
    n: u64,
}

impl Part {
    fn merge(&mut self, other: &Self) {
        self.n = self.n.saturating_add(other.n);
        self.mean += (other.mean - self.mean) * (other.n as f64 / self.n as f64);
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            width_nanos: FIRST_WIDTH,
            parts: VecDeque::new(),
        }
    }
}

impl Timeline {
    /// Takes a sample that is not earlier than those before; keeps at most `most` parts and nothing older than
    /// `max_age_nanos`.
    pub(super) fn push(&mut self, at: Timestamp, value: f64, most: usize, max_age_nanos: i64) {
        let part = Part {
            idx: at.as_nanos().div_euclid(self.width_nanos),
            mean: value,
            n: 1,
        };
        match self.parts.back_mut() {
            Some(last) if last.idx >= part.idx => last.merge(&part),
            _ => self.parts.push_back(part),
        }
        let oldest = at
            .as_nanos()
            .saturating_sub(max_age_nanos)
            .div_euclid(self.width_nanos);
        while self.parts.front().is_some_and(|part| part.idx < oldest) {
            self.parts.pop_front();
        }
        while self.parts.len() > most {
            (self.width_nanos, self.parts) = coarser(self.width_nanos, &self.parts);
        }
    }

    /// From the beginning of the oldest part to that of the latest, in nanoseconds.
    pub(super) fn span_nanos(&self) -> i64 {
        let idx = |part: Option<&Part>| part.map_or(0, |part| part.idx);
        let parts = idx(self.parts.back()).saturating_sub(idx(self.parts.front()));
        parts.saturating_mul(self.width_nanos)
    }

    /// The same as at most `most` values at equal distances, NaN where there is none: the distance, when the last
    /// part ends, and the values.
    pub(super) fn even(&self, most: usize) -> Option<(i64, Timestamp, Vec<f64>)> {
        let (mut width, mut parts) = (self.width_nanos, self.parts.clone());
        loop {
            let (first, last) = (parts.front()?.idx, parts.back()?.idx);
            let length = usize::try_from(last.saturating_sub(first))
                .ok()?
                .saturating_add(1);
            // Wide enough that three of four parts have a sample.
            if length > most || parts.len().saturating_mul(4) < length.saturating_mul(3) {
                (width, parts) = coarser(width, &parts);
                continue;
            }
            let mut values = vec![f64::NAN; length];
            for part in &parts {
                if let Some(slot) = usize::try_from(part.idx - first)
                    .ok()
                    .and_then(|i| values.get_mut(i))
                {
                    *slot = part.mean;
                }
            }
            let end = last.saturating_add(1).saturating_mul(width);
            return Some((width, Timestamp::from_nanos(end), values));
        }
    }

    /// Whether a stored one can be ours.
    pub(super) fn is_sound(&self, most: usize) -> bool {
        let idxs: Vec<i64> = self.parts.iter().map(|part| part.idx).collect();
        self.width_nanos >= FIRST_WIDTH
            && idxs.len() <= most
            && idxs.windows(2).all(|pair| pair[0] < pair[1])
            && self.parts.iter().all(|part| part.n > 0)
    }
}

/// The same in parts twice as wide.
fn coarser(width_nanos: i64, parts: &VecDeque<Part>) -> (i64, VecDeque<Part>) {
    let mut wide: VecDeque<Part> = VecDeque::with_capacity(parts.len());
    for part in parts {
        let part = Part {
            idx: part.idx.div_euclid(2),
            ..*part
        };
        match wide.back_mut() {
            Some(last) if last.idx == part.idx => last.merge(&part),
            _ => wide.push_back(part),
        }
    }
    (width_nanos.saturating_mul(2), wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_past_fits_and_keeps_its_mean() {
        let mut timeline = Timeline::default();
        for minute in 0..10_000_i64 {
            timeline.push(
                Timestamp::from_secs(60 * minute),
                minute as f64,
                256,
                i64::MAX,
            );
        }
        let (width, end, values) = timeline.even(200).unwrap();
        assert!(values.len() <= 200 && values.len() > 90, "{}", values.len());
        assert!(end >= Timestamp::from_secs(60 * 9_999));
        assert!(values.iter().all(|value| !value.is_nan()));
        let per_part = width as f64 / 60e9;
        for pair in values[1..values.len() - 1].windows(2) {
            assert!((pair[1] - pair[0] - per_part).abs() < 1.0, "{pair:?}");
        }
    }

    #[test]
    fn what_is_too_old_leaves() {
        let mut timeline = Timeline::default();
        for hour in 0..100_i64 {
            timeline.push(
                Timestamp::from_secs(3600 * hour),
                1.0,
                256,
                24 * 3_600_000_000_000,
            );
        }
        assert!(timeline.span_nanos() <= 25 * 3_600_000_000_000);
    }
}
