//! Canaries: is the new version at least as good as the old one?

use std::fmt;

use serde_json::Value;

use crate::error::stage_error;
use crate::record::{CanaryDecision, CanaryForecast, CanaryInterval, CanaryTraffic};

stage_error!(
    /// Why an analysis was not taken up again.
    CanaryError
);

/// Judges one canary while it runs.
///
/// *Expected flow:* [`calibrate`](Self::calibrate) with what was seen of the old version alone, then
/// [`observe`](Self::observe) each interval in the order of time and act on
/// [`decision`](Self::decision). Store [`state`](Self::state) after each interval and take it up
/// with [`CanaryAnalyst::resume`] after a crash.
///
/// *Assumptions:* it is pure: no I/O, no clock; the same intervals give the same decision. One
/// interval costs time and memory that do not grow with the number of intervals. Time passes with
/// the intervals alone: where nothing was seen, an interval without arms has to be fed, or the
/// answer stays "continue". One analysis may
/// span several stages with different weights: its error rates hold for all of them together, while
/// those of a fresh one for each stage add up.
pub trait CanaryAnalysis: fmt::Debug + Send {
    /// Takes in an interval of the time before: two groups of instances, each as small as the
    /// canary will be, that both ran the *old* version. It shows how much groups differ by
    /// themselves. After the first [`observe`](Self::observe) it changes nothing.
    fn calibrate(&mut self, before: &CanaryInterval);

    /// Takes in the next interval. One that ended no later than the last is left out, so a repeat
    /// after a crash is harmless; those that are missing are not made up.
    fn observe(&mut self, interval: &CanaryInterval);

    /// What is decided now.
    fn decision(&self) -> CanaryDecision;

    /// All there is to remember, of bounded size.
    fn state(&self) -> Value;
}

/// Starts analyses and takes them up again.
pub trait CanaryAnalyst: fmt::Debug + Send + Sync {
    /// A fresh analysis.
    fn begin(&self) -> Box<dyn CanaryAnalysis>;

    /// The analysis that [`state`](CanaryAnalysis::state) was taken of.
    ///
    /// # Errors
    /// [`CanaryError::Invalid`] if `state` is not one, or one of another configuration.
    fn resume(&self, state: &Value) -> Result<Box<dyn CanaryAnalysis>, CanaryError>;

    /// What a canary with this traffic can tell.
    fn forecast(&self, traffic: &CanaryTraffic) -> CanaryForecast;
}

const _: fn(&dyn CanaryAnalysis) = |_| {};
const _: fn(&dyn CanaryAnalyst) = |_| {};
