//! Asks a `PostgreSQL` server.

use std::error::Error as _;
use std::time::Duration;

use homeostasis_core::{ConfigError, Context, Secret, Target, Violation, Violations};
use serde::{Deserialize, Serialize};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, NoTls, SimpleQueryMessage};

use super::check::Check;
use super::conversation::{Answer, Failure, Stage, Terms, probe_by_conversation};

/// First bytes of what a server may say first: authentication, error, notice, version.
const FIRST: &[u8] = b"RENv";

/// Which server is asked, as whom, and what it must be able to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whom it is about.
    pub target: Target,
    /// Host and port: `127.0.0.1:5432`.
    pub address: String,
    /// The role to log in as.
    pub user: String,
    /// Its password; default none. It is never shown and never serialized.
    #[serde(default, skip_serializing)]
    pub password: Option<Secret>,
    /// The database; default that with the name of the role.
    #[serde(default)]
    pub database: Option<String>,
    /// Whether the server must accept writes; default true. Nothing is written to find out.
    #[serde(default = "PostgresProbeConfig::default_writable")]
    pub writable: bool,
    /// How far a standby may lag, or the standbys of a primary, before that is degraded; default
    /// it is not asked. On a primary the role must be a member of `pg_monitor` to see them.
    #[serde(default, with = "crate::duration_text::option")]
    pub max_replication_lag: Option<Duration>,
    /// A good answer that took longer means degraded; default 500 ms.
    #[serde(
        default = "PostgresProbeConfig::default_slow_after",
        with = "crate::duration_text"
    )]
    pub slow_after: Duration,
    /// How often it is asked; default 30 s.
    #[serde(
        default = "PostgresProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long it may take, log-in included; default 2 s. The server stops a statement that takes
    /// longer.
    #[serde(
        default = "PostgresProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
}

impl PostgresProbeConfig {
    /// The defaults for asking the server at `address` of `target` as `user`.
    pub fn new(
        name: impl Into<String>,
        target: Target,
        address: impl Into<String>,
        user: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            target,
            address: address.into(),
            user: user.into(),
            password: None,
            database: None,
            writable: Self::default_writable(),
            max_replication_lag: None,
            slow_after: Self::default_slow_after(),
            interval: Self::default_interval(),
            timeout: Self::default_timeout(),
        }
    }

    fn terms(&self) -> Terms<'_> {
        Terms {
            check: Check {
                name: &self.name,
                target: &self.target,
                interval: self.interval,
                timeout: self.timeout,
            },
            address: &self.address,
            slow_after: self.slow_after,
        }
    }

    fn default_writable() -> bool {
        true
    }

    fn default_slow_after() -> Duration {
        Duration::from_millis(500)
    }

    fn default_interval() -> Duration {
        Duration::from_secs(30)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(2)
    }
}

/// Logs in to a `PostgreSQL` server, asks `SELECT 1` and whether it accepts writes, and logs out.
///
/// Each asking has a connection of its own without TLS: a pool would hide that nobody can log in
/// any more. Nothing is spawned; past the time limit the connection is closed.
///
/// It measures `up` (1 if the answer is good, 0 if not), `probe_latency_seconds` if there was any
/// answer, and `postgres_replication_lag_seconds` if that is asked and known, all with the label
/// `check`, and reports
/// - *healthy:* a good answer in time;
/// - *degraded:* a good answer that took longer than `slow_after`, or a lag beyond
///   `max_replication_lag`;
/// - *unhealthy:* anything else. The detail begins with the reason: `connection refused`,
///   `connection reset`, `unreachable`, `closed`, `timeout`, `auth`, `database missing`,
///   `too many connections`, `starting up`, `shutting down`, `not ready`, `out of memory`,
///   `disk full`, `read-only` (which says whether it is in recovery), `wrong answer`, or `refused`.
///
/// # Examples
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::signals::{PostgresProbe, PostgresProbeConfig};
///
/// let mut config = PostgresProbeConfig::new("orders-db", Target::service("orders")?, "127.0.0.1:5432", "health");
/// config.password = Some("hunter2".into());
/// assert!(!format!("{config:?}").contains("hunter2"));
/// assert!(PostgresProbe::new(config).is_ok());
///
/// let config = PostgresProbeConfig::new("orders-db", Target::service("orders")?, "127.0.0.1", "");
/// assert_eq!(PostgresProbe::new(config).unwrap_err().violations().len(), 2);
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug)]
pub struct PostgresProbe {
    config: PostgresProbeConfig,
    stage: Stage,
}

