//! What a workflow does, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homeostasis_core::{Secret, Target, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::super::check::{Check, lasting, named};
use super::template;

/// Steps in their order, and how to clean up after them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whom it is about.
    pub target: Target,
    /// What is done, in order; at least one step, at most 32.
    pub steps: Vec<WorkflowStep>,
    /// What is done afterwards, also after a failure; default nothing, at most 32.
    /// A step whose variables have no value is left out: what it would remove was never made.
    #[serde(default)]
    pub cleanup: Vec<WorkflowStep>,
    /// How much of `timeout` is kept for cleaning up; default 5 s. Less than `timeout`.
    #[serde(
        default = "WorkflowProbeConfig::default_cleanup_within",
        with = "crate::duration_text"
    )]
    pub cleanup_within: Duration,
    /// How often it is asked; default 5 min.
    #[serde(
        default = "WorkflowProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
    /// How long all of it may take; default 20 s: 15 s for the steps, 5 s for cleaning up.
    #[serde(
        default = "WorkflowProbeConfig::default_timeout",
        with = "crate::duration_text"
    )]
    pub timeout: Duration,
}

/// One request of a workflow, and what its answer must be.
///
/// `${name}` in the URL, the headers and the body stands for the value a step before took out of
/// its answer, and `${run}` for 16 hexadecimal digits that differ with every run. In a URL values
/// are percent-encoded, in a body that is JSON they are escaped for a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowStep {
    /// What the step is called; once in a workflow.
    pub name: String,
    /// Absolute, may hold variables: `http://127.0.0.1:8080/users/${user}`.
    pub url: String,
    /// The method; default `GET`.
    #[serde(default = "WorkflowStep::default_method")]
    pub method: String,
    /// Headers to send; default none. Their values are never shown, and none is serialized.
    #[serde(default, skip_serializing)]
    pub headers: Vec<(String, Secret)>,
    /// What is sent, as JSON unless a header `content-type` says otherwise; default nothing.
    /// Never shown and never serialized.
    #[serde(default, skip_serializing)]
    pub body: Option<Secret>,
    /// The status that is good; default any of 200 to 299.
    #[serde(default)]
    pub expect_status: Option<u16>,
    /// What the body must contain, may hold variables; default nothing.
    #[serde(default)]
    pub expect_body: Option<String>,
    /// What is taken out of the answer, by the name of the variable.
    #[serde(default)]
    pub extract: BTreeMap<String, Extract>,
}

/// Where in an answer a value stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Extract {
    /// A text, number or truth value in a JSON body, by its pointer (RFC 6901): `/user/id`.
    Json(String),
    /// A header, in any case: `location`.
    Header(String),
}

impl WorkflowStep {
    /// A `GET` of `url`.
    pub fn get(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            method: Self::default_method(),
            headers: Vec::new(),
            body: None,
            expect_status: None,
            expect_body: None,
            extract: BTreeMap::new(),
        }
    }

    /// A `POST` of `body` to `url`.
    pub fn post(name: impl Into<String>, url: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            body: Some(Secret::new(body)),
            ..Self::get(name, url).using("POST")
        }
    }

    /// The same with another method.
    pub fn using(mut self, method: impl Into<String>) -> Self {
        self.method = method.into();
        self
    }

    /// The same, taking a value out of its answer.
    pub fn extracting(mut self, variable: impl Into<String>, from: Extract) -> Self {
        self.extract.insert(variable.into(), from);
        self
    }

    fn default_method() -> String {
        "GET".to_owned()
    }

    /// Every text of the step that may hold variables.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter().map(|(_, value)| value.expose());
        [
            Some(self.url.as_str()),
            self.body.as_ref().map(Secret::expose),
            self.expect_body.as_deref(),
        ]
        .into_iter()
        .flatten()
        .chain(headers)
    }
}

impl WorkflowProbeConfig {
    /// The defaults for `steps` on `target`.
    pub fn new(name: impl Into<String>, target: Target, steps: Vec<WorkflowStep>) -> Self {
        Self {
            name: name.into(),
            target,
            steps,
            cleanup: Vec::new(),
            cleanup_within: Self::default_cleanup_within(),
            interval: Self::default_interval(),
            timeout: Self::default_timeout(),
        }
    }

    pub(super) fn check(&self) -> Check<'_> {
        Check {
            name: &self.name,
            target: &self.target,
            interval: self.interval,
            timeout: self.timeout,
        }
    }

    pub(super) fn validate(&self, wrong: &mut Violations) {
        self.check().validate(wrong);
        lasting(wrong, "cleanup_within", self.cleanup_within);
        if self.cleanup_within >= self.timeout {
            let found = format!("{:?}", self.cleanup_within);
            wrong.push(Violation::new("cleanup_within", found, "less than timeout"));
        }
        if !(1..=32).contains(&self.steps.len()) {
            let found = self.steps.len();
            wrong.push(Violation::new("steps", found, "1 to 32 steps"));
        }
        if self.cleanup.len() > 32 {
            let found = self.cleanup.len();
            wrong.push(Violation::new("cleanup", found, "at most 32 steps"));
        }
        let mut names = BTreeSet::new();
        let mut known = BTreeSet::from(["run"]);
        let lists = [("steps", &self.steps), ("cleanup", &self.cleanup)];
        for (list, steps) in lists {
            for (n, step) in steps.iter().enumerate() {
                let mut found = Violations::new();
                step.validate(&mut found, &known);
                if !names.insert(&step.name) {
                    let expected = "a name that no other step has";
                    found.push(Violation::new("name", format!("{:?}", step.name), expected));
                }
                if let Some(error) = found.into_error() {
                    let _: Option<()> = wrong.absorb(Err(error.under(&format!("{list}[{n}]"))));
                }
                known.extend(step.extract.keys().map(String::as_str));
            }
        }
    }

    fn default_cleanup_within() -> Duration {
        Duration::from_secs(5)
    }

    fn default_interval() -> Duration {
        Duration::from_secs(5 * 60)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(20)
    }
}

impl WorkflowStep {
    fn validate(&self, wrong: &mut Violations, known: &BTreeSet<&str>) {
        named(wrong, &self.name);
        // The host may be a variable, the scheme may not.
        super::super::check::absolute_url(wrong, "url", &self.url);
        if let Some(status) = self.expect_status.filter(|s| !(100..=599).contains(s)) {
            wrong.push(Violation::new("expect_status", status, "100 to 599"));
        }
        for text in self.texts() {
            match template::variables(text) {
                Err(place) => wrong.push(Violation::new(
                    "variable",
                    format!("{place:?}"),
                    "${name} with a closing brace",
                )),
                Ok(names) => {
                    for name in names.into_iter().filter(|name| !known.contains(name)) {
                        let known: Vec<&str> = known.iter().copied().collect();
                        wrong.push(Violation::new(
                            "variable",
                            format!("{name:?}"),
                            format!(
                                "one of those that steps before extract: {}",
                                known.join(", ")
                            ),
                        ));
                    }
                }
            }
        }
        for (variable, from) in &self.extract {
            match from {
                Extract::Json(pointer) if !(pointer.is_empty() || pointer.starts_with('/')) => {
                    let path = format!("extract.{variable}");
                    let expected = "a JSON pointer such as /user/id";
                    wrong.push(Violation::new(path, format!("{pointer:?}"), expected));
                }
                _ => {}
            }
        }
    }
}
