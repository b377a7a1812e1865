//! The HTTP client behind probes and scrapes.

mod hyper_client;

pub use hyper_client::HyperClient;
