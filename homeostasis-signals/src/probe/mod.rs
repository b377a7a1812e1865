//! Probes: questions asked at intervals, and what runs them.
//!
//! A [`Probe`] answers with a [`Reading`]; a [`ProbeSchedule`] asks all its probes, each at its own
//! interval, and writes what they read into the sink.

mod check;
mod closure;
mod http;
mod join;
mod log_tail;
mod metric;
mod metrics;
mod probing;
#[cfg(feature = "host")]
mod process;
mod reading;
mod schedule;

pub use closure::FnProbe;
pub use http::{HttpProbe, HttpProbeConfig};
pub use log_tail::LogTailProbe;
pub use metric::{MetricProbe, MetricProbeConfig};
pub use metrics::{MetricsProbe, MetricsProbeConfig};
pub use probing::{Missed, Probe};
#[cfg(feature = "host")]
pub use process::{PidSource, ProcessId, ProcessProbe, ProcessProbeConfig};
pub use reading::Reading;
pub use schedule::{ProbeSchedule, ask};
