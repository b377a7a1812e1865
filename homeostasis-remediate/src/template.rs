//! Placeholders in the arguments of a playbook: filled in as values, never through a shell.

use homeostasis_core::record::Diagnosis;
use homeostasis_core::{IncidentId, Target};
use serde_json::{Map, Value};

use crate::action::{ActionSpec, Capture, ParamKind};

/// What placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bindings<'a> {
    pub(crate) target: &'a Target,
    pub(crate) incident: IncidentId,
    pub(crate) captures: Captures<'a>,
}

/// What rules captured of the cause.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Captures<'a> {
    /// Nothing is known: each capture stands for its own name, to see what a plan would be like.
    Sample,
    /// What this diagnosis holds of its root cause.
    Of(&'a Diagnosis),
}

/// What the placeholders of captures begin with.
const CAPTURE: &str = "cause.capture.";

const NAMES: [&str; 4] = ["target", "target.service", "target.instance", "incident.id"];

impl Bindings<'_> {
    fn value(&self, name: &str) -> Result<String, String> {
        match name {
            "target" => Ok(self.target.to_string()),
            "target.service" => Ok(self.target.service_name().to_owned()),
            "target.instance" => self
                .target
                .instance_name()
                .map(str::to_owned)
                .ok_or_else(|| {
                    format!("a target that is an instance; {} is a service", self.target)
                }),
            "incident.id" => Ok(self.incident.to_string()),
            other => Err(format!("no placeholder `{other}`")),
        }
    }

    /// The one value of a capture, if it is of the form that is taken.
    fn capture(&self, name: &str, taken: Option<Capture>) -> Result<String, String> {
        let taken = taken
            .ok_or_else(|| format!("no `${{{CAPTURE}{name}}}`: this takes nothing from a log"))?;
        let Captures::Of(diagnosis) = self.captures else {
            return Ok(name.to_owned());
        };
        let all = diagnosis.captures();
        let values = all.get(name).into_iter().flatten().copied();
        let value = match values.collect::<Vec<_>>()[..] {
            [value] => value,
            [] => {
                let known: Vec<_> = all.keys().map(|name| format!("`{name}`")).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                return Err(format!(
                    "a capture `{name}` of the diagnosed cause, which has {known}"
                ));
            }
            [one, other, ..] => {
                return Err(format!(
                    "one value of the capture `{name}`; logs say {one:?} and {other:?}"
                ));
            }
        };
        match taken.problem(value) {
            None => Ok(value.to_owned()),
            Some(expected) => Err(format!("the capture `{name}` = {value:?} to be {expected}")),
        }
    }
}

/// A text with placeholders: `${target.service}`; `$${` is a literal `${`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template<'a> {
    parts: Vec<Part<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part<'a> {
    Literal(&'a str),
    Placeholder(&'a str),
    /// Its name without what it begins with.
    Capture(&'a str),
}

impl<'a> Template<'a> {
    /// # Errors
    /// What was expected instead, in words.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                parts.push(Part::Literal(before));
                parts.push(Part::Literal("${"));
                rest = after;
                continue;
            }
            let Some(end) = after.find('}') else {
                return Err("a closing `}` after `${` (write `$${` for a literal `${`)".to_owned());
            };
            let name = &after[..end];
            if let Some(capture) = name.strip_prefix(CAPTURE) {
                if !is_group(capture) {
                    return Err(format!(
                        "the name of a rule's group after `${{{CAPTURE}`: letters, digits and `_`, \
                         at most 64, not beginning with a digit"
                    ));
                }
                parts.push(Part::Literal(before));
                parts.push(Part::Capture(capture));
                rest = &after[end + 1..];
                continue;
            }
            if !NAMES.contains(&name) {
                let names = NAMES.iter().copied().chain(["cause.capture.NAME"]);
                let names: Vec<_> = names.map(|name| format!("`${{{name}}}`")).collect();
                return Err(format!(
                    "one of the placeholders {} (write `$${{` for a literal `${{`)",
                    names.join(", ")
                ));
            }
            parts.push(Part::Literal(before));
            parts.push(Part::Placeholder(name));
            rest = &after[end + 1..];
        }
        parts.push(Part::Literal(rest));
        Ok(Self { parts })
    }

    pub(crate) fn has_placeholders(&self) -> bool {
        self.parts
            .iter()
            .any(|part| !matches!(part, Part::Literal(_)))
    }

    /// The captures it names.
    pub(crate) fn captures(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.parts.iter().filter_map(|part| match part {
            Part::Capture(name) => Some(*name),
            _ => None,
        })
    }

    /// What stands before the first capture, if there is one; other placeholders count as a letter.
    pub(crate) fn before_capture(&self) -> Option<String> {
        let mut before = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => before.push_str(text),
                Part::Placeholder(_) => before.push('x'),
                Part::Capture(_) => return Some(before),
            }
        }
        None
    }

    fn fill(
        &self,
        bindings: &Bindings<'_>,
        (encode, taken): (bool, Option<Capture>),
    ) -> Result<String, String> {
        let mut out = String::new();
        let mut said = self.parts.iter().filter(|part| **part != Part::Literal(""));
        let is_alone = said.next().is_some() && said.next().is_none();
        let taken = taken.map(|taken| if is_alone { taken } else { taken.within() });
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Placeholder(name) => {
                    let value = bindings.value(name)?;
                    if let Some(expected) = widens(&value, out.is_empty()).filter(|_| !encode) {
                        return Err(format!("`${{{name}}}` = {value:?} to be {expected}"));
                    }
                    push(&value, encode, &mut out);
                }
                Part::Capture(name) => push(&bindings.capture(name, taken)?, encode, &mut out),
            }
        }
        Ok(out)
    }
}

