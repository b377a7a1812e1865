//! Errors of any language as structure: from the lines of a log to an
//! [`ErrorEvent`](homeostasis_core::signal::ErrorEvent) with causes, frames and a fingerprint.
//!
//! All of it is pure, linear in the length of the text, bounded, and never panics on any input.

mod joiner;
mod line_shape;

pub use joiner::{Joined, TraceJoiner, TraceJoinerConfig};
