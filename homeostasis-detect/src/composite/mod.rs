//! Several detectors as one: weighted scores of families.

mod detector;
mod kernel;
mod score;

pub use detector::{Composite, CompositeConfig};
pub use kernel::CompositeKernel;
pub use score::{
    CompositeLevel, CompositePart, CompositeScore, CompositeWeights, CompositeWeightsConfig,
    DetectorFamily,
};
