//! A notifier that posts to a URL.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::port::{
    HttpClient, HttpError, HttpRequest, HttpResponse, Notification, NotificationKind, Notifier,
    NotifyError,
};
use homeostasis_core::{Clock, ConfigError, ErrorKind, Rng, timeout};

use super::message::Message;
use super::retry_after::retry_after;
use super::signature::SigningKey;
use super::webhook_config::{WebhookConfig, WebhookFormat};
use crate::probe::refused_by_system;

/// How much of an answer is read.
const MAX_ANSWER: usize = 256 << 10;

/// The longest wait after the first attempt; it doubles after each.
const BACKOFF: Duration = Duration::from_millis(500);

/// Posts messages to a URL of the host.
///
/// Any answer of 200 to 299 means that the message was taken. 408, 425, 429, 5xx and no answer in
/// time may pass: the message is sent again, as often and for as long as the settings allow, after
/// what `Retry-After` asks for or else a random time that grows (500 ms, 1 s, 2 s … at most).
/// Everything else stays, also a redirect, which is not followed. If `Retry-After` asks for more
/// time than is left, the error tells it.
///
/// The URL of a webhook is a secret: no error, no `Debug` and no violation tells it, nor what the
/// other side said; errors tell the name of the webhook, and the status or what happened.
///
/// # The signed format
/// A `POST` of `application/json` with the headers of [Standard Webhooks](https://www.standardwebhooks.com),
/// for which there are libraries that verify it in most languages:
///
/// | header | value |
/// |---|---|
/// | `webhook-id` | `msg_` and 32 hexadecimal digits, the same for every attempt at one message: a receiver that has seen it answers 200 and does nothing |
/// | `webhook-timestamp` | when the attempt was made, in seconds since 1970; old ones are replays |
/// | `webhook-signature` | for every key `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, separated by spaces |
///
/// The body is `{"type": "homeostasis.notification", "timestamp": …, "data": …}`, where `data` is
/// the [`Notification`]: `kind` (`call`, `acknowledged`, `resolved`, `digest`), `key`, `to`, `incident`,
/// `severity` (`sev0` to `sev3`), `at` (RFC 3339), `title`, `body`.
///
/// # Cancel safety
/// Dropping a delivery ends it; whether the message arrived is unknown then.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::signals::{HyperClient, Webhook, WebhookConfig};
///
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH)); // a host takes `SystemClock`
/// let mut config = WebhookConfig::new("pager", "https://pager.example/hooks/T0/B0/k7Q");
/// config.secrets.push("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
/// // For https tell the client whom to trust (feature `tls`).
/// let client = Arc::new(HyperClient::new(clock.clone()));
/// let webhook = Webhook::new(config, client, clock)?;
/// assert!(!format!("{webhook:?}").contains("k7Q"));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Webhook {
    config: WebhookConfig,
    keys: Vec<SigningKey>,
    client: Arc<dyn HttpClient>,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// A webhook that posts through `client` and measures its limits on `clock`.
    ///
    /// # Errors
    /// - The name is empty, or the URL is not absolute, not `http` or `https`, or has a user name.
    /// - The format is `signed` and there is no key, or a key is not written as it should be.
    /// - The format is `slack` and there is a key, or `pager_duty` and there is not one of its form.
    /// - `timeout`, `within`, `attempts` or `max_body` is out of its range.
    pub fn new(
        config: WebhookConfig,
        client: Arc<dyn HttpClient>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        let keys = config.check()?;
        Ok(Self {
            config,
            keys,
            client,
            clock,
        })
    }

    async fn attempt(&self, message: &Message, limit: Duration) -> Result<(), Failure> {
        let now = self.clock.now();
        let url = self.config.url.expose();
        let body = message.body.clone();
        let mut request = HttpRequest::post(url, "application/json", body).within(limit);
        request.max_body = MAX_ANSWER;
        if !self.keys.is_empty() {
            let timestamp = now.as_millis().div_euclid(1000);
            let signature = |key: &SigningKey| key.sign(&message.id, timestamp, &message.body);
            let signatures: Vec<_> = self.keys.iter().map(signature).collect();
            request = request
                .header("webhook-id", &message.id)
                .header("webhook-timestamp", timestamp.to_string())
                .header("webhook-signature", signatures.join(" "));
        }
        // A client of the host may not keep the limit.
        let sent = timeout(&*self.clock, limit, self.client.send(request)).await;
        match sent {
            Ok(Ok(answer)) if answer.is_success() => Ok(()),
            Ok(Ok(answer)) => Err(Failure::of_answer(
                &answer,
                retry_after(&answer, self.clock.now()),
            )),
            Ok(Err(error)) => Err(Failure::of_error(&error, limit)),
            Err(_) => Err(Failure::late(limit)),
        }
    }
}

