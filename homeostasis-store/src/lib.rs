#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod apply;
mod config;
mod failure;
mod file;
mod query;
mod reader;
mod redb_store;
mod stats;
mod table;
mod writer;

pub use config::RedbConfig;
pub use redb_store::RedbStore;
pub use stats::RedbStats;
