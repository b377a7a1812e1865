//! Kernels that look for a change that lasts: of the mean, of the distribution, of a state.

mod adwin;
mod bayes;
mod cusum;
mod e_detector;
mod flapping;
mod hold;
mod level_shift;
mod moments;
mod page_hinkley;
mod student;

pub use adwin::{Adwin, AdwinConfig};
pub use bayes::{BayesianChangePoint, BayesianChangePointConfig};
pub use cusum::{Cusum, CusumConfig};
pub use e_detector::{EDetector, EDetectorConfig};
pub use flapping::{Flapping, FlappingConfig};
pub use level_shift::{LevelShift, LevelShiftConfig};
pub use page_hinkley::{PageHinkley, PageHinkleyConfig};
