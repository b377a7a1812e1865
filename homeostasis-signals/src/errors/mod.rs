//! Errors of any language as structure: from the lines of a log to an
//! [`ErrorEvent`](homeostasis_core::signal::ErrorEvent) with causes, frames and a fingerprint.
//!
//! All of it is pure, linear in the length of the text, bounded, and never panics on any input.

mod fingerprint;
mod frames;
mod go;
mod java;
mod javascript;
mod joiner;
mod language;
mod line_shape;
mod normalizer;
mod python;
mod rust;
mod template;
#[cfg(test)]
mod tests;
mod tree;

pub use fingerprint::error_fingerprint;
pub use joiner::{Joined, TraceJoiner, TraceJoinerConfig};
pub use normalizer::{ErrorNormalizer, ErrorNormalizerConfig};
pub(crate) use rust::panic_frames;
