#![doc = include_str!("../README.md")]

mod canary;
mod config;
mod criterion;
mod harm;
mod judgment;
pub mod rules;
pub mod stats;
mod watch;

pub use canary::{CanaryConfig, CanaryJudge, CanaryJudges, LatencyRule};
pub use config::{Tolerance, WatchConfig};
pub use criterion::{Evaluator, Look, Reading};
pub use harm::{HarmReading, HarmWatch};
pub use judgment::{Judgment, judge};
pub use watch::SequentialWatch;
