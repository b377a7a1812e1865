//! From kernels to detectors: which series, and when scores become alarms.

mod alerting;
mod per_series;
mod selector;
mod shards;
mod slot;

pub use alerting::{AlertState, Alerting, AlertingConfig, Transition};
pub use per_series::{PerSeries, SeriesCounts};
pub(crate) use selector::Selected;
pub use selector::Selector;
