//! What is stored, and its form below memory.

use std::time::Duration;

use homeostasis_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::key::CacheKey;

/// When an entry was made and how long it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Until then it is as good as new.
    pub fresh_until: Timestamp,
    /// Until then it may be served while it is made anew, or if it cannot be.
    pub usable_until: Timestamp,
}

impl Lifetime {
    /// The same, not fresh for longer than until `fresh_until`.
    pub(super) fn at_most(self, fresh_until: Timestamp, stale_for: Duration) -> Self {
        Self {
            fresh_until: self.fresh_until.min(fresh_until),
            usable_until: self.usable_until.min(fresh_until + stale_for),
            ..self
        }
    }
}

/// An entry as levels below memory store it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// The version it was stored with.
    pub version: u32,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// How long it may be used.
    pub lifetime: Lifetime,
    /// The answer as JSON; `None` remembers that there is none.
    pub value: Option<Vec<u8>>,
}

/// The form of the header; another one is not read.
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format: u8,
    version: u32,
    tags: Vec<String>,
    stored_at: i64,
    fresh_until: i64,
    usable_until: i64,
    absent: bool,
    length: usize,
}

impl Header {
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (header, value) = (&bytes[..end], &bytes[end + 1..]);
        let header: Self = serde_json::from_slice(header).ok()?;
        (header.format == FORMAT && header.length == value.len()).then_some((header, value))
    }
}

impl StoredEntry {
    /// Of an entry that was encoded, without its value.
    #[cfg(feature = "cache-disk")]
    pub(super) fn version_and_tags(bytes: &[u8]) -> Option<(u32, Vec<String>)> {
        let (header, _) = Header::split(bytes)?;
        Some((header.version, header.tags))
    }

    /// Whether it is about what `key` asks for.
    pub(super) fn answers(&self, key: &CacheKey) -> bool {
        self.tags == key.tags() && self.version >= key.version()
    }

    /// The bytes: a line of JSON and the value.
    pub fn encode(&self) -> Vec<u8> {
        let value = self.value.as_deref().unwrap_or_default();
        let header = Header {
            format: FORMAT,
            version: self.version,
            tags: self.tags.clone(),
            stored_at: self.lifetime.stored_at.as_nanos(),
            fresh_until: self.lifetime.fresh_until.as_nanos(),
            usable_until: self.lifetime.usable_until.as_nanos(),
            absent: self.value.is_none(),
            length: value.len(),
        };
        // A header has nothing that JSON cannot say.
        let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(value);
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` if it is anything else, or not whole.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, value) = Header::split(bytes)?;
        Some(Self {
            version: header.version,
            tags: header.tags,
            lifetime: Lifetime {
                stored_at: Timestamp::from_nanos(header.stored_at),
                fresh_until: Timestamp::from_nanos(header.fresh_until),
                usable_until: Timestamp::from_nanos(header.usable_until),
            },
            value: (!header.absent).then(|| value.to_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_read_back_and_parts_of_them_do_not(
            version: u32,
            tags in proptest::collection::vec(".{0,8}", 0..3),
            at: i64,
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
            cut in 1_usize..10,
        ) {
            let at = Timestamp::from_nanos(at);
            let lifetime = Lifetime { stored_at: at, fresh_until: at, usable_until: at };
            let entry = StoredEntry { version, tags, lifetime, value };
            let bytes = entry.encode();
            prop_assert_eq!(StoredEntry::decode(&bytes), Some(entry));
            prop_assert_eq!(StoredEntry::decode(&bytes[..bytes.len() - cut]), None);
        }

        #[test]
        fn nothing_read_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = StoredEntry::decode(&bytes);
        }
    }
}
