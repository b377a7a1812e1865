//! Redaction: secrets go no further than where they came in.

use std::borrow::Cow;
use std::fmt;

/// Replaces secrets in texts.
///
/// The engine redacts every signal before it is kept or shown to a detector, and every text before
/// it is stored or leaves the process: events, notifications, requests, reports.
///
/// *Guarantees an implementation gives:* it neither blocks nor fails; redacting twice changes
/// nothing; a text without secrets comes back borrowed and costs no allocation.
pub trait Redactor: fmt::Debug + Send + Sync {
    /// `text` without the secrets that are recognizable in it.
    fn text<'a>(&self, text: &'a str) -> Cow<'a, str>;

    /// The value of the field, header, label or parameter `name`, which may say that all of it is
    /// secret.
    fn field<'a>(&self, name: &str, value: &'a str) -> Cow<'a, str>;
}

const _: fn(&dyn Redactor) = |_| {};

/// Leaves everything as it is.
///
/// **Warning:** what is secret stays readable wherever it goes. For hosts whose signals hold none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRedaction;

impl Redactor for NoRedaction {
    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }

    fn field<'a>(&self, _: &str, value: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(value)
    }
}
