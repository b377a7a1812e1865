#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod capture;

pub use capture::{PanicHook, SeriesHandle, TracingLayer};
