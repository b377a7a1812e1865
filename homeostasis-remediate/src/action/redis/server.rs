//! The Redis servers that actions may talk to, and connections to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    Pipeline, RedisConnectionInfo, RedisError,
};
use homeostasis_core::document::duration_text;
use homeostasis_core::{
    ConfigError, Context, ErrorKind, Secret, Target, Violation, Violations, timeout,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::action::address::host_and_port;
use crate::action::servers::{ServerConfig, Servers};
use crate::action::{ActionCall, ActionError, ArgumentProblem, Param};

/// What our connections call themselves; no action ends one of that name.
pub(super) const NAME: &str = "homeostasis";

/// Which server, as whom, and which keys may be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisServerConfig {
    /// Whom an action on it affects: what the blast radius is computed from.
    pub target: Target,
    /// Host and port: `127.0.0.1:6379`. Without TLS.
    pub address: String,
    /// The ACL user; default the server's default user.
    #[serde(default)]
    pub user: Option<String>,
    /// The password; default none. It is never shown and never serialized.
    #[serde(default, skip_serializing)]
    pub password: Option<Secret>,
    /// The number of the database; default 0.
    #[serde(default)]
    pub database: u32,
    /// What keys begin with that may be deleted, such as `cache:`; default none may.
    #[serde(default)]
    pub deletable: Vec<String>,
    /// Whether the server may evict keys because of an action: it is a cache; default no.
    #[serde(default)]
    pub evictable: bool,
    /// How long connecting, and each answer, may take; default 5 s.
    #[serde(default = "RedisServerConfig::default_timeout", with = "duration_text")]
    pub timeout: Duration,
}

impl RedisServerConfig {
    /// The defaults for the server at `address` of `target`.
    pub fn new(target: Target, address: impl Into<String>) -> Self {
        Self {
            target,
            address: address.into(),
            user: None,
            password: None,
            database: 0,
            deletable: Vec::new(),
            evictable: false,
            timeout: Self::default_timeout(),
        }
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(5)
    }

    fn client(&self) -> Option<Client> {
        let (host, port) = host_and_port(&self.address).ok()?;
        let mut settings = RedisConnectionInfo::default().set_db(self.database.into());
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.expose());
        }
        let address = ConnectionAddr::Tcp(host.to_owned(), port);
        let info = address.into_connection_info().ok()?;
        Client::open(info.set_redis_settings(settings)).ok()
    }
}

impl ServerConfig for RedisServerConfig {
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
        if self.user.is_some() && self.password.is_none() {
            add("password", String::new(), "the password of the user");
        }
        for prefix in &self.deletable {
            if prefix.is_empty() || prefix.contains(['*', '?', '[', '\\']) {
                let expected = "the plain beginning of keys, such as cache:";
                add("deletable", format!("{prefix:?}"), expected);
            }
        }
        if self.timeout.is_zero() {
            add("timeout", "0s".to_owned(), "more than 0s");
        }
        wrong
    }
}

/// The Redis servers that playbooks may name. Cheap to clone, so that all actions share them.
///
/// Each call has a connection of its own, which tokio runs until the call ends. In a cluster, each node
/// is a server, and its keys are those that it holds.
///
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::remediate::action::{RedisDeleteKeys, RedisServerConfig, RedisServers};
///
/// let mut cache = RedisServerConfig::new(Target::service("shop")?, "127.0.0.1:6379");
/// cache.deletable = vec!["prices:".to_owned()];
/// let servers = RedisServers::default().server("cache", cache)?;
/// let action = RedisDeleteKeys::new(servers);
/// # let _ = action;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct RedisServers {
    known: Servers<RedisServerConfig>,
}

impl RedisServers {
    /// The same with one server more.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, the address is not `host:port`, there is a user and no
    /// password, a deletable prefix is empty or a pattern, or the timeout is zero.
    pub fn server(
        mut self,
        name: impl Into<String>,
        config: RedisServerConfig,
    ) -> Result<Self, ConfigError> {
        self.known.add(name.into(), config)?;
        Ok(self)
    }

    /// The parameter that names one.
    pub(super) fn param() -> Param {
        Servers::<RedisServerConfig>::param()
    }

