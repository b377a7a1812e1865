//! Tries again what may succeed next time.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{Clock, ConfigError, ErrorKind, Rng, Timestamp, Violations};
use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::budget::RetryBudget;
use super::observer::{GaveUp, ResilienceEvent};
use super::part::{Part, observed, within};
use super::rejection::Rejection;

/// How often and after how long a call is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Attempts, the first included. Default 3; 1 to 1000.
    pub max_attempts: u32,
    /// The waits in between.
    pub backoff: Backoff,
    /// A callee that asks to wait longer is not tried again. Default 1 minute.
    #[serde(with = "duration_text")]
    pub max_retry_after: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff::default(),
            max_retry_after: Duration::from_secs(60),
        }
    }
}

/// Whether an error is worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryVerdict {
    /// No: the same call would fail again, or must not be made twice.
    Stop,
    /// Yes, after the usual wait.
    Again,
    /// Yes, but not earlier than that: the callee said so (`Retry-After`).
    NotBefore(Duration),
}

impl RetryVerdict {
    /// What the kind of an error says.
    pub fn for_kind(kind: ErrorKind) -> Self {
        if kind.is_retryable() {
            Self::Again
        } else {
            Self::Stop
        }
    }

    /// What a refusal of the kit says: again when it would pass; but an open breaker says stop, since
    /// to fail at once is what it is for: calls that wait for it would all come when it tries again.
    /// **Warning:** a timeout says again, which is right for calls only that may happen twice.
    pub fn for_rejection(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::CircuitOpen { .. } => Self::Stop,
            _ => rejection
                .retry_after()
                .map_or_else(|| Self::for_kind(rejection.kind()), Self::NotBefore),
        }
    }
}

/// Tries again what may succeed next time, within attempts, a deadline and a budget.
///
/// It waits between attempts as [`Backoff`] says; where the callee asked for a time, that time and a
/// wait more, so that those whom it told the same do not come at once. It does not wait for an attempt
/// that the deadline would not let begin.
#[derive(Debug)]
pub struct Retry {
    part: Part,
    config: RetryConfig,
    rng: Mutex<Rng>,
    budget: Option<Arc<RetryBudget>>,
}

