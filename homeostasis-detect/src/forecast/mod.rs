//! What comes next, how sure that is, and when a limit is reached.

mod arima;
mod breach;
mod calibration;
mod drift;
mod forecaster;
mod linear;
mod model;
mod season;
mod simplex;
mod smoothing;
mod stationarity;
mod time_to_breach;
mod timeline;

pub use arima::{Arima, ArimaOrders};
pub use forecaster::{Forecaster, ForecasterConfig};
pub use model::{ForecastModel, Prediction};
pub use smoothing::{Growth, Season, Smoothing, SmoothingShape, SmoothingWeights};
pub use time_to_breach::{Breach, TimeToBreach, TimeToBreachConfig};
