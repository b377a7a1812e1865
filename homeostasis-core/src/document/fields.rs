//! The fields of a mapping, read by name; names that nobody asked for are mistakes.

use super::node::{Mapping, Node, Value};
use super::path;
use super::shape::{Shape, names, with_suggestion};
use super::suggestion::nearest;
use crate::violation::{Violation, Violations};

/// Reads the fields of one mapping.
///
/// Each call reads one field and gives `None` when it was wrong, which has then been noted.
/// Read all fields first and unwrap them with `?` in the last expression: so every mistake is found in one go.
/// Fields that were never asked for are reported when the reading function returns.
#[derive(Debug)]
pub struct Fields<'a> {
    node: &'a Node,
    mapping: &'a Mapping,
    path: &'a str,
    violations: &'a mut Violations,
    known: Vec<&'a str>,
    rest_is_known: bool,
}

impl<'a> Fields<'a> {
    /// A field that must be there.
    pub fn required<S: Shape>(&mut self, name: &'a str, shape: S) -> Option<S::Output> {
        self.known.push(name);
        if let Some(value) = self.mapping.get(name) {
            return shape.read(value, &path::field(self.path, name), self.violations);
        }
        let violation = Violation::new(path::field(self.path, name), "", shape.expected());
        self.violations
            .push(self.node.place(violation, self.node.span()));
        None
    }

    /// A field that may be absent or `null`: the inner `None`.
    pub fn optional<S: Shape>(&mut self, name: &'a str, shape: S) -> Option<Option<S::Output>> {
        self.known.push(name);
        match self.mapping.get(name) {
            None => Some(None),
            Some(node) if matches!(node.value(), Value::Null) => Some(None),
            Some(node) => shape
                .read(node, &path::field(self.path, name), self.violations)
                .map(Some),
        }
    }

    /// A field that is `default` when it is absent or `null`.
    pub fn default<S: Shape>(
        &mut self,
        name: &'a str,
        shape: S,
        default: S::Output,
    ) -> Option<S::Output> {
        self.optional(name, shape)
            .map(|value| value.unwrap_or(default))
    }

    /// Whether the field is there and not `null`; this does not count as asking for it.
    pub fn has(&self, name: &str) -> bool {
        self.mapping
            .get(name)
            .is_some_and(|node| !matches!(node.value(), Value::Null))
    }

    /// The value of a field as it stands; this does not count as asking for it.
    pub fn peek(&self, name: &str) -> Option<&'a Node> {
        self.mapping.get(name)
    }

    /// The whole mapping.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// The path of the mapping in its document.
    pub fn path(&self) -> &str {
        self.path
    }

    /// Allows a field without reading it.
    pub fn ignore(&mut self, name: &'a str) {
        self.known.push(name);
    }

    /// Allows every field, whether asked for or not.
    pub fn ignore_rest(&mut self) {
        self.rest_is_known = true;
    }

    /// Notes that a field breaks a rule that its shape cannot state, such as an order between two fields.
    ///
    /// A field that is absent is reported as missing, at the place of the mapping.
    pub fn reject(&mut self, name: &str, expected: impl Into<String>) {
        let path = path::field(self.path, name);
        self.violations.push(match self.mapping.get(name) {
            Some(node) => node.violation(path, expected),
            None => self
                .node
                .place(Violation::new(path, "", expected), self.node.span()),
        });
    }

    /// Notes that the mapping as a whole breaks a rule.
    pub fn reject_all(&mut self, expected: impl Into<String>) {
        self.violations
            .push(self.node.violation(self.path, expected));
    }

    /// Adds the violations of a check that was made elsewhere.
    pub fn merge(&mut self, violations: impl IntoIterator<Item = Violation>) {
        self.violations.merge(violations);
    }

    fn report_unknown(&mut self) {
        if self.rest_is_known {
            return;
        }
        let mut known: Vec<&str> = Vec::with_capacity(self.known.len());
        for name in &self.known {
            if !known.contains(name) {
                known.push(name);
            }
        }
        for entry in self.mapping {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let expected = if known.is_empty() {
                "no fields here".to_owned()
            } else {
                format!("one of {}", names(known.iter().copied()))
            };
            // A name that is already given cannot be what was meant.
            let unused = known
                .iter()
                .copied()
                .filter(|name| self.mapping.get(name).is_none());
            let expected = with_suggestion(expected, nearest(&entry.key, unused));
            let violation = Violation::new(
                path::field(self.path, &entry.key),
                "unknown field",
                expected,
            );
            self.violations
                .push(entry.value.place(violation, entry.key_span));
        }
    }
}

/// See [`nested`].
#[derive(Debug, Clone, Copy)]
pub struct Nested<F> {
    read: F,
}

