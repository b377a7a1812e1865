//! What others say about themselves: Prometheus and `OpenMetrics` pages, and JSON-lines logs.
//!
//! Each source is a pure reader of text ([`parse_exposition`], [`JsonLines`]) and a stateful
//! follower around it ([`Scraper`], [`LogTail`]); probes drive the followers.

mod cumulative;
mod derived;
mod exposition;
mod histograms;
mod json_line;
mod line_reader;
mod log_tail;
#[cfg(feature = "otlp")]
mod otlp;
mod quantile;
mod scraper;

pub use derived::ErrorRatio;
pub use exposition::{Exposition, Family, MetricKind, PageProblem, Point, parse_exposition};
pub use json_line::{JsonLines, JsonLinesConfig};
pub use line_reader::TailPosition;
pub use log_tail::{LogTail, LogTailConfig, StartAt, TailStats};
#[cfg(feature = "otlp")]
pub use otlp::{
    OtlpEncoding, OtlpError, OtlpIntake, OtlpIntakeConfig, OtlpKind, OtlpOutcome, OtlpReply,
    OtlpRequest, OtlpStats,
};
pub use quantile::{Bucket, histogram_quantile};
pub use scraper::{Scrape, Scraper, ScraperConfig};
