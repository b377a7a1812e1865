//! Asks a Redis server.

mod resp;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use homeostasis_core::{ConfigError, Context, Secret, Target, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::conversation::{Answer, Failure, Stage, Terms, probe_by_conversation, unique};
use resp::{Link, Reply};

/// The command that tells the password.
const AUTH: &str = "AUTH";

/// Which server is asked, as whom, and what it must be able to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whom it is about.
    pub target: Target,
    /// Host and port: `127.0.0.1:6379`.
    pub address: String,
    /// The ACL user (Redis 6 and later); default the server's default user.
    #[serde(default)]
    pub user: Option<String>,
    /// The password; default none. It is never shown and never serialized.
    #[serde(default, skip_serializing)]
    pub password: Option<Secret>,
    /// The number of the database; default 0.
    #[serde(default)]
    pub database: u32,
    /// Whether the server must accept writes; default true. Without, a key that does not exist is
    /// read: that is how a replica is asked.
    #[serde(default = "RedisProbeConfig::default_writable")]
    pub writable: bool,
    /// What the key of each asking begins with; default `homeostasis:probe:`.
    #[serde(default = "RedisProbeConfig::default_key_prefix")]
    pub key_prefix: String,
    /// A good answer that took longer means degraded; default 100 ms.
    #[serde(
        default = "RedisProbeConfig::default_slow_after",
        with = "crate::duration_text"
    )]
    pub slow_after: Duration,
    /// How often it is asked; default 30 s.
    #[serde(
        default = "RedisProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long it may take, log-in included; default 1 s. A key that is left behind expires after
    /// twice as long, at least a second.
    #[serde(
        default = "RedisProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
}

impl RedisProbeConfig {
    /// The defaults for asking the server at `address` of `target`.
    pub fn new(name: impl Into<String>, target: Target, address: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            target,
            address: address.into(),
            user: None,
            password: None,
            database: 0,
            writable: Self::default_writable(),
            key_prefix: Self::default_key_prefix(),
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

    fn default_key_prefix() -> String {
        "homeostasis:probe:".to_owned()
    }

    fn default_slow_after() -> Duration {
        Duration::from_millis(100)
    }

    fn default_interval() -> Duration {
        Duration::from_secs(30)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(1)
    }
}

/// Sets a key in a Redis server (or one that speaks its protocol), reads it back and deletes it.
///
/// Each asking has a connection of its own without TLS, and a key and a value that no other has;
/// the key expires by itself should the probe be killed. Nothing is spawned; past the time limit
/// the connection is closed.
///
/// It measures `up` (1 if the answer is good, 0 if not) and, if there was any answer,
/// `probe_latency_seconds`, both with the label `check`, and reports
/// - *healthy:* a good answer in time;
/// - *degraded:* a good answer that took longer than `slow_after`;
/// - *unhealthy:* anything else. The detail begins with the reason: `connection refused`,
///   `connection reset`, `unreachable`, `closed`, `timeout`, `auth`, `starting up` (LOADING),
///   `read-only` (READONLY), `out of memory` (OOM), `primary down` (MASTERDOWN),
///   `too few replicas` (NOREPLICAS), `cannot save` (MISCONF), `cluster` (CLUSTERDOWN, MOVED),
///   `too many connections`, `wrong value`, `wrong answer`, or `refused`.
///
/// # Examples
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::signals::{RedisProbe, RedisProbeConfig};
///
/// let mut config = RedisProbeConfig::new("cache", Target::service("shop")?, "127.0.0.1:6379");
/// config.password = Some("hunter2".into());
/// assert!(!format!("{config:?}").contains("hunter2"));
/// assert!(RedisProbe::new(config.clone()).is_ok());
///
/// config.user = Some("health".to_owned());
/// config.password = None;
/// let error = RedisProbe::new(config).unwrap_err();
/// assert!(error.to_string().starts_with("password is missing, expected"), "{error}");
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug)]
pub struct RedisProbe {
    config: RedisProbeConfig,
    stage: Stage,
    asked: AtomicU64,
}

