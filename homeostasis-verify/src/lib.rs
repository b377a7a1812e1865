#![doc = include_str!("../README.md")]

mod canary;
mod check;
mod config;
mod course;
mod criterion;
mod harm;
mod judgment;
mod placebo;
pub mod rules;
mod scenario;
pub mod stats;
mod watch;

pub use canary::{CanaryConfig, CanaryJudge, CanaryJudges, LatencyRule};
pub use config::{Tolerance, WatchConfig};
pub use criterion::{Attribution, Evaluator, Look, Reading};
pub use harm::{HarmReading, HarmWatch};
pub use judgment::{Judgment, judge};
pub use scenario::{ScenarioFunction, Scenarios};
pub use watch::SequentialWatch;
