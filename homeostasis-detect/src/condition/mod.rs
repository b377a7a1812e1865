//! Detectors from conditions: what playbooks and operators write.

mod hold;
mod latest;
mod sustained;

pub use sustained::{SustainedCondition, SustainedConditionConfig};