#[async_trait]
impl Notifier for Webhook {
    async fn notify(&self, notification: &Notification) -> Result<(), NotifyError> {
        let config = &self.config;
        let message = Message::of(
            notification,
            config.format,
            config.max_body,
            config.own_key(),
        );
        let mut rng = Rng::from_seed(message.seed);
        let begun = self.clock.now();
        let left = || config.within.saturating_sub(self.clock.now().since(begun));
        let mut n_made = 0;
        loop {
            n_made += 1;
            let limit = config.timeout.min(left());
            let Err(mut failure) = self.attempt(&message, limit).await else {
                return Ok(());
            };
            failure.n_made = n_made;
            let most = BACKOFF.saturating_mul(1 << (n_made - 1).min(16));
            let wait = failure.retry_after.unwrap_or_else(|| rng.jitter(most));
            let may_pass = failure.kind.is_retryable();
            if !may_pass || n_made >= config.attempts || wait >= left() {
                return Err(NotifyError::Failed {
                    what: format!("webhook `{}`", config.name),
                    kind: failure.kind,
                    source: Some(Box::new(failure)),
                });
            }
            self.clock.sleep(wait).await;
        }
    }

    fn takes(&self, kind: NotificationKind) -> bool {
        let is_pager = self.config.format == WebhookFormat::PagerDuty;
        match kind {
            NotificationKind::Call => true,
            // An alert is of one incident, and ends when that does.
            NotificationKind::Digest => !is_pager,
            _ => is_pager || self.config.updates,
        }
    }
}

/// Why the last attempt failed, in words that hold nothing of the URL and of the other side's.
#[derive(Debug)]
struct Failure {
    kind: ErrorKind,
    what: String,
    retry_after: Option<Duration>,
    n_made: u32,
}

impl Failure {
    fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            retry_after: None,
            n_made: 1,
        }
    }

    fn late(limit: Duration) -> Self {
        Self::new(ErrorKind::Timeout, format!("no answer within {limit:?}"))
    }

    fn of_answer(answer: &HttpResponse, retry_after: Option<Duration>) -> Self {
        let status = answer.status;
        let (kind, note) = match status {
            300..400 => (ErrorKind::Permanent, ", and redirects are not followed"),
            408 | 425 | 429 | 500..600 => (ErrorKind::Transient, ""),
            _ => (ErrorKind::Permanent, ""),
        };
        Self {
            retry_after,
            ..Self::new(kind, format!("status {status}{note}"))
        }
    }

    fn of_error(error: &HttpError, limit: Duration) -> Self {
        let what = match error {
            HttpError::Timeout { .. } => return Self::late(limit),
            HttpError::Denied { .. } => {
                "the HTTP client refuses to send it; https needs one that speaks TLS"
            }
            HttpError::Invalid { .. } => {
                "the HTTP client refuses the request, or the answer is longer than 256 KiB"
            }
            error => refused_by_system(error)
                .or_else(|| is_no_tls(error).then_some("no TLS connection that can be trusted"))
                .unwrap_or("no answer"),
        };
        Self::new(error.kind(), what)
    }
}

/// Whether the handshake of TLS failed: that is data which is not valid.
fn is_no_tls(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::InvalidData)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.n_made > 1 {
            write!(f, ", attempt {}", self.n_made)?;
        }
        match self.retry_after {
            Some(wait) => write!(f, ", asks to wait {wait:?}"),
            None => Ok(()),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests;
