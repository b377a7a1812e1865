//! One call of an action, and how it may end.

use std::time::Duration;

use homeostasis_core::document::parse_duration;
use homeostasis_core::port::FencingToken;
use homeostasis_core::{BoxError, ErrorKind, ErrorReport, IdempotencyKey, Target, Timestamp};
use serde_json::{Map, Value};

/// The longest output that is kept in the journal, in bytes of JSON.
pub const MAX_OUTPUT_BYTES: usize = 16 * 1024;

/// What an action is called with.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ActionCall<'a> {
    /// On what.
    pub target: &'a Target,
    /// The arguments: checked against the action's parameters, defaults and placeholders filled in.
    pub args: &'a Map<String, Value>,
    /// By which the target recognizes a repetition; the same for every attempt.
    pub key: &'a IdempotencyKey,
    /// The how-manieth try, from 1.
    pub attempt: u32,
    /// What [`Action::capture`](crate::action::Action::capture) returned before the first attempt.
    pub captured: &'a Value,
    /// When it must be done; the future is dropped then.
    pub deadline: Timestamp,
    /// The token of the lease on the target's service; it grows with every lease. `None` if the
    /// step is on another service than its plan: tokens of two services cannot be compared.
    ///
    /// A target that remembers the newest it has seen, and refuses older ones, is safe from a
    /// process that was stopped in the middle of an effect and wakes after another took over.
    pub token: Option<FencingToken>,
}

impl<'a> ActionCall<'a> {
    /// A first attempt without captured state, without a deadline and without a lease.
    pub fn new(target: &'a Target, args: &'a Map<String, Value>, key: &'a IdempotencyKey) -> Self {
        Self {
            target,
            args,
            key,
            attempt: 1,
            captured: &Value::Null,
            deadline: Timestamp::MAX,
            token: None,
        }
    }

    /// The same with this captured state.
    pub fn with_captured(mut self, captured: &'a Value) -> Self {
        self.captured = captured;
        self
    }

    /// The same with this deadline.
    pub fn with_deadline(mut self, deadline: Timestamp) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same as this attempt.
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// The same under the lease with this token.
    pub fn with_token(mut self, token: Option<FencingToken>) -> Self {
        self.token = token;
        self
    }

    /// The text argument `name`.
    ///
    /// # Errors
    /// If it is missing or no text.
    pub fn text(&self, name: &str) -> Result<&'a str, ActionError> {
        self.args
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| ActionError::argument(name, "a string"))
    }

    /// The boolean argument `name`.
    ///
    /// # Errors
    /// If it is missing or no boolean.
    pub fn boolean(&self, name: &str) -> Result<bool, ActionError> {
        self.args
            .get(name)
            .and_then(Value::as_bool)
            .ok_or_else(|| ActionError::argument(name, "true or false"))
    }

    /// The whole, non-negative argument `name`.
    ///
    /// # Errors
    /// If it is missing or no such number.
    pub fn unsigned(&self, name: &str) -> Result<u64, ActionError> {
        self.args
            .get(name)
            .and_then(Value::as_u64)
            .ok_or_else(|| ActionError::argument(name, "a whole number, 0 or more"))
    }

    /// The duration argument `name`.
    ///
    /// # Errors
    /// If it is missing or no duration.
    pub fn duration(&self, name: &str) -> Result<Duration, ActionError> {
        self.text(name)
            .ok()
            .and_then(parse_duration)
            .ok_or_else(|| ActionError::argument(name, "a duration such as 300ms, 30s, 5m"))
    }
}

