//! Statistical kernels: a sample against the level and spread of those before it.

mod ewma;
mod moving_average;

pub use ewma::{Ewma, EwmaConfig};
pub use moving_average::{MovingAverage, MovingAverageConfig};
