//! How many calls may begin per time, for all or for each key.

mod keyed;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{Clock, ConfigError, Timestamp, Violation, Violations};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::observer::ResilienceEvent;
use super::part::{Part, lasting, observed, within};
use super::rejection::Rejection;

pub use keyed::KeyedRateLimiter;

/// So many calls per so long, and so many at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Calls per `per`; 1 to 1,000,000,000.
    pub calls: u32,
    /// Default 1 s; at least 1 ns per call and at most 30 days.
    #[serde(default = "RateLimit::default_per", with = "duration_text")]
    pub per: Duration,
    /// Calls that may come at once after a pause; default 1; 1 to 1,000,000, and no more than are
    /// allowed in 50 years.
    #[serde(default = "RateLimit::default_burst")]
    pub burst: u32,
}

impl RateLimit {
    /// `calls` in each second, evenly.
    pub fn per_second(calls: u32) -> Self {
        Self {
            calls,
            per: Self::default_per(),
            burst: Self::default_burst(),
        }
    }

    /// The same with `burst` at once.
    pub fn with_burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    fn default_per() -> Duration {
        Duration::from_secs(1)
    }

    fn default_burst() -> u32 {
        1
    }

    fn checked(&self, wrong: &mut Violations) -> Gcra {
        within(wrong, "calls", self.calls, 1..=1_000_000_000);
        within(wrong, "burst", self.burst, 1..=1_000_000);
        lasting(wrong, "per", self.per);
        let most = Duration::from_secs(30 * 86_400);
        let calls = u128::from(self.calls.max(1));
        if self.per > most || (self.per.as_nanos() < calls && !self.per.is_zero()) {
            let found = format!("{:?}", self.per);
            wrong.push(Violation::new(
                "per",
                found,
                "at least 1ns per call, at most 30 days",
            ));
        }
        // Rounded up: never faster than asked for.
        let each = self.per.min(most).as_nanos().div_ceil(calls).max(1);
        // Beyond, the time at which the bucket is full would leave what a timestamp can say.
        let most = Duration::from_secs(50 * 365 * 86_400).as_nanos() / each;
        if u128::from(self.burst) > most {
            wrong.push(Violation::new(
                "burst",
                self.burst,
                format!("at most {most}, which are allowed in 50 years"),
            ));
        }
        let each_ns = i64::try_from(each).unwrap_or(i64::MAX);
        Gcra {
            each_ns,
            burst_ns: each_ns.saturating_mul(i64::from(self.burst)),
        }
    }
}

/// The generic cell rate algorithm: a bucket of tokens of which only the time is kept at which it
/// will be full again.
///
/// Source: ITU-T Recommendation I.371 (2004), annex A (virtual scheduling).
#[derive(Debug, Clone, Copy)]
struct Gcra {
    each_ns: i64,
    burst_ns: i64,
}

impl Gcra {
    /// How long until `n` calls pass at `now`; zero if they pass.
    fn wait(self, full_at: i64, n: u64, now: Timestamp) -> Duration {
        let now = now.as_nanos();
        // Nothing is full later than an empty bucket, whatever the clock was.
        let begin = full_at.clamp(now, now.saturating_add(self.burst_ns));
        let cost = i128::from(self.each_ns) * i128::from(n);
        let over = i128::from(begin) + cost - i128::from(now) - i128::from(self.burst_ns);
        Duration::from_nanos(u64::try_from(over.max(0)).unwrap_or(u64::MAX))
    }

    /// When the bucket is full again after `n` calls at `now`, or after how long they would pass.
    fn take(self, full_at: i64, n: u32, now: Timestamp) -> Result<i64, Option<Duration>> {
        if !self.fits(n) {
            return Err(None);
        }
        let wait = self.wait(full_at, n.into(), now);
        if !wait.is_zero() {
            return Err(Some(wait));
        }
        let cost = self.each_ns.saturating_mul(i64::from(n));
        Ok(full_at.max(now.as_nanos()).saturating_add(cost))
    }

    /// Whether `n` calls ever pass at once.
    fn fits(self, n: u32) -> bool {
        self.each_ns.saturating_mul(i64::from(n)) <= self.burst_ns
    }
}

