//! Conformance suites and fakes for tests of plug-ins and ports.

pub mod analyzer;
mod observations;
pub mod patcher;

pub use observations::RecordedObservations;
pub mod remediator;
pub mod store;
