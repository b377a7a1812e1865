//! What to change in which file for which cause: data that people write.

use homeostasis_core::document::{
    Fields, Value, list, nested, non_empty_string, one_of, parsed, string,
};
use homeostasis_core::record::{Hypothesis, RiskLevel};
use homeostasis_core::{ServiceName, Violation, Violations};
use serde_json::Value as Json;

use crate::project_file::path_problem;
use crate::{ConfigEdit, ConfigPath, Format};

/// How documents write a risk.
pub(crate) const RISKS: [(&str, RiskLevel); 4] = [
    ("low", RiskLevel::Low),
    ("medium", RiskLevel::Medium),
    ("high", RiskLevel::High),
    ("critical", RiskLevel::Critical),
];

/// A known remedy: for this cause, on this service, make these edits in this file.
///
/// The values it finds and writes are quoted in explanations and diffs, and so in the journal:
/// point it at settings, not at secrets.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConfigRemedy {
    /// The cause it treats, in the vocabulary of findings: `slow_dependency`, `memory_leak` …
    pub cause: String,
    /// The service it treats; `None` stands for any.
    pub service: Option<ServiceName>,
    /// The file, relative to the project's root, with `/` between steps; TOML, YAML or JSON.
    pub file: String,
    /// What to change, in order; each edit sees the result of those before. Never empty.
    pub edits: Vec<ConfigEdit>,
    /// Why it helps, for people; may be empty.
    pub explanation: String,
    /// How dangerous it is.
    pub risk: RiskLevel,
}

impl ConfigRemedy {
    /// A remedy of high risk for any service.
    pub fn new(
        cause: impl Into<String>,
        file: impl Into<String>,
        edits: impl IntoIterator<Item = ConfigEdit>,
    ) -> Self {
        Self {
            cause: cause.into(),
            service: None,
            file: file.into(),
            edits: edits.into_iter().collect(),
            explanation: String::new(),
            risk: RiskLevel::High,
        }
    }

    /// The same for one service only.
    pub fn on_service(mut self, service: ServiceName) -> Self {
        self.service = Some(service);
        self
    }

    /// The same with this reason.
    pub fn saying(mut self, explanation: impl Into<String>) -> Self {
        self.explanation = explanation.into();
        self
    }

    /// The same with this risk.
    pub fn with_risk(mut self, risk: RiskLevel) -> Self {
        self.risk = risk;
        self
    }

    /// Reads one remedy of a document, for use with [`nested`].
    ///
    /// `cause`, `file` and `edits` are required; `risk` is `high` where it is not given.
    /// An edit is `{set: PATH, to: VALUE}`, `{insert: PATH, to: VALUE}` or `{remove: PATH}`; set
    /// and remove take `expecting: VALUE` too, and are then refused on any other old value.
    pub fn read(d: &mut Fields<'_>) -> Option<Self> {
        let cause = d.required("cause", non_empty_string());
        let service = d.optional("service", parsed::<ServiceName>("the name of a service"));
        let file = d.required("file", non_empty_string());
        let edits = d.required("edits", list(nested(edit)).at_least(1));
        let explanation = d.default("explanation", string(), String::new());
        let risk = d.default("risk", one_of(&RISKS), RiskLevel::High);
        if let Some(expected) = cause.as_deref().and_then(cause_problem) {
            d.reject("cause", expected);
        }
        if let Some(expected) = service.as_ref().and_then(|s| service_problem(s.as_ref())) {
            d.reject("service", expected);
        }
        if let Some(expected) = file.as_deref().and_then(file_problem) {
            d.reject("file", expected);
        }
        Some(Self {
            cause: cause?,
            service: service?,
            file: file?,
            edits: edits?,
            explanation: explanation?,
            risk: risk?,
        })
    }

    /// Whether it is a remedy for what `hypothesis` says.
    pub fn treats(&self, hypothesis: &Hypothesis) -> bool {
        let target = hypothesis.target.service_name();
        self.cause == hypothesis.cause && self.service.as_ref().is_none_or(|s| s.as_str() == target)
    }

    /// Notes what is wrong with one that was made in code.
    pub(crate) fn check(&self, path: &str, violations: &mut Violations) {
        let mut note = |field: &str, value: String, expected: &str| {
            violations.push(Violation::new(format!("{path}.{field}"), value, expected));
        };
        if let Some(expected) = cause_problem(&self.cause) {
            note("cause", format!("{:?}", self.cause), expected);
        }
        if let Some(expected) = service_problem(self.service.as_ref()) {
            let service = self.service.as_ref().map_or("", ServiceName::as_str);
            note("service", format!("{service:?}"), expected);
        }
        if let Some(expected) = file_problem(&self.file) {
            note("file", format!("{:?}", self.file), expected);
        }
        if self.edits.is_empty() {
            note("edits", "[]".to_owned(), "at least one edit");
        }
    }
}

fn cause_problem(cause: &str) -> Option<&'static str> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (cause.is_empty() || !cause.chars().all(is_word)).then_some(
        "the name of a cause such as slow_dependency: lower case letters, digits and `_`",
    )
}

fn service_problem(service: Option<&ServiceName>) -> Option<&'static str> {
    service
        .is_some_and(|service| service.as_str().contains('/'))
        .then_some("the name of a service, without an instance")
}

fn file_problem(file: &str) -> Option<&'static str> {
    path_problem(file).or_else(|| {
        Format::from_path(file)
            .is_none()
            .then_some("a file ending in one of toml, yaml, yml, json, jsonc")
    })
}

