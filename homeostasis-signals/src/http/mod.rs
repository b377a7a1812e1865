//! The HTTP client behind probes and scrapes.

mod hyper_client;

pub use hyper_client::HyperClient;
pub(crate) use hyper_client::is_sendable;
