//! Notifications: how people learn of what needs them.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, stage_error};
use crate::id::IncidentId;
use crate::record::Severity;
use crate::time::Timestamp;

/// Why people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotificationKind {
    /// They are needed.
    #[default]
    Call,
    /// Somebody took the incident on.
    Acknowledged,
    /// The incident is over.
    Resolved,
    /// Several calls in one, because there were too many: of the worst incident among them.
    Digest,
}

/// A message to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Notification {
    /// Why they are told. Default: they are needed.
    #[serde(default)]
    pub kind: NotificationKind,
    /// The same for every attempt to send it, and different for every other message to one channel:
    /// a receiver that has seen it does nothing. May be empty in messages a host makes.
    #[serde(default)]
    pub key: String,
    /// The people or roles it is for, as a policy names them; empty is whoever reads the channel.
    #[serde(default)]
    pub to: Vec<String>,
    /// About which incident.
    pub incident: IncidentId,
    /// How bad.
    pub severity: Severity,
    /// When.
    pub at: Timestamp,
    /// One line.
    pub title: String,
    /// The reason and what was tried.
    pub body: String,
}

impl Notification {
    /// A call without a key, to nobody in particular.
    pub fn new(
        incident: IncidentId,
        severity: Severity,
        at: Timestamp,
        title: impl Into<String>,
        body: impl Into<String>,
    ) -> Self {
        Self {
            kind: NotificationKind::Call,
            key: String::new(),
            to: Vec::new(),
            incident,
            severity,
            at,
            title: title.into(),
            body: body.into(),
        }
    }
}

stage_error!(
    /// Why a notification did not go out.
    NotifyError
);

/// Brings messages to people. A message may come twice; it does not get lost silently.
#[async_trait]
pub trait Notifier: fmt::Debug + Send + Sync {
    /// Sends one message.
    async fn notify(&self, notification: &Notification) -> Result<(), NotifyError>;

    /// Whether it wants messages of this kind; what it does not want is not sent.
    ///
    /// Default: calls and digests of them, not that an incident was acknowledged or is over.
    fn takes(&self, kind: NotificationKind) -> bool {
        matches!(kind, NotificationKind::Call | NotificationKind::Digest)
    }
}

const _: fn(&dyn Notifier) = |_| {};

/// Nobody listens: every message is refused with a clear error, which the engine reports.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNotifier;

#[async_trait]
impl Notifier for NoNotifier {
    async fn notify(&self, _: &Notification) -> Result<(), NotifyError> {
        Err(NotifyError::Failed {
            what: "no notifier is configured: sending".to_owned(),
            kind: ErrorKind::Permanent,
            source: None,
        })
    }
}

/// Hands every message to a function of the host: to its log, to a screen, to a queue of its own.
///
/// ```
/// use std::sync::Arc;
/// use homeostasis::Homeostasis;
/// use homeostasis::core::port::NotifierFn;
///
/// let log = NotifierFn::new(|told| println!("{} {}", told.severity, told.title));
/// let builder = Homeostasis::empty().channel("log", Arc::new(log));
/// # let _ = builder;
/// ```
#[derive(Clone)]
pub struct NotifierFn<F>(F);

impl<F: Fn(&Notification) + Send + Sync> NotifierFn<F> {
    /// Calls `tell`, which should not block, with messages of every kind.
    pub fn new(tell: F) -> Self {
        Self(tell)
    }
}

impl<F> fmt::Debug for NotifierFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NotifierFn")
    }
}

#[async_trait]
impl<F: Fn(&Notification) + Send + Sync> Notifier for NotifierFn<F> {
    async fn notify(&self, notification: &Notification) -> Result<(), NotifyError> {
        (self.0)(notification);
        Ok(())
    }

    fn takes(&self, kind: NotificationKind) -> bool {
        // A log wants each by itself.
        kind != NotificationKind::Digest
    }
}

/// Keeps the last 1024 messages in memory.
#[derive(Debug, Default)]
pub struct MemoryNotifier {
    sent: Mutex<Vec<Notification>>,
}

impl MemoryNotifier {
    /// What was sent, oldest first.
    pub fn sent(&self) -> Vec<Notification> {
        self.sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Notifier for MemoryNotifier {
    async fn notify(&self, notification: &Notification) -> Result<(), NotifyError> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() == 1024 {
            sent.remove(0);
        }
        sent.push(notification.clone());
        Ok(())
    }
}
