//! Answers that are remembered: in memory, and in levels below it such as Redis and a disk.
//!
//! # What is promised
//! **What was made invalid never comes back:** once [`Cache::invalidate`] was called, no call of this
//! cache that begins later answers with what was loaded before, from any level, whatever was under way.
//! A level that could not be told is not used until it was. What this does not cover:
//! - Other processes learn of it through a level that is shared ([`CacheLevel::is_shared`]): after
//!   [`CacheConfig::memory_ttl`] at the latest (and [`CacheConfig::stale_while_revalidate`], if they may
//!   serve meanwhile), or, while that level is out of reach, when their entries have outlived their time.
//! - [`Invalidation::OlderThan`] is forgotten by a Redis that loses its data: a process that does not know
//!   of it may then store an older version again, which those who ask for it are answered with.
//! - If the process ends before a level could be told, the level keeps what it has until its time is over.
//!
//! **A level that fails is no failure of the cache:** it is given up after
//! [`CacheConfig::level_timeout`], left alone for a while, told of to the observer, and
//! [`Cached::degraded`] says so with every answer.
//!
//! **Nobody loads what somebody else is loading:** one call for each key loads, the others wait for its
//! answer or its error; if it is dropped, one of them leads.
//!
//! # How an answer is found
//! Memory; then the levels that are shared, then those that are not; then the load. A shared level that
//! answers has the last word: what only this process has is then not used, since others may have made
//! it invalid. What is found below is kept in memory, what is loaded in every level.

mod answer;
mod config;
#[cfg(feature = "cache-disk")]
mod disk;
mod entry;
mod flight;
mod key;
#[cfg(test)]
mod law_tests;
mod ledger;
mod level;
mod memory;
#[cfg(test)]
mod order_tests;
#[cfg(feature = "cache-redis")]
mod redis;
#[cfg(test)]
#[cfg(feature = "cache-redis")]
mod redis_tests;
mod shelf;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homeostasis_core::{BoxError, Clock, ConfigError, Rng, Timestamp, Violations};
use serde::Serialize;
use serde::de::DeserializeOwned;

use answer::Held;
pub use answer::{CacheSource, Cached, Invalidated, LoadFailed};
pub use config::CacheConfig;
#[cfg(feature = "cache-disk")]
pub use disk::{DiskLevel, DiskLevelConfig};
pub use entry::{Lifetime, StoredEntry};
pub use key::{CacheKey, Invalidation};
pub use level::{CacheLevel, Lease, LevelReading};
#[cfg(feature = "cache-redis")]
pub use redis::{RedisLevel, RedisLevelConfig};

use super::observer::{ResilienceEvent, ResilienceObserver};
use super::part::Part;
use flight::{Boarding, Flights, Leader, outcome};
use ledger::{Ledger, Moment};
use memory::Memory;
use shelf::Shelf;

