//! Asks an AMQP broker.

mod frame;
mod session;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use homeostasis_core::{ConfigError, Context, Secret, Target, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::conversation::{Answer, Failure, Stage, Terms, probe_by_conversation, unique};
use session::Session;

/// How long a name of the protocol may be, in bytes.
const MAX_NAME: usize = 255;
/// What the unique part of a queue's name may need of it.
const MAX_PREFIX: usize = 128;

/// Which broker is asked, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmqpProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whom it is about.
    pub target: Target,
    /// Host and port: `127.0.0.1:5672`.
    pub address: String,
    /// The user to log in as.
    pub user: String,
    /// Its password. It is never shown and never serialized; read without one, it is empty.
    #[serde(default = "AmqpProbeConfig::default_password", skip_serializing)]
    pub password: Secret,
    /// The virtual host; default `/`.
    #[serde(default = "AmqpProbeConfig::default_vhost")]
    pub vhost: String,
    /// What the queue of each asking begins with; default `homeostasis.probe.`. The user needs the
    /// permissions to configure and read such queues, and to write to the default exchange.
    #[serde(default = "AmqpProbeConfig::default_queue_prefix")]
    pub queue_prefix: String,
    /// A good answer that took longer means degraded; default 500 ms.
    #[serde(
        default = "AmqpProbeConfig::default_slow_after",
        with = "crate::duration_text"
    )]
    pub slow_after: Duration,
    /// How often it is asked; default 30 s.
    #[serde(
        default = "AmqpProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long it may take, log-in included; default 2 s.
    #[serde(
        default = "AmqpProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
}

impl AmqpProbeConfig {
    /// The defaults for asking the broker at `address` of `target` as `user`.
    pub fn new(
        name: impl Into<String>,
        target: Target,
        address: impl Into<String>,
        user: impl Into<String>,
        password: impl Into<Secret>,
    ) -> Self {
        Self {
            name: name.into(),
            target,
            address: address.into(),
            user: user.into(),
            password: password.into(),
            vhost: Self::default_vhost(),
            queue_prefix: Self::default_queue_prefix(),
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

    fn default_password() -> Secret {
        Secret::new("")
    }

    fn default_vhost() -> String {
        "/".to_owned()
    }

    fn default_queue_prefix() -> String {
        "homeostasis.probe.".to_owned()
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

/// Sends a message through an AMQP 0-9-1 broker (`RabbitMQ` and others) and receives it back.
///
/// It publishes a message that no other asking sends, with a publisher confirm, to a queue of its
/// own, consumes it, compares the content, acknowledges it, and deletes the queue. The queue is
/// exclusive, so the broker deletes it with the connection should the probe be killed.
/// Each asking has a connection of its own without TLS. Nothing is spawned; past the time limit
/// the connection is closed.
///
/// It measures `up` (1 if the answer is good, 0 if not) and, if there was any answer,
/// `probe_latency_seconds`, both with the label `check`, and reports
/// - *healthy:* the message came back in time;
/// - *degraded:* it came back and that took longer than `slow_after`;
/// - *unhealthy:* anything else. The detail begins with the reason: `connection refused`,
///   `connection reset`, `unreachable`, `closed`, `timeout`, `auth`, `vhost missing`,
///   `too many connections`, `shutting down`, `blocked` (an alarm of memory or disk: publishers
///   must wait), `not confirmed`, `returned`, `consumer cancelled`, `wrong content`,
///   `channel closed`, `wrong answer`, or `refused`.
///
/// # Examples
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::signals::{AmqpProbe, AmqpProbeConfig};
///
/// let config = AmqpProbeConfig::new("queue", Target::service("shop")?, "127.0.0.1:5672", "health", "hunter2");
/// assert!(!format!("{config:?}").contains("hunter2"));
/// assert!(AmqpProbe::new(config.clone()).is_ok());
///
/// let mut wrong = config;
/// wrong.address = "queue".to_owned();
/// wrong.vhost = "x".repeat(300);
/// assert_eq!(AmqpProbe::new(wrong).unwrap_err().violations().len(), 2);
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug)]
pub struct AmqpProbe {
    config: AmqpProbeConfig,
    stage: Stage,
    asked: AtomicU64,
}

impl AmqpProbe {
    /// A probe of a broker.
    ///
    /// # Errors
    /// - The name or the user is empty, or the address is not `host:port`.
    /// - A duration is zero, or `slow_after` is longer than `timeout`.
    /// - The virtual host has more than 255 bytes, or the prefix of queues more than 128.
    pub fn new(config: AmqpProbeConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        config.terms().validate(&mut wrong);
        if config.user.is_empty() {
            wrong.push(Violation::new("user", "\"\"", "the name of a user"));
        }
        for (path, text, max) in [
            ("vhost", &config.vhost, MAX_NAME),
            ("queue_prefix", &config.queue_prefix, MAX_PREFIX),
        ] {
            if text.len() > max {
                let expected = format!("at most {max} bytes");
                wrong.push(Violation::new(path, format!("{text:?}"), expected));
            }
        }
        wrong.into_result(Self {
            config,
            stage: Stage::default(),
            asked: AtomicU64::new(0),
        })
    }

    async fn converse(&self, cx: &Context) -> Result<Answer, Failure> {
        let config = &self.config;
        let content = unique(cx, &config.name, &self.asked);
        let queue = format!("{}{content}", config.queue_prefix);
        let stream = config.terms().dial(&self.stage).await?;
        let mut session = Session::new(stream, &config.address);
        let done = async {
            self.stage.is("logging in at");
            session.log_in(config).await?;
            self.stage.is("declaring a queue at");
            session.declare(&queue).await?;
            self.stage.is("waiting for the message from");
            session.publish(&queue, content.as_bytes()).await?;
            let tag = session.receive(content.as_bytes()).await?;
            self.stage.is("waiting for the acknowledgement of");
            session.acknowledge(&queue, tag).await?;
            self.stage.is("logging out of");
            // The message went round: what comes now is courtesy.
            let _ = session.log_out().await;
            Ok(())
        };
        match done.await {
            Ok(()) => Ok(Answer {
                detail: "published, confirmed, consumed and acknowledged".to_owned(),
                ..Answer::default()
            }),
            Err(Failure::Refused(why)) => Err(Failure::Refused(config.password.hide_in(&why))),
            Err(silent) => Err(silent),
        }
    }
}

probe_by_conversation!(AmqpProbe);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_round_trip_without_the_password() {
        let text = r#"{"name":"queue","target":"shop","address":"127.0.0.1:5672",
            "user":"health","password":"hunter2"}"#;
        let config: AmqpProbeConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.vhost, "/");
        let written = serde_json::to_string(&config).unwrap();
        assert!(!written.contains("hunter2"), "{written}");
        let mut expected = config.clone();
        expected.password = Secret::new("");
        let read: AmqpProbeConfig = serde_json::from_str(&written).unwrap();
        assert_eq!(read, expected);
        assert!(AmqpProbe::new(config).is_ok());
        let mut wrong = read;
        wrong.user.clear();
        wrong.timeout = Duration::ZERO;
        let error = AmqpProbe::new(wrong).unwrap_err();
        let paths: Vec<_> = error.violations().iter().map(|v| v.path.as_str()).collect();
        assert_eq!(paths, ["timeout", "slow_after", "user"]);
    }
}
