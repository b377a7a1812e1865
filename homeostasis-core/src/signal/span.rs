//! Spans: what was done for a request, and how long it took.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::signal::Fields;
use crate::target::Target;
use crate::time::Timestamp;

/// How a span ended.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanStatus {
    /// Well, or not said.
    Ok,
    /// With an error.
    Error,
}

/// One finished span.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpanRecord {
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The operation: low cardinality.
    pub operation: Cow<'static, str>,
    /// Whose it is.
    pub target: Option<Target>,
    /// The trace it belongs to.
    pub trace: Option<String>,
    /// Its own id within the trace; 0 if none.
    pub span: u64,
    /// The id of its parent; 0 if it has none.
    pub parent: u64,
    /// How it ended.
    pub status: SpanStatus,
    /// Attributes.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
}

impl SpanRecord {
    /// A root span that ended well.
    pub fn new(at: Timestamp, duration: Duration, operation: impl Into<Cow<'static, str>>) -> Self {
        Self {
            at,
            duration,
            operation: operation.into(),
            target: None,
            trace: None,
            span: 0,
            parent: 0,
            status: SpanStatus::Ok,
            fields: Fields::new(),
        }
    }

    /// The same, of `target`.
    pub fn of(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }
}
