//! Conformance suites and fakes for tests of plug-ins and ports.

mod observations;
pub mod patcher;

pub use observations::RecordedObservations;
pub mod store;
