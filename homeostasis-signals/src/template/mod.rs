//! Templates of log messages: what is the same in all lines that one statement writes.
//!
//! A line goes through `scan` (words and variables, by look), `groups` (the template of these
//! words, by evidence) and `pattern` (its text and the variables of the line).

mod aliases;
mod bytes;
mod enricher;
mod family;
mod groups;
mod miner;
mod pattern;
mod scan;
mod second_chance;
mod shape;
mod state;
mod words;

pub use enricher::TemplateEnricher;
pub use miner::{MinedTemplate, TemplateMiner, TemplateMinerStats};
