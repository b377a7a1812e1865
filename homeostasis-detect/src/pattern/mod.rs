//! Kernels that look at the shape of a series: how fast it moves, and for how long.

mod discord;
mod rate_of_change;
mod slope;
mod trend;

pub use discord::{Discord, discords};
pub use rate_of_change::{RateOfChange, RateOfChangeConfig};
pub use trend::{Trend, TrendConfig};