impl RedisProbe {
    /// A probe of a server.
    ///
    /// # Errors
    /// - The name is empty, or the address is not `host:port`.
    /// - A duration is zero, or `slow_after` is longer than `timeout`.
    /// - There is a user and no password.
    pub fn new(config: RedisProbeConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.terms().validate(&mut wrong);
        if config.user.is_some() && config.password.is_none() {
            wrong.push(Violation::new("password", "", "the password of the user"));
        }
        wrong.into_result(Self {
            config,
            stage: Stage::default(),
            asked: AtomicU64::new(0),
        })
    }

    async fn converse(&self, cx: &Context) -> Result<Answer, Failure> {
        let config = &self.config;
        let mut link = Link::new(config.terms().dial(&self.stage).await?);
        self.stage.is("logging in at");
        if let Some(password) = &config.password {
            let words = [AUTH].into_iter().chain(config.user.as_deref());
            let words: Vec<&str> = words.chain([password.expose()]).collect();
            self.expect_ok(&mut link, &words).await?;
        }
        if config.database != 0 {
            let number = config.database.to_string();
            self.expect_ok(&mut link, &["SELECT", &number]).await?;
        }
        let value = unique(cx, &config.name, &self.asked);
        let key = format!("{}{value}", config.key_prefix);
        if !config.writable {
            self.stage.is("waiting for GET from");
            return match self.ask(&mut link, &["GET", &key]).await? {
                Reply::Nothing => Ok(Self::works("GET answered")),
                other => Err(self.unexpected("GET of a key that nobody set", &other)),
            };
        }
        self.stage.is("waiting for SET from");
        let expiry = (config.timeout * 2).max(Duration::from_secs(1)).as_millis();
        let expiry = expiry.to_string();
        self.expect_ok(&mut link, &["SET", &key, &value, "PX", &expiry])
            .await?;
        self.stage.is("waiting for GET from");
        match self.ask(&mut link, &["GET", &key]).await? {
            Reply::Text(found) if found == value.as_bytes() => {}
            Reply::Text(_) | Reply::Nothing => {
                let why = "wrong value: GET did not give what SET had stored";
                return Err(Failure::Refused(why.to_owned()));
            }
            other => return Err(self.unexpected("GET", &other)),
        }
        self.stage.is("waiting for DEL from");
        match self.ask(&mut link, &["DEL", &key]).await? {
            Reply::Number(1) => Ok(Self::works("SET, GET and DEL answered")),
            other => Err(self.unexpected("DEL", &other)),
        }
    }

    fn works(detail: &str) -> Answer {
        Answer {
            detail: detail.to_owned(),
            ..Answer::default()
        }
    }

    async fn expect_ok(&self, link: &mut Link, words: &[&str]) -> Result<(), Failure> {
        match self.ask(link, words).await? {
            Reply::Status(status) if status == "OK" => Ok(()),
            other => Err(self.unexpected(words[0], &other)),
        }
    }

    async fn ask(&self, link: &mut Link, words: &[&str]) -> Result<Reply, Failure> {
        let broken = |error| match Failure::broken(&error, &self.config.address) {
            Failure::Silent(why) => Failure::Silent(self.hide(&why)),
            Failure::Refused(why) => Failure::Refused(self.hide(&why)),
        };
        let command = words[0];
        match link.ask(words).await.map_err(broken)? {
            Reply::Error(error) => {
                let name = name_of(&error);
                let said = match command {
                    AUTH => code_of(&error).to_owned(),
                    _ => error,
                };
                let said = self.hide(&said);
                Err(Failure::Refused(format!("{name}: {command}: {said}")))
            }
            reply => Ok(reply),
        }
    }

    fn unexpected(&self, command: &str, reply: &Reply) -> Failure {
        let words = match command {
            AUTH => "wrong answer: AUTH gave something else than OK".to_owned(),
            _ => format!("wrong answer: {command} gave {reply:?}"),
        };
        Failure::Refused(self.hide(&words))
    }

    /// What a server says may repeat what it was told.
    fn hide(&self, words: &str) -> String {
        let password = self.config.password.as_ref();
        password.map_or_else(|| words.to_owned(), |password| password.hide_in(words))
    }
}

