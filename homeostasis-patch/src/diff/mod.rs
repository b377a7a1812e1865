//! Unified diffs as data: made, parsed, printed, inverted, and applied strictly.
//!
//! `diffy` finds the shortest edit script; parsing and application are our own, because `diffy`
//! takes the nearest match of several, and reports neither place nor cause of a conflict.

mod apply;
mod error;
mod hunk;
mod parse;
mod quote;
mod unified;

pub use apply::Applied;
pub use error::{Conflict, ConflictReason, DiffError};
pub use hunk::{DiffLine, Hunk, LineKind};
pub(crate) use quote::check_path;
pub use unified::{DEFAULT_CONTEXT, FileDiff, UnifiedDiff};
