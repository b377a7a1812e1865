//! A learned classifier of errors, and its vote together with the rules'.

mod artifact;
mod evaluation;
mod features;
mod hybrid;
mod labeled;
mod model;
mod training;

pub use evaluation::{CategoryScore, Evaluation, ReliabilityBin};
pub use hybrid::{HybridAnswer, HybridClassifier, HybridConfig};
pub use labeled::LabeledError;
pub use model::{ErrorClassifier, Prediction};
pub use training::{ClassifierTrainer, TrainError};
