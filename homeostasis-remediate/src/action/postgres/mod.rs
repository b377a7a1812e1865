//! Actions on `PostgreSQL` servers: sessions, tables, indexes, promotion.

#[cfg(test)]
mod injection_tests;
mod name;
mod promote;
mod reindex;
mod server;
mod sessions;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vacuum;

pub use promote::PgPromoteReplica;
pub use reindex::PgReindex;
pub use server::{PostgresServerConfig, PostgresServers};
pub use sessions::PgSessions;
pub use vacuum::PgVacuum;
