//! How many calls may begin per time, for all or for each key.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{Clock, ConfigError, Timestamp, Violation, Violations};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::observer::ResilienceEvent;
use super::part::{Part, lasting, observed, within};
use super::rejection::Rejection;

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

/// A [`RateLimit`] for each key, such as a caller's address, with bounded memory.
///
/// A key whose bucket is full again is forgotten when room is needed, which changes nothing for it.
/// When all buckets are in use, keys that have none share one: whoever invents keys can neither gain
/// calls by it nor make those of others be forgotten.
///
/// O(1); when it is full, a look at every key at most once per time in which a bucket fills by one call.
pub struct KeyedRateLimiter<K> {
    part: Part,
    gcra: Gcra,
    max_keys: usize,
    keys: Mutex<Keys<K>>,
}

struct Keys<K> {
    full_at: HashMap<K, i64>,
    /// Of all keys that have no bucket.
    shared: i64,
    /// No key is looked for that may be forgotten before.
    next_look: i64,
}

impl<K: Eq + Hash + Clone> KeyedRateLimiter<K> {
    /// A limiter that knows no key yet and remembers at most `max_keys` (1 to 10,000,000).
    ///
    /// # Errors
    /// The name is empty or a value is out of its range.
    pub fn new(
        name: &str,
        limit: &RateLimit,
        max_keys: u32,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        let part = Part::new(name, clock, &mut wrong);
        let gcra = limit.checked(&mut wrong);
        within(&mut wrong, "max_keys", max_keys, 1..=10_000_000);
        wrong.into_result(Self {
            part,
            gcra,
            max_keys: usize::try_from(max_keys).unwrap_or(usize::MAX),
            keys: Mutex::new(Keys {
                full_at: HashMap::new(),
                shared: i64::MIN,
                next_look: i64::MIN,
            }),
        })
    }

    observed!();

    /// Counts `n` calls of `key` if they may begin now.
    ///
    /// # Errors
    /// Those of [`RateLimiter::try_acquire`].
    pub fn try_acquire(&self, key: &K, n: u32) -> Result<(), Rejection> {
        let now = self.part.now();
        let taken = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.take(key, n, now, self.gcra, self.max_keys)
        };
        taken.map_err(|retry_after| refuse(&self.part, retry_after))
    }

    /// How many keys are remembered.
    pub fn n_keys(&self) -> usize {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.full_at.len()
    }
}

impl<K: Eq + Hash + Clone> Keys<K> {
    fn take(
        &mut self,
        key: &K,
        n: u32,
        now: Timestamp,
        gcra: Gcra,
        max_keys: usize,
    ) -> Result<(), Option<Duration>> {
        if let Some(full_at) = self.full_at.get_mut(key) {
            *full_at = gcra.take(*full_at, n, now)?;
            return Ok(());
        }
        let at = now.as_nanos();
        // A clock that went back left times that are too late.
        let next_look = self.next_look.min(at.saturating_add(gcra.each_ns));
        if self.full_at.len() >= max_keys && (at >= next_look || next_look < self.next_look) {
            let most = at.saturating_add(gcra.burst_ns);
            self.full_at.retain(|_, full_at| {
                *full_at = most.min(*full_at);
                *full_at > at
            });
            self.next_look = at.saturating_add(gcra.each_ns);
        }
        if self.full_at.len() >= max_keys {
            self.shared = gcra.take(self.shared, n, now)?;
        } else {
            let full_at = gcra.take(i64::MIN, n, now)?;
            self.full_at.insert(key.clone(), full_at);
        }
        Ok(())
    }
}

