//! A playbook with places for what only the host knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use homeostasis_core::document::{self, Fields, Parser, map_of, nested, non_empty_string, raw};
use homeostasis_core::{ConfigError, Violation, Violations};
use serde_json::Value;

/// What a parameter begins with where it is used.
const BEGIN: &str = "${host.";

/// What the host sets of a template.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlaybookParameter {
    /// What it means.
    pub about: String,
    /// What it is unless the host sets it; without one it must.
    pub default: Option<Value>,
    /// What it may look like.
    pub example: Value,
}

/// A playbook with places for what only the host knows.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaybookTemplate {
    name: String,
    title: String,
    category: String,
    about: String,
    parameters: BTreeMap<String, PlaybookParameter>,
    source: String,
    text: Arc<str>,
}

impl PlaybookTemplate {
    /// Its name, which is the `playbook_id` unless the host gives it another.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For people.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The shelf it stands on: `infrastructure`, `database` …
    pub fn category(&self) -> &str {
        &self.category
    }

    /// What it does, in a sentence.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// What the host sets, by name.
    pub fn parameters(&self) -> &BTreeMap<String, PlaybookParameter> {
        &self.parameters
    }

    /// The file it was read from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// # Errors
    /// What is no template: a missing head, a parameter that is used and not declared or declared and
    /// not used, a first line that is not the `playbook_id`.
    pub(super) fn read(source: &str, text: &str) -> Result<Self, ConfigError> {
        let node = Parser::new().source(source).parse(text)?;
        let mut template = document::decode(&node, nested(head))?;
        source.clone_into(&mut template.source);
        template.text = Arc::from(text);
        let mut violations = Violations::new();
        if text.lines().next() != Some(&format!("playbook_id: {}", template.name)) {
            let expected = "the first line, `playbook_id:` and a plain name";
            let first = Violation::new("playbook_id", &template.name, expected);
            violations.push(first.in_source(source).at(1, 1));
        }
        let places = places(text);
        for place in &places {
            if !template.parameters.contains_key(place.name) {
                let expected = "a parameter that `metadata.parameters` declares";
                violations.push(place.violation(source, "parameters", expected));
            }
        }
        for name in template.parameters.keys() {
            if places.iter().all(|place| place.name != name) {
                let expected = format!("a parameter that is used as `{BEGIN}{name}}}`");
                let unused = Violation::new("metadata.parameters", name, expected);
                violations.push(unused.in_source(source));
            }
        }
        violations.into_result(template)
    }

    /// The text with these values, under this id.
    ///
    /// # Errors
    /// Every parameter that has neither value nor default, and every value that does not fit its
    /// place.
    pub(super) fn fill(
        &self,
        id: &str,
        values: &BTreeMap<String, Value>,
    ) -> Result<String, ConfigError> {
        let (mut violations, mut out, mut done) = (Violations::new(), String::new(), 0);
        for place in places(&self.text) {
            let Some(parameter) = self.parameters.get(place.name) else {
                continue;
            };
            let Some(value) = values.get(place.name).or(parameter.default.as_ref()) else {
                let missing = Violation::new(format!("{id}.{}", place.name), "", &parameter.about);
                // A parameter that stands in several places is missing once.
                if !violations.iter().any(|other| other.path == missing.path) {
                    violations.push(missing.in_source(&self.source));
                }
                continue;
            };
            match place.written(value) {
                Ok(written) => {
                    out.push_str(&self.text[done..place.start]);
                    out.push_str(&written);
                    done = place.end;
                }
                Err(expected) => {
                    let path = format!("{id}.{}", place.name);
                    let wrong = Violation::new(path, value.to_string(), expected);
                    violations.push(wrong.in_source(&self.source));
                }
            }
        }
        out.push_str(&self.text[done..]);
        if id != self.name {
            let head = format!("playbook_id: {}", self.name);
            out = out.replacen(&head, &format!("playbook_id: {}", Value::from(id)), 1);
        }
        violations.into_result(out)
    }
}

/// A use of a parameter.
#[derive(Debug)]
struct Place<'a> {
    name: &'a str,
    start: usize,
    end: usize,
    /// The quotes around it belong to it: it is the whole value.
    is_whole: bool,
    /// A blank or the end of the line follows: after a colon it would make a mapping.
    is_last: bool,
    line: u32,
    column: u32,
}

impl Place<'_> {
    fn violation(&self, source: &str, path: &str, expected: &str) -> Violation {
        Violation::new(path, self.name, expected)
            .in_source(source)
            .at(self.line, self.column)
    }

    /// The value as YAML has it here.
    fn written(&self, value: &Value) -> Result<String, String> {
        let is_scalar =
            |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
        let is_plain = match value {
            Value::Array(items) => items.iter().all(is_scalar),
            Value::Object(fields) => fields.values().all(is_scalar),
            value => is_scalar(value),
        };
        if !is_plain {
            return Err(
                "a text, a number, a truth value, or a list or mapping of these".to_owned(),
            );
        }
        if self.is_whole {
            // JSON is YAML.
            return Ok(value.to_string());
        }
        let word = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_./%@+-:".contains(c);
        if word.is_empty() || self.is_last && word.ends_with(':') || !word.chars().all(is_word) {
            return Err("a word of letters, digits and `_./%@+-:`".to_owned());
        }
        Ok(word)
    }
}

/// Every `${host.NAME}` in the order of the text.
fn places(text: &str) -> Vec<Place<'_>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(begin) = text[at..].find(BEGIN).map(|offset| at + offset) {
        let rest = &text[begin + BEGIN.len()..];
        let Some(length) = rest.find('}') else { break };
        let (mut start, mut end) = (begin, begin + BEGIN.len() + length + 1);
        at = end;
        let is_whole = text[..start].ends_with('"') && text[end..].starts_with('"');
        if is_whole {
            (start, end) = (start - 1, end + 1);
        }
        let line_begin = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let number = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
        found.push(Place {
            name: &rest[..length],
            start,
            end,
            is_whole,
            is_last: !text[end..].starts_with(|c: char| !c.is_whitespace()),
            line: number(text[..start].matches('\n').count()),
            column: number(text[line_begin..start].chars().count()),
        });
    }
    found
}

fn head(d: &mut Fields<'_>) -> Option<PlaybookTemplate> {
    d.ignore_rest();
    let name = d.required("playbook_id", non_empty_string());
    let title = d.required("name", non_empty_string());
    let category = d.required("category", non_empty_string());
    let metadata = d.required("metadata", nested(metadata));
    let (about, parameters) = metadata?;
    Some(PlaybookTemplate {
        name: name?,
        title: title?,
        category: category?,
        about,
        parameters,
        source: String::new(),
        text: Arc::from(""),
    })
}

fn metadata(d: &mut Fields<'_>) -> Option<(String, BTreeMap<String, PlaybookParameter>)> {
    d.ignore_rest();
    let about = d.required("about", non_empty_string());
    let parameters = d.required("parameters", map_of(nested(parameter)));
    Some((about?, parameters?))
}

fn parameter(d: &mut Fields<'_>) -> Option<PlaybookParameter> {
    let about = d.required("about", non_empty_string());
    let default = d.optional("default", raw());
    let example = d.optional("example", raw());
    let (default, example) = (default?, example?);
    let default = default.map(|raw| raw.to_json());
    let example = example.map(|raw| raw.to_json()).or_else(|| default.clone());
    if example.is_none() {
        d.reject_all("a `default`, or an `example` of what the host must set");
    }
    Some(PlaybookParameter {
        about: about?,
        default,
        example: example?,
    })
}
