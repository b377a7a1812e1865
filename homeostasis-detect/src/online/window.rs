//! The last samples, and what is computed of them.

use serde::{Deserialize, Serialize};

/// How many samples the longest window holds.
pub(super) const LONGEST: usize = 72;
/// The longest window, the sample before it, and one more for a push that is taken back.
const KEPT: usize = LONGEST + 2;
/// The buffer moves its end to its front when it is full, so that every window is one slice.
const BUFFER: usize = 4 * KEPT;

/// What a channel looks at. The order is that of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Statistic {
    /// The value.
    Value,
    /// The value, remembered coarsely.
    CoarseValue,
    /// The largest of the last 24 samples.
    Maximum,
    /// The least of the last 24 samples.
    Minimum,
    /// The mean of the last 12 samples.
    Mean12,
    /// The mean of the last 36 samples.
    Mean36,
    /// The mean of the last 72 samples.
    Mean72,
    /// The change over 72 samples.
    Change,
    /// The mean of the last 6 samples less that of the 6 before.
    Step,
    /// The mean size of the steps between the last 12 samples.
    Activity,
    /// The standard deviation of the last 36 samples.
    Spread,
    /// The logarithm of the standard deviation of the last 72 samples.
    LogSpread,
    /// The value at this place in the period of the series.
    Context,
}

/// The statistics that have a channel.
pub(super) const CHANNELS: [Statistic; 12] = [
    Statistic::Value,
    Statistic::CoarseValue,
    Statistic::Maximum,
    Statistic::Minimum,
    Statistic::Mean12,
    Statistic::Mean36,
    Statistic::Mean72,
    Statistic::Change,
    Statistic::Step,
    Statistic::Activity,
    Statistic::Spread,
    Statistic::LogSpread,
];

impl Statistic {
    /// How many samples it looks at.
    pub(super) fn reach(self) -> usize {
        match self {
            Self::Value | Self::CoarseValue | Self::Context => 1,
            Self::Mean12 | Self::Step | Self::Activity => 12,
            Self::Maximum | Self::Minimum => 24,
            Self::Mean36 | Self::Spread => 36,
            Self::Mean72 | Self::LogSpread => LONGEST,
            Self::Change => LONGEST + 1,
        }
    }
}

/// The last samples in their order; O(1) amortized to add one, no window crosses a [`Windows::restart`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Windows {
    buffer: Vec<f64>,
    /// How many of the last samples belong together.
    joined: usize,
}

impl Windows {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::with_capacity(BUFFER),
            joined: 0,
        }
    }

    /// Those of `samples`, oldest first, if they can be: at most 74, all finite.
    pub(super) fn of(samples: &[f64]) -> Option<Self> {
        let sound = samples.len() <= KEPT && samples.iter().all(|x| x.is_finite());
        let mut windows = Self::new();
        windows.buffer.extend_from_slice(samples);
        windows.joined = samples.len();
        sound.then_some(windows)
    }

    pub(super) fn push(&mut self, value: f64) {
        if self.buffer.len() == BUFFER {
            self.buffer.copy_within(BUFFER - KEPT.., 0);
            self.buffer.truncate(KEPT);
        }
        self.buffer.push(value);
        self.joined = (self.joined + 1).min(KEPT);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.buffer.capacity() * size_of::<f64>()
    }

    /// Takes the last push back.
    pub(super) fn take_back(&mut self) {
        self.buffer.pop();
        self.joined = self.joined.saturating_sub(1);
    }

    /// Nothing from before is looked at any more.
    pub(super) fn restart(&mut self) {
        self.buffer.clear();
        self.joined = 0;
    }

    /// What has to be kept, oldest first: at most 73.
    pub(super) fn kept(&self) -> &[f64] {
        self.last(LONGEST + 1)
    }

    /// The samples that belong together, oldest first: at most 74.
    pub(super) fn samples(&self) -> &[f64] {
        &self.buffer[self.buffer.len() - self.joined..]
    }

    /// Whether the window of `what` is all there.
    pub(super) fn holds(&self, what: Statistic) -> bool {
        self.joined >= what.reach()
    }

    /// The last `n`, or as many as there are.
    fn last(&self, n: usize) -> &[f64] {
        let samples = self.samples();
        &samples[samples.len().saturating_sub(n)..]
    }

    /// The mean of the last `n`.
    pub(super) fn mean(&self, n: usize) -> f64 {
        mean(self.last(n))
    }

    /// Every statistic of [`CHANNELS`], in that order; `None` before the first sample.
    ///
    /// While there are fewer samples than a window holds, the window is what there is.
    /// `spread` is the standard deviation of the whole series: shares of it, and the resolution, are
    /// added to the spreads, so that noise of a quiet window does not look like much.
    pub(super) fn statistics(&self, spread: f64, resolution: f64) -> Option<[f64; CHANNELS.len()]> {
        let value = *self.samples().last()?;
        let floor = 1e-6 * spread * spread + 1e-18;
        let (w72, w36) = (self.last(72), self.last(36));
        let (w24, w12) = (self.last(24), self.last(12));
        let recent = self.last(6);
        let before = &w12[..w12.len() - recent.len()];
        let step = match before {
            [] => mean(recent) - w12[0],
            _ => mean(recent) - mean(before),
        };
        let steps: f64 = w12.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
        let older = &w72[..w72.len() - w36.len()];
        let ((mean_36, squares), (older_mean, older_squares)) = (moments(w36), moments(older));
        let (n, m) = (w36.len() as f64, older.len() as f64);
        let mean_72 = (n * mean_36 + m * older_mean) / (n + m);
        // The squares about the mean of both parts, of those about each part's own.
        let apart = n * m / (n + m) * (mean_36 - older_mean).powi(2);
        let variance_72 = (squares + older_squares + apart) / (n + m);
        Some([
            value,
            value,
            w24.iter().fold(f64::MIN, |a, b| a.max(*b)),
            w24.iter().fold(f64::MAX, |a, b| a.min(*b)),
            mean(w12),
            mean_36,
            mean_72,
            if self.joined > LONGEST {
                value - self.last(LONGEST + 1)[0]
            } else {
                0.0
            },
            step,
            steps / (w12.len() as f64),
            (squares / n + floor).sqrt(),
            ((variance_72 + floor).sqrt() + 0.02 * spread + resolution).ln(),
        ])
    }
}

