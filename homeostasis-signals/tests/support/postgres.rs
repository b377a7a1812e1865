//! A `PostgreSQL` server of the test's own.

use std::path::PathBuf;
use std::process::Command;

use homeostasis::core::testing::engine::{Engine, Scratch, find, free_port};
use homeostasis::signals::PostgresProbeConfig;

use super::{PASSWORD, START, open_to_all, run, target, unprivileged};

const PLACES: &[&str] = &["/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin"];

/// A server with the superuser `postgres` and the role `health`, both with the password.
#[derive(Debug)]
pub(crate) struct Postgres {
    bin: PathBuf,
    data: PathBuf,
    engine: Option<Engine>,
    pub(crate) port: u16,
    _scratch: Scratch,
}

impl Postgres {
    /// None if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let mut server = Self::prepare()?;
        let password = server.data.with_file_name("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let mut initdb = unprivileged(&server.bin.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-N", "--no-locale"]);
        initdb.arg("-D").arg(&server.data);
        run(initdb.arg("--pwfile").arg(&password));
        server.launch();
        server.sql(&format!("CREATE ROLE health LOGIN PASSWORD '{PASSWORD}'"));
        Some(server)
    }

    /// A server that follows this one.
    pub(crate) fn standby(&self) -> Self {
        let mut standby = Self::prepare().unwrap();
        let mut backup = unprivileged(&self.bin.join("pg_basebackup"));
        backup
            .env("PGPASSWORD", PASSWORD)
            .arg("-D")
            .arg(&standby.data);
        let url = format!("host=127.0.0.1 port={} user=postgres", self.port);
        run(backup.args(["-R", "-c", "fast", "-d", &url]));
        standby.launch();
        standby
    }

    fn prepare() -> Option<Self> {
        let bin = find("initdb", PLACES)?.canonicalize().unwrap();
        let scratch = Scratch::new();
        open_to_all(scratch.path());
        Some(Self {
            bin: bin.parent().unwrap().to_owned(),
            data: scratch.path().join("data"),
            engine: None,
            port: free_port(),
            _scratch: scratch,
        })
    }

    /// Starts it again, on the same port with the same data.
    pub(crate) fn launch(&mut self) {
        let mut command = unprivileged(&self.bin.join("postgres"));
        command
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=20",
        ] {
            command.args(["-c", setting]);
        }
        let engine = self.engine.insert(Engine::start(command));
        let mut ready = Command::new(self.bin.join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        engine.wait_until("server", START, || ready.status().unwrap().success());
    }

    pub(crate) fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    /// Kills it; what it listened on is closed.
    pub(crate) fn kill(&mut self) {
        self.engine = None;
    }

    fn psql(&self, statement: &str) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        psql.args(["-U", "postgres", "-X", "-A", "-t", "-c", statement]);
        psql.env("PGPASSWORD", PASSWORD);
        psql
    }

    /// Runs a statement as the superuser.
    pub(crate) fn sql(&self, statement: &str) -> String {
        run(&mut self.psql(statement)).trim().to_owned()
    }

    /// Waits until `question` is answered with true.
    pub(crate) fn wait_until(&mut self, question: &str) {
        let mut psql = self.psql(question);
        let is_so = || String::from_utf8_lossy(&psql.output().unwrap().stdout).trim() == "t";
        self.engine().wait_until(question, START, is_so);
    }

    /// Somebody who stays logged in.
    pub(crate) fn session(&self) -> Engine {
        let mut engine = Engine::start(self.psql("SELECT pg_sleep(600)"));
        let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        engine.wait_until("session", START, || self.sql(active) == "1");
        engine
    }

    pub(crate) fn config(&self) -> PostgresProbeConfig {
        let address = format!("127.0.0.1:{}", self.port);
        let mut config = PostgresProbeConfig::new("db", target(), address, "health");
        config.password = Some(PASSWORD.into());
        config.database = Some("postgres".to_owned());
        // A busy machine is slow, and that is not what is tested.
        config.timeout = std::time::Duration::from_secs(10);
        config.slow_after = config.timeout;
        config
    }
}
