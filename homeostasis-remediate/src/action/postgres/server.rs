//! The `PostgreSQL` servers that actions may talk to, and sessions on them.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{
    Clock, ConfigError, Context, ErrorKind, Secret, Target, Timestamp, Violation, Violations,
    timeout,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Connection, Error, NoTls, Row};

use crate::action::address::host_and_port;
use crate::action::servers::{ServerConfig, Servers};
use crate::action::{ActionCall, ActionError, ArgumentProblem, Param};

/// What our sessions call themselves; no action ends a session of that name.
pub(super) const APPLICATION: &str = "homeostasis";

/// The longest a statement may take when a call has no deadline.
const LONGEST: Duration = Duration::from_secs(3600);

/// Which server, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresServerConfig {
    /// Whom an action on it affects: what the blast radius is computed from.
    pub target: Target,
    /// Host and port: `127.0.0.1:5432`. Without TLS.
    pub address: String,
    /// The role to log in as. Ending sessions of others takes `pg_signal_backend` and
    /// `pg_read_all_stats`; maintenance takes the owner of the table.
    pub user: String,
    /// Its password; default none. It is never shown and never serialized.
    #[serde(default, skip_serializing)]
    pub password: Option<Secret>,
    /// The database; default that with the name of the role.
    #[serde(default)]
    pub database: Option<String>,
    /// How long connecting and logging in may take; default 5 s.
    #[serde(
        default = "PostgresServerConfig::default_timeout",
        with = "duration_text"
    )]
    pub connect_timeout: Duration,
    /// How long a statement waits for a lock, so that nobody queues up behind it; default 5 s,
    /// at most 24 days.
    #[serde(
        default = "PostgresServerConfig::default_timeout",
        with = "duration_text"
    )]
    pub lock_timeout: Duration,
}

impl PostgresServerConfig {
    /// The defaults for the server at `address` of `target`, as `user`.
    pub fn new(target: Target, address: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            target,
            address: address.into(),
            user: user.into(),
            password: None,
            database: None,
            connect_timeout: Self::default_timeout(),
            lock_timeout: Self::default_timeout(),
        }
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(5)
    }
}

impl ServerConfig for PostgresServerConfig {
    const PARAM: &'static str = "server";
    const DOC: &'static str = "which server";
    const EXPECTED: &'static str = "a registered server";
    const PATH: &'static str = "servers";

    fn target(&self) -> &Target {
        &self.target
    }

    fn violations(&self, path: &str) -> Violations {
        let mut wrong = Violations::new();
        let mut add = |field: &str, found: String, expected: &str| {
            wrong.push(Violation::new(format!("{path}.{field}"), found, expected));
        };
        if let Err((found, expected)) = host_and_port(&self.address) {
            add("address", found, expected);
        }
        if self.user.is_empty() {
            add("user", "\"\"".to_owned(), "the name of a role");
        }
        if self.database.as_deref() == Some("") {
            add("database", "\"\"".to_owned(), "a name, or left out");
        }
        let longest = Duration::from_secs(24 * 86_400);
        for (field, limit) in [
            ("connect_timeout", self.connect_timeout),
            ("lock_timeout", self.lock_timeout),
        ] {
            if limit < Duration::from_millis(1) || limit > longest {
                add(field, format!("{limit:?}"), "between 1ms and 24d");
            }
        }
        wrong
    }
}

/// The `PostgreSQL` servers that playbooks may name. Cheap to clone, so that all actions share them.
///
/// Each call has a session of its own, with a limit of time for every statement (what is left until
/// the deadline, taken anew before each that changes something) and for every lock, and with
/// `search_path` set to `pg_catalog`. What the server still does when a call is dropped ends by that
/// limit.
///
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::remediate::action::{PgReindex, PgSessions, PostgresServerConfig, PostgresServers};
///
/// let mut orders = PostgresServerConfig::new(Target::service("orders")?, "127.0.0.1:5432", "healer");
/// orders.password = Some("hunter2".into());
/// let servers = PostgresServers::default().server("orders-db", orders)?;
/// let actions = (PgSessions::cancel_long_queries(servers.clone()), PgReindex::new(servers));
/// assert!(!format!("{actions:?}").contains("hunter2"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PostgresServers {
    known: Servers<PostgresServerConfig>,
}

impl PostgresServers {
    /// The same with one server more.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, the address is not `host:port`, the user or the
    /// database is empty, or a limit of time is not between 1 ms and 24 days.
    pub fn server(
        mut self,
        name: impl Into<String>,
        config: PostgresServerConfig,
    ) -> Result<Self, ConfigError> {
        self.known.add(name.into(), config)?;
        Ok(self)
    }

    /// The parameter that names one.
    pub(super) fn param() -> Param {
        Servers::<PostgresServerConfig>::param()
    }

    pub(super) fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        self.known.check(args)
    }

    pub(super) fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.known.touches(target, args)
    }

    /// Logs in to the server that `call` names. Whatever fails, nothing was touched.
    pub(super) async fn open(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
    ) -> Result<Session, ActionError> {
        let server = self.known.of(call)?;
        let what = format!("logging in at {}", server.address);
        let deadline = call.deadline.min(cx.now() + LONGEST);
        let login = login(server, Arc::clone(cx.clock()), deadline, &what);
        match timeout(&**cx.clock(), server.connect_timeout, login).await {
            Ok(session) => session,
            Err(_) => Err(ActionError::not_begun(
                what,
                ErrorKind::Timeout,
                format!("no answer within {:?}", server.connect_timeout),
            )),
        }
    }
}

