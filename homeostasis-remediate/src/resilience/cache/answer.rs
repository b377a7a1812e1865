//! What a cache answers with.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::Timestamp;

use super::entry::Lifetime;
use super::key::CacheKey;

/// Where an answer is from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheSource {
    /// Memory.
    Memory,
    /// The level of this name.
    Level(Arc<str>),
    /// It was loaded.
    Loaded,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Cached<V> {
    /// The answer; `None` if there is none to what was asked.
    pub value: Option<Arc<V>>,
    /// Where it is from.
    pub source: CacheSource,
    /// How long ago it was loaded.
    pub age: Duration,
    /// Whether it is older than it should be.
    pub stale: bool,
    /// Whether a level is out of reach, or has yet to take an invalidation.
    pub degraded: bool,
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            source: self.source.clone(),
            ..*self
        }
    }
}

/// It could not be loaded, and there was nothing to serve instead.
#[derive(Debug, Clone, thiserror::Error)]
#[error("loading `{key}` failed")]
pub struct LoadFailed {
    /// What was asked for.
    pub key: CacheKey,
    /// Why; shared by all who waited for it.
    #[source]
    pub source: Arc<dyn std::error::Error + Send + Sync>,
}

/// What an invalidation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalidated {
    /// How many entries left memory.
    pub n_in_memory: u64,
    /// The levels that could not be told; they are not used until they were.
    pub not_reached: Vec<String>,
}

/// An entry in memory, or one that was just found below.
#[derive(Debug)]
pub(super) struct Held<V> {
    pub(super) key: CacheKey,
    pub(super) value: Option<Arc<V>>,
    pub(super) version: u32,
    pub(super) lifetime: Lifetime,
    /// When the levels are asked again.
    pub(super) check_at: Timestamp,
    pub(super) source: CacheSource,
}

impl<V> Clone for Held<V> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            value: self.value.clone(),
            source: self.source.clone(),
            ..*self
        }
    }
}
