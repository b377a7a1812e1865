//! The template of a log message.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::port::Redactor;

/// What is the same in all messages that one statement writes, and where this message differs.
///
/// It is worked out once, when a record arrives; detection and diagnosis tell kinds of messages
/// apart by its id. Cloning is cheap: all records of a template share its text.
///
/// ```
/// use homeostasis::core::signal::LogTemplate;
/// let template = LogTemplate::new(7, "disk <*> is full");
/// let message = "disk sda is full";
/// let of_this = template.of_line([(5, 8)]);
/// assert_eq!((of_this.id(), of_this.text()), (7, "disk <*> is full"));
/// assert_eq!(of_this.variables(message).collect::<Vec<_>>(), ["sda"]);
/// ```
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct LogTemplate {
    shared: Arc<Shared>,
    variables: Box<[(u32, u32)]>,
}

#[derive(Debug, PartialEq, Eq)]
struct Shared {
    id: u64,
    text: String,
    absorbed: Box<[u64]>,
}

/// As it is written.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize)]
struct Wire {
    id: u64,
    text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    absorbed: Vec<u64>,
    /// Where the variables are in the message: from which byte to before which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    variables: Vec<(u32, u32)>,
}

impl From<Wire> for LogTemplate {
    fn from(wire: Wire) -> Self {
        let template = Self::new(wire.id, wire.text).absorbing(wire.absorbed);
        template.of_line(wire.variables)
    }
}

impl From<LogTemplate> for Wire {
    fn from(template: LogTemplate) -> Self {
        Self {
            id: template.id(),
            text: template.text().to_owned(),
            absorbed: template.absorbed().to_vec(),
            variables: template.variables.into_vec(),
        }
    }
}

impl LogTemplate {
    /// Of a text so many bytes are kept.
    pub const MAX_TEXT: usize = 4096;
    /// Of the ids that were united into this one the newest are kept.
    pub const MAX_ABSORBED: usize = 64;
    /// Of the variables of a message the first are kept.
    pub const MAX_VARIABLES: usize = 32;

    /// A template without variables; `<*>` stands for them in the text.
    pub fn new(id: u64, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let mut end = text.len().min(Self::MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Self {
            shared: Arc::new(Shared {
                id,
                text,
                absorbed: Box::default(),
            }),
            variables: Box::default(),
        }
    }

    /// The same; these templates, from the oldest to the newest, turned out to be this one.
    pub fn absorbing(self, ids: impl IntoIterator<Item = u64>) -> Self {
        let mut absorbed: Vec<u64> = ids.into_iter().collect();
        absorbed.drain(..absorbed.len().saturating_sub(Self::MAX_ABSORBED));
        Self {
            shared: Arc::new(Shared {
                id: self.shared.id,
                text: self.shared.text.clone(),
                absorbed: absorbed.into(),
            }),
            variables: self.variables,
        }
    }

    /// The same for a message with variables at these bytes, each from one to before another.
    pub fn of_line(&self, variables: impl IntoIterator<Item = (u32, u32)>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            variables: variables.into_iter().take(Self::MAX_VARIABLES).collect(),
        }
    }

    /// Tells it from others, also after a restart; from 1 on, 0 for none.
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The words that stay, with `<*>` for what varies; at most [`MAX_TEXT`](Self::MAX_TEXT) bytes.
    pub fn text(&self) -> &str {
        &self.shared.text
    }

    /// Ids under which earlier records of this template came, before it was known that they are of
    /// one: who counts by id adds them up.
    pub fn absorbed(&self) -> &[u64] {
        &self.shared.absorbed
    }

    /// What stands in `message` in place of the `<*>`, in order; `message` is that of the record.
    /// There may be more or fewer: of a list, an optional part, or a long message.
    pub fn variables<'a>(&'a self, message: &'a str) -> impl Iterator<Item = &'a str> {
        self.variables
            .iter()
            .filter_map(|(from, to)| message.get(*from as usize..*to as usize))
    }

    pub(crate) fn redact(&mut self, redactor: &dyn Redactor) {
        if let Cow::Owned(text) = redactor.text(self.text()) {
            let variables = std::mem::take(&mut self.variables);
            let clean = Self::new(self.id(), text).absorbing(self.absorbed().iter().copied());
            *self = clean.of_line(variables);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MaskRedactor;

    #[test]
    fn what_is_read_back_is_the_same_and_within_bounds() {
        let template = LogTemplate::new(3, "a <*> b <*>").absorbing([5, 9]);
        let template = template.of_line([(2, 4), (7, 9)]);
        let text = serde_json::to_string(&template).unwrap();
        assert_eq!(
            serde_json::from_str::<LogTemplate>(&text).unwrap(),
            template
        );

        let long = format!(
            r#"{{"id":1,"text":"{}","absorbed":{:?}}}"#,
            "é".repeat(4000),
            (0..99).collect::<Vec<_>>()
        );
        let read: LogTemplate = serde_json::from_str(&long).unwrap();
        assert_eq!(read.text().len(), LogTemplate::MAX_TEXT);
        assert_eq!(read.absorbed(), (35..99).collect::<Vec<_>>());
    }

    #[test]
    fn places_outside_of_the_message_are_passed_over() {
        let template = LogTemplate::new(3, "<*>").of_line([(0, 1), (0, 2), (5, 9), (3, 2)]);
        assert_eq!(template.variables("é!").collect::<Vec<_>>(), ["é"]);
    }

    #[test]
    fn secrets_leave_the_text() {
        let mut template = LogTemplate::new(3, "key hunter2 of <*>").absorbing([4]);
        template.redact(&MaskRedactor("hunter2"));
        assert!(!format!("{template:?}").contains("hunter2"));
        assert_eq!((template.id(), template.absorbed()), (3, &[4][..]));
    }
}
