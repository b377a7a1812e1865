#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod capture;
mod duration_text;
mod errors;
mod health;
#[cfg(feature = "http")]
mod http;
mod intake;
#[cfg(feature = "net")]
mod look_up;
mod measurement;
#[cfg(any(feature = "http", feature = "email"))]
mod notify;
mod probe;
mod redact;
mod template;
#[cfg(feature = "http")]
#[cfg(test)]
mod testing;
#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use self::http::HyperClient;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use capture::MetricsRecorder;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use capture::{CountRequests, CountedResponse, RequestHead, RequestLayer, RouteCounts};
pub use capture::{
    DiagnosticContext, EnteredContext, Environment, InContext, PanicHook, SeriesHandle,
    TracingLayer,
};
pub use errors::{
    ErrorNormalizer, ErrorNormalizerConfig, Joined, TraceJoiner, TraceJoinerConfig,
    error_fingerprint,
};
#[cfg(feature = "endpoint")]
#[cfg_attr(docsrs, doc(cfg(feature = "endpoint")))]
pub use health::HealthService;
pub use health::{
    BoardSink, ComponentHealth, HealthBoard, HealthBoardConfig, HealthSnapshot, HealthStatus,
};
pub use intake::{
    Bucket, DurableTail, DurableTailError, ErrorRatio, Exposition, Family, LineFormat, LineId,
    LogLines, LogLinesConfig, LogTail, LogTailConfig, MetricKind, PageProblem, PatternConfig,
    PatternPreset, Point, Scrape, Scraper, ScraperConfig, StartAt, TailBatch, TailLoss,
    TailPosition, TailStats, TailedSignal, histogram_quantile, parse_exposition,
};
#[cfg(feature = "otlp")]
#[cfg_attr(docsrs, doc(cfg(feature = "otlp")))]
pub use intake::{
    OtlpEncoding, OtlpError, OtlpIntake, OtlpIntakeConfig, OtlpKind, OtlpOutcome, OtlpReply,
    OtlpRequest, OtlpStats,
};
pub use measurement::Measurement;
#[cfg(feature = "email")]
#[cfg_attr(docsrs, doc(cfg(feature = "email")))]
pub use notify::{Email, EmailConfig, EmailLogin, EmailSecurity};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use notify::{Webhook, WebhookConfig, WebhookFormat};
#[cfg(feature = "amqp")]
#[cfg_attr(docsrs, doc(cfg(feature = "amqp")))]
pub use probe::{AmqpProbe, AmqpProbeConfig};
pub use probe::{
    BackupChecksum, BackupProbe, BackupProbeConfig, Extract, FnProbe, HttpProbe, HttpProbeConfig,
    LoadProbe, LoadProbeConfig, LogTailProbe, MetricProbe, MetricProbeConfig, MetricsProbe,
    MetricsProbeConfig, Missed, PlannedProbe, Probe, ProbePlan, ProbeSchedule, ProbeTrigger,
    Reading, WorkflowProbe, WorkflowProbeConfig, WorkflowStep, ask,
};
#[cfg(feature = "host")]
#[cfg_attr(docsrs, doc(cfg(feature = "host")))]
pub use probe::{
    FilesystemProbe, FilesystemProbeConfig, HostProbe, HostProbeConfig, PidSource, ProcessId,
    ProcessProbe, ProcessProbeConfig,
};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use probe::{PostgresProbe, PostgresProbeConfig};
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use probe::{RedisProbe, RedisProbeConfig};
#[cfg(feature = "net")]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
pub use probe::{TcpProbe, TcpProbeConfig};
pub use redact::{RedactionConfig, RedactionPattern, SecretRedactor, SecretRedactorBuilder};
pub use template::{MinedTemplate, TemplateEnricher, TemplateMiner, TemplateMinerStats};
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use {
    probe::{CertificateProbe, CertificateProbeConfig, CertificateSource},
    tls::TrustRoots,
};

#[cfg(test)]
mod tests {
    /// What hosts move between threads and keep for ever.
    #[test]
    fn public_types_can_be_shared() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<super::TracingLayer>();
        shared::<super::PanicHook>();
        shared::<super::SeriesHandle>();
        shared::<super::Scraper>();
        shared::<super::LogTail>();
        shared::<super::ProbeSchedule>();
        shared::<(super::ProbePlan, super::ProbeTrigger)>();
        shared::<(super::HealthBoard, super::HealthBoardConfig)>();
        shared::<super::HealthSnapshot>();
        #[cfg(feature = "endpoint")]
        shared::<super::HealthService>();
        shared::<super::Reading>();
        shared::<super::PageProblem>();
        shared::<super::HttpProbe>();
        shared::<super::MetricsProbe>();
    }
}
