//! A notifier that sends mail through an SMTP server.

mod config;
mod dialog;
mod letter;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::port::{Notification, NotificationKind, Notifier, NotifyError};
use homeostasis_core::{Clock, ConfigError, ErrorKind, timeout};

pub use config::{EmailConfig, EmailLogin, EmailSecurity};
use dialog::{Dialog, Failure};
use letter::Letter;

use crate::look_up::LookUps;

/// How long the answer to the goodbye is waited for.
const GOODBYE: Duration = Duration::from_secs(1);

/// Sends each message as a mail to the people it is for.
///
/// It hands mails over to one server (submission, RFC 6409), which queues and delivers them: a relay
/// on the same machine, or that of a provider with a login. Each message is one dialog of its own.
/// All mails about one incident stand in one thread, and a mail that comes twice has the same
/// `Message-ID`.
///
/// No text of a message or of the configuration becomes a header, a command or another recipient:
/// addresses are checked when it is made, and subjects are encoded (RFC 2047).
/// Errors tell the step of the dialog and the code of the answer, and nothing the server said.
///
/// A recipient whom the server refuses, for good or for now, is left out as long as it takes another
/// one: that is told as an event of `tracing`, and the mail does not come to the one left out later.
///
/// # Cancel safety
/// Dropping a delivery ends it; whether the mail was taken is unknown then.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::SystemClock;
/// use homeostasis::signals::{Email, EmailConfig, EmailSecurity};
///
/// let mut config = EmailConfig::new("mail", "localhost", "healer@shop.example", ["ops@shop.example"]);
/// config.security = EmailSecurity::Plain; // a relay on the same machine
/// config.people.insert("cto".into(), vec!["eve@shop.example".into()]);
/// let mail = Email::new(config, Arc::new(SystemClock))?;
/// # let _ = mail;
/// let wrong = EmailConfig::new("mail", "localhost", "healer@shop.example\r\nBcc: x@y.example", [""; 0]);
/// assert_eq!(wrong.check().unwrap_err().violations().len(), 2);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
pub struct Email {
    config: EmailConfig,
    clock: Arc<dyn Clock>,
    look_ups: LookUps,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Email {
    /// A mailer without TLS, for a relay that is as near as this process trusts.
    ///
    /// # Errors
    /// Whatever [`EmailConfig::check`] finds, and [`EmailSecurity::StartTls`], which needs
    /// `Email::trusting` of the feature `tls`.
    pub fn new(config: EmailConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        config.check()?;
        if config.security == EmailSecurity::StartTls {
            let expected = "plain, or whom to trust: `Email::trusting` of the feature `tls`";
            return Err(ConfigError::single("security", "start_tls", expected));
        }
        Ok(Self {
            config,
            clock,
            look_ups: LookUps::shared(),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// A mailer that turns to TLS (RFC 3207) before it says anything, with a server that `roots`
    /// vouch for; a server that does not offer it gets no mail.
    ///
    /// # Errors
    /// Whatever [`EmailConfig::check`] finds, and roots that cannot be read.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn trusting(
        config: EmailConfig,
        clock: Arc<dyn Clock>,
        roots: &crate::tls::TrustRoots,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let settings = crate::tls::verifying(roots, Arc::clone(&clock))?;
        let tls = config.security == EmailSecurity::StartTls;
        Ok(Self {
            config,
            clock,
            look_ups: LookUps::shared(),
            tls: tls.then(|| Arc::new(settings)),
        })
    }

    /// Hands over the mail; what is left is to say goodbye.
    async fn send(&self, letter: &Letter) -> Result<Dialog, Failure> {
        let config = &self.config;
        let addresses = self.look_ups.look_up(&config.server, config.port).await;
        let addresses = addresses.map_err(|error| Failure::io("finding the server", &error))?;
        let stream = tokio::net::TcpStream::connect(&*addresses).await;
        let stream = stream.map_err(|error| Failure::io("connecting", &error))?;
        let mut dialog = Dialog::greeted(Box::new(stream), &config.hello).await?;
        #[cfg(feature = "tls")]
        if let Some(settings) = &self.tls {
            dialog = dialog
                .secured(settings, &config.server, &config.hello)
                .await?;
        }
        if let Some(login) = &config.login {
            dialog.log_in(&login.user, &login.password).await?;
        }
        let refused = dialog
            .deliver(&config.from, &letter.to, &letter.text)
            .await?;
        if refused > 0 {
            let channel = &config.name;
            tracing::warn!(
                channel,
                refused,
                "the mail server refused some of the recipients"
            );
        }
        Ok(dialog)
    }
}

#[async_trait]
impl Notifier for Email {
    async fn notify(&self, notification: &Notification) -> Result<(), NotifyError> {
        let letter = Letter::of(notification, &self.config, self.clock.now());
        let within = self.config.within;
        let sent = timeout(&*self.clock, within, self.send(&letter)).await;
        let failure = match sent {
            Ok(Ok(dialog)) => {
                // The mail is taken: whatever comes of the goodbye, it must not be sent again.
                let _ = timeout(&*self.clock, GOODBYE, dialog.quit()).await;
                return Ok(());
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::new(ErrorKind::Timeout, format!("no end within {within:?}")),
        };
        Err(NotifyError::Failed {
            what: format!("e-mail `{}`", self.config.name),
            kind: failure.kind,
            source: Some(Box::new(failure)),
        })
    }

    fn takes(&self, kind: NotificationKind) -> bool {
        use NotificationKind::{Call, Digest};
        self.config.updates || matches!(kind, Call | Digest)
    }
}

#[cfg(all(test, feature = "http"))]
mod tests;
