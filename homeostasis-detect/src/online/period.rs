//! The period of a series, found while it arrives.

use serde::{Deserialize, Serialize};

/// The most blocks that are kept; at the most, pairs are merged.
const BLOCKS: usize = 1024;
/// No block is longer than this many usual intervals: further back the oldest half is dropped instead.
const LONGEST_BLOCK: i64 = 64;
/// The intervals between samples whose median is the usual one.
const INTERVALS: usize = 16;
/// Once one is known, the median of this many decides whether it still is.
const LATER_INTERVALS: usize = 64;
/// No period is looked for in fewer blocks than this.
const FIRST_SEARCH: usize = 48;
/// A period was seen this often at least.
const CYCLES: usize = 3;
/// The least autocorrelation at the period.
const CLEAR: f64 = 0.5;
/// By how much it is above the trough before it.
const PROMINENT: f64 = 0.3;
/// A shorter lag is the period if it is nearly as good as the best.
const NEARLY: f64 = 0.9;
/// A period is at least this many blocks.
const SHORTEST: usize = 6;
/// Standard deviations at which blocks are clipped, so that one outlier does not hide a period.
const CLIP: f64 = 3.0;
/// Longer intervals count as this: 30 days.
const LONGEST_INTERVAL: i64 = 30 * 86_400 * SECOND;
const SECOND: i64 = 1_000_000_000;
/// Periods are shorter than this, 417 days.
const LONGEST_PERIOD: i64 = i64::MAX / 256;
/// What people and their schedulers live by, in seconds.
const CALENDAR: [i64; 12] = [
    300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400, 604_800,
];

/// Sum and number of the samples of one stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Block {
    sum: f64,
    n: u32,
}

/// Block means of the past, and the period found in them.
///
/// A search costs O(1024²/6) and runs when the blocks have grown by a quarter, so that it costs little
/// for each sample; memory is bounded by 1024 blocks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeriodFinder {
    /// The intervals between samples since the median was taken last.
    intervals: Vec<i64>,
    /// The usual interval; 0 before it is known. Times are in nanoseconds, here and below.
    interval: i64,
    last: Option<i64>,
    /// When the first block began.
    origin: i64,
    /// How long a block is.
    length: i64,
    blocks: Vec<Block>,
    /// The number of blocks at which to look next.
    next_search: usize,
    period: Option<i64>,
}

impl PeriodFinder {
    /// The usual interval between samples, once it is known.
    pub(super) fn interval(&self) -> Option<i64> {
        (self.interval > 0).then_some(self.interval)
    }

    pub(super) fn period(&self) -> Option<i64> {
        self.period
    }

    /// The time and the mean of every block that has samples.
    pub(super) fn history(&self) -> impl Iterator<Item = (i64, f64)> {
        let middles = (0..).map(|i: i64| {
            let begun = self
                .length
                .saturating_mul(i)
                .saturating_add(self.length / 2);
            self.origin.saturating_add(begun)
        });
        middles
            .zip(&self.blocks)
            .filter(|(_, block)| block.n > 0)
            .map(|(at, block)| (at, block.sum / f64::from(block.n)))
    }

    /// Learns `x` at `at`, later than all before; whether another period was found.
    pub(super) fn learn(&mut self, at: i64, x: f64) -> bool {
        if let Some(last) = self.last.replace(at) {
            self.learn_interval(at, at.saturating_sub(last));
        }
        if self.interval == 0 {
            return false;
        }
        let Some(i) = self.block_of(at) else {
            self.begin(at);
            return false;
        };
        let grown = i >= self.blocks.len();
        if grown {
            self.blocks.resize(i + 1, Block::default());
        }
        self.blocks[i].sum += x;
        self.blocks[i].n = self.blocks[i].n.saturating_add(1);
        if !grown || self.blocks.len() < self.next_search {
            return false;
        }
        let found = self.search();
        if self.blocks.len() >= BLOCKS {
            self.shrink();
        }
        self.next_search = (self.blocks.len() + self.blocks.len() / 4).min(BLOCKS);
        match found {
            Some(found) if self.period.is_none_or(|now| differ(found, now)) => {
                self.period = Some(found);
                true
            }
            _ => false,
        }
    }

