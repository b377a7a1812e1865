//! Notification: messages to people, sent to an address of theirs.

mod message;
mod retry_after;
mod signature;
mod webhook;
mod webhook_config;

pub use webhook::Webhook;
pub use webhook_config::{WebhookConfig, WebhookFormat};
