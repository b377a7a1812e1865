//! What a part of the kit says when it does not let a call through, or not to its end.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::ErrorKind;

/// A call that did not happen, or was given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// There was no answer in time. Whether the call happened is unknown.
    #[error("timeout `{name}`: no answer within {limit:?}")]
    TimedOut {
        /// Which [`Timeout`](super::Timeout).
        name: Arc<str>,
        /// How long it waited.
        limit: Duration,
    },
    /// The breaker is open, or half open and its trials are under way.
    #[error("circuit breaker `{name}` is open")]
    CircuitOpen {
        /// Which [`CircuitBreaker`](super::CircuitBreaker).
        name: Arc<str>,
        /// How long until it tries again; `None` if that does not depend on time alone.
        retry_after: Option<Duration>,
    },
    /// As many calls as may be are under way, and as many as may wait.
    #[error("bulkhead `{name}` is full")]
    BulkheadFull {
        /// Which [`Bulkhead`](super::Bulkhead).
        name: Arc<str>,
        /// How long it waited for a permit.
        waited: Duration,
    },
    /// There were as many calls as may be.
    #[error("rate limit `{name}` is reached")]
    RateLimited {
        /// Which [`RateLimiter`](super::RateLimiter).
        name: Arc<str>,
        /// After how long it would pass; `None` if it asks for more than ever passes at once.
        retry_after: Option<Duration>,
    },
}

impl Rejection {
    /// What may be done next: all but a timeout are refusals before anything was done.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut { .. } => ErrorKind::Timeout,
            Self::RateLimited {
                retry_after: None, ..
            } => ErrorKind::Permanent,
            _ => ErrorKind::Transient,
        }
    }

    /// After how long a call may pass, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after, .. } | Self::RateLimited { retry_after, .. } => {
                *retry_after
            }
            Self::TimedOut { .. } | Self::BulkheadFull { .. } => None,
        }
    }
}

/// An error of a host's call, or a refusal of the kit: for hosts whose own error has no place for
/// a [`Rejection`].
///
/// The innermost call says `.map_err(CallError::Failed)`; every layer around it then keeps this type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The kit refused or gave up.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The call was made and failed.
    #[error("the call failed")]
    Failed(#[source] E),
}

impl<E> CallError<E> {
    /// The refusal, if it is one.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_refused_and_what_may_be_done() {
        let name: Arc<str> = Arc::from("prices");
        let open = Rejection::CircuitOpen {
            name: Arc::clone(&name),
            retry_after: Some(Duration::from_secs(3)),
        };
        assert_eq!(open.to_string(), "circuit breaker `prices` is open");
        assert_eq!(open.kind(), ErrorKind::Transient);
        assert_eq!(open.retry_after(), Some(Duration::from_secs(3)));
        let limit = Duration::from_secs(1);
        let late = CallError::<std::io::Error>::from(Rejection::TimedOut { name, limit });
        assert_eq!(late.rejection().unwrap().kind(), ErrorKind::Timeout);
    }
}
