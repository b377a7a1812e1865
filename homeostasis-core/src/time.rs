//! Time, injected: nothing else in the workspace reads a clock or sleeps.

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A boxed future, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An instant of wall time: nanoseconds since the Unix epoch, from 1677 to 2262.
///
/// It is written and read as RFC 3339 text; arithmetic saturates.
///
/// ```
/// use homeostasis::core::Timestamp;
/// use std::time::Duration;
/// let start: Timestamp = "2026-11-22T01:00:00Z".parse()?;
/// let later = start + Duration::from_millis(1500);
/// assert_eq!(later.to_string(), "2026-11-22T01:00:01.5Z");
/// assert_eq!(later - start, Duration::from_millis(1500));
/// # Ok::<(), homeostasis::core::TimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// Text that is not an RFC 3339 instant within range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("timestamp {0:?}, expected RFC 3339 such as 2026-11-22T01:00:00Z, between 1678 and 2262")]
pub struct TimestampError(String);

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Timestamp {
    /// The epoch.
    pub const EPOCH: Self = Self(0);
    /// The last instant that can be said.
    pub const MAX: Self = Self(i64::MAX);

    /// Nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Milliseconds since the epoch; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Seconds since the epoch; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds since the epoch, with fractions.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0)).map_or(Duration::ZERO, Duration::from_nanos)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(rhs)))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    /// Same as [`Timestamp::since`]: never negative.
    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every i64 of nanoseconds lies within jiff's range.
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|at| i64::try_from(at.as_nanosecond()).ok())
            .map(Self)
            .ok_or_else(|| TimestampError(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Where time comes from and how one waits for it.
///
/// The whole engine runs on this port, so that it runs unchanged under simulated time.
/// *Guarantee:* `now` never goes back by more than the host's wall clock does; code that measures
/// intervals must tolerate a jump ([`Timestamp::since`] never goes negative).
///
/// # Jumps
/// What must outlive a process is kept as instants of wall time: permits, approvals, limits, breakers
/// and leases are measured with `now`, and not with a monotonic clock. When the wall clock jumps
/// - **forward**, what was to expire expires at once: an open permit lets no further step begin (one
///   that began may end), an unanswered approval is a refusal, a lease may be taken over, and the
///   older fencing token is then refused by the store. A deferral, a pause, a cool-down and the rest
///   between two runs end early, and counted runs leave their window.
/// - **back**, the same last longer, by as much as it jumped: permits, leases and approvals are good
///   for longer, deferrals, cool-downs and rests go on.
///
/// What the engine sleeps for already, such as a deferral, keeps the length it had when the sleep
/// began. An interval that would be negative counts as zero. `sleep` measures as the implementation does;
/// time limits of calls are sleeps, so with a monotonic one a jump does not touch them. A host whose
/// clock may jump far keeps it disciplined, or lends the engine a clock that does not jump.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;

    /// Completes once `duration` has passed. Cancel-safe.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        (**self).sleep(duration)
    }
}

/// The future did not finish in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed")]
pub struct Elapsed;

/// Runs `future` for at most `limit` on `clock`; it is dropped when the time is over.
pub async fn timeout<F: Future>(
    clock: &dyn Clock,
    limit: Duration,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = clock.sleep(limit);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// A clock that stands still until it is told to move.
///
/// ```
/// use homeostasis::core::{Clock, ManualClock, Timestamp};
/// use std::time::Duration;
/// let clock = ManualClock::new(Timestamp::from_secs(100));
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now(), Timestamp::from_secs(105));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock {
    shared: Arc<Mutex<ManualState>>,
}

#[derive(Debug)]
struct ManualState {
    now: Timestamp,
    sleepers: Vec<(Timestamp, Waker)>,
}

impl ManualClock {
    /// A clock that says `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            shared: Arc::new(Mutex::new(ManualState {
                now,
                sleepers: Vec::new(),
            })),
        }
    }

    /// Moves the time forward and wakes whoever waited for it.
    pub fn advance(&self, by: Duration) {
        let due: Vec<(Timestamp, Waker)> = {
            let mut state = self.lock();
            state.now = state.now + by;
            let now = state.now;
            let (due, waiting) = state.sleepers.drain(..).partition(|(at, _)| *at <= now);
            state.sleepers = waiting;
            due
        };
        for (_, waker) in due {
            waker.wake();
        }
    }

    /// When the next sleeper wants to be woken, if any sleeps.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.lock().sleepers.iter().map(|(at, _)| *at).min()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ManualState> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let until = self.now() + duration;
        let clock = self.clone();
        Box::pin(poll_fn(move |cx| {
            let mut state = clock.lock();
            if state.now >= until {
                return Poll::Ready(());
            }
            state
                .sleepers
                .retain(|(at, waker)| *at != until || !waker.will_wake(cx.waker()));
            state.sleepers.push((until, cx.waker().clone()));
            Poll::Pending
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let mut sleep = clock.sleep(Duration::from_secs(2));
        clock.advance(Duration::from_secs(1));
        assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
        assert_eq!(clock.next_wake(), Some(Timestamp::from_secs(2)));
        clock.advance(Duration::from_secs(1));
        sleep.await;
    }

    #[tokio::test]
    async fn a_timeout_prefers_the_result_over_the_deadline() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        assert_eq!(
            timeout(&clock, Duration::ZERO, std::future::ready(1)).await,
            Ok(1)
        );
        assert_eq!(
            timeout(&clock, Duration::ZERO, std::future::pending::<()>()).await,
            Err(Elapsed)
        );
    }

    #[test]
    fn instants_read_back_and_saturate() {
        for text in ["1970-01-01T00:00:00Z", "2026-11-22T01:00:00.123456789Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH - Timestamp::MAX, Duration::ZERO);
    }
}
