#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod diff;
mod edit;
mod file_patch;

pub use diff::{Applied, Conflict, ConflictReason, DiffError, DiffLine, FileDiff, Hunk, LineKind};
pub use diff::{DEFAULT_CONTEXT, UnifiedDiff};
pub use edit::{ConfigEdit, ConfigPath, EditError, EditOp, Format, PathSegment, apply_edits};
pub use file_patch::{FilePatch, FilePatchError};
