//! What repeats: the hours of the week, and periods found in the series itself.

mod band;
mod fft;
mod finder;
mod period;
mod seasonality;

pub use finder::{PeriodFinder, PeriodFinderConfig};
pub use period::{Period, find_periods};
pub use seasonality::{Seasonality, SeasonalityConfig};
