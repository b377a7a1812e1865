//! Who is called when the healer is stuck: in this shop, the log.

use homeostasis::core::async_trait;
use homeostasis::core::port::{Notification, Notifier, NotifyError};
use serde_json::json;

use crate::json_log::JsonLog;

/// Writes calls into the shop's log.
#[derive(Debug)]
pub(super) struct Pager(JsonLog);

impl Pager {
    pub(super) fn new(log: JsonLog) -> Self {
        Self(log)
    }
}

#[async_trait]
impl Notifier for Pager {
    async fn notify(&self, notification: &Notification) -> Result<(), NotifyError> {
        self.0.error(
            &notification.title,
            json!({"kind": "page", "incident": notification.incident, "body": notification.body}),
        );
        Ok(())
    }
}
