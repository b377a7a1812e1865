#![doc = include_str!("../README.md")]

mod violation;

pub use violation::{ConfigError, Violation, Violations};
