//! What OpenTelemetry SDKs and collectors export: OTLP/HTTP 1.x.
//!
//! [`OtlpIntake`] becomes a route of the host; its documentation has the table of what becomes of
//! what. A request is read as a whole ([`OtlpRequest`]: `wire`, `field`, `message`), then turned into
//! signals kind by kind (`logs`, `traces`, `metrics`).

mod any_value;
mod config;
mod decode;
mod exponential;
mod field;
mod logs;
mod message;
mod metrics;
mod origin;
mod reply;
mod service;
mod traces;
mod wire;

pub use config::OtlpIntakeConfig;
pub use decode::{OtlpEncoding, OtlpError, OtlpKind, OtlpRequest};
pub use origin::OtlpOutcome;
pub use reply::OtlpReply;
pub use service::{OtlpIntake, OtlpStats};
