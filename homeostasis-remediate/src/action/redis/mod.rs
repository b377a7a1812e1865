//! Actions on Redis servers: keys, settings, memory, clients, promotion.

mod clients;
mod delete_keys;
mod memory;
mod promote;
mod server;
mod set_config;
#[cfg(test)]
mod tests;

pub use clients::RedisKillClients;
pub use delete_keys::RedisDeleteKeys;
pub use memory::RedisMemoryPurge;
pub use promote::RedisPromoteReplica;
pub use server::{RedisServerConfig, RedisServers};
pub use set_config::RedisSetConfig;
