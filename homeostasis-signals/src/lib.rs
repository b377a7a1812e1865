#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod capture;
mod duration_text;
#[cfg(feature = "http")]
mod http;
mod intake;
mod measurement;
mod probe;
mod redact;
#[cfg(feature = "http")]
#[cfg(test)]
mod testing;

pub use capture::{PanicHook, SeriesHandle, TracingLayer};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use http::HyperClient;
pub use intake::{
    Bucket, ErrorRatio, Exposition, Family, JsonLines, JsonLinesConfig, LogTail, LogTailConfig,
    MetricKind, PageProblem, Point, Scrape, Scraper, ScraperConfig, StartAt, TailPosition,
    TailStats, histogram_quantile, parse_exposition,
};
pub use measurement::Measurement;
pub use probe::{
    FnProbe, HttpProbe, HttpProbeConfig, LogTailProbe, MetricProbe, MetricProbeConfig,
    MetricsProbe, MetricsProbeConfig, Missed, Probe, ProbeSchedule, Reading, ask,
};
#[cfg(feature = "host")]
#[cfg_attr(docsrs, doc(cfg(feature = "host")))]
pub use probe::{PidSource, ProcessId, ProcessProbe, ProcessProbeConfig};
pub use redact::{RedactionConfig, RedactionPattern, SecretRedactor, SecretRedactorBuilder};

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
        shared::<super::Reading>();
        shared::<super::PageProblem>();
        shared::<super::HttpProbe>();
        shared::<super::MetricsProbe>();
    }
}
