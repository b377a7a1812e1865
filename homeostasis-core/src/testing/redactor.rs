//! A redactor for tests.

use std::borrow::Cow;

use crate::port::Redactor;

/// Replaces one text by `[redacted:test]`, wherever it stands and whatever the name of the field.
#[derive(Debug, Clone, Copy)]
pub struct MaskRedactor(
    /// The secret.
    pub &'static str,
);

impl Redactor for MaskRedactor {
    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if text.contains(self.0) {
            Cow::Owned(text.replace(self.0, "[redacted:test]"))
        } else {
            Cow::Borrowed(text)
        }
    }

    fn field<'a>(&self, _: &str, value: &'a str) -> Cow<'a, str> {
        self.text(value)
    }
}
