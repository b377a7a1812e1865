//! What a text must look like for a rule to match it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::denial::is_denied;
use super::{ErrorLine, ErrorText, Pattern};

/// The patterns of a rule; all that are given must match.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Patterns {
    /// One of these matches in a line, or in its message alone; empty if any line will do.
    ///
    /// A place that the line denies is no match: `no deadlock detected`, `errors: 0`, `check ok`.
    #[serde(rename = "patterns", skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<Pattern>,
    /// Matches in the kind of that line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Pattern>,
    /// Matches in the message of that line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Pattern>,
    /// Matches in one of the frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<Pattern>,
    /// Matches in the template of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Pattern>,
}

impl Patterns {
    /// Whether they match `line` of `text`.
    pub fn matches(&self, text: &ErrorText, line: &ErrorLine) -> bool {
        self.matches_by(None, text, line)
    }

    /// The same, if of [`any`](Self::any) only the one of this number counts.
    pub(super) fn matches_by(
        &self,
        one: Option<usize>,
        text: &ErrorText,
        line: &ErrorLine,
    ) -> bool {
        let fits = |pattern: &Option<Pattern>, text: &str| {
            pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(text))
        };
        let is_in = |pattern: &Pattern| in_line(pattern, line).is_some();
        let is_any_in = match one {
            Some(idx) => self.any.get(idx).is_some_and(is_in),
            None => self.any.is_empty() || self.any.iter().any(is_in),
        };
        is_any_in
            && fits(&self.kind, line.kind())
            && fits(&self.message, line.message())
            && fits(&self.template, text.template())
            && self
                .frame
                .as_ref()
                .is_none_or(|pattern| text.frames().iter().any(|frame| pattern.is_match(frame)))
    }

    /// What their named groups hold in `line` of `text`, by name; the first that holds something
    /// counts.
    pub(super) fn captures(&self, text: &ErrorText, line: &ErrorLine) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut add = |pattern: &Pattern, text: &str| {
            for (name, value) in pattern.captures(text) {
                found.entry(name).or_insert(value);
            }
        };
        for pattern in &self.any {
            if let Some(text) = in_line(pattern, line) {
                add(pattern, text);
            }
        }
        let parts = [
            (&self.kind, line.kind()),
            (&self.message, line.message()),
            (&self.template, text.template()),
        ];
        for (pattern, text) in parts {
            if let Some(pattern) = pattern {
                add(pattern, text);
            }
        }
        if let Some(pattern) = &self.frame {
            let mut frames = text.frames().iter();
            if let Some(frame) = frames.find(|frame| pattern.is_match(frame)) {
                add(pattern, frame);
            }
        }
        found
    }
}

/// The part of `line` in which `pattern` matches: all of it, or its message alone, which a pattern
/// that begins with `^` may mean.
fn in_line<'a>(pattern: &Pattern, line: &'a ErrorLine) -> Option<&'a str> {
    if is_said(pattern, line.text()) {
        return Some(line.text());
    }
    let message = line.message();
    (message.len() < line.text().len() && is_said(pattern, message)).then_some(message)
}

/// Whether `pattern` matches in `text` where `text` does not deny it.
fn is_said(pattern: &Pattern, text: &str) -> bool {
    let is_said = |place| !is_denied(text, place);
    pattern.is_match(text) && pattern.places(text).any(is_said)
}
