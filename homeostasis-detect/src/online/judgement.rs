//! What the detector says of a sample.

use homeostasis_core::record::{Direction, Expectation};

use super::window::Statistic;

/// What an [`OnlineDetector`](super::OnlineDetector) says of one sample; strengths are in units of
/// their limits, so that 1 alarms.
#[derive(Debug, Clone, PartialEq)]
pub struct OnlineJudgement {
    /// How new this is: nothing like it was seen before. 0 for the first 150 samples.
    /// It is high once; what comes again is known.
    pub novelty: f64,
    /// How far this is from the level of the series. It is high each time. 0 for the first 5 samples.
    pub deviation: f64,
    /// The larger of both: whether this very sample is abnormal, which the score of `update` says. Windows that hold a
    /// far sample from before it do not count here.
    pub present: f64,
    /// The same, with what is left of the deviations before: they fade by a fifth with every sample. It
    /// ranks the samples of an episode together, and is the score of the suite `univariate`.
    pub strength: f64,
    /// The novelty, or 0 in the dead time after an alert and for late samples: 1 or more is an alert.
    pub alert: f64,
    /// What is newest about it, if anything is.
    pub top: Option<Statistic>,
    /// On which side of the level of the series it is.
    pub direction: Direction,
    /// What was expected: the band of this place in the period if one is known to explain the series,
    /// or 5 standard deviations around the level.
    pub expected: Expectation,
}
