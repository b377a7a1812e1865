//! Versions of models: shadow evaluation, promotion, rollback, retraining when it is quiet; and thresholds that adapt.

mod adaptive;
mod evaluation;
mod handle;
mod registry;
mod schedule;
mod tail;

pub use adaptive::AdaptiveThreshold;
pub use evaluation::{Feedback, PromotionRule};
pub use handle::{
    ModelEvent, ModelEventKind, ModelStatus, ModelVersion, ModelVersionsHandle, ShadowComparison,
};
pub use registry::{ModelVersions, ModelVersionsConfig};
pub use schedule::{OffPeak, RetrainSchedule};
pub use tail::{TailThreshold, TailThresholdConfig};
