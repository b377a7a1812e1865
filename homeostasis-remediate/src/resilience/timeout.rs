//! A limit of time for each call.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::{Clock, ConfigError, Timestamp, Violations, timeout};

use super::observer::ResilienceEvent;
use super::part::{Part, lasting, observed};
use super::rejection::Rejection;

/// Gives up calls that take too long.
///
/// The call's future is dropped when the time is over: whether it happened is then unknown.
/// A result that is ready at the same moment as the limit counts.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::remediate::resilience::{Rejection, Timeout};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let timeout = Timeout::new("prices", Duration::from_secs(1), clock)?;
/// assert_eq!(timeout.call(async { Ok::<_, Rejection>(1) }).await, Ok(1));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Timeout {
    part: Part,
    limit: Duration,
}

impl Timeout {
    /// A limit for each call.
    ///
    /// # Errors
    /// The name is empty or the limit is zero.
    pub fn new(name: &str, limit: Duration, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        let part = Part::new(name, clock, &mut wrong);
        lasting(&mut wrong, "limit", limit);
        wrong.into_result(Self { part, limit })
    }

    observed!();

    /// Waits for `call`, at most as long as the limit.
    ///
    /// # Errors
    /// Those of the call, or [`Rejection::TimedOut`].
    ///
    /// # Cancel safety
    /// Dropping it drops the call.
    pub async fn call<T, E: From<Rejection>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.within(self.limit, call).await
    }

    /// The same, and no longer than until `deadline`; with a deadline that passed the call is
    /// polled once.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub async fn call_until<T, E: From<Rejection>>(
        &self,
        deadline: Timestamp,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let left = deadline.since(self.part.now());
        self.within(self.limit.min(left), call).await
    }

    async fn within<T, E: From<Rejection>>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if let Ok(result) = timeout(&*self.part.clock, limit, call).await {
            return result;
        }
        let rejection = Rejection::TimedOut {
            name: Arc::clone(&self.part.name),
            limit,
        };
        self.part.tell(&ResilienceEvent::Rejected(&rejection));
        Err(rejection.into())
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::ManualClock;

    use super::*;

    #[tokio::test]
    async fn the_earlier_of_limit_and_deadline_counts() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let second = Duration::from_secs(1);
        let timeout = Timeout::new("t", second, Arc::new(clock.clone())).unwrap();
        let forever = || std::future::pending::<Result<(), Rejection>>();
        let (late, ()) = tokio::join!(timeout.call(forever()), async { clock.advance(second) });
        assert!(matches!(late, Err(Rejection::TimedOut { limit, .. }) if limit == second));
        let passed = timeout.call_until(Timestamp::EPOCH, forever()).await;
        assert!(matches!(passed, Err(Rejection::TimedOut { limit, .. }) if limit.is_zero()));
        let ready = async { Ok::<_, Rejection>(7) };
        assert_eq!(timeout.call_until(Timestamp::EPOCH, ready).await, Ok(7));
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let error = Timeout::new("", Duration::ZERO, clock).unwrap_err();
        assert_eq!(error.violations().len(), 2, "{error}");
    }
}
