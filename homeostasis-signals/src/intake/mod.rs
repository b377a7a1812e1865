//! What others say about themselves: Prometheus and `OpenMetrics` pages, and JSON-lines logs.
//!
//! Each source is a pure reader of text ([`parse_exposition`], [`JsonLines`]) and a stateful
//! follower around it ([`Scraper`], [`LogTail`]); probes drive the followers.

mod exposition;
mod json_line;
mod line_reader;
mod log_tail;
mod quantile;
mod scraper;

pub use exposition::{Exposition, Family, MetricKind, PageProblem, Point, parse_exposition};
pub use json_line::{JsonLines, JsonLinesConfig};
pub use line_reader::TailPosition;
pub use log_tail::{LogTail, LogTailConfig, StartAt, TailStats};
pub use quantile::{Bucket, histogram_quantile};
#[cfg(feature = "metrics")]
pub(crate) use scraper::rate_name;
pub use scraper::{ErrorRatio, Scrape, Scraper, ScraperConfig};
#[cfg(any(feature = "metrics", feature = "tower"))]
pub(crate) use scraper::{QUANTILES, quantile_name};
