//! Probes: questions asked at intervals, and what runs them.
//!
//! A [`Probe`] answers with a [`Reading`]; a [`ProbeSchedule`] asks all its probes, each at its own
//! interval, and writes what they read into the sink.

#[cfg(feature = "amqp")]
mod amqp;
mod asking;
mod backup;
mod blocking;
#[cfg(feature = "tls")]
mod certificate;
mod check;
mod closure;
#[cfg(feature = "host")]
mod connections;
#[cfg(any(feature = "postgres", feature = "redis", feature = "amqp"))]
mod conversation;
#[cfg(feature = "host")]
mod filesystem;
#[cfg(feature = "host")]
mod host;
mod http;
mod join;
mod load;
mod log_tail;
mod metric;
mod metrics;
mod plan;
#[cfg(feature = "postgres")]
mod postgres;
mod probing;
#[cfg(feature = "host")]
mod process;
mod reading;
#[cfg(feature = "redis")]
mod redis;
mod refusal;
mod schedule;
#[cfg(feature = "net")]
mod tcp;
mod trigger;
mod workflow;

#[cfg(feature = "amqp")]
pub use amqp::{AmqpProbe, AmqpProbeConfig};
pub use asking::ask;
pub use backup::{BackupChecksum, BackupProbe, BackupProbeConfig};
#[cfg(feature = "tls")]
pub use certificate::{CertificateProbe, CertificateProbeConfig, CertificateSource};
pub use closure::FnProbe;
#[cfg(feature = "host")]
pub use filesystem::{FilesystemProbe, FilesystemProbeConfig};
#[cfg(feature = "host")]
pub use host::{HostProbe, HostProbeConfig};
pub use http::{HttpProbe, HttpProbeConfig};
pub use load::{LoadProbe, LoadProbeConfig};
pub use log_tail::LogTailProbe;
pub use metric::{MetricProbe, MetricProbeConfig};
pub use metrics::{MetricsProbe, MetricsProbeConfig};
pub use plan::{PlannedProbe, ProbePlan};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresProbe, PostgresProbeConfig};
pub use probing::{Missed, Probe};
#[cfg(feature = "host")]
pub use process::{PidSource, ProcessId, ProcessProbe, ProcessProbeConfig};
pub use reading::Reading;
#[cfg(feature = "redis")]
pub use redis::{RedisProbe, RedisProbeConfig};
#[cfg(feature = "http")]
pub(crate) use refusal::named as refused_by_system;
pub use schedule::ProbeSchedule;
#[cfg(feature = "net")]
pub use tcp::{TcpProbe, TcpProbeConfig};
pub use trigger::ProbeTrigger;
pub use workflow::{Extract, WorkflowProbe, WorkflowProbeConfig, WorkflowStep};
