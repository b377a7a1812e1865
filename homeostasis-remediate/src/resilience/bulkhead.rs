//! How many calls may be under way at once, and how many may wait.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{Clock, ConfigError, Violations, timeout};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::observer::ResilienceEvent;
use super::part::{Part, lasting, observed, within};
use super::rejection::Rejection;

/// How many calls may be under way, and how many may wait for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BulkheadConfig {
    /// Calls under way at once. Default 16; 1 to 1,000,000.
    pub max_concurrent: u32,
    /// Calls that wait for one of those to end. Default 0: what does not pass is refused at once;
    /// at most 1,000,000.
    pub max_waiting: u32,
    /// How long one waits at most. Default 1 s.
    #[serde(with = "duration_text")]
    pub max_wait: Duration,
}

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self {
            max_concurrent: 16,
            max_waiting: 0,
            max_wait: Duration::from_secs(1),
        }
    }
}

/// A bound on calls under way, so that one slow callee does not take everything the host has.
///
/// Who waits is served in the order of coming. Each operation is O(1).
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::remediate::resilience::{Bulkhead, BulkheadConfig, Rejection};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let config = BulkheadConfig { max_concurrent: 1, ..BulkheadConfig::default() };
/// let bulkhead = Bulkhead::new("prices", &config, clock)?;
/// let permit = bulkhead.acquire().await.unwrap();
/// assert!(matches!(bulkhead.acquire().await, Err(Rejection::BulkheadFull { .. })));
/// drop(permit);
/// assert!(bulkhead.acquire().await.is_ok());
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Bulkhead {
    part: Part,
    max_waiting: usize,
    max_wait: Duration,
    permits: Arc<Semaphore>,
    n_waiting: AtomicUsize,
}

/// Permission to be under way; given back when it is dropped. It may outlive the bulkhead.
#[derive(Debug)]
#[must_use = "the permit is given back when it is dropped"]
pub struct BulkheadPermit {
    _permit: OwnedSemaphorePermit,
}

/// A place in the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Bulkhead {
    /// A bulkhead with nothing under way.
    ///
    /// # Errors
    /// The name is empty or a value is out of its range.
    pub fn new(
        name: &str,
        config: &BulkheadConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        const MOST: u32 = 1_000_000;
        let BulkheadConfig {
            max_concurrent,
            max_waiting,
            max_wait,
        } = *config;
        let mut wrong = Violations::new();
        let part = Part::new(name, clock, &mut wrong);
        within(&mut wrong, "max_concurrent", max_concurrent, 1..=MOST);
        within(&mut wrong, "max_waiting", max_waiting, 0..=MOST);
        lasting(&mut wrong, "max_wait", max_wait);
        let count = |count: u32| usize::try_from(count.min(MOST)).unwrap_or_default();
        wrong.into_result(Self {
            part,
            max_waiting: count(max_waiting),
            max_wait,
            permits: Arc::new(Semaphore::new(count(max_concurrent))),
            n_waiting: AtomicUsize::new(0),
        })
    }

    observed!();

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`Rejection::BulkheadFull`] if as many wait already, or it waited as long as it may.
    ///
    /// # Cancel safety
    /// A dropped future leaves the queue; a permit that it was just given goes to the next.
    pub async fn acquire(&self) -> Result<BulkheadPermit, Rejection> {
        let asked = self.part.now();
        let permits = || Arc::clone(&self.permits);
        if let Ok(permit) = permits().try_acquire_owned() {
            return Ok(BulkheadPermit { _permit: permit });
        }
        let joined = self
            .n_waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < self.max_waiting).then_some(n + 1)
            });
        if joined.is_ok() {
            let _place = Waiting(&self.n_waiting);
            let turn = timeout(&*self.part.clock, self.max_wait, permits().acquire_owned()).await;
            // The semaphore is never closed.
            if let Ok(Ok(permit)) = turn {
                return Ok(BulkheadPermit { _permit: permit });
            }
        }
        let rejection = Rejection::BulkheadFull {
            name: Arc::clone(&self.part.name),
            waited: self.part.now().since(asked),
        };
        self.part.tell(&ResilienceEvent::Rejected(&rejection));
        Err(rejection)
    }

    /// Makes `call` once there is a permit for it.
    ///
    /// # Errors
    /// Those of the call, or [`Rejection::BulkheadFull`]; the call is then not polled.
    ///
    /// # Cancel safety
    /// Dropping it drops the call and gives the permit back.
    pub async fn call<T, E: From<Rejection>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let _permit = self.acquire().await?;
        call.await
    }

    /// How many more calls may begin now.
    pub fn n_available(&self) -> usize {
        self.permits.available_permits()
    }

    /// How many wait now.
    pub fn n_waiting(&self) -> usize {
        self.n_waiting.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::{ManualClock, Timestamp};

    use super::super::testing::begin;
    use super::*;

    fn bulkhead(max_concurrent: u32, max_waiting: u32) -> (Bulkhead, ManualClock) {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let config = BulkheadConfig {
            max_concurrent,
            max_waiting,
            max_wait: Duration::from_secs(1),
        };
        let bulkhead = Bulkhead::new("b", &config, Arc::new(clock.clone())).unwrap();
        (bulkhead, clock)
    }

    #[tokio::test]
    async fn who_waits_is_served_in_turn_and_the_queue_is_bounded() {
        let (bulkhead, _) = bulkhead(1, 2);
        let held = bulkhead.acquire().await.unwrap();
        let mut first = Box::pin(bulkhead.acquire());
        let mut second = Box::pin(bulkhead.acquire());
        begin(&mut first).await;
        begin(&mut second).await;
        assert_eq!(bulkhead.n_waiting(), 2);
        let full = bulkhead.acquire().await.unwrap_err();
        assert!(matches!(full, Rejection::BulkheadFull { waited, .. } if waited.is_zero()));
        drop(held);
        begin(&mut second).await;
        let held = first.await.unwrap();
        begin(&mut second).await;
        drop(held);
        assert!(second.await.is_ok());
        assert_eq!((bulkhead.n_waiting(), bulkhead.n_available()), (0, 1));
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_limit() {
        let (bulkhead, clock) = bulkhead(1, 1);
        let _held = bulkhead.acquire().await.unwrap();
        let second = Duration::from_secs(1);
        let (full, ()) = tokio::join!(bulkhead.acquire(), async { clock.advance(second) });
        assert!(matches!(full, Err(Rejection::BulkheadFull { waited, .. }) if waited == second));
        assert_eq!(bulkhead.n_waiting(), 0);
    }

    #[tokio::test]
    async fn dropped_futures_give_back_permit_and_place() {
        let (bulkhead, _) = bulkhead(1, 1);
        let mut call = Box::pin(bulkhead.call(std::future::pending::<Result<(), Rejection>>()));
        begin(&mut call).await;
        let mut waits = Box::pin(bulkhead.acquire());
        begin(&mut waits).await;
        // Given the permit, and dropped before it could take it.
        drop(call);
        drop(waits);
        assert_eq!((bulkhead.n_waiting(), bulkhead.n_available()), (0, 1));
        let mut panics = Box::pin(bulkhead.call(async {
            assert_eq!(bulkhead.n_available(), 1, "of the call");
            Ok::<(), Rejection>(())
        }));
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        let polled = std::panic::AssertUnwindSafe(|| panics.as_mut().poll(&mut task));
        assert!(std::panic::catch_unwind(polled).is_err());
        drop(panics);
        assert_eq!(bulkhead.n_available(), 1);
    }
}
