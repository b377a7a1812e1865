//! Notifications: how people learn of what needs them.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, stage_error};
use crate::id::IncidentId;
use crate::record::Severity;
use crate::time::Timestamp;

/// A message to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Notification {
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
    /// A message.
    pub fn new(
        incident: IncidentId,
        severity: Severity,
        at: Timestamp,
        title: impl Into<String>,
        body: impl Into<String>,
    ) -> Self {
        Self {
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
}

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