/// A cache of answers of type `V`, which is stored as JSON below memory.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::{ManualClock, Rng, Timestamp};
/// use homeostasis::remediate::resilience::cache::{
///     Cache, CacheConfig, CacheKey, CacheSource, Invalidation,
/// };
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let cache = Cache::<u32>::new("prices", CacheConfig::default(), clock, Rng::from_seed(1))?;
/// let key = CacheKey::new("price:7").tagged(["prices"]);
/// let load = || async { Ok(Some(42)) };
/// assert_eq!(cache.get_or_load(&key, load).await?.source, CacheSource::Loaded);
/// let again = cache.get_or_load(&key, load).await?;
/// assert_eq!((again.value, again.source), (Some(Arc::new(42)), CacheSource::Memory));
/// cache.invalidate(&Invalidation::Tag("prices".to_owned())).await;
/// assert!(cache.get(&key).await.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Cache<V> {
    part: Part,
    config: CacheConfig,
    memory: Mutex<Memory<Held<V>>>,
    ledger: Ledger,
    shelves: Vec<Shelf>,
    flights: Flights<Result<Cached<V>, LoadFailed>>,
    rng: Mutex<Rng>,
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// A cache in memory.
    ///
    /// # Errors
    /// The name is empty or a value is out of its range.
    pub fn new(
        name: &str,
        config: CacheConfig,
        clock: Arc<dyn Clock>,
        rng: Rng,
    ) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        let part = Part::new(name, clock, &mut wrong);
        config.validate(&mut wrong);
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let memory = Memory::new(count(config.max_entries.into()), count(config.max_bytes));
        wrong.into_result(Self {
            part,
            config,
            memory: Mutex::new(memory),
            ledger: Ledger::default(),
            shelves: Vec::new(),
            flights: Flights::new(),
            rng: Mutex::new(rng),
        })
    }

    /// The same with `level` below. Shared levels are asked before others, else in the order given.
    /// A level is for one cache: two that use the same answer each other's keys, with the wrong type of
    /// answer, and do not learn of each other's invalidations.
    ///
    /// # Errors
    /// The level's name is empty.
    pub fn with_level(mut self, level: Arc<dyn CacheLevel>) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        let shelf = Shelf::new(level, &self.part, &self.config, &mut wrong);
        self.shelves.extend(shelf);
        self.shelves.sort_by_key(|shelf| !shelf.is_shared());
        wrong.into_result(self)
    }

    /// The same, watched by `observer`.
    pub fn observed_by(mut self, observer: Arc<dyn ResilienceObserver>) -> Self {
        for shelf in &mut self.shelves {
            shelf.watched_by(Arc::clone(&observer));
        }
        self.part.watched_by(observer);
        self
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.part.name
    }

    /// The answer to `key`: what is remembered, or what `load` gives (`Ok(None)`: there is none).
    ///
    /// When an answer is stale and may be served meanwhile
    /// ([`CacheConfig::stale_while_revalidate`]), one caller loads and the others get it at once. A host
    /// that lets nobody wait asks with [`get`](Self::get) and calls [`refresh`](Self::refresh) in a task
    /// of its own when the answer is stale.
    ///
    /// # Errors
    /// `load` failed, and there is no answer that may be served instead
    /// ([`CacheConfig::stale_if_error`]).
    ///
    /// # Cancel safety
    /// Dropping it drops the load; one of those who wait for it loads.
    pub async fn get_or_load<F: Future<Output = Result<Option<V>, BoxError>>>(
        &self,
        key: &CacheKey,
        load: impl FnOnce() -> F,
    ) -> Result<Cached<V>, LoadFailed> {
        loop {
            if let Some(held) = self.held(key)
                && self.is_good(&held)
            {
                return Ok(self.hit(&held));
            }
            match self.flights.board(key, false, &self.ledger) {
                Boarding::Leader(flight) => return self.lead(flight, key, false, load).await,
                Boarding::Passenger(flight) => {
                    if let Some(held) = self.held(key).filter(|held| self.serves_meanwhile(held)) {
                        return Ok(self.hit(&held));
                    }
                    if let Some(landed) = outcome(flight).await {
                        return landed;
                    }
                }
            }
        }
    }

    /// What is remembered for `key`, also if it is stale but may still be of use. It loads nothing.
    pub async fn get(&self, key: &CacheKey) -> Option<Cached<V>> {
        let began = self.ledger.now();
        let held = self.held(key);
        if held.as_ref().is_some_and(|held| self.is_good(held)) {
            return held.map(|held| self.hit(&held));
        }
        let (best, _) = self.ask_levels(key, held, began, false).await;
        let best = best
            .filter(|held| self.ledger.lives(key, held.version, began))
            .filter(|held| self.is_usable(held, self.config.stale_for()));
        if best.is_none() {
            self.part.tell(&ResilienceEvent::CacheMiss);
        }
        best.map(|held| self.hit(&held))
    }

    /// Loads `key` anew, whatever is remembered, unless somebody does already by this method.
    ///
    /// # Errors
    /// Those of [`get_or_load`](Self::get_or_load).
    ///
    /// # Cancel safety
    /// As there.
    pub async fn refresh<F: Future<Output = Result<Option<V>, BoxError>>>(
        &self,
        key: &CacheKey,
        load: impl FnOnce() -> F,
    ) -> Result<Cached<V>, LoadFailed> {
        loop {
            match self.flights.board(key, true, &self.ledger) {
                Boarding::Leader(flight) => {
                    return self.lead(flight, key, true, load).await;
                }
                Boarding::Passenger(flight) => {
                    if let Some(landed) = outcome(flight).await {
                        return landed;
                    }
                }
            }
        }
    }

    /// Answers no more with what this is about, from any level.
    ///
    /// # Cancel safety
    /// It holds for this cache once the future was polled; levels that were not told yet are told
    /// before they are used.
    pub async fn invalidate(&self, what: &Invalidation) -> Invalidated {
        // Before the mark: who begins after it must find the levels closed until they were told.
        for shelf in &self.shelves {
            shelf.announce(what);
        }
        let n_in_memory = self.forget(what);
        let mut not_reached = Vec::new();
        for shelf in &self.shelves {
            if !shelf.settle().await {
                not_reached.push(shelf.name().to_owned());
            }
        }
        Invalidated {
            n_in_memory,
            not_reached,
        }
    }

    /// Marks `what` for those who load, and takes it out of memory, at once: so whatever is in memory
    /// may be answered.
    fn forget(&self, what: &Invalidation) -> u64 {
        let (some, all) = {
            let mut memory = self.lock();
            self.ledger.mark(what);
            match what {
                Invalidation::Key(name) => (memory.remove(name).into_iter().collect(), None),
                Invalidation::Tag(tag) => (memory.remove_tagged(tag), None),
                Invalidation::OlderThan(version) => {
                    (memory.remove_all(|held| held.version < *version), None)
                }
                Invalidation::All => (Vec::new(), Some(memory.take())),
            }
        };
        // Answers of the host are dropped here, outside the lock.
        some.len() as u64 + all.map_or(0, |all| all.len() as u64)
    }

    /// Entries in memory, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let memory = self.lock();
        (memory.len(), memory.bytes())
    }

    /// The levels that are out of reach or have yet to take an invalidation.
    pub fn failing_levels(&self) -> Vec<String> {
        let failing = self.shelves.iter().filter(|shelf| shelf.fails());
        failing.map(|shelf| shelf.name().to_owned()).collect()
    }

    async fn lead<F: Future<Output = Result<Option<V>, BoxError>>>(
        &self,
        flight: Leader<'_, Result<Cached<V>, LoadFailed>>,
        key: &CacheKey,
        anew: bool,
        load: impl FnOnce() -> F,
    ) -> Result<Cached<V>, LoadFailed> {
        let began = flight.began;
        // Only now: what is made invalid later makes this flight one that nobody joins.
        let held = self.held(key);
        let (best, leases) = self.ask_levels(key, held, began, anew).await;
        let best = best.filter(|held| self.ledger.lives(key, held.version, began));
        let now = self.part.now();
        if let Some(held) = &best
            && !anew
            && now < held.lifetime.fresh_until
        {
            let landed = Ok(self.hit(held));
            flight.land(landed.clone());
            return landed;
        }
        self.part.tell(&ResilienceEvent::CacheMiss);
        match load().await {
            Ok(value) => {
                let (answer, entry) = self.remember(key, value, began);
                let landed = Ok(answer);
                flight.land(landed.clone());
                match entry {
                    Some(entry) => self.write(key, &entry, &leases).await,
                    None => self.unlearn(key, best.is_some()).await,
                }
                landed
            }
            Err(error) => {
                let landed = best
                    .filter(|held| self.ledger.lives(key, held.version, began))
                    .filter(|held| self.is_usable(held, self.config.stale_if_error))
                    .map(|held| self.hit(&held))
                    .ok_or_else(|| LoadFailed {
                        key: key.clone(),
                        source: Arc::from(error),
                    });
                flight.land(landed.clone());
                landed
            }
        }
    }

    /// The best that there is, and a lease of each level for what may be loaded.
    async fn ask_levels(
        &self,
        key: &CacheKey,
        held: Option<Held<V>>,
        began: Moment,
        anew: bool,
    ) -> (Option<Held<V>>, Vec<Option<Lease>>) {
        let (mut best, mut leases) = (held, Vec::new());
        let mut last_word = false;
        for shelf in &self.shelves {
            let Some(reading) = shelf.read(key).await else {
                leases.push(None);
                continue;
            };
            leases.push(Some(reading.lease));
            let found = reading
                .entry
                .and_then(|entry| self.adopt(shelf, key, &entry, began));
            if shelf.is_shared() && !last_word {
                last_word = true;
                if best.take().is_some() && found.is_none() {
                    // Another process made it invalid.
                    let gone = self.lock().remove(key.name());
                    drop(gone);
                }
            } else if last_word && !shelf.is_shared() {
                continue;
            }
            let Some((found, bytes)) = found else {
                continue;
            };
            if !anew && self.part.now() < found.lifetime.fresh_until {
                let held = Held {
                    source: CacheSource::Memory,
                    ..found.clone()
                };
                self.keep(held, bytes, began);
                return (Some(found), leases);
            }
            let newer = |best: &Held<V>| best.lifetime.fresh_until < found.lifetime.fresh_until;
            if best.as_ref().is_none_or(newer) {
                best = Some(found);
            }
        }
        (best, leases)
    }

    /// An entry of a level as one of memory, and its size.
    fn adopt(
        &self,
        shelf: &Shelf,
        key: &CacheKey,
        entry: &StoredEntry,
        began: Moment,
    ) -> Option<(Held<V>, usize)> {
        let now = self.part.now();
        let ttl = self.ttl(entry.value.is_some());
        // Of a clock that is far ahead: nobody knows how old it is.
        let is_timed = entry.lifetime.stored_at <= now + ttl;
        if !is_timed || !entry.answers(key) || !self.ledger.lives(key, entry.version, began) {
            return None;
        }
        let value = match entry
            .value
            .as_deref()
            .map(serde_json::from_slice)
            .transpose()
        {
            Ok(value) => value.map(Arc::new),
            Err(error) => {
                shelf.failed("decoding", &without_data(&error));
                return None;
            }
        };
        let held = Held {
            key: key.clone(),
            value,
            version: entry.version,
            lifetime: entry.lifetime.at_most(now + ttl, self.config.stale_for()),
            check_at: self.check_at(),
            source: CacheSource::Level(Arc::from(shelf.name())),
        };
        Some((held, entry.value.as_ref().map_or(0, Vec::len)))
    }

    /// Keeps what was loaded in memory; the answer, and the entry for the levels below, if it is to be
    /// remembered.
    fn remember(
        &self,
        key: &CacheKey,
        value: Option<V>,
        began: Moment,
    ) -> (Cached<V>, Option<StoredEntry>) {
        let now = self.part.now();
        let ttl = self.ttl(value.is_some());
        let shortened = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            ttl.mul_f64(self.config.ttl_jitter.get() * rng.unit())
        };
        let fresh_until = now + ttl.saturating_sub(shortened);
        let stale_for = value
            .as_ref()
            .map_or(Duration::ZERO, |_| self.config.stale_for());
        let lifetime = Lifetime {
            stored_at: now,
            fresh_until,
            usable_until: fresh_until + stale_for,
        };
        let encoded = value.as_ref().map(serde_json::to_vec).transpose();
        let held = Held {
            key: key.clone(),
            value: value.map(Arc::new),
            version: key.version(),
            lifetime,
            check_at: self.check_at(),
            source: CacheSource::Memory,
        };
        let answer = self.answer(&held, CacheSource::Loaded);
        let value = match encoded {
            Ok(value) => value,
            Err(error) => {
                self.part.tell(&ResilienceEvent::CacheLevelFailed {
                    level: "memory",
                    during: "encoding",
                    error: &without_data(&error),
                });
                return (answer, None);
            }
        };
        if ttl.is_zero() {
            return (answer, None);
        }
        self.keep(held, value.as_ref().map_or(0, Vec::len), began);
        let entry = StoredEntry {
            version: key.version(),
            tags: key.tags().to_vec(),
            lifetime,
            value,
        };
        (answer, Some(entry))
    }

    async fn write(&self, key: &CacheKey, entry: &StoredEntry, leases: &[Option<Lease>]) {
        for (shelf, lease) in self.shelves.iter().zip(leases) {
            if let Some(lease) = lease {
                shelf.write(key, entry, lease).await;
            }
        }
    }

    /// What was remembered is no longer the answer, and the new one is not to be remembered. Where
    /// nothing was, there is nothing to do: whoever asks for what is not there must cost nobody anything.
    async fn unlearn(&self, key: &CacheKey, was_known: bool) {
        if was_known || self.lock().get(key.name()).is_some() {
            self.invalidate(&Invalidation::Key(key.name().to_owned()))
                .await;
        }
    }

    /// Puts it into memory, unless it was made invalid since it `began`.
    fn keep(&self, held: Held<V>, bytes: usize, began: Moment) {
        let gone = {
            let mut memory = self.lock();
            // Under the lock: an invalidation marks and empties memory under it.
            if !self.ledger.lives(&held.key, held.version, began) {
                return;
            }
            let (name, tags) = (held.key.shared_name(), held.key.shared_tags());
            memory.insert(name, &tags, held, bytes)
        };
        drop(gone);
    }

    /// What memory has for `key`, be it old.
    fn held(&self, key: &CacheKey) -> Option<Held<V>> {
        let held = self.lock().get(key.name())?.clone();
        let fits = held.key.tags() == key.tags() && held.version >= key.version();
        (fits && self.is_usable(&held, self.config.stale_for())).then_some(held)
    }

    fn ttl(&self, is_there: bool) -> Duration {
        if is_there {
            self.config.ttl
        } else {
            self.config.negative_ttl
        }
    }

    /// Whether it answers without asking anybody.
    fn is_good(&self, held: &Held<V>) -> bool {
        let now = self.part.now();
        now < held.lifetime.fresh_until && now < held.check_at
    }

    /// Whether it may be served while somebody else asks the levels and loads.
    fn serves_meanwhile(&self, held: &Held<V>) -> bool {
        let serve_for = self.config.stale_while_revalidate;
        let in_reach = !self
            .shelves
            .iter()
            .any(|shelf| shelf.is_shared() && shelf.fails());
        self.is_usable(held, serve_for)
            && !(in_reach && self.part.now() >= held.check_at + serve_for)
    }

    /// Whether it may be served, up to `stale_for` after its time.
    fn is_usable(&self, held: &Held<V>, stale_for: Duration) -> bool {
        let until = (held.lifetime.fresh_until + stale_for).min(held.lifetime.usable_until);
        self.part.now() < until
    }

    fn check_at(&self) -> Timestamp {
        if self.shelves.iter().any(Shelf::is_shared) {
            self.part.now() + self.config.memory_ttl
        } else {
            Timestamp::MAX
        }
    }

    fn answer(&self, held: &Held<V>, source: CacheSource) -> Cached<V> {
        let now = self.part.now();
        Cached {
            value: held.value.clone(),
            source,
            age: now.since(held.lifetime.stored_at),
            stale: now >= held.lifetime.fresh_until,
            degraded: self.shelves.iter().any(Shelf::fails),
        }
    }

    fn hit(&self, held: &Held<V>) -> Cached<V> {
        let answer = self.answer(held, held.source.clone());
        let level = match &answer.source {
            CacheSource::Level(name) => name,
            _ => "memory",
        };
        self.part.tell(&ResilienceEvent::CacheHit {
            level,
            stale: answer.stale,
        });
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Memory<Held<V>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with a text, without a word of it: it may be nobody's business.
fn without_data(error: &serde_json::Error) -> String {
    let (what, line, column) = (error.classify(), error.line(), error.column());
    format!("{what:?} error at line {line}, column {column}")
}