/// What one can find out about a probeable step whose outcome was not recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeAnswer {
    /// It happened, and this is what it would have returned.
    Happened(Value),
    /// It did not happen.
    DidNot,
    /// Nobody can tell, because …
    CannotTell(String),
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// An argument, or the state it met, does not fit. Nothing was touched.
    #[error("{what}: {detail}")]
    Invalid {
        /// Which argument or state.
        what: String,
        /// What was expected.
        detail: String,
    },
    /// It is certain that nothing was touched.
    #[error("{what} did not begin")]
    NotBegun {
        /// What was tried.
        what: String,
        /// Whether trying again may help.
        kind: ErrorKind,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
    /// It failed on the way; something may have been touched.
    #[error("{what} failed")]
    Failed {
        /// What was tried.
        what: String,
        /// Whether trying again may help.
        kind: ErrorKind,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
    /// Nothing was touched, and whether to go on is for people to say, because …
    #[error("undecided: {reason}")]
    Undecided {
        /// What is not known, and what would settle it.
        reason: String,
    },
    /// A rule of the host forbids it. Nothing was touched.
    #[error("denied: {reason}")]
    Denied {
        /// Why.
        reason: String,
    },
}

impl ActionError {
    /// What may be done next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::Undecided { .. } => ErrorKind::Permanent,
            Self::NotBegun { kind, .. } | Self::Failed { kind, .. } => *kind,
            Self::Denied { .. } => ErrorKind::Denied,
        }
    }

    /// Whether something may have been touched.
    pub fn may_have_begun(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// An argument that does not fit.
    pub fn argument(name: &str, expected: &str) -> Self {
        Self::invalid(format!("argument `{name}`"), format!("expected {expected}"))
    }

    /// Something that does not fit.
    pub fn invalid(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            detail: detail.into(),
        }
    }

    /// A failure that may pass.
    pub fn transient(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Failed {
            what: what.into(),
            kind: ErrorKind::Transient,
            source: Some(source.into()),
        }
    }

    /// A failure that stays.
    pub fn permanent(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Failed {
            what: what.into(),
            kind: ErrorKind::Permanent,
            source: Some(source.into()),
        }
    }

    /// A failure before anything was touched.
    pub fn not_begun(
        what: impl Into<String>,
        kind: ErrorKind,
        source: impl Into<BoxError>,
    ) -> Self {
        Self::NotBegun {
            what: what.into(),
            kind,
            source: Some(source.into()),
        }
    }

    /// The same as of a step that had begun: for what fails after the effect, such as reading it back.
    #[must_use]
    pub fn begun(self) -> Self {
        match self {
            Self::NotBegun { what, kind, source } => Self::Failed { what, kind, source },
            Self::Invalid { what, detail } => Self::permanent(what, detail),
            other => other,
        }
    }

    /// The form that is stored.
    pub fn report(&self) -> ErrorReport {
        ErrorReport::new(self.kind(), self)
    }
}

/// `output`, or its beginning as text when it is longer than [`MAX_OUTPUT_BYTES`].
pub(crate) fn bounded(output: Value) -> Value {
    let text = output.to_string();
    if text.len() <= MAX_OUTPUT_BYTES {
        return output;
    }
    let kept = (0..=MAX_OUTPUT_BYTES)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    serde_json::json!({ "truncated": &text[..kept], "bytes": text.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut_on_a_character() {
        let short = Value::from("ok");
        assert_eq!(bounded(short.clone()), short);
        let cut = bounded(Value::from("é".repeat(MAX_OUTPUT_BYTES)));
        assert!(cut["truncated"].as_str().unwrap().len() <= MAX_OUTPUT_BYTES);
        assert_eq!(cut["bytes"], MAX_OUTPUT_BYTES * 2 + 2);
    }

    #[test]
    fn only_a_failure_on_the_way_may_have_touched_something() {
        assert!(ActionError::transient("x", "y").may_have_begun());
        assert!(!ActionError::argument("x", "y").may_have_begun());
        let early = ActionError::not_begun("x", ErrorKind::Transient, "y");
        assert!(!early.may_have_begun());
        let late = early.begun();
        assert!(late.may_have_begun() && late.kind() == ErrorKind::Transient);
        assert!(ActionError::argument("x", "y").begun().may_have_begun());
    }
}
