//! What a text must look like for a rule to match it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::denial::said_at;
use super::{ErrorLine, ErrorText, Pattern};

/// The patterns of a rule; all that are given must match.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Patterns {
    /// One of these matches in a line, or in its message alone; empty if any line will do.
    ///
    /// A place that the line denies is no match, here, in the message and in the template:
    /// `no deadlock detected`, `errors: 0`, `check ok`.
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
        let says = |pattern: &Option<Pattern>, text: &str| {
            let is_said = |pattern: &Pattern| said_at(pattern, text).is_some();
            pattern.as_ref().is_none_or(is_said)
        };
        let is_kind = |kind: &Pattern| kind.is_match(line.kind());
        let is_in = |pattern: &Pattern| in_line(pattern, line).is_some();
        let is_any_in = match one {
            Some(idx) => self.any.get(idx).is_some_and(is_in),
            None => self.any.is_empty() || self.any.iter().any(is_in),
        };
        is_any_in
            && self.kind.as_ref().is_none_or(is_kind)
            && says(&self.message, line.message())
            && says(&self.template, text.template())
            && self
                .frame
                .as_ref()
                .is_none_or(|pattern| text.frames().iter().any(|frame| pattern.is_match(frame)))
    }

    /// What their named groups hold in `line` of `text`, by name; the first that holds something
    /// counts.
    pub(super) fn captures(&self, text: &ErrorText, line: &ErrorLine) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut add = |pattern: &Pattern, text: &str, from: usize| {
            for (name, value) in pattern.captures_at(text, from) {
                found.entry(name).or_insert(value);
            }
        };
        for pattern in &self.any {
            if let Some((text, from)) = in_line(pattern, line) {
                add(pattern, text, from);
            }
        }
        if let Some(kind) = &self.kind {
            add(kind, line.kind(), 0);
        }
        let parts = [
            (&self.message, line.message()),
            (&self.template, text.template()),
        ];
        for (pattern, text) in parts {
            if let Some(pattern) = pattern {
                add(pattern, text, said_at(pattern, text).unwrap_or(0));
            }
        }
        if let Some(pattern) = &self.frame {
            let mut frames = text.frames().iter();
            if let Some(frame) = frames.find(|frame| pattern.is_match(frame)) {
                add(pattern, frame, 0);
            }
        }
        found
    }
}

/// The part of `line` in which `pattern` matches, and where there: all of it, or its message alone,
/// which a pattern that begins with `^` may mean.
fn in_line<'a>(pattern: &Pattern, line: &'a ErrorLine) -> Option<(&'a str, usize)> {
    let in_text = |text: &'a str| said_at(pattern, text).map(|from| (text, from));
    let message = line.message();
    in_text(line.text()).or_else(|| {
        let is_shorter = message.len() < line.text().len();
        is_shorter.then(|| in_text(message)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use crate::rule::{ErrorText, RuleSet};

    /// What the groups hold of the rule with `pattern`, if it matches.
    fn found(pattern: &str, text: &str) -> Option<Vec<(String, String)>> {
        let rule = format!(
            "rules: [{{id: x, title: x, {pattern}, cause: x, category: unknown, confidence: 0.8, \
             examples: ['deadlock detected on c']}}]"
        );
        let rules = RuleSet::parse("r.yaml", &rule).unwrap();
        let text = ErrorText::of_text(text);
        let best = rules.best(&text)?;
        Some(best.captures().into_iter().collect())
    }

    #[test]
    fn groups_hold_what_the_line_says_and_not_what_it_denies() {
        let text = "no deadlock detected on a, deadlock detected on b";
        let table = |name: &str| Some(vec![("table".to_owned(), name.to_owned())]);
        for part in ["pattern", "message", "template"] {
            let pattern = format!(r"{part}: 'deadlock detected on (?<table>\w+)'");
            assert_eq!(found(&pattern, text), table("b"), "{part}");
            assert_eq!(found(&pattern, "x: deadlock detected on b"), table("b"));
        }
    }

    #[test]
    fn what_a_message_or_a_template_denies_is_no_match_either() {
        for part in ["pattern", "message", "template"] {
            let pattern = format!("{part}: 'deadlock detected'");
            assert_eq!(found(&pattern, "no deadlock detected"), None, "{part}");
            assert!(found(&pattern, "deadlock detected").is_some(), "{part}");
        }
    }
}
