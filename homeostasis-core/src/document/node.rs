//! The tree of a document, in which every value knows where it was written.

use std::collections::HashMap;
use std::sync::Arc;

use crate::violation::Violation;

/// Where a value begins: line and column, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted from 1 in characters.
    pub column: u32,
}

/// A value with the place where it was written.
///
/// Equality compares values and places.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub(super) source: Option<Arc<str>>,
    pub(super) span: Span,
    /// A scalar as it was written, before variables were filled in.
    pub(super) written: Option<Box<str>>,
    pub(super) value: Value,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// A number with a fraction or an exponent; `.inf` and `.nan` are possible in YAML.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Named fields.
    Mapping(Mapping),
}

/// The fields of a mapping in the order of the document; no key occurs twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping {
    pub(super) entries: Vec<Entry>,
}

/// A field of a [`Mapping`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// The name of the field.
    pub key: String,
    /// Where the name was written.
    pub key_span: Span,
    /// Its value.
    pub value: Node,
}

impl Mapping {
    /// The value of the field `key`, in `O(len)`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The field `key`, in `O(len)`.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The fields in the order of the document.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<'a> IntoIterator for &'a Mapping {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Node {
    /// The file the value was read from, where one was named.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Where the value begins.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The value itself.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The text, when the value is a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The fields, when the value is a mapping.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.value {
            Value::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The items, when the value is a sequence.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The value as written, for messages: strings in quotes, variables by name and never by value, collections by size.
    pub fn written(&self) -> String {
        match (&self.value, &self.written) {
            (Value::Sequence(items), _) => format!("a list of {}", items.len()),
            (Value::Mapping(mapping), _) => format!("a mapping of {}", mapping.len()),
            (Value::String(_), Some(text)) => format!("\"{text}\""),
            (Value::String(text), None) => format!("\"{text}\""),
            (Value::Null, None) => "null".to_owned(),
            (Value::Null, Some(text)) if text.is_empty() => "null".to_owned(),
            (_, Some(text)) => text.to_string(),
            (Value::Bool(value), None) => value.to_string(),
            (Value::Int(value), None) => value.to_string(),
            (Value::Float(value), None) => value.to_string(),
        }
    }

    /// A violation at this place: `path` names the value, `expected` says what it should be.
    pub fn violation(&self, path: impl Into<String>, expected: impl Into<String>) -> Violation {
        self.place(Violation::new(path, self.written(), expected), self.span)
    }

    /// Puts `violation` at `span` of this node's file.
    pub(super) fn place(&self, violation: Violation, span: Span) -> Violation {
        let violation = violation.at(span.line, span.column);
        match &self.source {
            Some(source) => violation.in_source(source.as_ref()),
            None => violation,
        }
    }

