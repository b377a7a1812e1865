//! `HAProxy` through its Runtime API: a server's state and weight, and shares of traffic.

mod router;
#[cfg(test)]
mod router_tests;
mod runtime;
mod server;
#[cfg(test)]
mod tests;

pub use router::{HaproxyRouter, HaproxySlots};
pub use runtime::{HaproxyConfig, HaproxyInstances};
pub use server::HaproxyServer;
