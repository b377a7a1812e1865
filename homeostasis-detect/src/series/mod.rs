//! From kernels to detectors: which series, and when scores become alarms.

mod alerting;
mod per_series;
mod selector;
mod shards;
mod slot;

pub use alerting::{AlertState, Alerting, AlertingConfig, Transition};
pub use per_series::{PerSeries, SeriesCounts};
pub use selector::Selector;
