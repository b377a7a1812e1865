//! The `HAProxy` instances that actions may talk to, and their Runtime API.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::port::TrafficError;
use homeostasis_core::{
    Clock, ConfigError, Context, ErrorKind, Target, Violation, Violations, timeout,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::action::address::host_and_port;
use crate::action::servers::{ServerConfig, Servers};
use crate::action::{ActionCall, ActionError, ArgumentProblem, Param};

/// The longest answer that is read.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// Where the stats socket of an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaproxyConfig {
    /// Whom an action on it affects: what the blast radius is computed from.
    pub target: Target,
    /// The absolute path of a Unix socket, or `host:port`; the socket's level is `admin` in `HAProxy`'s
    /// configuration. Over TCP it has no password and no TLS: keep it on the loopback.
    pub socket: String,
    /// How long connecting and one answer may take; default 5 s.
    #[serde(default = "HaproxyConfig::default_timeout", with = "duration_text")]
    pub timeout: Duration,
}

impl HaproxyConfig {
    /// The defaults for the instance of `target` with this socket.
    pub fn new(target: Target, socket: impl Into<String>) -> Self {
        Self {
            target,
            socket: socket.into(),
            timeout: Self::default_timeout(),
        }
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(5)
    }

    /// Says one line; the answer.
    pub(super) async fn say(&self, clock: &dyn Clock, command: &str) -> Result<String, Unsaid> {
        let mut said = false;
        let talking = converse(&self.socket, command, &mut said);
        let (kind, why) = match timeout(clock, self.timeout, talking).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                let kind = match error.kind() {
                    io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied => {
                        ErrorKind::Permanent
                    }
                    _ => ErrorKind::Transient,
                };
                (kind, error.to_string())
            }
            Err(_) => {
                let limit = self.timeout;
                (ErrorKind::Timeout, format!("no answer within {limit:?}"))
            }
        };
        let why = format!("{}: {why}", self.socket);
        Err(Unsaid { said, kind, why })
    }
}

impl ServerConfig for HaproxyConfig {
    const PARAM: &'static str = "haproxy";
    const DOC: &'static str = "which instance";
    const EXPECTED: &'static str = "a registered instance";
    const PATH: &'static str = "haproxies";

    fn target(&self) -> &Target {
        &self.target
    }

    fn violations(&self, path: &str) -> Violations {
        let mut wrong = Violations::new();
        if !self.socket.starts_with('/')
            && let Err((found, _)) = host_and_port(&self.socket)
        {
            let expected = "the absolute path of a Unix socket, or host:port";
            wrong.push(Violation::new(format!("{path}.socket"), found, expected));
        }
        if self.timeout.is_zero() {
            let field = format!("{path}.timeout");
            wrong.push(Violation::new(field, "0s", "more than 0s"));
        }
        wrong
    }
}

/// The `HAProxy` instances that playbooks may name. Cheap to clone, so that all actions share them.
///
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::remediate::action::{HaproxyConfig, HaproxyInstances, HaproxyServer};
///
/// let edge = HaproxyConfig::new(Target::service("edge")?, "/run/haproxy/admin.sock");
/// let instances = HaproxyInstances::default().instance("edge", edge)?;
/// let actions = (HaproxyServer::set_state(instances.clone()), HaproxyServer::set_weight(instances));
/// # let _ = actions;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct HaproxyInstances {
    known: Servers<HaproxyConfig>,
}

impl HaproxyInstances {
    /// The same with one instance more.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, the socket is neither an absolute path nor `host:port`,
    /// or the timeout is zero.
    pub fn instance(
        mut self,
        name: impl Into<String>,
        config: HaproxyConfig,
    ) -> Result<Self, ConfigError> {
        self.known.add(name.into(), config)?;
        Ok(self)
    }

    /// The parameter that names one.
    pub(super) fn param() -> Param {
        Servers::<HaproxyConfig>::param()
    }

    pub(super) fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        self.known.check(args)
    }

    pub(super) fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.known.touches(target, args)
    }

    /// Says one command to the instance that `call` names; the answer.
    pub(super) async fn say(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
        command: &str,
    ) -> Result<String, Unsaid> {
        let instance = self.known.of(call).map_err(|error| Unsaid {
            said: false,
            kind: error.kind(),
            why: error.to_string(),
        })?;
        instance.say(&**cx.clock(), command).await
    }
}

/// A command that has no answer.
pub(super) struct Unsaid {
    /// Whether it may have been heard.
    said: bool,
    kind: ErrorKind,
    why: String,
}

impl Unsaid {
    pub(super) fn into_traffic_error(self, what: &str) -> TrafficError {
        TrafficError::Failed {
            what: what.to_owned(),
            kind: self.kind,
            source: Some(self.why.into()),
        }
    }

    /// The failure of a command that changes nothing (`harmless`), or that may have changed something.
    pub(super) fn into_error(self, what: &str, harmless: bool) -> ActionError {
        if harmless || !self.said {
            return ActionError::not_begun(what, self.kind, self.why);
        }
        ActionError::Failed {
            what: what.to_owned(),
            kind: self.kind,
            source: Some(self.why.into()),
        }
    }
}

async fn converse(socket: &str, command: &str, said: &mut bool) -> io::Result<String> {
    if socket.starts_with('/') {
        exchange(
            UnixStream::connect(PathBuf::from(socket)).await?,
            command,
            said,
        )
        .await
    } else {
        exchange(TcpStream::connect(socket).await?, command, said).await
    }
}

/// One line, and all that is answered: `HAProxy` then closes the connection.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    command: &str,
    said: &mut bool,
) -> io::Result<String> {
    *said = true;
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    let mut answer = String::new();
    let read = stream
        .take(MAX_ANSWER + 1)
        .read_to_string(&mut answer)
        .await?;
    if read as u64 > MAX_ANSWER {
        let message = format!("the answer is longer than {MAX_ANSWER} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(answer)
}
