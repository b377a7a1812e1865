//! What judges one operation.

use std::fmt;
use std::sync::Arc;

use homeostasis_core::record::{Direction, Expectation};
use homeostasis_core::signal::SpanRecord;
use homeostasis_core::stage::DetectError;
use homeostasis_core::{Score, Timestamp};
use serde_json::Value;

/// What a kernel says of one window of an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperationScore {
    /// How anomalous; 0.5 is the limit of the kernel, 0 while warming up.
    pub score: Score,
    /// The same in nats, 0 or more.
    pub surprise: f64,
    /// To which side.
    pub direction: Direction,
}

impl OperationScore {
    /// Nothing to say.
    pub const NORMAL: Self = Self {
        score: Score::ZERO,
        surprise: 0.0,
        direction: Direction::Other,
    };
}

/// The explanation of an [`OperationScore`].
#[derive(Debug, Clone, PartialEq)]
pub struct OperationFinding {
    /// What was found, as the middle of a sentence after the name of the operation (`takes 3 s at p95`).
    pub text: String,
    /// What was seen, if it is a number.
    pub observed: Option<f64>,
    /// What was expected.
    pub expected: Expectation,
    /// The features that were found, with weights of 0 or more.
    pub weights: Vec<(String, f64)>,
    /// The last windows, at most 64, oldest first.
    pub series: Vec<(Timestamp, f64)>,
}

/// A detector of one operation: pure arithmetic over its spans, judged window by window.
///
/// *Contract:* bounded memory; a window is scored before it is learned; the same spans and windows give the same scores.
pub trait OperationKernel: fmt::Debug + Send {
    /// Whether it wants to know whom the operation calls. Calls are put together only then.
    fn wants_calls(&self) -> bool {
        false
    }

    /// Takes an execution of the operation, with the operations it called that ended before it, each call once.
    fn take(&mut self, span: &SpanRecord, calls: &[Arc<str>]);

    /// Takes a call that ended after the execution that made it.
    fn take_late_call(&mut self, _: &Arc<str>) {}

    /// Scores the window that ends at `at`, then learns it and begins the next.
    fn close(&mut self, at: Timestamp) -> OperationScore;

    /// What it found in the window it closed last; asked for only if that window raises an alarm.
    fn explain(&self) -> OperationFinding;

    /// Its state, without the configuration.
    fn save(&self) -> Option<Value>;

    /// Takes a stored state up again; scores afterwards are the same to the bit.
    ///
    /// # Errors
    /// If this state does not fit its configuration; the present state is then kept.
    fn load(&mut self, state: &Value) -> Result<(), DetectError>;
}