    /// Takes the median of the first intervals, and another when a later one is half of it or twice it:
    /// what was a burst or another schedule does not count for ever. The period stays, the blocks do not.
    fn learn_interval(&mut self, at: i64, passed: i64) {
        self.intervals.push(passed);
        let is_known = self.interval > 0;
        let enough = if is_known { LATER_INTERVALS } else { INTERVALS };
        if self.intervals.len() < enough {
            return;
        }
        self.intervals.sort_unstable();
        let median = self.intervals[enough / 2].min(LONGEST_INTERVAL);
        self.intervals.clear();
        if !is_known || median / 2 >= self.interval || self.interval / 2 >= median {
            self.interval = median;
            self.begin(at);
        }
    }

    fn begin(&mut self, at: i64) {
        (self.origin, self.length) = (at, self.interval);
        self.blocks.clear();
        self.next_search = FIRST_SEARCH;
    }

    /// The block of a time; `None` after a gap as long as everything that can be kept.
    fn block_of(&self, at: i64) -> Option<usize> {
        let i = usize::try_from(at.saturating_sub(self.origin) / self.length).ok()?;
        (i < 2 * BLOCKS).then_some(i)
    }

    fn shrink(&mut self) {
        if 2 * self.length <= LONGEST_BLOCK * self.interval {
            self.blocks = self
                .blocks
                .chunks(2)
                .map(|pair| Block {
                    sum: pair.iter().map(|block| block.sum).sum(),
                    n: pair.iter().fold(0, |n, block| block.n.saturating_add(n)),
                })
                .collect();
            self.length *= 2;
        } else {
            let dropped = self.blocks.len() - BLOCKS / 2;
            self.blocks.drain(..dropped);
            for _ in 0..dropped {
                self.origin = self.origin.saturating_add(self.length);
            }
        }
    }

    /// The period in the blocks.
    fn search(&self) -> Option<i64> {
        let a = self.residuals()?;
        let longest = a.len() / CYCLES;
        let squares: Vec<f64> = std::iter::once(0.0)
            .chain(a.iter().scan(0.0, |total, x| {
                *total += x * x;
                Some(*total)
            }))
            .collect();
        let r: Vec<f64> = (0..=longest + 1)
            .map(|lag| {
                let n = a.len() - lag;
                let energy = squares[n] * (squares[a.len()] - squares[lag]);
                let sum = dot(&a[lag..], &a[..n]);
                if energy > 0.0 {
                    sum / energy.sqrt()
                } else {
                    0.0
                }
            })
            .collect();
        let mut trough = f64::INFINITY;
        let mut peaks = Vec::new();
        for lag in 1..=longest {
            trough = trough.min(r[lag]);
            let is_peak = r[lag] >= r[lag - 1] && r[lag] > r[lag + 1];
            if lag >= SHORTEST && is_peak && r[lag] >= CLEAR && r[lag] - trough >= PROMINENT {
                peaks.push(lag);
            }
        }
        let best = peaks.iter().map(|lag| r[*lag]).fold(0.0, f64::max);
        let lag = *peaks.iter().find(|lag| r[**lag] >= NEARLY * best)?;
        // The top of the parabola through the peak and its neighbors, to a sixteenth of a block.
        let (left, top, right) = (r[lag - 1], r[lag], r[lag + 1]);
        let slope = (right - left) / (2.0 * (2.0 * top - left - right)).max(f64::MIN_POSITIVE);
        let sixteenths = (-8..8)
            .find(|k| slope <= (f64::from(*k) + 0.5) / 16.0)
            .unwrap_or(8);
        // No period is so long that its multiples are no times.
        let found = (self.length.checked_mul(i64::try_from(lag).ok()?)?)
            .checked_add(self.length.checked_mul(i64::from(sixteenths))? / 16)
            .filter(|found| *found < LONGEST_PERIOD)?;
        let tolerance = (found / 50).max(self.length * 3 / 5);
        let near = |unit: &i64| (found - unit).abs() <= tolerance;
        let named = CALENDAR.iter().map(|unit| unit * SECOND).find(near);
        Some(named.unwrap_or(found))
    }

