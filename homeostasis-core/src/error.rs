//! How failures are spoken of: kinds that decide what happens next, and reports that are stored.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A foreign cause, type-erased so that no third-party error type enters our public enums.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// The one question the engine asks of every error: what may be done next?
///
/// Retry, escalation or stop is decided by kind, never by text.
///
/// ```
/// use homeostasis::core::ErrorKind;
/// assert!(ErrorKind::Transient.is_retryable());
/// assert!(!ErrorKind::Denied.is_retryable());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// It may work if tried again.
    Transient,
    /// Trying again changes nothing.
    Permanent,
    /// The deadline passed; whether it happened is unknown.
    Timeout,
    /// Somebody asked to stop.
    Cancelled,
    /// A policy, permit or permission forbids it.
    Denied,
    /// The world changed in between: versions, fencing tokens, locks.
    Conflict,
}

impl ErrorKind {
    /// Whether a retry may succeed without anything else changing.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Timeout)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
        })
    }
}

/// What is stored of an error: it serializes, and it survives upgrades of the type it came from.
///
/// ```
/// use homeostasis::core::{ErrorKind, ErrorReport};
/// let cause = std::io::Error::other("connection reset");
/// let report = ErrorReport::new(ErrorKind::Transient, &cause);
/// assert_eq!(report.to_string(), "connection reset");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// What may be done about it.
    pub kind: ErrorKind,
    /// The outermost message.
    pub message: String,
    /// The causes, outermost first, without the message itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
}

impl ErrorReport {
    /// Flattens `error` and its sources.
    pub fn new(kind: ErrorKind, error: &(dyn Error + 'static)) -> Self {
        let mut chain = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push(cause.to_string());
            source = cause.source();
        }
        Self {
            kind,
            message: error.to_string(),
            chain,
        }
    }

    /// A report that has no error value behind it.
    pub fn message(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            chain: Vec::new(),
        }
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.chain {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

/// Declares the error of one stage: the same five ways to fail, one type per trait.
///
/// A signature promises only what it can return, and every error answers [`ErrorKind`].
macro_rules! stage_error {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, thiserror::Error)]
        #[non_exhaustive]
        pub enum $name {
            /// What was asked for cannot be done with this input.
            #[error("{what}: {detail}")]
            Invalid {
                /// The place: a field, a series, a step.
                what: String,
                /// The value and what was expected.
                detail: String,
            },
            /// Something this stage depends on did not answer or refused.
            #[error("{what} failed")]
            Failed {
                /// What was tried.
                what: String,
                /// Whether trying again may help.
                kind: $crate::error::ErrorKind,
                /// The cause.
                #[source]
                source: Option<$crate::error::BoxError>,
            },
            /// The deadline of the [`Context`](crate::context::Context) passed.
            #[error("deadline passed while {during}")]
            Timeout {
                /// What was going on.
                during: String,
            },
            /// The [`Context`](crate::context::Context) was cancelled.
            #[error("cancelled while {during}")]
            Cancelled {
                /// What was going on.
                during: String,
            },
            /// A policy, permit or permission forbids it.
            #[error("denied: {reason}")]
            Denied {
                /// Why.
                reason: String,
            },
        }

        impl $name {
            /// What may be done next.
            pub fn kind(&self) -> $crate::error::ErrorKind {
                use $crate::error::ErrorKind;
                match self {
                    Self::Invalid { .. } => ErrorKind::Permanent,
                    Self::Failed { kind, .. } => *kind,
                    Self::Timeout { .. } => ErrorKind::Timeout,
                    Self::Cancelled { .. } => ErrorKind::Cancelled,
                    Self::Denied { .. } => ErrorKind::Denied,
                }
            }

            /// The place and what was wrong with it.
            pub fn invalid(what: impl Into<String>, detail: impl Into<String>) -> Self {
                Self::Invalid { what: what.into(), detail: detail.into() }
            }

            /// A failure that may pass.
            pub fn transient(what: impl Into<String>, source: impl Into<$crate::error::BoxError>) -> Self {
                Self::Failed {
                    what: what.into(),
                    kind: $crate::error::ErrorKind::Transient,
                    source: Some(source.into()),
                }
            }

            /// A failure that stays.
            pub fn permanent(what: impl Into<String>, source: impl Into<$crate::error::BoxError>) -> Self {
                Self::Failed {
                    what: what.into(),
                    kind: $crate::error::ErrorKind::Permanent,
                    source: Some(source.into()),
                }
            }

            /// The form that is stored.
            pub fn report(&self) -> $crate::error::ErrorReport {
                $crate::error::ErrorReport::new(self.kind(), self)
            }
        }
    };
}
pub(crate) use stage_error;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::AnalyzeError;

    #[test]
    fn a_report_keeps_the_chain_without_repeating_the_message() {
        let error = AnalyzeError::transient("reading", std::io::Error::other("disk gone"));
        let report = error.report();
        assert_eq!(report.kind, ErrorKind::Transient);
        assert_eq!(report.message, "reading failed");
        assert_eq!(report.chain, ["disk gone"]);
        assert_eq!(report.to_string(), "reading failed: disk gone");
    }
}
