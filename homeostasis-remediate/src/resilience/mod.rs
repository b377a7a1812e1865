//! Calls that may fail, kept from doing harm: a kit that any host can use without playbooks or engine.
//!
//! | part | what it refuses or repeats |
//! |---|---|
//! | [`Retry`] | repeats what may succeed next time, within attempts, a deadline and a [`RetryBudget`] |
//! | [`Timeout`] | gives up what takes too long |
//! | [`CircuitBreaker`] | refuses calls to what fails or is slow, and tries it again later |
//! | [`Bulkhead`] | bounds how many calls are under way and how many wait |
//! | [`RateLimiter`], [`KeyedRateLimiter`] | bounds calls per time, for all or for each key |
//! | [`Fallback`] | answers all the same, and says which rung the answer is from |
//! | [`cache`] | remembers answers in memory, in Redis and on disk |
//!
//! # In which order
//! From the outside in: **fallback, cache, retry, rate limiter, circuit breaker, bulkhead, timeout,
//! call.**
//! - The *fallback* is outermost: it answers for whatever the rest could not do.
//! - The *cache* is before the retries: an answer it has costs nothing and needs no permit.
//! - The *retry* is outside the rest so that each attempt is a call like any other: it is counted by
//!   the breaker, limited, and has a time limit of its own. A retry inside a breaker would hide
//!   failures from it, and one inside a bulkhead would hold a permit while it waits.
//! - The *limiter* is outside the breaker: what it refuses says nothing about the callee and must not
//!   open the breaker.
//! - The *breaker* is outside bulkhead and timeout: a call without an answer in time is the callee's
//!   failure. Of a full bulkhead it need not know; [`CircuitBreaker::call_if`] says which errors count.
//! - The *bulkhead* is outside the timeout: waiting for a permit is not the callee's slowness, and has
//!   a limit of its own.
//!
//! # What all of them keep
//! - **Time and chance are injected** ([`Clock`](homeostasis_core::Clock), [`Rng`](homeostasis_core::Rng)).
//!   Time is the clock's, which may jump: forward, waits that are measured by it end early; back, they
//!   last longer by as much as it jumped, but a limiter never refuses longer than an empty bucket takes to fill.
//! - **Cancel safety.** A dropped future gives back its permit, its place in a queue and its trial.
//! - **No lock is held over an await**, and none is poisoned: nothing of a host runs under a lock, but
//!   what the keys of a [`KeyedRateLimiter`] do to be compared, copied and dropped.
//! - **Refusals are one type**, [`Rejection`], into which no error of a host is wrapped: layers nest
//!   without their types nesting, if the host's error is `From<Rejection>`; see [`CallError`].
//! - **What happens is told** to a [`ResilienceObserver`].
//!
//! # Examples
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use homeostasis::core::{Clock, Rng};
//! use homeostasis::remediate::resilience::{
//!     CallError, CircuitBreaker, CircuitBreakerConfig, Retry, RetryConfig, RetryVerdict, Timeout,
//! };
//! # use homeostasis::SystemClock;
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let clock: Arc<dyn Clock> = Arc::new(SystemClock);
//! let retry = Retry::new("prices", RetryConfig::default(), Arc::clone(&clock), Rng::from_seed(7))?;
//! let breaker = CircuitBreaker::new("prices", CircuitBreakerConfig::default(), Arc::clone(&clock))?;
//! let timeout = Timeout::new("prices", Duration::from_secs(1), clock)?;
//!
//! async fn price(attempt: u32) -> Result<u32, std::io::Error> {
//!     if attempt == 1 { Err(std::io::Error::other("reset")) } else { Ok(42) }
//! }
//! let answer: Result<u32, CallError<std::io::Error>> = retry
//!     .call(
//!         |attempt| breaker.call(timeout.call(async move { price(attempt).await.map_err(CallError::Failed) })),
//!         |error: &CallError<_>| match error {
//!             CallError::Failed(_) => RetryVerdict::Again,
//!             CallError::Rejected(rejection) => RetryVerdict::for_rejection(rejection),
//!         },
//!     )
//!     .await;
//! assert_eq!(answer.unwrap(), 42);
//! # Ok::<(), homeostasis::core::ConfigError>(())
//! # }).unwrap();
//! ```

mod backoff;
mod breaker;
mod budget;
mod bulkhead;
pub mod cache;
mod fallback;
mod observer;
mod part;
mod rate_limit;
mod rejection;
mod retry;
mod retry_after;
#[cfg(test)]
mod testing;
mod timeout;

pub use backoff::{Backoff, Jitter};
pub use breaker::{
    CircuitBreaker, CircuitBreakerConfig, CircuitPass, CircuitPhase, SlidingWindow, SlowCalls,
};
pub use budget::{RetryBudget, RetryBudgetConfig};
pub use bulkhead::{Bulkhead, BulkheadConfig, BulkheadPermit};
pub use fallback::{Answered, Fallback, Miss, Rung, Unanswered};
pub use observer::{GaveUp, ResilienceEvent, ResilienceObserver};
pub use rate_limit::{KeyedRateLimiter, RateLimit, RateLimiter};
pub use rejection::{CallError, Rejection};
pub use retry::{Retry, RetryConfig, RetryVerdict};
pub use retry_after::retry_after;
pub use timeout::Timeout;
