//! The journal: events by incident, durable counters, documents, fencing tokens.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::error::{BoxError, ErrorKind};
use crate::id::IncidentId;
use crate::port::{ClosedIncident, FencingToken};
use crate::record::HealEvent;
use crate::time::Timestamp;

/// How many events an incident has, or how often a document was written; 0 means none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Version(pub u64);

impl Version {
    /// Nothing was written.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// A lease that must still be the newest one when a commit is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// What the lease is on.
    pub resource: String,
    /// Its token.
    pub token: FencingToken,
}

/// A document as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// How often it was written.
    pub version: Version,
    /// What it holds.
    pub value: Value,
}

/// Everything that becomes durable together, or not at all.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Commit {
    /// Events of one incident; their `seq` continues from `expected`.
    pub events: Vec<HealEvent>,
    /// How many events the incident has at present.
    pub expected: Version,
    /// A lease that must still hold.
    pub fence: Option<Fence>,
    /// Counters to hit, each at an instant.
    pub hits: Vec<(String, Timestamp)>,
    /// Documents to write: key, version it must have at present, new value (`None` deletes).
    /// A key may come once. A deleted document is at [`Version::NONE`] again.
    pub documents: Vec<(String, Version, Option<Value>)>,
}

impl Commit {
    /// Appends `events` to their incident, which must be at `expected`.
    pub fn append(expected: Version, events: Vec<HealEvent>) -> Self {
        Self {
            events,
            expected,
            ..Self::default()
        }
    }

    /// The same, only if the lease still holds.
    pub fn fenced(mut self, fence: Option<Fence>) -> Self {
        self.fence = fence;
        self
    }

    /// The same, hitting a counter too.
    pub fn hit(mut self, key: impl Into<String>, at: Timestamp) -> Self {
        self.hits.push((key.into(), at));
        self
    }

    /// The same, writing a document too.
    pub fn put(mut self, key: impl Into<String>, expected: Version, value: Value) -> Self {
        self.documents.push((key.into(), expected, Some(value)));
        self
    }

    /// What is wrong with it in itself: a document named twice, events of two incidents, or events
    /// out of sequence.
    pub fn violation(&self) -> Option<String> {
        let mut keys = BTreeSet::new();
        if let Some((key, ..)) = self.documents.iter().find(|(key, ..)| !keys.insert(key)) {
            return Some(format!("document {key:?} twice in one commit"));
        }
        let first = self.events.first()?;
        for (event, seq) in self.events.iter().zip(self.expected.0..) {
            if event.incident != first.incident {
                return Some(format!(
                    "events of {} and {} in one commit",
                    first.incident, event.incident
                ));
            }
            if event.seq != seq {
                return Some(format!(
                    "event {} of {}, expected {seq}",
                    event.seq, event.incident
                ));
            }
        }
        None
    }
}

/// Why the journal refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else wrote in between.
    #[error("{what} is at {found}, expected {expected}")]
    Conflict {
        /// The incident or the document.
        what: String,
        /// What the writer believed.
        expected: Version,
        /// What is so.
        found: Version,
    },
    /// A newer lease exists: the writer is a zombie.
    #[error("lease {held} on {resource:?} is stale, the newest is {newest}")]
    Fenced {
        /// What the lease was on.
        resource: String,
        /// The writer's token.
        held: FencingToken,
        /// The newest token.
        newest: FencingToken,
    },
    /// The commit contradicts itself.
    #[error("refused: {reason}")]
    Invalid {
        /// How.
        reason: String,
    },
    /// It is open already, in this process or in another one.
    #[error(
        "{path} is already open, here or in another process; close it there or use another path"
    )]
    InUse {
        /// The file.
        path: String,
    },
    /// What was read is not what was written.
    #[error(
        "{path} is damaged at {place}; move the file away to start empty, or restore it from a backup"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// Where.
        place: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
    /// It was written by another version of this library.
    #[error(
        "{path} has format {found}, this version reads {supported}; upgrade homeostasis, or move the file away to start empty"
    )]
    Format {
        /// The file.
        path: String,
        /// What it has.
        found: u32,
        /// What is understood.
        supported: u32,
    },
    /// The medium failed.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
}

impl StoreError {
    /// What may be done next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict { .. } | Self::Fenced { .. } => ErrorKind::Conflict,
            Self::Io { .. } => ErrorKind::Transient,
            _ => ErrorKind::Permanent,
        }
    }
}