/// A bound on calls per time.
///
/// In any stretch of time there are at most `burst + calls · stretch / per` calls. It does not
/// block: the state is one number. A clock that goes back refuses for no longer than an empty
/// bucket takes to fill.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::remediate::resilience::{RateLimit, RateLimiter};
///
/// let clock = ManualClock::new(Timestamp::EPOCH);
/// let limit = RateLimit::per_second(10).with_burst(2);
/// let limiter = RateLimiter::new("prices", &limit, Arc::new(clock.clone()))?;
/// assert!(limiter.try_acquire(1).is_ok() && limiter.try_acquire(1).is_ok());
/// let refused = limiter.try_acquire(1).unwrap_err();
/// assert_eq!(refused.retry_after(), Some(Duration::from_millis(100)));
/// clock.advance(Duration::from_millis(100));
/// assert!(limiter.try_acquire(1).is_ok());
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct RateLimiter {
    part: Part,
    gcra: Gcra,
    full_at: AtomicI64,
    /// Who waits stands here, so that one at a time sleeps for the next call.
    turn: Semaphore,
    /// The calls of all who wait.
    waiting: AtomicU64,
}

impl RateLimiter {
    /// A limiter whose bucket is full.
    ///
    /// # Errors
    /// The name is empty or a value is out of its range.
    pub fn new(name: &str, limit: &RateLimit, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        let part = Part::new(name, clock, &mut wrong);
        let gcra = limit.checked(&mut wrong);
        wrong.into_result(Self {
            part,
            gcra,
            full_at: AtomicI64::new(i64::MIN),
            turn: Semaphore::new(1),
            waiting: AtomicU64::new(0),
        })
    }

    observed!();

    /// Counts `n` calls if they may begin now.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`], with the time after which they would pass; without one if `n` is
    /// more than the burst.
    pub fn try_acquire(&self, n: u32) -> Result<(), Rejection> {
        self.take(n).map_err(|retry_after| self.refuse(retry_after))
    }

    /// Waits until `n` calls may begin, at most `limit`. Those who wait are served in the order of
    /// coming; [`try_acquire`](Self::try_acquire) may come between them.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`], at once if they could not begin in time, behind those who wait
    /// already, or at all. So no more calls wait than begin within the longest `limit`.
    ///
    /// # Cancel safety
    /// A dropped future counts nothing.
    pub async fn acquire(&self, n: u32, limit: Duration) -> Result<(), Rejection> {
        if !self.gcra.fits(n) {
            return Err(self.refuse(None));
        }
        let now = self.part.now();
        let place = Place::take(&self.waiting, n);
        let full_at = self.full_at.load(Ordering::Acquire);
        let wait = self.gcra.wait(full_at, place.upto, now);
        if wait > limit {
            return Err(self.refuse(Some(wait)));
        }
        let until = now + limit;
        let turn = homeostasis_core::timeout(&*self.part.clock, limit, self.turn.acquire()).await;
        let Ok(_turn) = turn else {
            let (now, full_at) = (self.part.now(), self.full_at.load(Ordering::Acquire));
            let all = self.waiting.load(Ordering::Acquire);
            return Err(self.refuse(Some(self.gcra.wait(full_at, all, now))));
        };
        loop {
            match self.take(n) {
                Ok(()) => return Ok(()),
                Err(Some(wait)) if self.part.now() + wait <= until => {
                    self.part.clock.sleep(wait).await;
                }
                Err(retry_after) => return Err(self.refuse(retry_after)),
            }
        }
    }

    fn take(&self, n: u32) -> Result<(), Option<Duration>> {
        let now = self.part.now();
        let mut full_at = self.full_at.load(Ordering::Acquire);
        loop {
            let next = self.gcra.take(full_at, n, now)?;
            match self.full_at.compare_exchange_weak(
                full_at,
                next,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    fn refuse(&self, retry_after: Option<Duration>) -> Rejection {
        refuse(&self.part, retry_after)
    }
}

/// The calls of one who waits, counted until it is dropped.
struct Place<'a> {
    waiting: &'a AtomicU64,
    n: u64,
    /// With those who came before.
    upto: u64,
}

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicU64, n: u32) -> Self {
        let n = u64::from(n);
        let upto = waiting.fetch_add(n, Ordering::AcqRel) + n;
        Self { waiting, n, upto }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.n, Ordering::AcqRel);
    }
}

fn refuse(part: &Part, retry_after: Option<Duration>) -> Rejection {
    let rejection = Rejection::RateLimited {
        name: Arc::clone(&part.name),
        retry_after,
    };
    part.tell(&ResilienceEvent::Rejected(&rejection));
    rejection
}

#[cfg(test)]
mod tests;
