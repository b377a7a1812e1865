//! Errors as structure: what was raised, where, and because of what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An error of any language as structure.
///
/// The outermost error, the one that was seen, is the event itself; what led to it stands in
/// `causes`, each of which may have causes of its own.
///
/// ```
/// use homeostasis::core::signal::{CauseRelation, ErrorEvent};
/// let error = ErrorEvent::new("java", "java.lang.IllegalStateException", "no price")
///     .because(CauseRelation::CausedBy, ErrorEvent::new("java", "java.net.ConnectException", "refused"));
/// assert_eq!(error.root().kind, "java.net.ConnectException");
/// ```
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ErrorEvent {
    /// `rust`, `python`, `java`, `javascript`, `go`, …; empty if unknown.
    pub language: String,
    /// The type of exception or panic, as its language writes it.
    pub kind: String,
    /// Its message.
    pub message: String,
    /// Where, innermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<Frame>,
    /// What led to it, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<ErrorCause>,
    /// The same for all occurrences of the same error: without addresses, ids and line numbers;
    /// empty if nobody computed it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// The environment at the time: probes by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, f64>,
}

/// How one error led to another.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CauseRelation {
    /// It was raised because of this one: `raise … from`, `Caused by`, `[cause]`, `source()`.
    #[default]
    CausedBy,
    /// It was raised while this one was handled.
    During,
    /// This one was put aside in its favor: Java's `Suppressed`.
    Suppressed,
    /// It is a group, and this one a member: Python's `ExceptionGroup`, `AggregateError`.
    Member,
}

/// An error that led to another.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ErrorCause {
    /// How.
    pub relation: CauseRelation,
    /// The error.
    pub error: ErrorEvent,
}

/// One frame of a stack.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// The function, if known.
    pub function: String,
    /// The source file, if known.
    pub file: String,
    /// 1-based; 0 if unknown.
    pub line: u32,
    /// 1-based; 0 if unknown.
    pub column: u32,
    /// Whether it is code of the project rather than of a library.
    pub in_project: bool,
}

impl ErrorEvent {
    /// An error without frames.
    pub fn new(
        language: impl Into<String>,
        kind: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            language: language.into(),
            kind: kind.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// The same with one cause more.
    pub fn because(mut self, relation: CauseRelation, error: Self) -> Self {
        self.causes.push(ErrorCause { relation, error });
        self
    }

    /// The error that began it: along the first cause that is neither suppressed nor a member of a
    /// group, to the end.
    pub fn root(&self) -> &Self {
        let mut error = self;
        while let Some(cause) = error.causes.iter().find(|cause| {
            matches!(
                cause.relation,
                CauseRelation::CausedBy | CauseRelation::During
            )
        }) {
            error = &cause.error;
        }
        error
    }

    /// The innermost frame in code of the project.
    pub fn innermost_in_project(&self) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.in_project)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_lies_behind_causes_and_not_behind_what_was_suppressed() {
        let error = ErrorEvent::new("java", "A", "")
            .because(CauseRelation::Suppressed, ErrorEvent::new("java", "S", ""))
            .because(
                CauseRelation::CausedBy,
                ErrorEvent::new("java", "B", "")
                    .because(CauseRelation::During, ErrorEvent::new("java", "C", "")),
            );
        assert_eq!(error.root().kind, "C");
        assert_eq!(ErrorEvent::new("go", "panic", "").root().kind, "panic");
    }

    #[test]
    fn records_of_before_causes_are_still_read() {
        let old = r#"{"language":"rust","kind":"panic","message":"m"}"#;
        let error: ErrorEvent = serde_json::from_str(old).unwrap();
        assert!(error.causes.is_empty() && error.fingerprint.is_empty());
    }
}
