//! Faults of a real `PostgreSQL` server.

use std::ops::Deref;

use homeostasis_core::testing::postgres::Postgres;
use homeostasis_remediate::action::{
    Action, ActionRegistry, PgPromoteReplica, PgReindex, PgSessions, PgVacuum,
    PostgresServerConfig, PostgresServers,
};
use tokio_postgres::{Client, NoTls};

use crate::clinic::heal;
use crate::host::{example, shop};

struct Server(Postgres);

impl Deref for Server {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        &self.0
    }
}

impl Server {
    /// With a role `app`; none if it is not installed.
    fn start() -> Option<Self> {
        let server = Self(Postgres::start(&["max_connections=12"])?);
        let password = Postgres::PASSWORD;
        server.sql(&format!("CREATE ROLE app LOGIN PASSWORD '{password}'"));
        server.sql(
            "CREATE TABLE orders AS SELECT n AS id, n % 7 AS day FROM generate_series(1, 20000) n",
        );
        server.sql("GRANT ALL ON orders TO app");
        Some(server)
    }

    async fn app(&self) -> Result<Client, tokio_postgres::Error> {
        let address = ("127.0.0.1", self.port());
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut config = tokio_postgres::Config::new();
        config.user("app").dbname("postgres");
        config.password(Postgres::PASSWORD);
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        #[expect(clippy::disallowed_methods, reason = "the test's own connection")]
        tokio::spawn(connection);
        Ok(client)
    }

    fn registry<A: Action + 'static>(
        &self,
        name: &str,
        action: impl Fn(PostgresServers) -> A,
    ) -> ActionRegistry {
        let mut config = PostgresServerConfig::new(shop(), self.address(), "postgres");
        config.password = Some(Postgres::PASSWORD.into());
        let servers = PostgresServers::default().server(name, config).unwrap();
        let mut actions = ActionRegistry::default();
        actions.register(action(servers)).unwrap();
        actions
    }

    async fn until(&self, question: &str) {
        crate::application::until(question, || self.sql(question) == "t").await;
    }
}

#[tokio::test]
async fn a_query_that_runs_for_ever_is_canceled_and_its_session_lives() {
    let Some(server) = Server::start() else {
        return;
    };
    let client = server.app().await.unwrap();
    let begun = async {
        server.until("SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND usename = 'app' AND clock_timestamp() - query_start > '0.3 s')").await;
        let actions = server.registry("orders-db", PgSessions::cancel_long_queries);
        heal(
            &example("kill_long_running_queries").with("older_than", "200ms"),
            actions,
        )
        .await;
    };
    let (ended, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(600)"), begun);
    let code = ended.unwrap_err().code().cloned();
    assert_eq!(code, Some(tokio_postgres::error::SqlState::QUERY_CANCELED));
    client.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_session_that_holds_a_lock_and_does_nothing_is_ended_and_others_go_on() {
    let Some(server) = Server::start() else {
        return;
    };
    let (idle, waits) = (server.app().await.unwrap(), server.app().await.unwrap());
    idle.batch_execute("BEGIN; UPDATE orders SET day = 0 WHERE id = 1")
        .await
        .unwrap();
    let healing = async {
        server
            .until("SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock')")
            .await;
        server.until("SELECT clock_timestamp() - max(state_change) > '0.3 s' FROM pg_stat_activity WHERE state = 'idle in transaction'").await;
        let actions = server.registry("orders-db", PgSessions::terminate_idle_in_transaction);
        heal(
            &example("end_idle_transactions").with("older_than", "200ms"),
            actions,
        )
        .await;
    };
    let (updated, ()) = tokio::join!(
        waits.batch_execute("UPDATE orders SET day = 9 WHERE id = 1"),
        healing
    );
    updated.unwrap();
    assert!(idle.batch_execute("SELECT 1").await.is_err());
    assert_eq!(server.sql("SELECT day FROM orders WHERE id = 1"), "9");
}

#[tokio::test]
async fn a_server_full_of_forgotten_connections_takes_new_ones() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut forgotten = Vec::new();
    let refused = loop {
        match server.app().await {
            Ok(client) => forgotten.push(client),
            Err(error) => break error,
        }
    };
    let full = Some(&tokio_postgres::error::SqlState::TOO_MANY_CONNECTIONS);
    assert!(refused.code() == full && forgotten.len() > 5, "{refused}");
    server.until("SELECT clock_timestamp() - max(backend_start) > '0.5 s' FROM pg_stat_activity WHERE usename = 'app'").await;
    let actions = server.registry("orders-db", PgSessions::reset_connections);
    heal(
        &example("reset_idle_connections").with("older_than", "200ms"),
        actions,
    )
    .await;
    server.app().await.unwrap();
}

#[tokio::test]
async fn a_bloated_table_is_cleaned_and_its_old_rows_are_frozen() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("DELETE FROM orders");
    let number = |question: &str| server.sql(question).parse::<u64>().unwrap();
    let bytes = || number("SELECT pg_relation_size('orders')");
    let age = || number("SELECT age(relfrozenxid) FROM pg_class WHERE relname = 'orders'");
    let before = (bytes(), age());
    assert!(before.0 > 100_000 && before.1 > 0, "{before:?}");
    let pick = example("vacuum_tables");
    heal(&pick, server.registry("orders-db", PgVacuum::new)).await;
    assert_eq!(bytes(), 0);
    assert!(age() < before.1, "{} of {}", age(), before.1);
}

#[tokio::test]
async fn an_invalid_index_is_built_anew() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("UPDATE orders SET id = 2 WHERE id = 1");
    let build = "CREATE UNIQUE INDEX CONCURRENTLY orders_by_day ON orders (id)";
    let built = server.app().await.unwrap().batch_execute(build).await;
    assert!(built.is_err(), "only the owner may");
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.sql(build)));
    assert!(failed.is_err(), "an id stands twice");
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'orders_by_day'::regclass";
    assert_eq!(server.sql(valid), "f");
    server.sql("DELETE FROM orders WHERE ctid IN (SELECT max(ctid) FROM orders WHERE id = 2)");
    heal(
        &example("rebuild_indexes"),
        server.registry("orders-db", PgReindex::new),
    )
    .await;
    assert_eq!(server.sql(valid), "t");
}

#[tokio::test]
async fn a_standby_takes_over_when_the_primary_is_gone() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let standby = Server(server.standby(""));
    let streams = "SELECT EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming')";
    standby.until(streams).await;
    server.0.kill();
    standby.until(&format!("SELECT NOT ({streams})")).await;
    let pick = example("failover_to_replica");
    heal(
        &pick,
        standby.registry("orders-standby", PgPromoteReplica::new),
    )
    .await;
    standby.sql("INSERT INTO orders VALUES (0, 0)");
}
