//! nginx: a reload, the servers of an upstream, and shares of traffic.

mod in_force;
mod reload;
mod router;
#[cfg(test)]
mod router_tests;
#[cfg(test)]
mod tests;
mod workers;

pub use reload::{NginxConfig, NginxReload};
pub use router::{NginxRouter, NginxSlots};