    /// The value below this one at a JSON pointer (RFC 6901) such as `/steps/2/timeout`; `None` when there is none.
    ///
    /// The empty pointer is the node itself.
    pub fn pointer(&self, pointer: &str) -> Option<&Node> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer
            .strip_prefix('/')?
            .split('/')
            .try_fold(self, |node, token| match &node.value {
                Value::Mapping(mapping) => {
                    mapping.get(&token.replace("~1", "/").replace("~0", "~"))
                }
                Value::Sequence(items) => {
                    let is_index =
                        token == "0" || (!token.starts_with(['0', '+']) && !token.is_empty());
                    items.get(is_index.then(|| token.parse::<usize>().ok()).flatten()?)
                }
                _ => None,
            })
    }

    /// The value as JSON, without places.
    ///
    /// Variables are filled in, so the result can hold secrets.
    /// Integers beyond 64 bits become floats; `.inf`, `-.inf` and `.nan`, which JSON cannot hold, become those strings.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => i64::try_from(*value)
                .map(Json::from)
                .or_else(|_| u64::try_from(*value).map(Json::from))
                .unwrap_or_else(|_| Json::from(*value as f64)),
            Value::Float(value) if value.is_nan() => Json::from(".nan"),
            Value::Float(value) if value.is_infinite() => {
                Json::from(if *value > 0.0 { ".inf" } else { "-.inf" })
            }
            Value::Float(value) => Json::from(*value),
            Value::String(text) => Json::from(text.as_str()),
            Value::Sequence(items) => items.iter().map(Node::to_json).collect(),
            Value::Mapping(mapping) => Json::Object(
                mapping
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect(),
            ),
        }
    }

    /// Lays `other` over this document: the settings of an environment over the common ones.
    ///
    /// Mappings are merged field by field, to any depth; everything else, lists included, is replaced by `other`'s.
    /// A field that is `null` in `other` replaces too, which makes an optional field unset.
    /// Every value keeps the file and place of the document it came from.
    /// Fields keep the order of `self`; new ones follow.
    ///
    /// # Examples
    /// ```
    /// use homeostasis::core::document::Parser;
    ///
    /// let common = Parser::new().source("base.yaml").parse("mode: auto\nlimits: {per_hour: 5, per_day: 20}")?;
    /// let staging = Parser::new().source("staging.yaml").parse("limits:\n  per_hour: 50")?;
    /// let node = common.overlay(staging);
    /// assert_eq!(node.to_json().to_string(), r#"{"limits":{"per_day":20,"per_hour":50},"mode":"auto"}"#);
    /// assert_eq!(node.pointer("/limits/per_hour").unwrap().source(), Some("staging.yaml"));
    /// # Ok::<(), homeostasis::core::ConfigError>(())
    /// ```
    #[must_use]
    pub fn overlay(self, other: Node) -> Node {
        let Node {
            source,
            span,
            written,
            value,
        } = self;
        match (value, other) {
            (
                Value::Mapping(mut below),
                Node {
                    value: Value::Mapping(above),
                    source: from,
                    span: at,
                    written: text,
                },
            ) => {
                if above.is_empty() {
                    return Node {
                        source,
                        span,
                        written,
                        value: Value::Mapping(below),
                    };
                }
                let index: HashMap<String, usize> = below
                    .entries
                    .iter()
                    .enumerate()
                    .map(|(idx, e)| (e.key.clone(), idx))
                    .collect();
                for entry in above.entries {
                    let Some(&idx) = index.get(&entry.key) else {
                        below.entries.push(entry);
                        continue;
                    };
                    let slot = &mut below.entries[idx];
                    let null = Node {
                        source: None,
                        span: slot.value.span,
                        written: None,
                        value: Value::Null,
                    };
                    let lower = std::mem::replace(&mut slot.value, null);
                    slot.value = lower.overlay(entry.value);
                    slot.key_span = entry.key_span;
                }
                Node {
                    source: from,
                    span: at,
                    written: text,
                    value: Value::Mapping(below),
                }
            }
            (_, other) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Parser;

    fn parse(source: &str, text: &str) -> Node {
        Parser::new().source(source).parse(text).unwrap()
    }

    #[test]
    fn a_later_document_wins_and_keeps_its_place() {
        let base = parse("base.yaml", "a: 1\nb:\n  c: [1, 2]\n  d: x\n");
        let over = parse("over.yaml", "\n\nb:\n  c: [3]\ne: 5\n");
        let node = base.overlay(over);
        assert_eq!(
            node.to_json(),
            serde_json::json!({"a": 1, "b": {"c": [3], "d": "x"}, "e": 5})
        );
        let place = |pointer| {
            let node = node.pointer(pointer).unwrap();
            (node.source().unwrap(), node.span().line, node.span().column)
        };
        assert_eq!(place("/a"), ("base.yaml", 1, 4));
        assert_eq!(place("/b/c"), ("over.yaml", 4, 6));
        assert_eq!(place("/b/d"), ("base.yaml", 4, 6));
        assert_eq!(place("/e"), ("over.yaml", 5, 4));
    }

    #[test]
    fn null_unsets_and_scalars_replace_mappings() {
        let node = parse("a", "a: {b: 1}\nc: 2").overlay(parse("b", "a: null\nc: {d: 3}"));
        assert_eq!(
            node.to_json(),
            serde_json::json!({"a": null, "c": {"d": 3}})
        );
    }

    #[test]
    fn overlay_of_mappings_is_associative() {
        let [a, b, c] = [
            "{x: {p: 1, q: 2}, y: 1}",
            "{x: {q: 3, r: 4}}",
            "{x: {r: 5}, y: 2}",
        ]
        .map(|text| parse("f", text));
        let left = a.clone().overlay(b.clone()).overlay(c.clone()).to_json();
        let right = a.overlay(b.overlay(c)).to_json();
        assert_eq!(left, right);
        assert_eq!(
            left,
            serde_json::json!({"x": {"p": 1, "q": 3, "r": 5}, "y": 2})
        );
    }

    #[test]
    fn pointers_follow_rfc_6901() {
        let node = parse("f", "a/b: [10, {m~n: 20}]\n");
        assert_eq!(node.pointer("/a~1b/0").unwrap().value(), &Value::Int(10));
        assert_eq!(
            node.pointer("/a~1b/1/m~0n").unwrap().value(),
            &Value::Int(20)
        );
        assert_eq!(node.pointer(""), Some(&node));
        for missing in [
            "a",
            "/a~1b/2",
            "/a~1b/00",
            "/a~1b/+0",
            "/a~1b/",
            "/x",
            "/a~1b/0/0",
        ] {
            assert_eq!(node.pointer(missing), None, "{missing}");
        }
    }

    #[test]
    fn numbers_json_cannot_hold_become_strings() {
        let node = parse(
            "f",
            "[.inf, -.inf, .nan, 18446744073709551615, 99999999999999999999999]",
        );
        assert_eq!(
            node.to_json(),
            serde_json::json!([
                ".inf",
                "-.inf",
                ".nan",
                u64::MAX,
                99_999_999_999_999_999_999_999_f64
            ])
        );
    }
}