impl<K> fmt::Debug for KeyedRateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiter")
            .field("part", &self.part)
            .field("gcra", &self.gcra)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::Poll;

    use homeostasis_core::ManualClock;
    use proptest::prelude::*;

    use super::super::testing::{advancing, begin};
    use super::*;

    fn limiter(limit: &RateLimit) -> (RateLimiter, ManualClock) {
        let clock = ManualClock::new(Timestamp::from_secs(50));
        let limiter = RateLimiter::new("l", limit, Arc::new(clock.clone())).unwrap();
        (limiter, clock)
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_calls_than_the_limit_and_waiting_as_told_is_enough(
            calls in 1_u32..50,
            burst in 1_u32..8,
            steps in proptest::collection::vec((0_u64..120, 1_u32..4), 1..120),
        ) {
            let limit = RateLimit::per_second(calls).with_burst(burst);
            let (limiter, clock) = limiter(&limit);
            let mut passed: Vec<(Timestamp, u32)> = Vec::new();
            for (wait, n) in steps {
                clock.advance(Duration::from_millis(wait));
                match limiter.try_acquire(n) {
                    Ok(()) => passed.push((clock.now(), n)),
                    Err(refused) => match refused.retry_after() {
                        None => prop_assert!(n > burst),
                        Some(wait) => {
                            clock.advance(wait.saturating_sub(Duration::from_nanos(1)));
                            prop_assert!(limiter.try_acquire(n).is_err());
                            clock.advance(Duration::from_nanos(1));
                            prop_assert!(limiter.try_acquire(n).is_ok());
                            passed.push((clock.now(), n));
                        }
                    },
                }
            }
            for (first, &(from, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for &(at, n) in &passed[first..] {
                    sum += n;
                    let most = f64::from(burst) + f64::from(calls) * at.since(from).as_secs_f64();
                    prop_assert!(f64::from(sum) <= most + 1e-6, "{sum} within {:?}", at.since(from));
                }
            }
        }
    }

    #[tokio::test]
    async fn who_waits_is_served_in_turn_and_a_dropped_future_counts_nothing() {
        let (limiter, clock) = limiter(&RateLimit::per_second(1));
        let long = Duration::from_secs(10);
        limiter.try_acquire(1).unwrap();
        let mut gone = Box::pin(limiter.acquire(1, long));
        let mut first = Box::pin(limiter.acquire(1, long));
        let mut second = Box::pin(limiter.acquire(1, long));
        for waits in [&mut gone, &mut first, &mut second] {
            begin(waits).await;
        }
        drop(gone);
        assert!(advancing(&clock, first).await.is_ok());
        assert_eq!(clock.now(), Timestamp::from_secs(51));
        assert!(advancing(&clock, second).await.is_ok());
        assert_eq!(clock.now(), Timestamp::from_secs(52));
    }

    #[tokio::test]
    async fn what_cannot_begin_in_time_is_refused_at_once() {
        let (limiter, clock) = limiter(&RateLimit::per_second(1));
        limiter.try_acquire(1).unwrap();
        let refused = limiter
            .acquire(1, Duration::from_millis(999))
            .await
            .unwrap_err();
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
        let never = limiter
            .acquire(2, Duration::from_secs(99))
            .await
            .unwrap_err();
        assert_eq!(never.retry_after(), None);
        assert_eq!(clock.now(), Timestamp::from_secs(50));
    }

    #[tokio::test]
    async fn who_could_not_begin_behind_those_who_wait_is_refused_at_once_and_told_how_long() {
        let (limiter, clock) = limiter(&RateLimit::per_second(1));
        limiter.try_acquire(1).unwrap();
        let seconds = Duration::from_secs;
        let mut waiting: Vec<_> = (0..2)
            .map(|_| Box::pin(limiter.acquire(1, seconds(9))))
            .collect();
        for waits in &mut waiting {
            begin(waits).await;
        }
        for (n, limit, wait) in [(2, 99, None), (1, 2, Some(seconds(3)))] {
            let mut call = Box::pin(limiter.acquire(n, seconds(limit)));
            let answer = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
            let Poll::Ready(Err(refused)) = answer else {
                panic!("{n} calls were not refused at once");
            };
            assert_eq!(refused.retry_after(), wait);
        }
        let mut many: Vec<_> = (0..100)
            .map(|_| Box::pin(limiter.acquire(1, seconds(5))))
            .collect();
        let mut n_waiting = 0;
        for call in &mut many {
            let poll = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
            n_waiting += u32::from(poll.is_pending());
        }
        assert_eq!(n_waiting, 3, "the third to the fifth second");
        drop((waiting, many));
        assert!(
            advancing(&clock, limiter.acquire(1, seconds(1)))
                .await
                .is_ok()
        );
        assert_eq!(limiter.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn who_was_overtaken_is_told_how_long_it_would_have_waited() {
        let (limiter, clock) = limiter(&RateLimit::per_second(1));
        limiter.try_acquire(1).unwrap();
        let mut first = Box::pin(limiter.acquire(1, Duration::from_secs(9)));
        let mut second = Box::pin(limiter.acquire(1, Duration::from_secs(2)));
        begin(&mut first).await;
        begin(&mut second).await;
        clock.advance(Duration::from_secs(1));
        limiter.try_acquire(1).unwrap();
        clock.advance(Duration::from_millis(999));
        begin(&mut first).await;
        begin(&mut second).await;
        clock.advance(Duration::from_millis(1));
        let refused = second.await.unwrap_err();
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
        drop(first);
    }

    #[test]
    fn keys_are_forgotten_also_after_the_clock_went_back() {
        let gcra = RateLimit::per_second(1).checked(&mut Violations::new());
        let mut keys = Keys {
            full_at: HashMap::new(),
            shared: i64::MIN,
            next_look: i64::MIN,
        };
        let mut take = |key, at| {
            keys.take(&key, 1, Timestamp::from_secs(at), gcra, 2)
                .is_ok()
        };
        for key in 0..3 {
            assert!(take(key, 4_000), "the third of the shared bucket");
        }
        assert!(!take(3, 100), "all buckets are in use");
        assert!(take(4, 101) && take(5, 101), "full buckets make room");
        assert_eq!(keys.full_at.len(), 2);
    }

    #[test]
    fn a_clock_that_goes_back_refuses_no_longer_than_a_bucket_takes_to_fill() {
        let gcra = RateLimit::per_second(1)
            .with_burst(3)
            .checked(&mut Violations::new());
        let before = gcra
            .take(i64::MIN, 3, Timestamp::from_secs(1_000_000))
            .unwrap();
        let refused = gcra.take(before, 1, Timestamp::from_secs(10));
        assert_eq!(refused, Err(Some(Duration::from_secs(1))));
    }

    #[test]
    fn inventing_keys_gains_nothing_and_takes_nothing_from_others() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let limit = RateLimit::per_second(1);
        let limiter = KeyedRateLimiter::new("l", &limit, 3, Arc::new(clock.clone())).unwrap();
        for key in 0..3 {
            assert!(limiter.try_acquire(&key, 1).is_ok());
        }
        let passed = (3..1000)
            .filter(|key| limiter.try_acquire(key, 1).is_ok())
            .count();
        assert_eq!((passed, limiter.n_keys()), (1, 3));
        assert!(limiter.try_acquire(&0, 1).is_err(), "0 is not forgotten");
        clock.advance(Duration::from_secs(1));
        for key in 1000..1003 {
            assert!(
                limiter.try_acquire(&key, 1).is_ok(),
                "full buckets make room"
            );
        }
        assert_eq!(limiter.n_keys(), 3);
    }

    #[test]
    fn limits_that_cannot_be_are_refused() {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let limit = RateLimit {
            calls: 0,
            per: Duration::from_secs(1 << 40),
            burst: 0,
        };
        let error = KeyedRateLimiter::<u8>::new("", &limit, 0, clock).unwrap_err();
        assert_eq!(error.violations().len(), 5, "{error}");
        let limit = RateLimit {
            calls: 1,
            per: Duration::from_secs(30 * 86_400),
            burst: 1_000_000,
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let error = RateLimiter::new("l", &limit, clock).unwrap_err();
        assert!(error.to_string().contains("at most 608"), "{error}");
        let limit: RateLimit = serde_json::from_str(r#"{"calls": 5, "per": "1m"}"#).unwrap();
        assert_eq!((limit.per.as_secs(), limit.burst), (60, 1));
    }
}
