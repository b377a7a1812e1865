//! Conformance suites and fakes for tests of plug-ins and ports.

pub mod remediator;
