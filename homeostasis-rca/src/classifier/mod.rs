//! A learned classifier of errors, and its vote together with the rules'.

mod analyzer;
mod artifact;
mod evaluation;
mod features;
mod hybrid;
mod labeled;
mod model;
mod training;

pub use analyzer::ClassifierAnalyzer;
pub use evaluation::{CategoryScore, Evaluation, ReliabilityBin};
pub use hybrid::{HybridAnswer, HybridClassifier, HybridConfig};
pub use labeled::LabeledError;
pub use model::{ErrorClassifier, Prediction};
pub use training::{ClassifierTrainer, TrainError};
