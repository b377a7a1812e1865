#![doc = include_str!("../README.md")]

pub mod condition;
pub mod document;
mod violation;

pub use violation::{ConfigError, Violation, Violations};