/// What was expected of a name that would mean more than itself: anybody who sends signals names services.
fn widens(value: &str, begins: bool) -> Option<&'static str> {
    if begins && value.starts_with('-') {
        return Some("a name that does not begin with `-`: it would be an option");
    }
    let is_pattern = value.contains(['*', '?', '[', '\\']);
    is_pattern.then_some("a name without `*`, `?`, `[` and `\\`: it would be a pattern")
}

/// Whether a rule can name a group so.
fn is_group(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn push(value: &str, encode: bool, out: &mut String) {
    if encode {
        percent_encode(value, out);
    } else {
        out.push_str(value);
    }
}

fn percent_encode(value: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// The arguments with placeholders filled in.
///
/// # Errors
/// Which argument could not be filled in, and why.
pub(crate) fn fill(
    spec: &ActionSpec,
    args: &Map<String, Value>,
    bindings: &Bindings<'_>,
) -> Result<Map<String, Value>, (String, String)> {
    args.iter()
        .map(|(name, value)| {
            let param = spec.param(name);
            let is_url = param.is_some_and(|param| param.kind == ParamKind::Url);
            let taken = param.and_then(|param| param.captures);
            fill_value(value, bindings, (is_url, taken))
                .map(|value| (name.clone(), value))
                .map_err(|problem| (name.clone(), problem))
        })
        .collect()
}

fn fill_value(
    value: &Value,
    bindings: &Bindings<'_>,
    how: (bool, Option<Capture>),
) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(Template::parse(text)?.fill(bindings, how)?),
        Value::Array(items) => items
            .iter()
            .map(|item| fill_value(item, bindings, how))
            .collect::<Result<_, _>>()?,
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), fill_value(field, bindings, how)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::action::Param;

    fn filled(target: &str, args: &Value) -> Result<Value, (String, String)> {
        let spec = ActionSpec::new("t").with_params([
            Param::optional("url", ParamKind::Url, ""),
            Param::optional("text", ParamKind::Any, ""),
        ]);
        let target: Target = target.parse().unwrap();
        let bindings = Bindings {
            target: &target,
            incident: IncidentId::from_u128(1),
            captures: Captures::Sample,
        };
        fill(&spec, args.as_object().unwrap(), &bindings).map(Value::Object)
    }

    #[test]
    fn a_value_stays_one_value_whatever_it_holds() {
        let evil = "a; rm -rf $(x) ${incident.id}";
        assert_eq!(
            filled(
                evil,
                &json!({"text": ["${target.service}"], "url": "http://h/${target.service}?x"})
            )
            .unwrap(),
            json!({"text": [evil], "url": "http://h/a%3B%20rm%20-rf%20%24%28x%29%20%24%7Bincident.id%7D?x"})
        );
    }

    #[test]
    fn a_name_is_neither_an_option_nor_a_pattern() {
        let args = json!({"text": ["${target.service}"]});
        for (evil, expected) in [
            ("-rf", "it would be an option"),
            ("*", "it would be a pattern"),
            ("web[0-9]", "it would be a pattern"),
            ("\\*", "it would be a pattern"),
        ] {
            let (name, problem) = filled(evil, &args).unwrap_err();
            assert!(name == "text" && problem.contains(expected), "{problem}");
        }
        // Not where it stands within an argument, or is percent-encoded.
        let within = json!({"text": "--service=${target}", "url": "http://h/${target}"});
        assert_eq!(
            filled("-rf", &within).unwrap(),
            json!({"text": "--service=-rf", "url": "http://h/-rf"})
        );
        let url = json!({"url": "http://h/${target}"});
        assert_eq!(filled("*", &url).unwrap(), json!({"url": "http://h/%2A"}));
    }

    #[test]
    fn escapes_stay_and_a_missing_instance_is_an_error() {
        assert_eq!(
            filled("a/0", &json!({"text": "$${x} ${target}"})).unwrap(),
            json!({"text": "${x} a/0"})
        );
        let (name, problem) = filled("a", &json!({"text": "${target.instance}"})).unwrap_err();
        assert_eq!(name, "text");
        assert!(problem.contains("instance"), "{problem}");
    }

    #[test]
    fn unknown_and_unclosed_placeholders_are_refused() {
        assert!(
            Template::parse("${HOME}")
                .unwrap_err()
                .contains("${target}")
        );
        assert!(Template::parse("${target").unwrap_err().contains("closing"));
    }
}
