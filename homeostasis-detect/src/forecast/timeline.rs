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
    ///
    /// The last part is left out while it has less than three quarters of the samples of the one before it, unless it is
    /// more than three usual changes away from that.
    /// Of parts of which most are missing only those after the longest gap are taken.
    pub(super) fn even(&self, most: usize) -> Option<(i64, Timestamp, Vec<f64>)> {
        let (mut width, mut parts) = (self.width_nanos, self.parts.clone());
        while length(&parts)? > most || has_holes(&parts) {
            (width, parts) = coarser(width, &parts);
        }
        if parts.len().saturating_mul(2) < length(&parts)? {
            return self.since_longest_gap().even(most);
        }
        // The mean of a part that has just begun stands for another time than that of a whole one; but where it has
        // leapt, that is news.
        let mut leaps: Vec<f64> = parts
            .iter()
            .zip(parts.iter().skip(1))
            .map(|(part, next)| (next.mean - part.mean).abs())
            .collect();
        leaps.sort_by(f64::total_cmp);
        let most = 3.0 * leaps.get(leaps.len() / 2).copied().unwrap_or(0.0);
        if let [.., beside, last] = parts.make_contiguous()
            && last.n.saturating_mul(4) < beside.n.saturating_mul(3)
            && (last.mean - beside.mean).abs() <= most
        {
            parts.pop_back();
        }
        let (first, last) = (parts.front()?.idx, parts.back()?.idx);
        let mut values = vec![f64::NAN; length(&parts)?];
        for part in &parts {
            if let Some(slot) = usize::try_from(part.idx - first)
                .ok()
                .and_then(|i| values.get_mut(i))
            {
                *slot = part.mean;
            }
        }
        let end = last.saturating_add(1).saturating_mul(width);
        Some((width, Timestamp::from_nanos(end), values))
    }

    /// The parts after the longest time without samples.
    fn since_longest_gap(&self) -> Self {
        let longest = steps(&self.parts).enumerate().max_by_key(|(_, gap)| *gap);
        let n_before = longest.map_or(0, |(i, _)| i + 1);
        Self {
            width_nanos: self.width_nanos,
            parts: self.parts.iter().skip(n_before).copied().collect(),
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

/// How far each part is from the one before it.
fn steps(parts: &VecDeque<Part>) -> impl Iterator<Item = i64> {
    let pairs = parts.iter().zip(parts.iter().skip(1));
    pairs.map(|(part, next)| next.idx.saturating_sub(part.idx))
}

/// How many parts there are with those that are missing.
fn length(parts: &VecDeque<Part>) -> Option<usize> {
    let all = parts.back()?.idx.saturating_sub(parts.front()?.idx);
    Some(usize::try_from(all).ok()?.saturating_add(1))
}

/// Whether less than three of four parts follow the one before them at once: the parts are narrower than samples are
/// apart.
///
/// A gap counts once, however long it is.
fn has_holes(parts: &VecDeque<Part>) -> bool {
    let n_close = steps(parts).filter(|step| *step == 1).count();
    n_close.saturating_mul(4) < parts.len().saturating_sub(1).saturating_mul(3)
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
    use std::time::Duration;

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
        let a_part = Duration::from_nanos(u64::try_from(width).unwrap());
        assert!(end + a_part >= Timestamp::from_secs(60 * 9_999));
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

    #[test]
    fn a_gap_of_half_the_past_leaves_a_line_to_be_laid() {
        let (hour, mut timeline) = (3600, Timeline::default());
        for minute in (0..6 * 60)
            .chain(18 * 60..24 * 60)
            .chain(24 * 60 + 400..24 * 60 + 900)
        {
            let at = Timestamp::from_secs(60 * minute);
            timeline.push(at, minute as f64, 512, i64::MAX);
        }
        let (width, end, values) = timeline.even(256).unwrap();
        assert!(values.len() > 128, "{} of {width} ns", values.len());
        assert!(
            end.since(Timestamp::from_secs(24 * hour + 60 * 900))
                < Duration::from_nanos_u128(2 * u128::try_from(width).unwrap())
        );
        // A weekend later only what follows counts.
        for minute in 0..120 {
            let at = Timestamp::from_secs(96 * hour + 60 * minute);
            timeline.push(at, minute as f64, 512, i64::MAX);
        }
        let (_, _, values) = timeline.even(256).unwrap();
        assert!(
            values.len() > 20 && values.iter().all(|value| *value <= 120.0),
            "{values:?}"
        );
    }

    #[test]
    fn a_part_that_has_just_begun_is_left_out() {
        // A steep line: a sample each second, parts of 2^k of 1.318 seconds.
        let mut timeline = Timeline::default();
        for second in 0..4000_i64 {
            timeline.push(Timestamp::from_secs(second), second as f64, 512, i64::MAX);
            let Some((width, end, values)) = timeline
                .even(256)
                .filter(|found| found.2.len() > 24 && found.0 > 10_000_000_000)
            else {
                continue;
            };
            let middle = end.as_secs_f64() - width as f64 / 2e9;
            let last = values[values.len() - 1];
            let off = (last - middle).abs() / (width as f64 / 1e9);
            assert!(
                off < 0.3,
                "after {second} s: {last} in the middle of the part at {middle} s"
            );
        }
    }
}
