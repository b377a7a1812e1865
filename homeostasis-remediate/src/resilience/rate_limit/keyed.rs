//! A limit for each key, with bounded memory.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis_core::{Clock, ConfigError, Timestamp, Violations};

use super::super::part::{Part, observed, within};
use super::super::rejection::Rejection;
use super::{Gcra, RateLimit, refuse};

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

pub(super) struct Keys<K> {
    pub(super) full_at: HashMap<K, i64>,
    /// Of all keys that have no bucket.
    pub(super) shared: i64,
    /// No key is looked for that may be forgotten before.
    pub(super) next_look: i64,
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
    /// Those of [`RateLimiter::try_acquire`](super::RateLimiter::try_acquire).
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
    pub(super) fn take(
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
