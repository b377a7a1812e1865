//! Conformance suites and fakes for tests of plug-ins and ports.

pub mod analyzer;
pub mod canary;
pub mod coordinator;
pub mod detector;
mod effort;
pub mod engine;
pub mod hostile_state;
pub mod kernel;
mod observations;
pub mod patcher;
mod permit;
pub mod postgres;
mod redactor;
pub mod remediator;
pub mod store;
pub mod verifier;

pub use effort::processor_time;
pub use observations::RecordedObservations;
pub use permit::{permit_for, permit_to_undo};
pub use redactor::MaskRedactor;