impl PostgresProbe {
    /// A probe of a server.
    ///
    /// # Errors
    /// - The name or the user is empty, or the address is not `host:port`.
    /// - A duration is zero, or `slow_after` is longer than `timeout`.
    pub fn new(config: PostgresProbeConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.terms().validate(&mut wrong);
        if config.user.is_empty() {
            wrong.push(Violation::new("user", "\"\"", "the name of a role"));
        }
        if config.database.as_deref() == Some("") {
            wrong.push(Violation::new("database", "\"\"", "a name, or left out"));
        }
        if config.max_replication_lag.is_some_and(|lag| lag.is_zero()) {
            wrong.push(Violation::new("max_replication_lag", "0s", "more than 0s"));
        }
        wrong.into_result(Self {
            config,
            stage: Stage::default(),
        })
    }

    async fn converse(&self, _: &Context) -> Result<Answer, Failure> {
        let stream = self.config.terms().dial(&self.stage).await?;
        self.stage.is("logging in at");
        let mut login = tokio_postgres::Config::new();
        login
            .user(&self.config.user)
            .application_name("homeostasis")
            .ssl_mode(SslMode::Disable);
        if let Some(database) = &self.config.database {
            login.dbname(database);
        }
        if let Some(password) = &self.config.password {
            login.password(password.expose());
        }
        let (client, mut connection) = login
            .connect_raw(stream.beginning_with(FIRST), NoTls)
            .await
            .map_err(|error| self.failure(&error))?;
        self.stage.is("waiting for the answer of");
        let statements = self.statements();
        let closed = || format!("closed: {} closed the connection", self.config.address);
        let rows = tokio::select! {
            biased;
            rows = client.simple_query(&statements) => rows,
            ended = &mut connection => Err(ended
                .err()
                .ok_or_else(|| Failure::Silent(closed()))?),
        };
        let answer = self.judge(&rows.map_err(|error| self.failure(&error))?);
        // Says good-bye: a server logs connections that just end.
        self.stage.is("logging out of");
        drop(client);
        let _ = connection.await;
        answer
    }

    /// One transaction, because a pooler between us and the server may give every transaction
    /// another session.
    fn statements(&self) -> String {
        // Standbys that received all and replayed all lag by nothing, however old the last write.
        const LAG: &str = "CASE WHEN NOT pg_is_in_recovery() \
            THEN (SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication) \
            WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() \
            AND EXISTS (SELECT 1 FROM pg_stat_wal_receiver) THEN 0 \
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END";
        let limit = self.config.timeout.as_millis().clamp(1, 2_147_483_647);
        let lag = self.config.max_replication_lag.map_or("NULL", |_| LAG);
        format!(
            "BEGIN; SET LOCAL statement_timeout = {limit}; \
            SELECT 1, pg_is_in_recovery(), current_setting('transaction_read_only'), {lag}; COMMIT"
        )
    }

    fn judge(&self, messages: &[SimpleQueryMessage]) -> Result<Answer, Failure> {
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let cell = |n| row.and_then(|row| row.try_get(n).ok().flatten());
        if cell(0) != Some("1") {
            let found = format!("wrong answer: SELECT 1 gave {:?}", cell(0));
            return Err(Failure::Refused(found));
        }
        let recovering = cell(1) == Some("t");
        if self.config.writable && (recovering || cell(2) != Some("off")) {
            return Err(Failure::Refused(if recovering {
                "read-only: in recovery".to_owned()
            } else {
                "read-only: transaction_read_only is on".to_owned()
            }));
        }
        let mut answer = Answer {
            detail: "SELECT 1 answered".to_owned(),
            ..Answer::default()
        };
        let lag = cell(3).and_then(|text| text.parse::<f64>().ok());
        match (self.config.max_replication_lag, lag) {
            (Some(limit), Some(lag)) => {
                // The clocks of both servers may differ.
                let lag = lag.max(0.0);
                answer
                    .measured
                    .push(("postgres_replication_lag_seconds", lag));
                answer.worse = (lag > limit.as_secs_f64())
                    .then(|| format!("replication lag: {lag:.3}s, more than {limit:?}"));
            }
            (Some(_), None) if recovering => {
                let unknown = "replication lag: not known, no transaction was replayed since start";
                answer.worse = Some(unknown.to_owned());
            }
            _ => {}
        }
        Ok(answer)
    }

