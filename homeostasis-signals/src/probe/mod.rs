//! Probes: questions asked at intervals, and what runs them.
//!
//! A [`Probe`] answers with a [`Reading`]; a [`ProbeSchedule`] asks all its probes, each at its own
//! interval, and writes what they read into the sink.

#[cfg(feature = "host")]
mod blocking;
mod closure;
#[cfg(feature = "host")]
mod connections;
#[cfg(feature = "host")]
mod host;
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
#[cfg(feature = "host")]
pub use host::{HostProbe, HostProbeConfig};
pub use http::{HttpProbe, HttpProbeConfig};
pub use log_tail::LogTailProbe;
pub use metric::{MetricProbe, MetricProbeConfig};
pub use metrics::{MetricsProbe, MetricsProbeConfig};
pub use probing::{Missed, Probe};
#[cfg(feature = "host")]
pub use process::{PidSource, ProcessId, ProcessProbe, ProcessProbeConfig};
pub use reading::Reading;
pub use schedule::{ProbeSchedule, ask};
