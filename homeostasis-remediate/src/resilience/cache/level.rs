//! What a cache keeps below memory.

use std::fmt;

use async_trait::async_trait;
use homeostasis_core::BoxError;

use super::entry::StoredEntry;
use super::key::{CacheKey, Invalidation};

/// A store below memory: Redis, a disk, another one.
///
/// # Guarantees
/// Calls have a time limit and may be dropped at every await. A level that failed to take an
/// invalidation is neither read nor written by this cache before it took it.
///
/// # Assumptions
/// **What was made invalid never comes back:** a write whose lease was read before an invalidation of
/// its key, one of its tags, its version or everything is never answered after it, whatever order the
/// calls arrive in, from this process or another. Forgetting entries is always allowed. An invalidation
/// that is repeated is harmless.
#[async_trait]
pub trait CacheLevel: fmt::Debug + Send + Sync {
    /// Stable; what answers and metrics call it.
    fn name(&self) -> &str;

    /// Whether other processes write to it and make invalid in it. What such a level says counts more
    /// than what a level of this process alone has. Default no.
    fn is_shared(&self) -> bool {
        false
    }

    /// What it has for `key`, and the lease for a write that may follow.
    async fn read(&self, key: &CacheKey) -> Result<LevelReading, BoxError>;

    /// Stores `entry`, until it is no longer usable at most.
    async fn write(
        &self,
        key: &CacheKey,
        entry: &StoredEntry,
        lease: &Lease,
    ) -> Result<(), BoxError>;

    /// Answers no more with what this is about.
    async fn invalidate(&self, what: &Invalidation) -> Result<(), BoxError>;
}

const _: fn(&dyn CacheLevel) = |_| {};

/// What a level remembers of when it was read; only it knows what this means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease(pub Vec<String>);

/// What a level has, and the lease to write it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LevelReading {
    /// The entry, if it has one that was not made invalid; it may be too old.
    pub entry: Option<StoredEntry>,
    /// For a write that follows from this reading.
    pub lease: Lease,
}
