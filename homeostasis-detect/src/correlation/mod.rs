//! What deviates together: rank correlation with lags, density clustering, and bursts of onsets.

mod cluster;
mod detector;
mod hops;
mod onsets;
mod rank;

pub use cluster::dbscan;
pub use detector::{CorrelatedFailures, CorrelatedFailuresConfig};
pub use rank::{LaggedCorrelation, lagged_rank_correlation};
