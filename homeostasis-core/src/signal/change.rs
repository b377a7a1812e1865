//! Changes: what people and machines did to the system.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::signal::Fields;
use crate::target::Target;
use crate::time::Timestamp;

/// What kind of change it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// A new version runs.
    Deploy,
    /// A feature flag moved.
    Flag,
    /// Configuration changed.
    Config,
    /// A schema or data migration ran.
    Migration,
    /// An instance was added, removed, started or stopped.
    Scale,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// When it took effect.
    pub at: Timestamp,
    /// Of what kind.
    pub kind: ChangeKind,
    /// What was changed.
    pub target: Target,
    /// One line for people: `v1 -> v2`.
    pub summary: String,
    /// Details: `version`, `previous`, `commit`, `by` …
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
}

impl Change {
    /// A change without details.
    pub fn new(
        at: Timestamp,
        kind: ChangeKind,
        target: Target,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            at,
            kind,
            target,
            summary: summary.into(),
            fields: Fields::new(),
        }
    }

    /// The same with one detail more.
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.fields.insert(name, value);
        self
    }
}
