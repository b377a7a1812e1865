//! A real `PostgreSQL` server of the test's own, and standbys of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::testing::engine::{Engine, Scratch, find, free_port};

const PLACES: &[&str] = &["/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin"];

/// How long starting may take, and what [`Postgres::wait_until`] waits for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server on a port of its own, with the superuser `postgres`; killed and removed when this is dropped.
///
/// Everybody logs in with a password (`scram-sha-256`) over the loopback; there is no socket, no fsync and
/// no autovacuum. A statement is run by `psql`, in a session of its own. Whatever does not work panics
/// with a sentence: it is for tests.
///
/// # Examples
/// ```
/// use homeostasis::core::testing::postgres::Postgres;
/// let Some(server) = Postgres::start(&[]) else { return };
/// assert_eq!(server.sql("SELECT 1 + 1"), "2");
/// ```
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    data: PathBuf,
    settings: Vec<String>,
    database: String,
    engine: Option<Engine>,
    port: u16,
    _scratch: Scratch,
}

impl Postgres {
    /// The password of the superuser, which roles of tests may share.
    pub const PASSWORD: &str = "h-u-n-t-e-r-2";

    /// A server with these settings more (`max_connections=12`); `None` if it is not installed, as for
    /// [`find`].
    ///
    /// # Panics
    /// It does not start.
    pub fn start(settings: &[&str]) -> Option<Self> {
        let mut server = Self::prepare(settings)?;
        let password = server.data.with_file_name("password");
        std::fs::write(&password, Self::PASSWORD).expect("the file with the password");
        let mut initdb = unprivileged(&server.bin.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-N"]);
        initdb.args(["--no-locale", "-E", "UTF8", "-D"]);
        run(initdb.arg(&server.data).arg("--pwfile").arg(&password));
        server.launch();
        Some(server)
    }

    /// A server that follows this one, with these lines more in its file of settings.
    ///
    /// # Panics
    /// It cannot be copied, or does not start.
    pub fn standby(&self, lines: &str) -> Self {
        let settings: Vec<_> = self.settings.iter().map(String::as_str).collect();
        let mut standby = Self::prepare(&settings).expect("it is installed");
        standby.database.clone_from(&self.database);
        let mut backup = unprivileged(&self.bin.join("pg_basebackup"));
        backup.env("PGPASSWORD", Self::PASSWORD);
        let url = format!("host=127.0.0.1 port={} user=postgres", self.port);
        backup.arg("-D").arg(&standby.data);
        run(backup.args(["-R", "-c", "fast", "-d", &url]));
        let file = standby.data.join("postgresql.auto.conf");
        let written = std::fs::read_to_string(&file).expect("the settings of a copy");
        std::fs::write(&file, format!("{written}\n{lines}\n")).expect("the settings of a copy");
        standby.launch();
        standby
    }

    fn prepare(settings: &[&str]) -> Option<Self> {
        let bin = find("initdb", PLACES)?;
        let bin = bin.canonicalize().expect("the program");
        let scratch = Scratch::new();
        open_to_all(scratch.path());
        Some(Self {
            bin: bin.parent().expect("a folder").to_owned(),
            data: scratch.path().join("data"),
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            database: "postgres".to_owned(),
            engine: None,
            port: free_port(),
            _scratch: scratch,
        })
    }

    /// Starts it again, on the same port with the same data.
    ///
    /// # Panics
    /// It does not start.
    #[expect(clippy::disallowed_methods, reason = "test support runs real programs")]
    pub fn launch(&mut self) {
        let mut command = unprivileged(&self.bin.join("postgres"));
        command.arg("-D").arg(&self.data);
        command.args(["-p", &self.port.to_string()]);
        let ours = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "autovacuum=off",
            "max_connections=20",
        ];
        for setting in ours
            .into_iter()
            .chain(self.settings.iter().map(String::as_str))
        {
            command.args(["-c", setting]);
        }
        let engine = self.engine.insert(Engine::start(command));
        let mut ready = Command::new(self.bin.join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        engine.wait_until("server", PATIENCE, || {
            ready.status().expect("pg_isready").success()
        });
    }

    /// Makes a database, in which [`sql`](Self::sql) works from now on.
    #[must_use]
    pub fn with_database(mut self, name: &str) -> Self {
        self.sql(&format!("CREATE DATABASE {name}"));
        name.clone_into(&mut self.database);
        self
    }

    /// Its port of the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its processes.
    ///
    /// # Panics
    /// It was [killed](Self::kill).
    pub fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("a server that runs")
    }

    /// Kills it; what it listened on is closed, its data stay.
    pub fn kill(&mut self) {
        self.engine = None;
    }

    /// The client for a statement of the superuser, not yet run.
    #[expect(clippy::disallowed_methods, reason = "test support runs real programs")]
    pub fn psql(&self, statement: &str) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        psql.args(["-U", "postgres", "-d", &self.database, "-X", "-A", "-t"]);
        psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-c", statement]);
        psql.env("PGPASSWORD", Self::PASSWORD);
        psql
    }

    /// Runs a statement as the superuser; what it prints, without the space around it.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        run(&mut self.psql(statement)).trim().to_owned()
    }

    /// Waits until `question` is answered with true (`t`).
    ///
    /// # Panics
    /// It is not within two minutes, or the server ended.
    pub fn wait_until(&mut self, question: &str) {
        let mut psql = self.psql(question);
        self.engine().wait_until(question, PATIENCE, || {
            psql.output().expect("psql").stdout.trim_ascii() == b"t"
        });
    }
}

/// Lets everybody write there: [`unprivileged`] programs may be somebody else.
///
/// # Panics
/// The rights cannot be changed.
pub fn open_to_all(folder: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let all = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder, all).expect("the rights of a folder of ours");
    }
    #[cfg(not(unix))]
    let _ = folder;
}

/// `program` as somebody without rights where we are root: servers refuse to be.
#[expect(clippy::disallowed_methods, reason = "test support runs real programs")]
pub fn unprivileged(program: &Path) -> Command {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            command.arg(program);
            return command;
        }
    }
    Command::new(program)
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().expect("a program that starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}
