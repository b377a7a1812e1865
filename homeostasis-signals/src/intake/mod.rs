//! What others say about themselves: Prometheus and `OpenMetrics` pages, and logs.
//!
//! Each source is a pure reader of text ([`parse_exposition`], [`LogLines`]) and a stateful
//! follower around it ([`Scraper`], [`LogTail`]); probes drive the followers.

mod cumulative;
mod derived;
mod durable_tail;
mod exposition;
mod histograms;
mod json_line;
mod line_object;
mod line_pattern;
mod line_reader;
mod line_time;
mod log_line;
mod log_tail;
mod logfmt;
#[cfg(feature = "otlp")]
mod otlp;
mod pattern_preset;
mod plain_line;
mod quantile;
mod rotation;
mod scraper;
mod tail_position;

pub use derived::ErrorRatio;
#[cfg(feature = "metrics")]
pub(crate) use derived::rate_name;
#[cfg(any(feature = "metrics", feature = "tower"))]
pub(crate) use derived::{QUANTILES, quantile_name};
pub use durable_tail::{DurableTail, DurableTailError};
pub use exposition::{Exposition, Family, MetricKind, PageProblem, Point, parse_exposition};
pub use line_pattern::PatternConfig;
pub use log_line::{LineFormat, LogLines, LogLinesConfig};
pub use log_tail::{LogTail, LogTailConfig, StartAt, TailBatch, TailStats, TailedSignal};
#[cfg(feature = "otlp")]
pub use otlp::{
    OtlpEncoding, OtlpError, OtlpIntake, OtlpIntakeConfig, OtlpKind, OtlpOutcome, OtlpReply,
    OtlpRequest, OtlpStats,
};
pub use pattern_preset::PatternPreset;
pub use quantile::{Bucket, histogram_quantile};
pub use scraper::{Scrape, Scraper, ScraperConfig};
pub use tail_position::{LineId, TailLoss, TailPosition};
