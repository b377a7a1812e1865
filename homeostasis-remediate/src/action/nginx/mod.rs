//! Actions on nginx: a reload, and the servers of an upstream.

mod reload;
#[cfg(test)]
mod tests;
mod workers;

pub use reload::{NginxConfig, NginxReload};
