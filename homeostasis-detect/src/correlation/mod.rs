//! What deviates together: rank correlation with lags, density clustering, and bursts of onsets.

mod cluster;
mod config;
mod detector;
mod hops;
mod onsets;
mod rank;

pub use cluster::dbscan;
pub use config::CorrelatedFailuresConfig;
pub use detector::CorrelatedFailures;
pub use rank::{LaggedCorrelation, lagged_rank_correlation};
