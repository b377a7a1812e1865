//! Kernels: detection as pure arithmetic, without I/O, clock or chance.

use std::fmt;

use crate::record::{Direction, Expectation};
use crate::time::Timestamp;
use crate::unit::Score;

/// What a kernel says of one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelScore {
    /// How anomalous, `0..=1`; 0 while warming up and for a missing value.
    pub score: Score,
    /// The same in nats; keeps its order where the score saturates.
    pub surprise: f64,
    /// To which side.
    pub direction: Direction,
    /// What was expected before the sample was learned.
    pub expected: Expectation,
}

impl KernelScore {
    /// Nothing to say: warming up, or no value.
    pub fn normal(expected: Expectation) -> Self {
        Self {
            score: Score::ZERO,
            surprise: 0.0,
            direction: Direction::Other,
            expected,
        }
    }
}

/// A detector of one series, as a sync kernel: O(1) per sample, bounded memory.
///
/// *Contract:* it scores a sample before it learns it; `None` and NaN are missing values, which
/// score 0 and change nothing but time; a sample that is not later than the last one is scored and
/// not learned; the same samples give the same scores, whatever the batches.
pub trait SeriesDetector: fmt::Debug + Send {
    /// Scores the sample, then learns it.
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore;
}

impl<T: SeriesDetector + ?Sized> SeriesDetector for Box<T> {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        (**self).update(at, value)
    }
}