impl Retry {
    /// Retries without a budget.
    ///
    /// # Errors
    /// The name is empty or a value is out of its range.
    pub fn new(
        name: &str,
        config: RetryConfig,
        clock: Arc<dyn Clock>,
        rng: Rng,
    ) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        let part = Part::new(name, clock, &mut wrong);
        within(&mut wrong, "max_attempts", config.max_attempts, 1..=1000);
        config.backoff.validate(&mut wrong);
        wrong.into_result(Self {
            part,
            config,
            rng: Mutex::new(rng),
            budget: None,
        })
    }

    /// The same, with a budget that others may share.
    pub fn with_budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    observed!();

    /// Calls `attempt(1)`, and `attempt(2)` and so on while it fails and `judge` says again.
    ///
    /// # Errors
    /// That of the last attempt; the observer is told why there was no further one.
    ///
    /// # Cancel safety
    /// Dropping it drops the attempt or ends the wait; a retry taken from the budget stays taken.
    pub async fn call<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        attempt: impl FnMut(u32) -> F,
        judge: impl Fn(&E) -> RetryVerdict,
    ) -> Result<T, E> {
        self.call_until(Timestamp::MAX, attempt, judge).await
    }

    /// The same, with no attempt after the first that would begin at `deadline` or later.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub async fn call_until<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        deadline: Timestamp,
        mut attempt: impl FnMut(u32) -> F,
        judge: impl Fn(&E) -> RetryVerdict,
    ) -> Result<T, E> {
        if let Some(budget) = &self.budget {
            budget.earn(self.part.now());
        }
        let mut previous = Duration::ZERO;
        let mut number = 1;
        loop {
            let error = match attempt(number).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match self.next(number, &mut previous, deadline, judge(&error)) {
                Ok(wait) => {
                    let attempt = number;
                    self.part.tell(&ResilienceEvent::Retrying { attempt, wait });
                    self.part.clock.sleep(wait).await;
                    // It may have slept for longer, as a host that was suspended does.
                    if self.part.now() >= deadline {
                        return Err(self.give_up(number, GaveUp::Deadline, error));
                    }
                }
                Err(why) => return Err(self.give_up(number, why, error)),
            }
            number += 1;
        }
    }

    fn give_up<E>(&self, attempts: u32, why: GaveUp, error: E) -> E {
        self.part.tell(&ResilienceEvent::GaveUp { attempts, why });
        error
    }

    /// The wait after failed attempt `number`, or why there is no further one.
    fn next(
        &self,
        number: u32,
        previous: &mut Duration,
        deadline: Timestamp,
        verdict: RetryVerdict,
    ) -> Result<Duration, GaveUp> {
        let asked = match verdict {
            RetryVerdict::Stop => return Err(GaveUp::NotWorthIt),
            RetryVerdict::Again => Duration::ZERO,
            RetryVerdict::NotBefore(asked) => asked,
        };
        if number >= self.config.max_attempts {
            return Err(GaveUp::Attempts);
        }
        if asked > self.config.max_retry_after {
            return Err(GaveUp::RetryAfter);
        }
        *previous = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            self.config.backoff.wait(number, *previous, &mut rng)
        };
        let wait = asked.saturating_add(*previous);
        let now = self.part.now();
        if now + wait >= deadline {
            return Err(GaveUp::Deadline);
        }
        // Last, so that only a retry that is made costs one.
        match &self.budget {
            Some(budget) if !budget.spend(now) => Err(GaveUp::Budget),
            _ => Ok(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use homeostasis_core::{ManualClock, Ratio};

    use super::super::backoff::Jitter;
    use super::super::budget::RetryBudgetConfig;
    use super::super::testing::{Log, advancing, begin};
    use super::*;

    const AT: Timestamp = Timestamp::from_secs(100);

    fn retry(max_attempts: u32) -> (Retry, ManualClock, Arc<Log>) {
        let clock = ManualClock::new(AT);
        let log = Arc::new(Log::default());
        let config = RetryConfig {
            max_attempts,
            backoff: Backoff {
                initial: Duration::from_secs(1),
                max: Duration::from_secs(4),
                jitter: Jitter::None,
            },
            ..RetryConfig::default()
        };
        let retry = Retry::new("r", config, Arc::new(clock.clone()), Rng::from_seed(1)).unwrap();
        (retry.observed_by(Arc::clone(&log) as _), clock, log)
    }

    /// Fails always; how often it was called and how long it took.
    async fn fail(
        retry: &Retry,
        clock: &ManualClock,
        deadline: Timestamp,
        verdict: RetryVerdict,
    ) -> (u32, Duration) {
        let calls = Cell::new(0);
        let attempt = |number| {
            calls.set(calls.get() + 1);
            assert_eq!(number, calls.get());
            async move { Err::<(), u32>(number) }
        };
        let began = clock.now();
        let error = advancing(clock, retry.call_until(deadline, attempt, |_| verdict)).await;
        assert_eq!(error, Err(calls.get()), "the last error is given");
        (calls.get(), clock.now().since(began))
    }

    #[tokio::test]
    async fn it_waits_longer_each_time_and_ends_with_its_attempts() {
        let (retry, clock, log) = retry(5);
        let (calls, took) = fail(&retry, &clock, Timestamp::MAX, RetryVerdict::Again).await;
        assert_eq!((calls, took.as_secs()), (5, 1 + 2 + 4 + 4));
        assert!(log.has("GaveUp { attempts: 5, why: Attempts }"), "{log:?}");
    }

    #[tokio::test]
    async fn a_success_ends_it_and_what_is_not_worth_it_is_not_tried_again() {
        let (retry, clock, log) = retry(5);
        let attempt = |n| async move { if n == 3 { Ok(n) } else { Err(()) } };
        let answer = advancing(&clock, retry.call(attempt, |()| RetryVerdict::Again)).await;
        assert_eq!(answer, Ok(3));
        let (calls, took) = fail(&retry, &clock, Timestamp::MAX, RetryVerdict::Stop).await;
        assert_eq!((calls, took), (1, Duration::ZERO));
        assert!(log.has("NotWorthIt"), "{log:?}");
    }

    #[tokio::test]
    async fn an_attempt_that_the_deadline_forbids_is_not_waited_for() {
        let (retry, clock, log) = retry(5);
        let deadline = AT + Duration::from_secs(3);
        let (calls, took) = fail(&retry, &clock, deadline, RetryVerdict::Again).await;
        assert_eq!((calls, took.as_secs()), (2, 1));
        assert!(log.has("Deadline"), "{log:?}");
    }

    #[tokio::test]
    async fn a_sleep_that_lasts_past_the_deadline_is_followed_by_no_attempt() {
        let (retry, clock, log) = retry(5);
        let calls = Cell::new(0);
        let attempt = |_| {
            calls.set(calls.get() + 1);
            async { Err::<(), ()>(()) }
        };
        let deadline = AT + Duration::from_secs(3);
        let mut call = Box::pin(retry.call_until(deadline, attempt, |()| RetryVerdict::Again));
        begin(&mut call).await;
        clock.advance(Duration::from_secs(60));
        assert_eq!((call.await, calls.get()), (Err(()), 1));
        assert!(log.has("GaveUp { attempts: 1, why: Deadline }"), "{log:?}");
    }

    #[tokio::test]
    async fn the_callee_is_given_the_time_it_asked_for_within_bounds() {
        let (retry, clock, log) = retry(2);
        let asked = |s| RetryVerdict::NotBefore(Duration::from_secs(s));
        let (calls, took) = fail(&retry, &clock, Timestamp::MAX, asked(30)).await;
        assert_eq!((calls, took.as_secs()), (2, 31));
        let (calls, took) = fail(&retry, &clock, Timestamp::MAX, asked(61)).await;
        assert_eq!((calls, took), (1, Duration::ZERO));
        assert!(log.has("RetryAfter"), "{log:?}");
    }

    #[tokio::test]
    async fn a_budget_bounds_what_an_outage_is_made_worse_by() {
        let (retry, clock, log) = retry(10);
        let budget = RetryBudgetConfig {
            ratio: Ratio::saturating(0.1),
            per_second: 0.0,
            capacity: 5,
        };
        let retry = retry.with_budget(Arc::new(RetryBudget::new(budget).unwrap()));
        let mut attempts = 0;
        for _ in 0..1000 {
            attempts += fail(&retry, &clock, Timestamp::MAX, RetryVerdict::Again)
                .await
                .0;
        }
        assert!((1100..=1105).contains(&attempts), "{attempts}");
        assert!(log.has("Budget"), "{log:?}");
    }

    #[test]
    fn a_refusal_is_tried_again_when_it_would_pass_and_an_open_breaker_is_not_waited_for() {
        let name: Arc<str> = Arc::from("x");
        let limited = |retry_after| Rejection::RateLimited {
            name: Arc::clone(&name),
            retry_after,
        };
        let open = |retry_after| Rejection::CircuitOpen {
            name: Arc::clone(&name),
            retry_after,
        };
        let second = Duration::from_secs(1);
        for (rejection, verdict) in [
            (limited(Some(second)), RetryVerdict::NotBefore(second)),
            (limited(None), RetryVerdict::Stop),
            (open(Some(second)), RetryVerdict::Stop),
            (open(None), RetryVerdict::Stop),
        ] {
            assert_eq!(RetryVerdict::for_rejection(&rejection), verdict);
        }
    }
}
