#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod apply;
#[cfg(feature = "archive")]
mod archive;
mod config;
mod failure;
mod file;
mod query;
mod reader;
mod redb_store;
mod stats;
mod table;
mod writer;

#[cfg(feature = "archive")]
#[cfg_attr(docsrs, doc(cfg(feature = "archive")))]
pub use archive::{ArchiveError, ArchiveReader, FileArchive, Restored};
pub use config::RedbConfig;
pub use redb_store::RedbStore;
pub use stats::RedbStats;
