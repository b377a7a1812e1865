#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod capture;
mod intake;
mod measurement;

pub use capture::{PanicHook, SeriesHandle, TracingLayer};
pub use intake::{
    Bucket, ErrorRatio, Exposition, Family, JsonLines, JsonLinesConfig, LogTail, LogTailConfig,
    MetricKind, PageProblem, Point, Scrape, Scraper, ScraperConfig, StartAt, TailPosition,
    TailStats, histogram_quantile, parse_exposition,
};
pub use measurement::Measurement;