/// A mapping that `read` reads.
///
/// `read` must have noted a violation when it gives `None`, which holds when it only uses the methods of [`Fields`].
pub fn nested<T, F>(read: F) -> Nested<F>
where
    F: Fn(&mut Fields<'_>) -> Option<T>,
{
    Nested { read }
}

impl<T, F> Shape for Nested<F>
where
    F: Fn(&mut Fields<'_>) -> Option<T>,
{
    type Output = T;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<T> {
        let Some(mapping) = node.as_mapping() else {
            violations.push(node.violation(path, self.expected()));
            return None;
        };
        let mut fields = Fields {
            node,
            mapping,
            path,
            violations,
            known: Vec::new(),
            rest_is_known: false,
        };
        let value = (self.read)(&mut fields);
        fields.report_unknown();
        value
    }

    fn expected(&self) -> String {
        "a mapping".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::document::{
        Located, Parser, any_duration, boolean, decode, integer, list, map_of, non_empty_string,
        one_of, ratio, raw, string,
    };

    #[derive(Debug, PartialEq)]
    struct Step {
        action: String,
        timeout: Duration,
        note: Option<String>,
    }

    fn step(d: &mut Fields<'_>) -> Option<Step> {
        let action = d.required("action", non_empty_string());
        let timeout = d.default("timeout", any_duration(), Duration::from_secs(30));
        let note = d.optional("note", string());
        Some(Step {
            action: action?,
            timeout: timeout?,
            note: note?,
        })
    }

    fn playbook(d: &mut Fields<'_>) -> Option<(String, Vec<Step>)> {
        let name = d.required("name", non_empty_string());
        let steps = d.required("steps", list(nested(step)).at_least(1));
        let low = d.default("low", ratio(0.0..=1.0), 0.0);
        let high = d.default("high", ratio(0.0..=1.0), 1.0);
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            d.reject("low", "at most `high`");
        }
        Some((name?, steps?))
    }

    fn error(text: &str) -> String {
        let node = Parser::new().source("p.yaml").parse(text).unwrap();
        decode(&node, nested(playbook)).unwrap_err().to_string()
    }

    #[test]
    fn a_sound_document_is_read() {
        let node = Parser::new()
            .parse(
                "name: disk\nsteps:\n- action: clean\n- {action: wait, timeout: 5m, note: null}\n",
            )
            .unwrap();
        let (name, steps) = decode(&node, nested(playbook)).unwrap();
        assert_eq!(name, "disk");
        assert_eq!(steps[0].timeout, Duration::from_secs(30));
        assert_eq!(
            steps[1],
            Step {
                action: "wait".into(),
                timeout: Duration::from_secs(300),
                note: None
            }
        );
    }

    #[test]
    fn all_mistakes_of_a_document_are_reported_together() {
        assert_eq!(
            error(
                "steps:\n  - timeout: 5x\n    acton: clean\n  - just text\nlow: 50%\nhigh: 0.4\nauthor: me\n"
            ),
            "p.yaml:1:1: name is missing, expected a non-empty string\n\
             p.yaml:2:5: steps[0].action is missing, expected a non-empty string\n\
             p.yaml:2:14: steps[0].timeout = \"5x\", expected a duration such as 300ms, 30s, 5m\n\
             p.yaml:3:5: steps[0].acton = unknown field, expected one of `action`, `timeout`, `note`; did you mean `action`?\n\
             p.yaml:4:5: steps[1] = \"just text\", expected a mapping\n\
             p.yaml:5:6: low = \"50%\", expected at most `high`\n\
             p.yaml:7:1: author = unknown field, expected one of `name`, `steps`, `low`, `high`"
        );
    }

    #[test]
    fn a_document_that_is_no_mapping_is_refused() {
        assert_eq!(error("5"), "p.yaml:1:1: document = 5, expected a mapping");
        assert_eq!(error(""), "p.yaml:1:1: document = null, expected a mapping");
    }

    #[test]
    fn a_required_field_that_is_null_is_reported_at_its_key() {
        assert_eq!(
            error("steps: [{action: a}]\nname:\n# comment\n"),
            "p.yaml:2:1: name = null, expected a non-empty string"
        );
    }

    #[test]
    fn unknown_fields_of_an_overlay_are_reported_in_their_file() {
        let base = Parser::new()
            .source("base.yaml")
            .parse("name: a\nsteps: [{action: x}]")
            .unwrap();
        let over = Parser::new()
            .source("prod.yaml")
            .parse("\nhihg: 1")
            .unwrap();
        let error = decode(&base.overlay(over), nested(playbook))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("prod.yaml:2:1: hihg = unknown field"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `high`?"), "{error}");
    }

    #[test]
    fn fields_can_be_allowed_without_reading() {
        let node = Parser::new().parse("{a: 1, b: 2, c: 3}").unwrap();
        let some = |d: &mut Fields<'_>| {
            d.ignore("a");
            d.ignore("b");
            Some(())
        };
        let all = |d: &mut Fields<'_>| {
            d.ignore_rest();
            d.has("a").then_some(())
        };
        assert_eq!(
            decode(&node, nested(some)).unwrap_err().violations().len(),
            1
        );
        assert!(decode(&node, nested(all)).is_ok());
    }

    #[test]
    fn giving_up_in_silence_is_still_an_error() {
        let node = Parser::new().parse("{}").unwrap();
        let error = decode(&node, nested(|_: &mut Fields<'_>| None::<()>)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1:1: document = a mapping of 0, expected a mapping"
        );
    }

    proptest! {
        #[test]
        fn no_document_panics_the_decoder(text in "[-:,\\[\\]{}' \\n5ms%a-e.]{0,80}") {
            fn read(d: &mut Fields<'_>) -> Option<Located<()>> {
                let a = d.required("a", raw());
                d.default("b", integer(0..=5), 1);
                d.optional("c", list(boolean()));
                d.optional("d", one_of(&[("e", 1)]));
                d.optional("e", nested(step));
                d.optional("f", map_of(string()));
                a
            }
            if let Ok(node) = Parser::new().parse(&text)
                && let Err(error) = decode(&node, nested(read))
            {
                prop_assert!(!error.violations().is_empty());
                for violation in error.violations() {
                    prop_assert!(violation.line.is_some() && violation.column.is_some());
                }
            }
        }
    }
}
