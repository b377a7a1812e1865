//! Conformance suites and fakes for tests of plug-ins and ports.

mod observations;

pub use observations::RecordedObservations;
