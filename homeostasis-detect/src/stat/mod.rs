//! Statistical kernels: a sample against the level and spread of those before it.

mod ewma;
mod iqr;
mod mad;
mod moving_average;

pub use ewma::{Ewma, EwmaConfig};
pub use iqr::{Iqr, IqrConfig};
pub(crate) use mad::SIGMA_PER_MAD;
pub use mad::{Mad, MadConfig};
pub use moving_average::{MovingAverage, MovingAverageConfig};
