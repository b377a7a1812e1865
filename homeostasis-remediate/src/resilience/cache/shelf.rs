//! A level below memory as the cache uses it: with a time limit, left alone while it fails, and not
//! used before it took what it was told to answer no more with.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homeostasis_core::{BoxError, Elapsed, Violations, timeout};

use super::super::breaker::{CircuitBreaker, CircuitBreakerConfig};
use super::super::observer::ResilienceEvent;
use super::super::part::Part;
use super::config::CacheConfig;
use super::entry::StoredEntry;
use super::key::{CacheKey, Invalidation};
use super::level::{CacheLevel, Lease, LevelReading};

/// How many invalidations wait for a level; beyond, they become one of everything.
const MAX_PENDING: usize = 1000;

#[derive(Debug)]
pub(super) struct Shelf {
    level: Arc<dyn CacheLevel>,
    part: Part,
    breaker: CircuitBreaker,
    limit: Duration,
    pending: Mutex<Pending>,
    fails: AtomicBool,
}

/// What the level was not told yet, in order, each with a number of its own.
#[derive(Debug, Default)]
struct Pending {
    next: u64,
    waiting: VecDeque<(u64, Invalidation)>,
}

impl Shelf {
    /// Gives the shelf, or pushes what is wrong.
    pub(super) fn new(
        level: Arc<dyn CacheLevel>,
        part: &Part,
        config: &CacheConfig,
        wrong: &mut Violations,
    ) -> Option<Self> {
        let breaker = CircuitBreakerConfig {
            consecutive_failures: 3,
            failure_ratio: None,
            cool_down: config.level_cool_down,
            max_cool_down: config.level_cool_down,
            trial_calls: 1,
            ..CircuitBreakerConfig::default()
        };
        let breaker = CircuitBreaker::new(level.name(), breaker, Arc::clone(&part.clock));
        Some(Self {
            breaker: wrong.absorb(breaker)?,
            level,
            part: part.clone(),
            limit: config.level_timeout,
            pending: Mutex::default(),
            fails: AtomicBool::new(false),
        })
    }

    pub(super) fn watched_by(&mut self, observer: Arc<dyn super::super::ResilienceObserver>) {
        self.part.watched_by(observer);
    }

    pub(super) fn name(&self) -> &str {
        self.level.name()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.level.is_shared()
    }

    /// Whether its last call failed, or it has yet to take an invalidation.
    pub(super) fn fails(&self) -> bool {
        self.fails.load(Ordering::Acquire) || !self.lock().waiting.is_empty()
    }

    /// What it has; `None` if it could not be asked.
    pub(super) async fn read(&self, key: &CacheKey) -> Option<LevelReading> {
        if !self.settle().await {
            return None;
        }
        self.attempt("reading", self.level.read(key)).await
    }

    pub(super) async fn write(&self, key: &CacheKey, entry: &StoredEntry, lease: &Lease) {
        if self.settle().await {
            self.attempt("writing", self.level.write(key, entry, lease))
                .await;
        }
    }

    /// From now on the level is not used before it took `what`.
    pub(super) fn announce(&self, what: &Invalidation) {
        let mut pending = self.lock();
        let own = pending.next;
        let (everything, oldest) = (own + 1, own + 2);
        pending.next += 3;
        pending.waiting.push_back((own, what.clone()));
        if pending.waiting.len() > MAX_PENDING {
            let versions = pending.waiting.iter().filter_map(|(_, what)| match what {
                Invalidation::OlderThan(version) => Some(*version),
                _ => None,
            });
            let version = versions.max();
            pending.waiting.clear();
            pending.waiting.push_back((everything, Invalidation::All));
            let version = version.map(|version| (oldest, Invalidation::OlderThan(version)));
            pending.waiting.extend(version);
        }
    }

    /// Tells the level what it was not told yet; whether it took all of it.
    pub(super) async fn settle(&self) -> bool {
        loop {
            let Some((number, what)) = self.lock().waiting.front().cloned() else {
                return true;
            };
            let told = self
                .attempt("invalidating", self.level.invalidate(&what))
                .await;
            if told.is_none() {
                return false;
            }
            let mut pending = self.lock();
            // Another task may have told it as well.
            if pending
                .waiting
                .front()
                .is_some_and(|(front, _)| *front == number)
            {
                pending.waiting.pop_front();
            }
        }
    }

    async fn attempt<T>(
        &self,
        during: &'static str,
        call: impl Future<Output = Result<T, BoxError>>,
    ) -> Option<T> {
        let Ok(pass) = self.breaker.admit() else {
            return None;
        };
        let error = match timeout(&*self.part.clock, self.limit, call).await {
            Ok(Ok(value)) => {
                pass.succeeded();
                self.fails.store(false, Ordering::Release);
                return Some(value);
            }
            Ok(Err(error)) => error.to_string(),
            Err(Elapsed) => format!("no answer within {:?}", self.limit),
        };
        pass.failed();
        self.fails.store(true, Ordering::Release);
        self.failed(during, &error);
        None
    }

    /// Tells the observer.
    pub(super) fn failed(&self, during: &'static str, error: &str) {
        let level = self.level.name();
        self.part.tell(&ResilienceEvent::CacheLevelFailed {
            level,
            during,
            error,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
