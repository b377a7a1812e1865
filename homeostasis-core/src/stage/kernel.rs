//! Kernels: detection as pure arithmetic, without I/O, clock or chance.

use std::fmt;

use serde_json::Value;

use crate::record::{Direction, Expectation};
use crate::stage::DetectError;
use crate::time::Timestamp;
use crate::unit::{Ratio, Score};

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
/// The suite `testing::kernel` (feature `testing`) tells whether one keeps it.
pub trait SeriesDetector: fmt::Debug + Send {
    /// Scores the sample, then learns it.
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore;

    /// Scores and learns samples in their order, and appends one score for each; NaN is a missing value.
    ///
    /// It leaves the same scores and the same state as [`update`](Self::update) sample by sample, to the bit.
    /// It is for history (back-tests, training, quality suites), where nobody reads what was expected of each
    /// sample: a kernel that can leave that out is several times faster here.
    fn update_batch(&mut self, samples: &[(Timestamp, f64)], scores: &mut Vec<Score>) {
        scores.reserve(samples.len());
        for (at, value) in samples {
            scores.push(self.update(*at, Some(*value)).score);
        }
    }

    /// What it makes of the last sample, as the middle of a sentence (`grows by 5 % per hour`), if it
    /// has more to say than what was seen and what was expected.
    fn explain(&self) -> Option<String> {
        None
    }

    /// What made it judge the last sample as it did: features with weights of 0 or more, if there are several.
    fn contributions(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// About how many bytes it holds on the heap, beside its own size; for the account of what a series costs.
    fn heap_bytes(&self) -> usize {
        0
    }

    /// Says where its series lies among others, evenly spread over names, once before the first sample.
    ///
    /// A kernel that does costly work now and then does it earlier or later by that, so that thousands of series that
    /// began together do not do it together.
    fn stagger(&mut self, _: Ratio) {}

    /// Its state, if it can be stored; the configuration is not part of it, nor is what [`stagger`](Self::stagger) said.
    fn save(&self) -> Option<Value> {
        None
    }

    /// Takes a stored state up again; scores afterwards are the same to the bit.
    ///
    /// # Errors
    /// If it has no state that can be stored, or this one does not fit its configuration; the
    /// present state is then kept.
    fn load(&mut self, _: &Value) -> Result<(), DetectError> {
        Err(DetectError::invalid(
            "stored state",
            "this kernel keeps no state that can be stored",
        ))
    }
}

const _: fn(&dyn SeriesDetector) = |_| {};

impl<T: SeriesDetector + ?Sized> SeriesDetector for Box<T> {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        (**self).update(at, value)
    }

    fn update_batch(&mut self, samples: &[(Timestamp, f64)], scores: &mut Vec<Score>) {
        (**self).update_batch(samples, scores);
    }

    fn explain(&self) -> Option<String> {
        (**self).explain()
    }

    fn contributions(&self) -> Vec<(String, f64)> {
        (**self).contributions()
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(&**self) + (**self).heap_bytes()
    }

    fn stagger(&mut self, place: Ratio) {
        (**self).stagger(place);
    }

    fn save(&self) -> Option<Value> {
        (**self).save()
    }

    fn load(&mut self, state: &Value) -> Result<(), DetectError> {
        (**self).load(state)
    }
}