    /// Block means without their line and their outliers; 0 for blocks without samples.
    fn residuals(&self) -> Option<Vec<f64>> {
        let full: Vec<(f64, f64)> = self
            .blocks
            .iter()
            .enumerate()
            .filter(|(_, block)| block.n > 0)
            .map(|(i, block)| (i as f64, block.sum / f64::from(block.n)))
            .collect();
        if full.len() * 2 < self.blocks.len() {
            return None;
        }
        let n = full.len() as f64;
        let mean = |f: &dyn Fn(&(f64, f64)) -> f64| full.iter().map(f).sum::<f64>() / n;
        let (mean_i, mean_y) = (mean(&|p| p.0), mean(&|p| p.1));
        let slope = mean(&|p| (p.0 - mean_i) * (p.1 - mean_y)) / mean(&|p| (p.0 - mean_i).powi(2));
        let residual = |i: f64, y: f64| y - mean_y - slope * (i - mean_i);
        let limit = CLIP * mean(&|p| residual(p.0, p.1).powi(2)).sqrt();
        let mut all = vec![0.0; self.blocks.len()];
        for (slot, (i, block)) in all.iter_mut().zip(self.blocks.iter().enumerate()) {
            if block.n > 0 {
                *slot = residual(i as f64, block.sum / f64::from(block.n)).clamp(-limit, limit);
            }
        }
        limit.is_finite().then_some(all)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>() + self.intervals.capacity() * size_of::<i64>()
    }

    pub(super) fn is_sound(&self) -> bool {
        self.blocks.len() <= 2 * BLOCKS
            && self.blocks.iter().all(|block| block.sum.is_finite())
            && (0..=LONGEST_INTERVAL).contains(&self.interval)
            && (self.interval == 0 || self.length / self.interval <= LONGEST_BLOCK)
            && self.length >= self.interval
            && self.intervals.len() < LATER_INTERVALS
            && self.intervals.iter().all(|passed| *passed > 0)
            && self
                .period
                .is_none_or(|period| (1..LONGEST_PERIOD).contains(&period))
    }
}

/// Whether two periods are more than 3 % apart.
fn differ(a: i64, b: i64) -> bool {
    (a - b).abs() > b / 32
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a4
        .remainder()
        .iter()
        .zip(b4.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a4.zip(b4) {
        for lane in 0..4 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;

    /// What is found in `n` samples, `interval` seconds apart.
    fn found(n: i64, interval: i64, mut value: impl FnMut(i64) -> f64) -> Option<i64> {
        let mut finder = PeriodFinder::default();
        for i in 0..n {
            finder.learn(i * interval * SECOND, value(i));
        }
        finder.period().map(|period| period / SECOND)
    }

    #[test]
    fn a_day_is_found_whatever_the_interval_and_through_noise() {
        for interval in [60_i64, 300, 3600] {
            let mut rng = Rng::from_seed(interval.unsigned_abs());
            let wave =
                |i: i64| (i as f64 * interval as f64 / 86_400.0 * std::f64::consts::TAU).sin();
            let n = 6 * 86_400 / interval;
            let found = found(n, interval, |i| wave(i) + rng.unit());
            assert_eq!(found, Some(86_400), "every {interval} s");
        }
    }

    #[test]
    fn a_period_of_no_calendar_is_found_to_a_twentieth() {
        let found = found(3000, 10, |i| if i % 37 < 5 { 1.0 } else { 0.0 }).unwrap();
        assert!((352..=388).contains(&found), "{found}");
    }

    #[test]
    fn a_burst_at_the_start_and_a_new_schedule_do_not_hide_the_period() {
        let mut finder = PeriodFinder::default();
        let wave = |at: i64| ((at / SECOND) as f64 / 86_400.0 * std::f64::consts::TAU).sin();
        for i in 0..20 {
            finder.learn(i * SECOND / 100, 0.0);
        }
        for i in 1..2000 {
            let at = i * 300 * SECOND;
            finder.learn(at, wave(at));
        }
        assert_eq!(finder.interval(), Some(300 * SECOND));
        assert_eq!(finder.period(), Some(86_400 * SECOND));
        for i in 1..200 {
            let at = (600_000 + i * 3600) * SECOND;
            finder.learn(at, wave(at));
        }
        assert_eq!(finder.interval(), Some(3600 * SECOND));
        assert!(finder.is_sound());
    }

    #[test]
    fn noise_steps_and_trends_have_no_period() {
        let mut rng = Rng::from_seed(4);
        assert_eq!(found(5000, 60, |_| rng.unit()), None);
        assert_eq!(found(5000, 60, |i| i as f64), None);
        assert_eq!(found(5000, 60, |_| 7.0), None);
        assert_eq!(found(5000, 60, |i| if i > 2500 { 1.0 } else { 0.0 }), None);
    }

    #[test]
    fn a_long_series_and_a_long_gap_stay_within_the_blocks() {
        let mut finder = PeriodFinder::default();
        for i in 0..200_000_i64 {
            let gap = if i > 100_000 { 1_000_000 } else { 0 };
            finder.learn((i + gap) * SECOND, (i % 97) as f64);
        }
        assert!(finder.blocks.len() <= BLOCKS && finder.is_sound());
    }
}
