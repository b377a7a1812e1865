//! What is asked of a cache, and what is made invalid in it.

use std::fmt;
use std::sync::Arc;

/// What an answer is the answer to, and by what it becomes invalid.
///
/// Tags and version belong to the key: everyone who asks for the same name names the same tags.
/// An entry with other tags is as if it were not there.
///
/// ```
/// use homeostasis::remediate::resilience::cache::CacheKey;
/// let key = CacheKey::new("price:7").tagged(["prices", "product:7"]).at_least(3);
/// assert_eq!(key.to_string(), "price:7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    name: Arc<str>,
    tags: Arc<[String]>,
    version: u32,
}

impl CacheKey {
    /// A key without tags, of version 0.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            tags: Arc::from([]),
            version: 0,
        }
    }

    /// The same with these tags only; their order does not matter.
    pub fn tagged<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        let mut tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        tags.sort();
        tags.dedup();
        self.tags = tags.into();
        self
    }

    /// The same of `version`: what is stored under it has this version, and what was stored with an
    /// older one does not answer it.
    pub fn at_least(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tags, sorted.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The version.
    pub fn version(&self) -> u32 {
        self.version
    }

    pub(super) fn shared_tags(&self) -> Arc<[String]> {
        Arc::clone(&self.tags)
    }

    pub(super) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What is no longer to be answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Invalidation {
    /// The entry of this name.
    Key(String),
    /// Every entry with this tag.
    Tag(String),
    /// Every entry of an older version, also one that is stored later: in this process as long as it
    /// runs, on a disk for ever, in Redis until that loses its data.
    OlderThan(u32),
    /// Everything.
    All,
}