    pub(super) fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        self.known.check(args)
    }

    pub(super) fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.known.touches(target, args)
    }

    pub(super) fn named(&self, args: &Map<String, Value>) -> Option<&Arc<RedisServerConfig>> {
        self.known.named(args)
    }

    /// Connects to the server that `call` names. Whatever fails, nothing was touched.
    pub(super) async fn open(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
    ) -> Result<Link, ActionError> {
        let server = self.known.of(call)?;
        let what = format!("connecting to {}", server.address);
        let client = server
            .client()
            .ok_or_else(|| ActionError::argument("server", "a server with an address"))?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(server.timeout))
            .set_response_timeout(Some(server.timeout));
        let connecting = client.get_multiplexed_async_connection_with_config(&settings);
        let connection = match timeout(&**cx.clock(), server.timeout, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                return Err(ActionError::not_begun(
                    what,
                    kind(&error),
                    told(server, &error),
                ));
            }
            Err(_) => {
                let detail = format!("no answer within {:?}", server.timeout);
                return Err(ActionError::not_begun(what, ErrorKind::Timeout, detail));
            }
        };
        let mut link = Link {
            connection,
            server: Arc::clone(server),
        };
        let name: Result<(), _> = link
            .say(::redis::cmd("CLIENT").arg("SETNAME").arg(NAME))
            .await;
        name.map_err(|error| link.not_begun(&what, &error))?;
        Ok(link)
    }
}

/// A connection; dropping it closes it.
pub(super) struct Link {
    connection: MultiplexedConnection,
    server: Arc<RedisServerConfig>,
}

impl Link {
    /// One command, with the server's own error.
    async fn say<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        command.query_async(&mut self.connection).await
    }

    /// Asks something that changes nothing.
    pub(super) async fn ask<T: FromRedisValue>(
        &mut self,
        what: &str,
        command: &Cmd,
    ) -> Result<T, ActionError> {
        let answer = self.say(command).await;
        answer.map_err(|error| self.not_begun(what, &error))
    }

    /// A command that changes something.
    pub(super) async fn act<T: FromRedisValue>(
        &mut self,
        what: &str,
        command: &Cmd,
    ) -> Result<T, ActionError> {
        let answer = self.say(command).await;
        answer.map_err(|error| self.failed(what, &error))
    }

    /// Commands that change something, sent together.
    pub(super) async fn act_all<T: FromRedisValue>(
        &mut self,
        what: &str,
        commands: &Pipeline,
    ) -> Result<T, ActionError> {
        let answers = commands.query_async(&mut self.connection).await;
        answers.map_err(|error| self.failed(what, &error))
    }

    fn failed(&self, what: &str, error: &RedisError) -> ActionError {
        ActionError::Failed {
            what: what.to_owned(),
            kind: kind(error),
            source: Some(told(&self.server, error).into()),
        }
    }

    /// The fields of a section of `INFO`.
    pub(super) async fn info(
        &mut self,
        section: &str,
    ) -> Result<BTreeMap<String, String>, ActionError> {
        let what = format!("asking for INFO {section}");
        let text: String = self.ask(&what, ::redis::cmd("INFO").arg(section)).await?;
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Ok(fields
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect())
    }

    fn not_begun(&self, what: &str, error: &RedisError) -> ActionError {
        ActionError::not_begun(what, kind(error), told(&self.server, error))
    }
}

/// What was said, without the password.
fn told(server: &RedisServerConfig, error: &RedisError) -> String {
    let said = error.to_string();
    match &server.password {
        Some(password) => password.hide_in(&said),
        None => said,
    }
}

/// Whether trying again may help.
fn kind(error: &RedisError) -> ErrorKind {
    const PASSING: [&str; 6] = [
        "LOADING",
        "BUSY",
        "TRYAGAIN",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "NOREPLICAS",
    ];
    match error.code() {
        None if error.is_timeout() => ErrorKind::Timeout,
        None if error.is_io_error() || error.is_connection_dropped() => ErrorKind::Transient,
        Some(code) if PASSING.contains(&code) => ErrorKind::Transient,
        _ => ErrorKind::Permanent,
    }
}
