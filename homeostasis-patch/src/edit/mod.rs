//! Configuration edits by exact source spans: the only bytes that change are the value's.
//!
//! A document is parsed to a tree of spans, an edit is planned as a few replacements of byte
//! ranges, and the edited text is parsed again: it must differ from the original as data by
//! exactly the requested change, or nothing is handed out.

mod change;
mod config_edit;
mod datum;
mod error;
mod flow;
mod format;
mod json;
mod path;
mod splice;
mod toml;
mod tree;
mod yaml;
mod yaml_block;
mod yaml_scalar;

#[cfg(feature = "code")]
pub(crate) use config_edit::parse;
pub use config_edit::{ConfigEdit, EditOp, apply_edits};
#[cfg(feature = "code")]
pub(crate) use datum::Datum;
pub use error::EditError;
pub use format::Format;
pub use path::{ConfigPath, PathSegment};
#[cfg(feature = "code")]
pub(crate) use tree::{Kind, Node};
