//! The present health, as data and over HTTP.

mod board;
#[cfg(feature = "endpoint")]
mod service;
mod snapshot;

pub use board::{BoardSink, HealthBoard, HealthBoardConfig};
#[cfg(feature = "endpoint")]
pub use service::HealthService;
pub use snapshot::{ComponentHealth, HealthSnapshot, HealthStatus};
