//! Is a new version at least as good as the old one? Decided interval by interval, as early as the
//! traffic allows, with error rates that hold however often one looks.

mod config;
mod evidence;
mod forecast;
mod judge;

pub use config::{CanaryConfig, LatencyRule};
pub use judge::{CanaryJudge, CanaryJudges};