async fn login(
    server: &Arc<PostgresServerConfig>,
    clock: Arc<dyn Clock>,
    deadline: Timestamp,
    what: &str,
) -> Result<Session, ActionError> {
    let stream = TcpStream::connect(&server.address)
        .await
        .map_err(|error| ActionError::not_begun(what, ErrorKind::Transient, error))?;
    let mut login = tokio_postgres::Config::new();
    login
        .user(&server.user)
        .application_name(APPLICATION)
        .ssl_mode(SslMode::Disable);
    if let Some(database) = &server.database {
        login.dbname(database);
    }
    if let Some(password) = &server.password {
        login.password(password.expose());
    }
    let (client, connection) = login
        .connect_raw(stream, NoTls)
        .await
        .map_err(|error| not_begun(server, what, &error))?;
    let mut session = Session {
        client,
        connection,
        server: Arc::clone(server),
        clock,
        deadline,
    };
    let limits = session.limits(server.lock_timeout);
    let settings = format!(
        "{limits}; SET search_path = pg_catalog; SET TimeZone = 'UTC'; SET DateStyle = 'ISO'"
    );
    let set = session.run(&settings).await;
    set.map_err(|error| not_begun(server, what, &error))?;
    Ok(session)
}

/// Zero would mean without end.
fn millis(duration: Duration) -> u128 {
    duration.as_millis().clamp(1, 2_147_483_647)
}

/// A session with its limits of time; dropping it closes the connection.
pub(super) struct Session {
    client: Client,
    connection: Connection<TcpStream, NoTlsStream>,
    server: Arc<PostgresServerConfig>,
    clock: Arc<dyn Clock>,
    deadline: Timestamp,
}

impl Session {
    /// How long a statement may take: it ends a little before the call is dropped, so that its end is
    /// heard.
    pub(super) fn left(&self) -> Duration {
        let left = self.deadline.since(self.clock.now());
        left.saturating_sub((left / 10).min(Duration::from_secs(2)))
    }

    /// The settings that limit the next statement.
    fn limits(&self, locks: Duration) -> String {
        let (left, locks) = (millis(self.left()), locks.as_millis());
        format!("SET statement_timeout = {left}; SET lock_timeout = {locks}")
    }

    /// Asks something that changes nothing.
    pub(super) async fn ask(
        &mut self,
        what: &str,
        question: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, ActionError> {
        let rows = self.rows(question, params).await;
        rows.map_err(|error| not_begun(&self.server, what, &error))
    }

    /// The rows of one statement, with the server's own error.
    pub(super) async fn rows(
        &mut self,
        statement: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        tokio::select! {
            biased;
            rows = self.client.query(statement, params) => rows,
            // The statement then fails as well, and tells why.
            _ = &mut self.connection => self.client.query(statement, params).await,
        }
    }

    /// Runs statements without parameters.
    async fn run(&mut self, statements: &str) -> Result<(), Error> {
        tokio::select! {
            biased;
            done = self.client.batch_execute(statements) => done,
            _ = &mut self.connection => self.client.batch_execute(statements).await,
        }
    }

    /// Runs one statement that changes something, within what is left of the time.
    pub(super) async fn act(&mut self, what: &str, statement: &str) -> Result<(), ActionError> {
        self.act_waiting(what, statement, self.server.lock_timeout)
            .await
    }

    /// The same, waiting so long for each lock; with zero for as long as the statement may take.
    pub(super) async fn act_waiting(
        &mut self,
        what: &str,
        statement: &str,
        locks: Duration,
    ) -> Result<(), ActionError> {
        if self.left().is_zero() {
            let detail = "no time is left until the deadline";
            return Err(ActionError::not_begun(what, ErrorKind::Timeout, detail));
        }
        let limits = self.limits(locks);
        let set = self.run(&limits).await;
        set.map_err(|error| not_begun(&self.server, what, &error))?;
        let done = self.run(statement).await;
        done.map_err(|error| self.failed(what, &error))
    }

    /// A failure on the way.
    pub(super) fn failed(&self, what: &str, error: &Error) -> ActionError {
        ActionError::Failed {
            what: what.to_owned(),
            kind: kind(error),
            source: Some(told(&self.server, error).into()),
        }
    }
}

fn not_begun(server: &PostgresServerConfig, what: &str, error: &Error) -> ActionError {
    ActionError::not_begun(what, kind(error), told(server, error))
}

/// What the server said, without the password.
fn told(server: &PostgresServerConfig, error: &Error) -> String {
    use std::error::Error as _;
    let said = match (error.as_db_error(), error.source()) {
        (Some(refusal), _) => format!("{} ({})", refusal.message(), refusal.code().code()),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    };
    match &server.password {
        Some(password) => password.hide_in(&said),
        None => said,
    }
}

/// Whether trying again may help.
fn kind(error: &Error) -> ErrorKind {
    let Some(code) = error.code() else {
        // A log-in that cannot succeed is an error of ours and not of the connection.
        let is_ours = error.to_string().starts_with("invalid configuration");
        return if is_ours {
            ErrorKind::Permanent
        } else {
            ErrorKind::Transient
        };
    };
    match code {
        // It is also what the limit of time ends a statement with.
        &SqlState::QUERY_CANCELED => ErrorKind::Timeout,
        &SqlState::LOCK_NOT_AVAILABLE
        | &SqlState::T_R_DEADLOCK_DETECTED
        | &SqlState::T_R_SERIALIZATION_FAILURE
        | &SqlState::CANNOT_CONNECT_NOW
        | &SqlState::ADMIN_SHUTDOWN
        | &SqlState::CRASH_SHUTDOWN => ErrorKind::Transient,
        // Connection exceptions and insufficient resources.
        code if code.code().starts_with("08") || code.code().starts_with("53") => {
            ErrorKind::Transient
        }
        _ => ErrorKind::Permanent,
    }
}
