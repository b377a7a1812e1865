//! What an action says about itself before it is ever called: parameters, effect class, risk, inverse.

use std::time::Duration;

use homeostasis_core::document::{format_duration, parse_duration};
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value};

use super::Capture;
use crate::template::Template;

/// The type of a parameter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ParamKind {
    /// Any text.
    Text,
    /// One word that is safe as part of a path: letters, digits, `.`, `_`, `-`; it begins with a letter or digit.
    Name,
    /// An absolute `http` or `https` URL; placeholders in it are percent-encoded when they are filled in.
    Url,
    /// `true` or `false`.
    Bool,
    /// A whole number, both ends included.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A duration such as `5m`, both ends included.
    Duration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of these.
    List(Box<ParamKind>),
    /// Named values of this kind.
    Map(Box<ParamKind>),
    /// Anything.
    Any,
}

/// One parameter of an action.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Param {
    /// Its name in a playbook's step.
    pub name: &'static str,
    /// Its type.
    pub kind: ParamKind,
    /// Whether it must be given.
    pub required: bool,
    /// What it is when it is not given; `None` leaves it absent.
    pub default: Option<Value>,
    /// What it takes of what a rule captured from a log; `None`, the default, takes none.
    pub captures: Option<Capture>,
    /// One sentence for people.
    pub doc: &'static str,
}

impl Param {
    /// A parameter that must be given.
    pub fn required(name: &'static str, kind: ParamKind, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            required: true,
            default: None,
            captures: None,
            doc,
        }
    }

    /// A parameter that may be absent.
    pub fn optional(name: &'static str, kind: ParamKind, doc: &'static str) -> Self {
        Self {
            required: false,
            ..Self::required(name, kind, doc)
        }
    }

    /// The same, taking what rules captured, of this form; only for kinds that hold text.
    pub fn taking(mut self, captures: Capture) -> Self {
        self.captures = Some(captures);
        self
    }

    /// The same with this value when it is not given; it is then not required.
    pub fn or(mut self, default: impl Into<Value>) -> Self {
        self.required = false;
        self.default = Some(default.into());
        self
    }
}

/// What is known of an action before it is called.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ActionSpec {
    /// One sentence for people.
    pub description: String,
    /// Its parameters; everything else in a step is a mistake.
    pub params: Vec<Param>,
    /// What is known about doing it twice.
    pub effect: EffectClass,
    /// How dangerous it is.
    pub risk: RiskLevel,
    /// Whether and how it is taken back.
    pub inverse: Inverse,
    /// How long one attempt may take when a step does not say.
    pub default_timeout: Duration,
    /// The longest time a step may give one attempt.
    pub max_timeout: Duration,
}

/// An argument that does not fit: where it stands below the step (a JSON pointer) and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgumentProblem {
    /// The place, such as `/headers/accept`; just the name for a missing argument.
    pub pointer: String,
    /// What was expected there.
    pub expected: String,
}

impl ArgumentProblem {
    /// A problem at `pointer`.
    pub fn new(pointer: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            expected: expected.into(),
        }
    }
}

impl ActionSpec {
    /// The worst kind of action, to be made better by who knows better: opaque, high risk,
    /// irreversible; no parameters, 30 s by default and an hour at most.
    pub fn new(description: impl Into<String>) -> Self {
        Self {
            description: description.into(),
            params: Vec::new(),
            effect: EffectClass::Opaque,
            risk: RiskLevel::High,
            inverse: Inverse::Irreversible("the action declares no inverse".to_owned()),
            default_timeout: Duration::from_secs(30),
            max_timeout: Duration::from_secs(3600),
        }
    }

    /// The same with these parameters.
    pub fn with_params(mut self, params: impl IntoIterator<Item = Param>) -> Self {
        self.params = params.into_iter().collect();
        self
    }

    /// The same with this effect class.
    pub fn with_effect(mut self, effect: EffectClass) -> Self {
        self.effect = effect;
        self
    }

    /// The same with this risk.
    pub fn with_risk(mut self, risk: RiskLevel) -> Self {
        self.risk = risk;
        self
    }

    /// The same with this inverse.
    pub fn with_inverse(mut self, inverse: Inverse) -> Self {
        self.inverse = inverse;
        self
    }