probe_by_conversation!(RedisProbe);

/// The code an error begins with, for errors whose text must not be told: a server that knows no
/// AUTH repeats its arguments, perhaps escaped or cut.
fn code_of(error: &str) -> &str {
    let code = error.split(' ').next().unwrap_or_default();
    let is_code = code.len() <= 16 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code && !code.is_empty() {
        code
    } else {
        "an error without a code"
    }
}

/// What everybody calls an error, which begins with its code.
fn name_of(error: &str) -> &'static str {
    match error.split(' ').next().unwrap_or_default() {
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => "auth",
        "LOADING" => "starting up",
        "READONLY" => "read-only",
        "OOM" => "out of memory",
        "MASTERDOWN" => "primary down",
        "NOREPLICAS" => "too few replicas",
        "MISCONF" => "cannot save",
        "CLUSTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN" => "cluster",
        "ERR" if error.contains("max number of clients") => "too many connections",
        "ERR" if error.contains("AUTH") || error.contains("invalid password") => "auth",
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::testing::{PATIENT, WallClock};

    #[test]
    fn errors_are_called_what_everybody_calls_them() {
        for (error, name) in [
            ("NOAUTH Authentication required.", "auth"),
            ("WRONGPASS invalid username-password pair", "auth"),
            ("NOPERM this user has no permissions", "auth"),
            (
                "ERR AUTH <password> called without any password configured",
                "auth",
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                "starting up",
            ),
            (
                "READONLY You can't write against a read only replica.",
                "read-only",
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "out of memory",
            ),
            ("MASTERDOWN Link with MASTER is down", "primary down"),
            (
                "NOREPLICAS Not enough good replicas to write.",
                "too few replicas",
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                "cannot save",
            ),
            ("MOVED 3999 127.0.0.1:6381", "cluster"),
            ("ERR max number of clients reached", "too many connections"),
            ("ERR syntax error", "refused"),
            ("", "refused"),
        ] {
            assert_eq!(name_of(error), name, "{error}");
        }
    }

    #[tokio::test]
    async fn what_a_server_says_to_auth_is_not_repeated() {
        for (answer, said) in [
            (
                "-ERR unknown command 'AUTH', with args: 'hun\\x22ter'",
                "auth: AUTH: ERR",
            ),
            ("-WRONGPASS hun", "auth: AUTH: WRONGPASS"),
            (
                "-hun\"ter is wrong",
                "refused: AUTH: an error without a code",
            ),
            ("+hun\"te", "wrong answer: AUTH gave something else than OK"),
            ("hun\"ter", "wrong answer: "),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let target = Target::service("shop").unwrap();
            let mut config = RedisProbeConfig::new("cache", target, address);
            config.password = Some("hun\"ter".into());
            (config.timeout, config.slow_after) = (PATIENT, PATIENT);
            let probe = RedisProbe::new(config).unwrap();
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 256]).await.unwrap();
                stream
                    .write_all(format!("{answer}\r\n").as_bytes())
                    .await
                    .unwrap();
                stream
            };
            let cx = Context::new(std::sync::Arc::new(WallClock), 1);
            let (reading, _stream) = tokio::join!(super::super::ask(&probe, &cx), serve);
            let detail = &reading.reports().next().unwrap().detail;
            assert!(detail.starts_with(said), "{detail}, expected {said}");
            assert!(!detail.contains("hun"), "{detail}");
        }
    }

    #[test]
    fn settings_round_trip_without_the_password() {
        let text = r#"{"name":"cache","target":"shop","address":"127.0.0.1:6379",
            "user":"health","password":"hunter2"}"#;
        let config: RedisProbeConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.timeout, Duration::from_secs(1));
        let written = serde_json::to_string(&config).unwrap();
        assert!(!written.contains("hunter2"), "{written}");
        let mut expected = config.clone();
        expected.password = None;
        let read: RedisProbeConfig = serde_json::from_str(&written).unwrap();
        assert_eq!(read, expected);
        assert!(RedisProbe::new(config).is_ok());
        assert!(RedisProbe::new(read).is_err());
    }
}
