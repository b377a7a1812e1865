//! Connects to a port.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::{ConfigError, Context, Secret, Target, Violation, Violations};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::check::{Check, Finding, checks, host_and_port, lasting};
use super::probing::Probe;
use super::reading::Reading;
use super::refusal::of_io;
use crate::look_up::LookUps;

/// How much of an answer is read.
const MAX_ANSWER: usize = 64 * 1024;

/// Which port is connected to, and what is said there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whom it is about.
    pub target: Target,
    /// Host and port: `127.0.0.1:6379`.
    pub address: String,
    /// What is sent once connected; default nothing. Never shown and never serialized.
    #[serde(default, skip_serializing)]
    pub send: Option<Secret>,
    /// What the answer must contain, within its first 64 KiB; default no answer is read.
    #[serde(default)]
    pub expect: Option<String>,
    /// Success that took longer means degraded; default 50 ms.
    #[serde(
        default = "TcpProbeConfig::default_slow_after",
        with = "crate::duration_text"
    )]
    pub slow_after: Duration,
    /// How often it is asked; default 10 s.
    #[serde(
        default = "TcpProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long it may take; default 100 ms.
    #[serde(
        default = "TcpProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
}

impl TcpProbeConfig {
    /// The defaults for connecting to `address` of `target`.
    pub fn new(name: impl Into<String>, target: Target, address: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            target,
            address: address.into(),
            send: None,
            expect: None,
            slow_after: Self::default_slow_after(),
            interval: Self::default_interval(),
            timeout: Self::default_timeout(),
        }
    }

    fn check(&self) -> Check<'_> {
        Check {
            name: &self.name,
            target: &self.target,
            interval: self.interval,
            timeout: self.timeout,
        }
    }

    fn default_slow_after() -> Duration {
        Duration::from_millis(50)
    }

    fn default_interval() -> Duration {
        Duration::from_secs(10)
    }

    fn default_timeout() -> Duration {
        Duration::from_millis(100)
    }
}

/// Connects to a TCP port, and if asked to, says something and reads the answer.
///
/// Without `expect` a connection is success: whoever accepts may still be unable to answer, and a
/// server that hangs accepts for a while.
/// It measures and reports as [`HttpProbe`](super::HttpProbe) does; a failure's detail begins with
/// `connection refused`, `connection reset`, `unreachable`, `name look-up`, `timeout`, `closed` or
/// `answer`. A name is looked up once at a time, however long the system takes for it.
/// The connection is closed after each asking, also when the time is over.
///
/// # Examples
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::signals::{TcpProbe, TcpProbeConfig};
///
/// let mut config = TcpProbeConfig::new("greets", Target::service("mail")?, "127.0.0.1:25");
/// config.expect = Some("220 ".to_owned());
/// assert!(TcpProbe::new(config).is_ok());
/// let config = TcpProbeConfig::new("port", Target::service("mail")?, "127.0.0.1");
/// assert!(TcpProbe::new(config).unwrap_err().to_string().contains("expected host:port"));
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug)]
pub struct TcpProbe {
    config: TcpProbeConfig,
    look_ups: LookUps,
}

impl TcpProbe {
    /// A probe of a port.
    ///
    /// # Errors
    /// - The name is empty, or the address is not `host:port`.
    /// - A duration is zero, `slow_after` is longer than `timeout`, or `expect` is empty.
    pub fn new(config: TcpProbeConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.check().validate(&mut wrong);
        host_and_port(&mut wrong, "address", &config.address);
        lasting(&mut wrong, "slow_after", config.slow_after);
        if config.slow_after > config.timeout {
            let found = format!("{:?}", config.slow_after);
            wrong.push(Violation::new("slow_after", found, "at most timeout"));
        }
        if config.expect.as_deref() == Some("") {
            wrong.push(Violation::new("expect", "\"\"", "some text, or left out"));
        }
        wrong.into_result(Self {
            config,
            look_ups: LookUps::default(),
        })
    }