    /// The same with this time for one attempt when a step does not say.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.default_timeout = timeout;
        self
    }

    /// The parameter called `name`.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// Adds the defaults of what is not given.
    pub fn fill_defaults(&self, args: &mut Map<String, Value>) {
        for param in &self.params {
            if let Some(default) = &param.default
                && args.get(param.name).is_none_or(Value::is_null)
            {
                args.insert(param.name.to_owned(), default.clone());
            }
        }
    }

    /// Everything that is wrong with `args`; placeholders stand for any text where `templates`.
    pub fn problems(&self, args: &Map<String, Value>, templates: bool) -> Vec<ArgumentProblem> {
        let mut problems = Vec::new();
        for param in &self.params {
            match args.get(param.name) {
                None | Some(Value::Null) if param.required => problems.push(ArgumentProblem::new(
                    format!("/{}", param.name),
                    param.kind.expected(),
                )),
                None | Some(Value::Null) => {}
                Some(value) => {
                    if templates && (param.captures.is_none() || is_host_captured(param, value)) {
                        refuse_captures(value, &format!("/{}", param.name), &mut problems);
                    }
                    param
                        .kind
                        .check(value, &format!("/{}", param.name), templates, &mut problems);
                }
            }
        }
        for name in args.keys().filter(|name| self.param(name).is_none()) {
            let names: Vec<_> = self
                .params
                .iter()
                .map(|param| format!("`{}`", param.name))
                .collect();
            let expected = if names.is_empty() {
                "no such field: the action has no parameters".to_owned()
            } else {
                format!("one of the action's parameters {}", names.join(", "))
            };
            problems.push(ArgumentProblem::new(format!("/{}", escape(name)), expected));
        }
        problems
    }
}

fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

impl ParamKind {
    /// A list of names.
    pub fn list_of(kind: Self) -> Self {
        Self::List(Box::new(kind))
    }