    fn failure(&self, error: &Error) -> Failure {
        let address = &self.config.address;
        if let Some(refusal) = error.as_db_error() {
            let (code, message) = (refusal.code(), refusal.message());
            let words = format!("{}: {message} ({})", name_of(code, message), code.code());
            return Failure::Refused(self.hide(&words));
        }
        if error.is_closed() {
            return Failure::Silent(format!("closed: {address} closed the connection"));
        }
        let mut cause = error.source();
        while let Some(present) = cause {
            if let Some(io) = present.downcast_ref() {
                return Failure::broken(io, address);
            }
            cause = present.source();
        }
        let words = error
            .source()
            .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        Failure::Silent(self.hide(&match error.to_string().as_str() {
            "invalid configuration" | "authentication error" => format!("auth: {words}"),
            _ => format!("wrong answer: {address}: {words}"),
        }))
    }

    fn hide(&self, words: &str) -> String {
        let password = self.config.password.as_ref();
        password.map_or_else(|| words.to_owned(), |password| password.hide_in(words))
    }
}

probe_by_conversation!(PostgresProbe);

/// What everybody calls a refusal. One code stands for three states that only its words tell apart.
fn name_of(code: &SqlState, message: &str) -> &'static str {
    match code {
        &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => "auth",
        &SqlState::INVALID_CATALOG_NAME => "database missing",
        &SqlState::TOO_MANY_CONNECTIONS => "too many connections",
        &SqlState::CANNOT_CONNECT_NOW if message.contains("starting up") => "starting up",
        &SqlState::CANNOT_CONNECT_NOW if message.contains("shutting down") => "shutting down",
        &SqlState::CANNOT_CONNECT_NOW => "not ready",
        &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN => "shutting down",
        &SqlState::QUERY_CANCELED => "timeout",
        &SqlState::OUT_OF_MEMORY => "out of memory",
        &SqlState::DISK_FULL => "disk full",
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_called_what_everybody_calls_them() {
        for (code, message, name) in [
            ("28P01", "password authentication failed", "auth"),
            ("28000", "no pg_hba.conf entry", "auth"),
            ("3D000", "database \"x\" does not exist", "database missing"),
            (
                "53300",
                "sorry, too many clients already",
                "too many connections",
            ),
            ("57P03", "the database system is starting up", "starting up"),
            (
                "57P03",
                "the database system is shutting down",
                "shutting down",
            ),
            (
                "57P03",
                "the database system is in recovery mode",
                "not ready",
            ),
            ("57P01", "terminating connection", "shutting down"),
            (
                "57014",
                "canceling statement due to statement timeout",
                "timeout",
            ),
            ("42501", "permission denied", "refused"),
        ] {
            assert_eq!(name_of(&SqlState::from_code(code), message), name, "{code}");
        }
    }

    #[test]
    fn settings_round_trip_without_the_password() {
        let text = r#"{"name":"db","target":"shop","address":"[::1]:5432","user":"health",
            "password":"hunter2","max_replication_lag":"10s","timeout":"3s"}"#;
        let config: PostgresProbeConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.password, Some(Secret::new("hunter2")));
        assert_eq!(config.max_replication_lag, Some(Duration::from_secs(10)));
        assert!(config.writable);
        let written = serde_json::to_string(&config).unwrap();
        assert!(!written.contains("hunter2"), "{written}");
        let mut expected = config.clone();
        expected.password = None;
        let read: PostgresProbeConfig = serde_json::from_str(&written).unwrap();
        assert_eq!(read, expected);
        assert!(PostgresProbe::new(config).is_ok());
        let mut wrong = read;
        wrong.user.clear();
        wrong.slow_after = Duration::from_secs(9);
        wrong.max_replication_lag = Some(Duration::ZERO);
        let error = PostgresProbe::new(wrong).unwrap_err();
        let paths: Vec<_> = error.violations().iter().map(|v| v.path.as_str()).collect();
        assert_eq!(paths, ["slow_after", "user", "max_replication_lag"]);
    }
}