fn edit(d: &mut Fields<'_>) -> Option<ConfigEdit> {
    let path = || parsed::<ConfigPath>("a path such as server.timeout_ms or hosts[0]");
    let set = d.optional("set", path());
    let insert = d.optional("insert", path());
    let remove = d.optional("remove", path());
    let to = value(d, "to");
    let expecting = value(d, "expecting");
    let (set, insert, remove, to, expecting) = (set?, insert?, remove?, to.ok()?, expecting.ok()?);
    let made = match (set, insert, remove) {
        (Some(path), None, None) => required(d, to).map(|value| ConfigEdit::set(path, value)),
        (None, Some(path), None) => {
            if expecting.is_some() {
                d.reject("expecting", "no old value beside `insert`");
                return None;
            }
            required(d, to).map(|value| ConfigEdit::insert(path, value))
        }
        (None, None, Some(path)) => {
            if to.is_some() {
                d.reject("to", "no new value beside `remove`");
                return None;
            }
            Some(ConfigEdit::remove(path))
        }
        _ => {
            d.reject_all("exactly one of `set`, `insert`, `remove`");
            None
        }
    }?;
    Some(match expecting {
        Some(old) => made.expecting(old),
        None => made,
    })
}

fn required(d: &mut Fields<'_>, value: Option<Json>) -> Option<Json> {
    if value.is_none() {
        d.reject("to", "the value to write");
    }
    value
}

/// A value of any kind, of which `null` is one; `None` says that it is absent.
fn value(d: &mut Fields<'_>, name: &'static str) -> Result<Option<Json>, ()> {
    d.ignore(name);
    let Some(node) = d.peek(name) else {
        return Ok(None);
    };
    if !is_exact(node.value()) {
        d.reject(name, "a value whose numbers are finite and fit in 64 bits");
        return Err(());
    }
    Ok(Some(node.to_json()))
}

/// Whether the value survives as JSON.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Int(value) => i64::try_from(*value).is_ok() || u64::try_from(*value).is_ok(),
        Value::Float(value) => value.is_finite(),
        Value::Sequence(items) => items.iter().all(|item| is_exact(item.value())),
        Value::Mapping(mapping) => mapping.iter().all(|entry| is_exact(entry.value.value())),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::ConfigError;
    use homeostasis_core::document::{Parser, decode};

    use super::*;

    fn read(text: &str) -> Result<ConfigRemedy, ConfigError> {
        let node = Parser::new().source("r.yaml").parse(text)?;
        decode(&node, nested(ConfigRemedy::read))
    }

    #[test]
    fn written_remedy_is_the_one_made_in_code() {
        let read = read(
            "cause: slow_dependency\nservice: orders\nfile: deploy/orders/config.toml\n\
             edits:\n- {set: server.timeout_ms, to: 1000, expecting: 500}\n\
             - {insert: 'hosts[0]', to: null}\n- {remove: debug}\nexplanation: it waits\nrisk: low\n",
        )
        .unwrap();
        let path = |text: &str| text.parse().unwrap();
        let edits = [
            ConfigEdit::set(path("server.timeout_ms"), 1000).expecting(500),
            ConfigEdit::insert(path("hosts[0]"), Json::Null),
            ConfigEdit::remove(path("debug")),
        ];
        let made = ConfigRemedy::new("slow_dependency", "deploy/orders/config.toml", edits)
            .on_service("orders".parse().unwrap())
            .saying("it waits")
            .with_risk(RiskLevel::Low);
        assert_eq!(read, made);
    }

    #[test]
    fn all_mistakes_of_a_remedy_are_reported_with_their_places() {
        let error = read(
            "cause: Slow\nservice: a/b\nfile: ../x.toml\nedits:\n- {set: a..b, to: 1}\n\
             - {set: a}\n- {remove: a, to: 1}\n- {set: a, remove: b}\n- {set: a, to: .nan}\n\
             - {insert: a, to: 1, expecting: 2}\nrisk: lo\n",
        )
        .unwrap_err()
        .to_string();
        let expected = [
            "r.yaml:1:8: cause = \"Slow\", expected the name of a cause",
            "r.yaml:2:10: service = \"a/b\", expected the name of a service, without an instance",
            "r.yaml:3:7: file = \"../x.toml\", expected a relative path that stays inside",
            "r.yaml:5:9: edits[0].set = \"a..b\", expected a path such as",
            "r.yaml:6:3: edits[1].to is missing, expected the value to write",
            "r.yaml:7:19: edits[2].to = 1, expected no new value beside `remove`",
            "r.yaml:8:3: edits[3] = a mapping of 2, expected exactly one of",
            "r.yaml:9:16: edits[4].to = .nan, expected a value whose numbers are finite",
            "r.yaml:10:33: edits[5].expecting = 2, expected no old value beside `insert`",
            "r.yaml:11:7: risk = \"lo\", expected one of",
        ];
        assert_eq!(error.lines().count(), expected.len(), "{error}");
        for (line, expected) in error.lines().zip(expected) {
            assert!(line.starts_with(expected), "{line}\n{expected}");
        }
    }

    #[test]
    fn file_that_cannot_be_edited_is_refused() {
        let error = read("cause: c\nfile: a.ini\nedits: [{remove: a}]\n").unwrap_err();
        assert!(
            error.to_string().contains("r.yaml:2:7: file = \"a.ini\""),
            "{error}"
        );
    }
}
