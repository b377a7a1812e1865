//! A `PostgreSQL` server of the test's own.

use std::ops::{Deref, DerefMut};

use homeostasis::core::testing::engine::Engine;
use homeostasis::core::testing::postgres;
use homeostasis::signals::PostgresProbeConfig;

use super::{PASSWORD, START, target};

/// A server with the superuser `postgres` and the role `health`, both with the password.
#[derive(Debug)]
pub(crate) struct Postgres(postgres::Postgres);

impl Deref for Postgres {
    type Target = postgres::Postgres;

    fn deref(&self) -> &postgres::Postgres {
        &self.0
    }
}

impl DerefMut for Postgres {
    fn deref_mut(&mut self) -> &mut postgres::Postgres {
        &mut self.0
    }
}

impl Postgres {
    /// None if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let server = postgres::Postgres::start(&[])?;
        server.sql(&format!("CREATE ROLE health LOGIN PASSWORD '{PASSWORD}'"));
        Some(Self(server))
    }

    /// A server that follows this one.
    pub(crate) fn standby(&self) -> Self {
        Self(self.0.standby(""))
    }

    /// Somebody who stays logged in.
    pub(crate) fn session(&self) -> Engine {
        let mut engine = Engine::start(self.psql("SELECT pg_sleep(600)"));
        let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        engine.wait_until("session", START, || self.sql(active) == "1");
        engine
    }

    pub(crate) fn config(&self) -> PostgresProbeConfig {
        let mut config = PostgresProbeConfig::new("db", target(), self.address(), "health");
        config.password = Some(PASSWORD.into());
        config.database = Some("postgres".to_owned());
        // A busy machine is slow, and that is not what is tested.
        config.timeout = std::time::Duration::from_secs(10);
        config.slow_after = config.timeout;
        config
    }
}
