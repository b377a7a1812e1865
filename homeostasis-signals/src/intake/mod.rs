//! What others say about themselves: Prometheus and `OpenMetrics` pages, and logs.
//!
//! Each source is a pure reader of text ([`parse_exposition`], [`LogLines`]) and a stateful
//! follower around it ([`Scraper`], [`LogTail`]); probes drive the followers.

mod durable_tail;
mod exposition;
mod json_line;
mod line_object;
mod line_pattern;
mod line_reader;
mod line_time;
mod log_line;
mod log_tail;
mod logfmt;
mod pattern_preset;
mod plain_line;
mod quantile;
mod rotation;
mod scraper;
mod tail_position;

pub use durable_tail::{DurableTail, DurableTailError};
pub use exposition::{Exposition, Family, MetricKind, PageProblem, Point, parse_exposition};
pub use line_pattern::PatternConfig;
pub use log_line::{LineFormat, LogLines, LogLinesConfig};
pub use log_tail::{LogTail, LogTailConfig, StartAt, TailBatch, TailStats, TailedSignal};
pub use pattern_preset::PatternPreset;
pub use quantile::{Bucket, histogram_quantile};
pub use scraper::{ErrorRatio, Scrape, Scraper, ScraperConfig};
pub use tail_position::{LineId, TailLoss, TailPosition};
