//! Health reports: checks that stay bad, and the state of a target as all its checks say together.

mod detector;
mod ledger;
mod matrix;
mod state_detector;
mod tally;
mod transition;
mod words;

pub use detector::{HealthDetector, HealthDetectorConfig};
pub use matrix::{HealthAction, HealthJudgement, HealthMatrix, HealthMatrixConfig};
pub use state_detector::{HealthStateDetector, HealthStateDetectorConfig};
pub use tally::{HealthTally, TierTally};
pub use transition::HealthTransitions;
