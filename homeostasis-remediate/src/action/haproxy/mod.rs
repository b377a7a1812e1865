//! Actions on `HAProxy` through its Runtime API: a server's state and weight.

mod runtime;
mod server;
#[cfg(test)]
mod tests;

pub use runtime::{HaproxyConfig, HaproxyInstances};
pub use server::HaproxyServer;
