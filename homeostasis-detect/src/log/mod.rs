//! Anomalies of logs: kinds of messages that are new, gone or too many, and errors that are.

mod error_rate;
mod followed;
mod leading;
mod rate;
mod tally;
mod template_detector;
mod template_detector_config;

pub use error_rate::{LogErrorRate, LogErrorRateConfig};
pub use template_detector::LogTemplates;
pub use template_detector_config::LogTemplatesConfig;