/// The mean; 0 of none.
fn mean(values: &[f64]) -> f64 {
    sum(values, |x| x) / (values.len().max(1) as f64)
}

/// The mean, and the sum of the squares about it.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = mean(values);
    (mean, sum(values, |x| (x - mean) * (x - mean)))
}

/// The sum of `f` in four lanes: the same to the bit for the same values, and vectors add it.
fn sum(values: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; 4];
    let fours = values.chunks_exact(4);
    for (lane, value) in lanes.iter_mut().zip(fours.remainder()) {
        *lane = f(*value);
    }
    for four in fours {
        for (lane, value) in lanes.iter_mut().zip(four) {
            *lane += f(*value);
        }
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Mean and standard deviation in two passes.
    fn plain(values: &[f64]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        (mean, (squares / n).sqrt())
    }

    proptest! {
        #[test]
        fn statistics_are_those_of_the_last_samples(
            values in prop::collection::vec(-100.0..100.0_f64, 1..700),
        ) {
            let mut windows = Windows::new();
            for value in &values {
                windows.push(*value);
            }
            let last = |n: usize| &values[values.len().saturating_sub(n)..];
            let found = windows.statistics(0.0, 0.0).unwrap();
            let near = |i: usize, expected: f64| (found[i] - expected).abs() < 1e-6;
            prop_assert_eq!(found[0], values[values.len() - 1]);
            prop_assert_eq!(found[2], last(24).iter().copied().fold(f64::MIN, f64::max));
            prop_assert_eq!(found[3], last(24).iter().copied().fold(f64::MAX, f64::min));
            prop_assert!(near(4, plain(last(12)).0));
            prop_assert!(near(5, plain(last(36)).0));
            prop_assert!(near(6, plain(last(72)).0));
            prop_assert!(near(10, plain(last(36)).1));
            prop_assert!((found[11].exp() - plain(last(72)).1).abs() < 1e-6);
            if values.len() > 72 {
                prop_assert_eq!(found[7], values[values.len() - 1] - last(73)[0]);
                prop_assert!(near(8, plain(last(6)).0 - plain(&last(12)[..6]).0));
            }
        }

        #[test]
        fn a_push_that_is_taken_back_leaves_no_trace(
            values in prop::collection::vec(-1.0..1.0_f64, 0..700),
        ) {
            let mut windows = Windows::new();
            for value in values {
                let before = windows.kept().to_vec();
                windows.push(9.0);
                windows.take_back();
                prop_assert_eq!(windows.kept(), &before[..]);
                windows.push(value);
            }
        }
    }
}
