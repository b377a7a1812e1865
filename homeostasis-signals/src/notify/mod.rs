//! Notification: messages to people, sent to an address of theirs.

#[cfg(feature = "email")]
mod email;
#[cfg(feature = "http")]
mod message;
#[cfg(feature = "http")]
mod retry_after;
#[cfg(feature = "http")]
mod signature;
#[cfg(feature = "http")]
mod webhook;
#[cfg(feature = "http")]
mod webhook_config;

#[cfg(feature = "email")]
pub use email::{Email, EmailConfig, EmailLogin, EmailSecurity};
#[cfg(feature = "http")]
pub use webhook::Webhook;
#[cfg(feature = "http")]
pub use webhook_config::{WebhookConfig, WebhookFormat};
