//! What a host takes from a library, and what it sets.

use std::collections::BTreeMap;

use homeostasis_core::{ConfigError, Violation, Violations};
use serde_json::Value;

use super::template::PlaybookTemplate;

/// Playbooks of a [`PlaybookLibrary`](super::PlaybookLibrary) and what the host sets of them.
#[derive(Debug, Clone)]
pub struct PlaybookPick {
    templates: Vec<PlaybookTemplate>,
    id: Option<String>,
    values: BTreeMap<String, Value>,
}

impl PlaybookPick {
    pub(super) fn new(templates: Vec<PlaybookTemplate>) -> Self {
        Self {
            templates,
            id: None,
            values: BTreeMap::new(),
        }
    }

    /// The same with a parameter set, in every picked playbook that has it: a text, a number, a truth
    /// value, or a list or mapping of these. The last word counts.
    pub fn with(mut self, parameter: impl Into<String>, value: impl Into<Value>) -> Self {
        self.values.insert(parameter.into(), value.into());
        self
    }

    /// The same under another `playbook_id`, so that one playbook can be picked for several services.
    pub fn called(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// What was picked.
    pub fn templates(&self) -> &[PlaybookTemplate] {
        &self.templates
    }

    /// The playbooks as `(source, text)` pairs, for
    /// [`PlaybookSet::parse`](crate::playbook::PlaybookSet::parse) and for the builder of a healer:
    /// places in their errors are places in the shipped files.
    ///
    /// # Errors
    /// Every parameter that must be set and is not, that no picked playbook has, or whose value does
    /// not fit its place; a name for several playbooks.
    pub fn texts(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let mut violations = Violations::new();
        if let (Some(id), 2..) = (&self.id, self.templates.len()) {
            let expected = "no other id, as several playbooks were picked";
            violations.push(Violation::new("playbook_id", id, expected));
        }
        for name in self.values.keys() {
            let is_known = |it: &PlaybookTemplate| it.parameters().contains_key(name);
            if !self.templates.iter().any(is_known) {
                let all = self.templates.iter().flat_map(|it| it.parameters().keys());
                let mut all: Vec<_> = all.map(String::as_str).collect();
                all.sort_unstable();
                all.dedup();
                let expected = format!("one of {}", all.join(", "));
                violations.push(Violation::new("parameters", name, expected));
            }
        }
        let mut texts = Vec::new();
        for template in &self.templates {
            let id = self.id.as_deref().unwrap_or(template.name());
            if let Some(text) = violations.absorb(template.fill(id, &self.values)) {
                texts.push((template.source().to_owned(), text));
            }
        }
        violations.into_result(texts)
    }
}
