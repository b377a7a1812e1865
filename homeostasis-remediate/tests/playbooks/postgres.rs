//! Faults of a real `PostgreSQL` server.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use homeostasis_core::testing::engine::{Engine, Scratch, find, free_port};
use homeostasis_remediate::action::{
    Action, ActionRegistry, PgPromoteReplica, PgReindex, PgSessions, PgVacuum,
    PostgresServerConfig, PostgresServers,
};
use tokio_postgres::{Client, NoTls};

use crate::clinic::heal;
use crate::host::{example, shop};

const PLACES: &[&str] = &["/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin"];
const START: Duration = Duration::from_secs(120);

struct Server {
    bin: PathBuf,
    data: PathBuf,
    engine: Option<Engine>,
    port: u16,
    _scratch: Scratch,
}

/// The server refuses to be root; then it is whoever is called nobody.
fn unprivileged(program: &Path) -> Command {
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    #[expect(clippy::disallowed_methods, reason = "a test runs a real server")]
    let mut command = Command::new(if is_root {
        Path::new("setpriv")
    } else {
        program
    });
    if is_root {
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(program);
    }
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Server {
    /// With a role `app`; none if it is not installed.
    fn start() -> Option<Self> {
        let server = Self::prepare()?;
        let mut initdb = unprivileged(&server.bin.join("initdb"));
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "--no-locale",
            "-E",
            "UTF8",
            "-D",
        ]);
        run(initdb.arg(&server.data));
        let server = server.launch();
        server.sql("CREATE ROLE app LOGIN");
        server.sql(
            "CREATE TABLE orders AS SELECT n AS id, n % 7 AS day FROM generate_series(1, 20000) n",
        );
        server.sql("GRANT ALL ON orders TO app");
        Some(server)
    }

    fn standby(&self) -> Self {
        let standby = Self::prepare().unwrap();
        let mut backup = unprivileged(&self.bin.join("pg_basebackup"));
        let url = format!("host=127.0.0.1 port={} user=postgres", self.port);
        run(backup
            .arg("-D")
            .arg(&standby.data)
            .args(["-R", "-c", "fast", "-d", &url]));
        standby.launch()
    }

    fn prepare() -> Option<Self> {
        let bin = find("initdb", PLACES)?.canonicalize().unwrap();
        let scratch = Scratch::new();
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        Some(Self {
            bin: bin.parent().unwrap().to_owned(),
            data: scratch.path().join("data"),
            engine: None,
            port: free_port(),
            _scratch: scratch,
        })
    }

    fn launch(mut self) -> Self {
        let mut command = unprivileged(&self.bin.join("postgres"));
        command
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "autovacuum=off",
            "max_connections=12",
        ] {
            command.args(["-c", setting]);
        }
        let engine = self.engine.insert(Engine::start(command));
        #[expect(clippy::disallowed_methods, reason = "a test asks a real server")]
        let mut ready = Command::new(self.bin.join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        engine.wait_until("server", START, || ready.status().unwrap().success());
        self
    }

    /// One statement of the superuser, in a session of its own.
    fn sql(&self, statement: &str) -> String {
        #[expect(clippy::disallowed_methods, reason = "a test runs a real client")]
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            "postgres",
            "-X",
        ]);
        run(psql.args(["-v", "ON_ERROR_STOP=1", "-A", "-t", "-q", "-c", statement]))
    }

    async fn app(&self) -> Result<Client, tokio_postgres::Error> {
        let address = ("127.0.0.1", self.port);
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut config = tokio_postgres::Config::new();
        config.user("app").dbname("postgres");
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
        let address = format!("127.0.0.1:{}", self.port);
        let config = PostgresServerConfig::new(shop(), address, "postgres");
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
    let standby = server.standby();
    let streams = "SELECT EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming')";
    standby.until(streams).await;
    server.engine = None;
    standby.until(&format!("SELECT NOT ({streams})")).await;
    let pick = example("failover_to_replica");
    heal(
        &pick,
        standby.registry("orders-standby", PgPromoteReplica::new),
    )
    .await;
    standby.sql("INSERT INTO orders VALUES (0, 0)");
}
