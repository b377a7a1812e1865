//! The furnished detector: any series, no configuration, strictly online.

mod alert;
mod channel;
mod config;
mod context;
mod detector;
mod deviation;
mod explanation;
mod gate;
mod judgement;
mod memory;
mod period;
mod rarity;
mod window;

pub use config::OnlineConfig;
pub use detector::OnlineDetector;
pub use judgement::OnlineJudgement;
pub use window::Statistic;