    /// What is expected, in words.
    pub fn expected(&self) -> String {
        match self {
            Self::Text => "a string".to_owned(),
            Self::Name => "a word of letters, digits, `.`, `_` and `-`".to_owned(),
            Self::Url => "an absolute http or https URL without user name".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Integer { min, max } => format!("an integer between {min} and {max}"),
            Self::Duration { min, max } => format!(
                "a duration between {} and {}",
                format_duration(*min),
                format_duration(*max)
            ),
            Self::OneOf(words) => format!(
                "one of {}",
                words
                    .iter()
                    .map(|word| format!("`{word}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Self::List(kind) => format!("a list, each item {}", kind.expected()),
            Self::Map(kind) => format!("a mapping, each value {}", kind.expected()),
            Self::Any => "any value".to_owned(),
        }
    }

    fn check(
        &self,
        value: &Value,
        pointer: &str,
        templates: bool,
        problems: &mut Vec<ArgumentProblem>,
    ) {
        if templates && let Value::String(text) = value {
            match Template::parse(text) {
                Err(expected) => {
                    problems.push(ArgumentProblem::new(pointer, expected));
                    return;
                }
                Ok(template) if template.has_placeholders() => {
                    if !matches!(self, Self::Text | Self::Name | Self::Url | Self::Any) {
                        let expected = format!("{} and no placeholder", self.expected());
                        problems.push(ArgumentProblem::new(pointer, expected));
                    }
                    return;
                }
                Ok(_) => {}
            }
        }
        let fits = match (self, value) {
            (Self::Any, value) => {
                if templates {
                    check_templates(value, pointer, problems);
                }
                true
            }
            (Self::Text, Value::String(_)) | (Self::Bool, Value::Bool(_)) => true,
            (Self::Name, Value::String(text)) => is_name(text),
            (Self::Url, Value::String(text)) => origin_of(text).is_some(),
            (Self::Integer { min, max }, Value::Number(number)) => number
                .as_i64()
                .is_some_and(|number| (*min..=*max).contains(&number)),
            (Self::Duration { min, max }, Value::String(text)) => {
                parse_duration(text).is_some_and(|duration| (*min..=*max).contains(&duration))
            }
            (Self::OneOf(words), Value::String(text)) => words.contains(&text.as_str()),
            (Self::List(kind), Value::Array(items)) => {
                for (idx, item) in items.iter().enumerate() {
                    kind.check(item, &format!("{pointer}/{idx}"), templates, problems);
                }
                true
            }
            (Self::Map(kind), Value::Object(fields)) => {
                for (name, field) in fields {
                    let pointer = format!("{pointer}/{}", escape(name));
                    kind.check(field, &pointer, templates, problems);
                }
                true
            }
            _ => false,
        };
        if !fits {
            problems.push(ArgumentProblem::new(pointer, self.expected()));
        }
    }
}

/// Whether a log would say which host a request goes to.
fn is_host_captured(param: &Param, value: &Value) -> bool {
    let text = value.as_str().filter(|_| param.kind == ParamKind::Url);
    let template = text.and_then(|text| Template::parse(text).ok());
    let before = template.and_then(|template| template.before_capture());
    before.is_some_and(|before| {
        let path = before.split_once("://").map(|(_, rest)| rest);
        !path.is_some_and(|rest| rest.contains(['/', '?', '#']))
    })
}

/// A parameter that takes no captures says so where one stands.
fn refuse_captures(value: &Value, pointer: &str, problems: &mut Vec<ArgumentProblem>) {
    for (name, place) in captures_in(value, pointer) {
        let expected = format!("no `${{cause.capture.{name}}}`: this takes nothing from a log");
        problems.push(ArgumentProblem::new(place, expected));
    }
}

/// The captures that stand in `value`, each with its place.
pub(crate) fn captures_in(value: &Value, pointer: &str) -> Vec<(String, String)> {
    match value {
        Value::String(text) => {
            let template = Template::parse(text).ok();
            let names = template.iter().flat_map(Template::captures);
            names
                .map(|name| (name.to_owned(), pointer.to_owned()))
                .collect()
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .flat_map(|(idx, item)| captures_in(item, &format!("{pointer}/{idx}")))
                .collect()
        }
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| captures_in(field, &format!("{pointer}/{}", escape(name))))
            .collect(),
        _ => Vec::new(),
    }
}

fn check_templates(value: &Value, pointer: &str, problems: &mut Vec<ArgumentProblem>) {
    match value {
        Value::String(text) => {
            if let Err(expected) = Template::parse(text) {
                problems.push(ArgumentProblem::new(pointer, expected));
            }
        }
        Value::Array(items) => {
            for (idx, item) in items.iter().enumerate() {
                check_templates(item, &format!("{pointer}/{idx}"), problems);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                check_templates(field, &format!("{pointer}/{}", escape(name)), problems);
            }
        }
        _ => {}
    }
}

/// Whether `text` is one word that is safe as part of a path.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && !text.contains("..")
}

/// The origin of an absolute URL (`http://host:port`), in lower case; `None` if it has none, carries a user
/// name, or holds characters no URL may hold.
pub(crate) fn origin_of(url: &str) -> Option<String> {
    if url
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '"' | '<' | '>'))
    {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let good = matches!(scheme.as_str(), "http" | "https")
        && !authority.is_empty()
        && !authority.contains(['@', '%', '$', '{']);
    good.then(|| format!("{scheme}://{}", authority.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> ActionSpec {
        ActionSpec::new("test").with_params([
            Param::required("process", ParamKind::Name, "which"),
            Param::optional(
                "grace",
                ParamKind::Duration {
                    min: Duration::ZERO,
                    max: Duration::from_secs(60),
                },
                "how long",
            )
            .or("10s"),
            Param::optional("n", ParamKind::Integer { min: 1, max: 9 }, "n"),
            Param::optional("tags", ParamKind::list_of(ParamKind::Text), "tags"),
        ])
    }

    fn problems(args: &Value, templates: bool) -> Vec<String> {
        spec()
            .problems(args.as_object().unwrap(), templates)
            .into_iter()
            .map(|problem| problem.pointer)
            .collect()
    }

    #[test]
    fn every_wrong_argument_is_named() {
        let args = json!({"grace": "2h", "n": 10, "tags": ["a", 1], "tpyo": 1});
        assert_eq!(
            problems(&args, false),
            ["/process", "/grace", "/n", "/tags/1", "/tpyo"]
        );
        assert!(problems(&json!({"process": "catalog"}), false).is_empty());
    }

    #[test]
    fn placeholders_stand_for_text_and_for_nothing_else() {
        assert!(problems(&json!({"process": "${target.service}"}), true).is_empty());
        assert_eq!(
            problems(&json!({"process": "${target.service}"}), false),
            ["/process"]
        );
        assert_eq!(
            problems(&json!({"process": "a", "n": "${incident.id}"}), true),
            ["/n"]
        );
        assert_eq!(problems(&json!({"process": "${HOME}"}), true), ["/process"]);
    }

    #[test]
    fn names_cannot_leave_their_folder_and_urls_cannot_hide_their_host() {
        for bad in ["../etc", "a/b", "", ".", "-rf", "a..b", "a b"] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(is_name("v1.2-rc_3"));
        assert_eq!(
            origin_of("http://Shop:80/a?b").as_deref(),
            Some("http://shop:80")
        );
        for bad in [
            "http://shop@evil/",
            "ftp://shop/",
            "//shop/",
            "http:///x",
            "http://a b/",
            "http://shop\\@evil/",
        ] {
            assert_eq!(origin_of(bad), None, "{bad:?}");
        }
    }
}
