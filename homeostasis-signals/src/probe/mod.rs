//! Probes: questions asked at intervals, and what runs them.
//!
//! A [`Probe`] answers with a [`Reading`]; a [`ProbeSchedule`] asks all its probes, each at its own
//! interval, and writes what they read into the sink.

mod asking;
mod backup;
mod blocking;
#[cfg(feature = "tls")]
mod certificate;
mod check;
mod closure;
#[cfg(feature = "host")]
mod filesystem;
mod http;
mod join;
mod load;
mod log_tail;
mod metric;
mod metrics;
mod plan;
mod probing;
#[cfg(feature = "host")]
mod process;
mod reading;
mod refusal;
mod schedule;
#[cfg(feature = "net")]
mod tcp;
mod workflow;

pub use backup::{BackupChecksum, BackupProbe, BackupProbeConfig};
#[cfg(feature = "tls")]
pub use certificate::{CertificateProbe, CertificateProbeConfig, CertificateSource};
mod trigger;

pub use asking::ask;
pub use closure::FnProbe;
#[cfg(feature = "host")]
pub use filesystem::{FilesystemProbe, FilesystemProbeConfig};
pub use http::{HttpProbe, HttpProbeConfig};
pub use load::{LoadProbe, LoadProbeConfig};
pub use log_tail::LogTailProbe;
pub use metric::{MetricProbe, MetricProbeConfig};
pub use metrics::{MetricsProbe, MetricsProbeConfig};
pub use plan::{PlannedProbe, ProbePlan};
pub use probing::{Missed, Probe};
#[cfg(feature = "host")]
pub use process::{PidSource, ProcessId, ProcessProbe, ProcessProbeConfig};
pub use reading::Reading;
pub use schedule::ProbeSchedule;
#[cfg(feature = "net")]
pub use tcp::{TcpProbe, TcpProbeConfig};
pub use trigger::ProbeTrigger;
pub use workflow::{Extract, WorkflowProbe, WorkflowProbeConfig, WorkflowStep};