    async fn ask(&self) -> Result<(), String> {
        let refused = |error: io::Error| of_io(&error, &self.config.address);
        let connected = self.look_ups.connect(&self.config.address).await;
        let mut stream = connected.map_err(refused)?;
        if let Some(text) = &self.config.send {
            let sent = stream.write_all(text.expose().as_bytes()).await;
            sent.map_err(refused)?;
        }
        let Some(wanted) = &self.config.expect else {
            return Ok(());
        };
        let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
        while answer.len() < MAX_ANSWER {
            let n = stream.read(&mut chunk).await.map_err(refused)?;
            if n == 0 {
                return Err(format!(
                    "closed after {} bytes without {wanted:?}",
                    answer.len()
                ));
            }
            // The text may lie across two reads.
            let from = (answer.len() + 1).saturating_sub(wanted.len());
            answer.extend_from_slice(&chunk[..n]);
            let fresh = &answer[from..];
            if fresh.windows(wanted.len()).any(|w| w == wanted.as_bytes()) {
                return Ok(());
            }
        }
        Err(format!(
            "answer of {} bytes without {wanted:?}",
            answer.len()
        ))
    }
}

#[async_trait]
impl Probe for TcpProbe {
    checks!(Shallow);

    async fn probe(&self, cx: &Context) -> Reading {
        let started = cx.now();
        let asked = self.ask().await;
        let at = cx.now();
        let (took, check) = (at.since(started), self.config.check());
        match asked {
            Err(why) => check.silent(started, at, Finding::unhealthy(why)),
            Ok(()) if took > self.config.slow_after => {
                let slow = self.config.slow_after;
                let detail = format!("connected after {took:?}, slower than {slow:?}");
                check.answered(started, at, Finding::degraded(detail))
            }
            Ok(()) => check.answered(started, at, Finding::healthy("connected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homeostasis_core::signal::HealthState;
    use tokio::net::TcpListener;

    use super::super::ask;
    use super::*;
    use crate::testing::{HASTY, PATIENT, WallClock, closed_port};

    async fn found(
        address: String,
        expect: Option<&str>,
        limit: Duration,
    ) -> (HealthState, String) {
        let mut config = TcpProbeConfig::new("port", Target::service("mail").unwrap(), address);
        config.expect = expect.map(str::to_owned);
        config.send = expect.map(|_| "hello\n".into());
        (config.timeout, config.slow_after) = (limit, limit);
        let probe = TcpProbe::new(config).unwrap();
        let reading = ask(&probe, &Context::new(Arc::new(WallClock), 1)).await;
        let report = reading.reports().next().unwrap();
        let up = if report.is_up() { 1.0 } else { 0.0 };
        assert_eq!(reading.value("up"), Some(up));
        (report.state, report.detail.clone())
    }

    /// Answers one connection with `parts`, then closes it or holds it open.
    #[expect(
        clippy::disallowed_methods,
        reason = "the server of a test is not the engine's"
    )]
    async fn server(parts: &'static [&'static str], holds: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut greeting = [0; 6];
            stream.read_exact(&mut greeting).await.unwrap();
            for part in parts {
                stream.write_all(part.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
            if holds {
                std::future::pending::<()>().await;
            }
        });
        address
    }

    #[tokio::test]
    async fn an_answer_in_pieces_is_put_together() {
        let address = server(&["220 ma", "il ready"], true).await;
        let (state, detail) = found(address, Some("mail"), PATIENT).await;
        assert_eq!(
            (state, detail.as_str()),
            (HealthState::Healthy, "connected")
        );
    }

    #[tokio::test]
    async fn a_wrong_answer_a_silent_server_and_a_closed_port_are_told_apart() {
        let (state, detail) = found(server(&["550 no"], false).await, Some("220"), PATIENT).await;
        assert_eq!(state, HealthState::Unhealthy);
        assert!(detail.starts_with("closed after 6 bytes"), "{detail}");
        let (_, detail) = found(server(&[], true).await, Some("220"), HASTY).await;
        assert!(detail.starts_with("timeout"), "{detail}");
        let closed = closed_port().to_string();
        let (_, detail) = found(closed, None, PATIENT).await;
        assert!(detail.starts_with("connection refused"), "{detail}");
    }

    #[tokio::test]
    async fn a_listener_that_never_accepts_is_connected_but_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(
            found(address.clone(), None, PATIENT).await.0,
            HealthState::Healthy
        );
        let (state, detail) = found(address, Some("220"), HASTY).await;
        assert_eq!(state, HealthState::Unhealthy);
        assert!(detail.starts_with("timeout"), "{detail}");
    }
}
