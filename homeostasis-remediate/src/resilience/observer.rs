//! What happens in the kit, for metrics and logs of the host.

use std::fmt;
use std::time::Duration;

use super::breaker::CircuitPhase;
use super::fallback::Rung;
use super::rejection::Rejection;

/// Something a part of the kit did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResilienceEvent<'a> {
    /// A call was refused or given up.
    Rejected(&'a Rejection),
    /// A breaker changed.
    Circuit {
        /// What it was.
        from: CircuitPhase,
        /// What it is.
        to: CircuitPhase,
    },
    /// A call failed and is tried again.
    Retrying {
        /// Which attempt failed, from 1.
        attempt: u32,
        /// How long it waits before the next.
        wait: Duration,
    },
    /// A call failed and is not tried again.
    GaveUp {
        /// How many attempts there were.
        attempts: u32,
        /// Why there is no further one.
        why: GaveUp,
    },
    /// A fallback answered.
    Answered(Rung),
    /// A fallback had no answer; `true` if people took it over.
    Unanswered(bool),
    /// A cache answered from a level, or from what was loaded.
    CacheHit {
        /// The level's name.
        level: &'a str,
        /// Whether the answer is older than it should be.
        stale: bool,
    },
    /// No level of a cache had an answer.
    CacheMiss,
    /// A level of a cache failed; the cache goes on without it.
    CacheLevelFailed {
        /// The level's name.
        level: &'a str,
        /// What it did.
        during: &'static str,
        /// In words.
        error: &'a str,
    },
}

/// Why a retry ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GaveUp {
    /// The error is not worth it.
    NotWorthIt,
    /// There were as many attempts as there may be.
    Attempts,
    /// The next attempt would begin after the deadline.
    Deadline,
    /// The callee asks to wait longer than is allowed.
    RetryAfter,
    /// Too many calls were retried lately.
    Budget,
}

/// Watches parts of the kit.
///
/// *Guarantee:* called in the task that makes the call, outside every lock.
/// *Assumption:* it returns at once. A panic goes to the caller of the part and leaves the part whole.
pub trait ResilienceObserver: fmt::Debug + Send + Sync {
    /// The part called `name` did this.
    fn observe(&self, name: &str, event: &ResilienceEvent<'_>);
}

const _: fn(&dyn ResilienceObserver) = |_| {};