/// The journal and what must be durable beside it.
///
/// *Guarantees an implementation gives:* a commit is atomic, and durable when the call returns;
/// reads see every commit that returned; counters, documents and tokens survive a crash.
/// *Cancel safety:* dropping a `commit` leaves it done or not done, never half done.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Makes everything in `commit` durable, or nothing.
    ///
    /// Returns the incident's new version (`commit.expected` if there were no events).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a version is not as expected, [`StoreError::Fenced`] if the
    /// lease is not the newest, [`StoreError::Invalid`] if the commit contradicts itself.
    async fn commit(&self, commit: Commit) -> Result<Version, StoreError>;

    /// All events of `incident`, oldest first; empty if it is unknown.
    async fn read(&self, incident: IncidentId) -> Result<Vec<HealEvent>, StoreError>;

    /// Events of all incidents in `from..=to` in the order of their time, at most `limit`.
    async fn read_time(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<HealEvent>, StoreError>;

    /// Incidents whose last event is not [`EventKind::Closed`](crate::record::EventKind::Closed),
    /// oldest first.
    async fn open_incidents(&self) -> Result<Vec<IncidentId>, StoreError>;

    /// Known incidents, newest first, at most `limit`.
    async fn incidents(&self, limit: usize) -> Result<Vec<IncidentId>, StoreError>;

    /// How often the counter `key` was hit at or after `since`.
    async fn hits(&self, key: &str, since: Timestamp) -> Result<u64, StoreError>;

    /// When the counter `key` was last hit.
    async fn last_hit(&self, key: &str) -> Result<Option<Timestamp>, StoreError>;

    /// The document `key`.
    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError>;

    /// The documents whose keys begin with `prefix`, by key, at most `limit`.
    async fn documents(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError>;

    /// A new token for `resource`: larger than every one before it, durable when it is returned.
    async fn next_token(&self, resource: &str) -> Result<FencingToken, StoreError>;

    /// Forgets counter hits before `before`; returns how many. Nothing else is touched.
    async fn prune_hits(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Closed incidents with their sizes, by the time of their last event and then their id,
    /// oldest first. O(incidents), not O(events).
    async fn closed_incidents(&self) -> Result<Vec<ClosedIncident>, StoreError>;

    /// Forgets these incidents with all their events, in one step; returns how many were forgotten.
    ///
    /// Those that are unknown, open, or not at the given version are left alone, so that it may be
    /// repeated after a crash. The space is free for later writes.
    async fn forget(&self, incidents: &[(IncidentId, Version)]) -> Result<u64, StoreError>;
}

const _: fn(&dyn Store) = |_| {};

#[async_trait]
impl<T: Store + ?Sized> Store for Arc<T> {
    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        (**self).commit(commit).await
    }

    async fn read(&self, incident: IncidentId) -> Result<Vec<HealEvent>, StoreError> {
        (**self).read(incident).await
    }

    async fn read_time(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<HealEvent>, StoreError> {
        (**self).read_time(from, to, limit).await
    }

    async fn open_incidents(&self) -> Result<Vec<IncidentId>, StoreError> {
        (**self).open_incidents().await
    }

    async fn incidents(&self, limit: usize) -> Result<Vec<IncidentId>, StoreError> {
        (**self).incidents(limit).await
    }

    async fn hits(&self, key: &str, since: Timestamp) -> Result<u64, StoreError> {
        (**self).hits(key, since).await
    }

    async fn last_hit(&self, key: &str) -> Result<Option<Timestamp>, StoreError> {
        (**self).last_hit(key).await
    }

    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        (**self).document(key).await
    }

    async fn documents(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        (**self).documents(prefix, limit).await
    }

    async fn next_token(&self, resource: &str) -> Result<FencingToken, StoreError> {
        (**self).next_token(resource).await
    }

    async fn prune_hits(&self, before: Timestamp) -> Result<u64, StoreError> {
        (**self).prune_hits(before).await
    }

    async fn closed_incidents(&self) -> Result<Vec<ClosedIncident>, StoreError> {
        (**self).closed_incidents().await
    }

    async fn forget(&self, incidents: &[(IncidentId, Version)]) -> Result<u64, StoreError> {
        (**self).forget(incidents).await
    }
}
