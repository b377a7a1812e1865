//! A tail whose position is kept in the store, together with what a consumer made of the lines.

use std::io;
use std::sync::Arc;

use homeostasis_core::port::{Commit, Enricher, Store, StoreError, Version};
use homeostasis_core::{Clock, ConfigError, ErrorKind};
use tokio::sync::Mutex;

use super::log_tail::{LogTail, LogTailConfig, TailBatch, TailStats};
use super::tail_position::TailPosition;

/// Follows a log across restarts: no line is lost, and none counts twice.
///
/// The position is a document of the [`Store`], `log_tail/<name>`. [`DurableTail::commit`] writes
/// it in the same [`Commit`] as whatever the consumer made of the lines; so after a crash either
/// both are there or neither, and reading goes on exactly behind the lines that count. A consumer
/// whose results go elsewhere commits an empty [`Commit`] after them: then every line arrives at
/// least once, and its [`LineId`](super::LineId) tells one that comes again.
///
/// One process at a time: if two follow a log under the same name, the later commit is refused
/// with [`StoreError::Conflict`].
/// What rotation, truncation and compression can lose stands with [`LogTail`].
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use std::sync::Arc;
/// use homeostasis::core::port::{Commit, MemoryStore, Store, Version};
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::signals::{DurableTail, LogTailConfig, StartAt};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("shop.log");
/// std::fs::write(&path, "{\"msg\":\"one\"}\n{\"msg\":\"two\"}\n")?;
/// let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let config = LogTailConfig { start_at: StartAt::Beginning, ..LogTailConfig::new(&path) };
/// let open = || DurableTail::open("shop", config.clone(), Arc::clone(&store), clock.clone());
///
/// // A crash between reading and committing: the lines come again.
/// assert_eq!(open().await?.read().await?.signals.len(), 2);
/// let tail = open().await?;
/// let batch = tail.read().await?;
/// let count = Commit::default().put("n_lines", Version::NONE, batch.signals.len().into());
/// tail.commit(&batch, count).await?;
/// assert!(open().await?.read().await?.signals.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DurableTail {
    tail: LogTail,
    store: Arc<dyn Store>,
    key: String,
    committed: Mutex<Committed>,
}

#[derive(Debug)]
struct Committed {
    version: Version,
    position: Option<TailPosition>,
    /// Of a commit that may have been made: its answer is missing.
    unanswered: Option<TailPosition>,
}

/// Why a durable tail cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DurableTailError {
    /// The configuration is wrong, or the stored position is one of another path.
    #[error("the log tail cannot be configured")]
    Config(#[source] ConfigError),
    /// The store failed.
    #[error("the position of the log tail cannot be read")]
    Store(#[source] StoreError),
    /// What is stored is not a position.
    #[error("document {key:?} is not the position of a log tail; delete it to begin anew")]
    Position {
        /// Its key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl DurableTailError {
    /// What may be done next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            _ => ErrorKind::Permanent,
        }
    }
}

impl DurableTail {
    /// A tail that goes on where the one of the same `name` last committed, or begins as the
    /// configuration says if none did.
    ///
    /// # Errors
    /// - The configuration is wrong, or the log of that name had another path.
    /// - The store cannot be read, or holds something else under the key.
    pub async fn open(
        name: &str,
        config: LogTailConfig,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DurableTailError> {
        let key = format!("log_tail/{name}");
        let document = store
            .document(&key)
            .await
            .map_err(DurableTailError::Store)?;
        let (version, position) = match document {
            None => (Version::NONE, None),
            Some(document) => {
                let position =
                    serde_json::from_value::<TailPosition>(document.value).map_err(|source| {
                        DurableTailError::Position {
                            key: key.clone(),
                            source,
                        }
                    })?;
                (document.version, Some(position))
            }
        };
        let tail = match position.clone() {
            None => LogTail::new(config, clock),
            Some(position) => LogTail::resume(config, position, clock),
        }
        .map_err(DurableTailError::Config)?;
        Ok(Self {
            tail,
            store,
            key,
            committed: Mutex::new(Committed {
                version,
                position,
                unanswered: None,
            }),
        })
    }

    /// As [`LogTail::with_enricher`].
    pub fn with_enricher(mut self, enricher: Arc<dyn Enricher>) -> Self {
        self.tail = self.tail.with_enricher(enricher);
        self
    }

    /// What was appended since the last reading, committed or not: [`LogTail::read`].
    ///
    /// # Errors
    /// As [`LogTail::read`].
    ///
    /// # Cancel safety
    /// A reading that is dropped loses nothing.
    pub async fn read(&self) -> io::Result<TailBatch> {
        self.tail.read().await
    }

    /// Makes durable that `batch` and all before it was taken, together with `commit`.
    ///
    /// Batches are committed in the order they were read; some may be left out, since a batch
    /// stands for all before it. An empty batch should be committed too: of a log that is begun at
    /// its end it keeps where that was. A batch without news and an empty `commit` cost nothing.
    ///
    /// # Errors
    /// - Those of [`Store::commit`]. Nothing is durable then, unless it is [`StoreError::Io`],
    ///   after which it is unknown; in each case the same call may be made again, and is made only
    ///   once.
    /// - [`StoreError::Invalid`]: the batch is older than one that was committed; or a later batch
    ///   follows a call without an answer, and that call turns out to be durable. Then
    ///   [`DurableTail::committed`] is behind its batch, and the call may be made again without
    ///   what that one held.
    ///
    /// # Cancel safety
    /// A call that is dropped has committed all or nothing, as if it had no answer; making it again
    /// is safe.
    pub async fn commit(&self, batch: &TailBatch, commit: Commit) -> Result<(), StoreError> {
        let mut committed = self.committed.lock().await;
        self.settle(&mut committed, batch.position.as_ref()).await?;
        let Some(position) = &batch.position else {
            return if is_empty(&commit) {
                Ok(())
            } else {
                self.store.commit(commit).await.map(drop)
            };
        };
        if let Some(last) = &committed.position {
            if position.line() < last.line() {
                return Err(StoreError::Invalid {
                    reason: format!(
                        "{} at line {} after line {}: batches are committed in order",
                        self.key,
                        position.line(),
                        last.line()
                    ),
                });
            }
            if position.line() == last.line() && is_empty(&commit) {
                return Ok(());
            }
        }
        let value = serde_json::to_value(position).map_err(|error| StoreError::Invalid {
            reason: format!("{}: {error}", self.key),
        })?;
        let next = Version(committed.version.0 + 1);
        let together = commit.put(&self.key, committed.version, value.clone());
        committed.unanswered = Some(position.clone());
        if let Err(error) = self.store.commit(together).await {
            if matches!(error, StoreError::Io { .. }) {
                return Err(error);
            }
            // A call before this one may have been made durable without an answer.
            let is_done = matches!(error, StoreError::Conflict { .. })
                && self
                    .store
                    .document(&self.key)
                    .await?
                    .is_some_and(|found| found.version == next && found.value == value);
            if !is_done {
                committed.unanswered = None;
                return Err(error);
            }
        }
        *committed = Committed {
            version: next,
            position: Some(position.clone()),
            unanswered: None,
        };
        Ok(())
    }

    /// Finds out what became of a commit without an answer, before one of another batch is made.
    async fn settle(
        &self,
        committed: &mut Committed,
        position: Option<&TailPosition>,
    ) -> Result<(), StoreError> {
        let Some(unanswered) = committed.unanswered.clone() else {
            return Ok(());
        };
        // The same call again settles itself.
        if position == Some(&unanswered) {
            return Ok(());
        }
        let found = self.store.document(&self.key).await?;
        committed.unanswered = None;
        let next = Version(committed.version.0 + 1);
        let is_durable = found.is_some_and(|found| {
            found.version == next
                && serde_json::from_value::<TailPosition>(found.value)
                    .is_ok_and(|position| position == unanswered)
        });
        if !is_durable {
            return Ok(());
        }
        let line = unanswered.line();
        committed.version = next;
        committed.position = Some(unanswered);
        Err(StoreError::Invalid {
            reason: format!(
                "{}: the commit up to line {line}, whose answer was lost, is durable; this one is \
                 not: make it again without what that one held",
                self.key
            ),
        })
    }

    /// Behind the last line whose batch was committed; `None` if none was.
    pub async fn committed(&self) -> Option<TailPosition> {
        self.committed.lock().await.position.clone()
    }

    /// What it has met so far: [`LogTail::stats`].
    pub fn stats(&self) -> TailStats {
        self.tail.stats()
    }
}

fn is_empty(commit: &Commit) -> bool {
    commit.events.is_empty() && commit.hits.is_empty() && commit.documents.is_empty()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use homeostasis_core::port::MemoryStore;
    use homeostasis_core::testing::store::FaultyStore;
    use homeostasis_core::{ManualClock, Timestamp};

    use super::*;
    use crate::intake::StartAt;

    async fn open(path: &Path, store: &Arc<dyn Store>) -> Result<DurableTail, DurableTailError> {
        let config = LogTailConfig {
            start_at: StartAt::Beginning,
            multiline: None,
            ..LogTailConfig::new(path)
        };
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        DurableTail::open("shop", config, Arc::clone(store), clock).await
    }

    #[tokio::test]
    async fn batches_are_committed_in_order_with_what_was_made_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let tail = open(&path, &store).await.unwrap();
        let nothing = tail.read().await.unwrap();
        tail.commit(&nothing, Commit::default()).await.unwrap();
        assert_eq!(tail.committed().await, None);
        fs::write(&path, "one\n").unwrap();
        let first = tail.read().await.unwrap();
        fs::write(&path, "one\ntwo\n").unwrap();
        let second = tail.read().await.unwrap();
        let result = Commit::default().put("result", Version::NONE, 2.into());
        tail.commit(&second, result).await.unwrap();
        assert_eq!(tail.committed().await.unwrap().offset, 8);
        assert_eq!(store.document("result").await.unwrap().unwrap().value, 2);
        let error = tail.commit(&first, Commit::default()).await.unwrap_err();
        assert!(error.to_string().contains("0:4 after line 0:8"), "{error}");
        let again = open(&path, &store).await.unwrap();
        assert!(again.read().await.unwrap().signals.is_empty());
        // Nothing new and nothing to write: no version is spent.
        tail.commit(&second, Commit::default()).await.unwrap();
        let document = store.document("log_tail/shop").await.unwrap().unwrap();
        assert_eq!(document.version, Version(1));
    }

    #[tokio::test]
    async fn a_second_follower_of_the_same_name_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        fs::write(&path, "one\n").unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (one, other) = (
            open(&path, &store).await.unwrap(),
            open(&path, &store).await.unwrap(),
        );
        let batch = one.read().await.unwrap();
        one.commit(&batch, Commit::default()).await.unwrap();
        fs::write(&path, "one\ntwo\n").unwrap();
        let batch = other.read().await.unwrap();
        let error = other.commit(&batch, Commit::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_is_stored_must_be_a_position_of_this_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        fs::write(&path, "one\n").unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let tail = open(&path, &store).await.unwrap();
        let batch = tail.read().await.unwrap();
        tail.commit(&batch, Commit::default()).await.unwrap();
        let error = open(&directory.path().join("b.log"), &store)
            .await
            .unwrap_err();
        assert!(matches!(error, DurableTailError::Config(_)), "{error}");
        let wrong = Commit::default().put("log_tail/shop", Version(1), "x".into());
        store.commit(wrong).await.unwrap();
        let error = open(&path, &store).await.unwrap_err();
        assert!(error.to_string().contains("log_tail/shop"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Permanent);
    }

    #[tokio::test]
    async fn a_commit_whose_answer_was_lost_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        fs::write(&path, "one\n").unwrap();
        let store = Arc::<FaultyStore<MemoryStore>>::default();
        let tail = open(&path, &(Arc::clone(&store) as Arc<dyn Store>))
            .await
            .unwrap();
        let batch = tail.read().await.unwrap();
        let hit = || Commit::default().hit("lines", Timestamp::EPOCH);
        store.hook().lie_once();
        let error = tail.commit(&batch, hit()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        tail.commit(&batch, hit()).await.unwrap();
        assert_eq!(store.hits("lines", Timestamp::EPOCH).await.unwrap(), 1);
        fs::write(&path, "one\ntwo\n").unwrap();
        let batch = tail.read().await.unwrap();
        tail.commit(&batch, hit()).await.unwrap();
        assert_eq!(store.hits("lines", Timestamp::EPOCH).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_consumer_that_goes_on_after_a_lost_answer_is_told_what_is_durable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        fs::write(&path, "one\n").unwrap();
        let store = Arc::<FaultyStore<MemoryStore>>::default();
        let tail = open(&path, &(Arc::clone(&store) as Arc<dyn Store>))
            .await
            .unwrap();
        let hit = || Commit::default().hit("lines", Timestamp::EPOCH);
        let n_hits = async || store.hits("lines", Timestamp::EPOCH).await.unwrap();
        let first = tail.read().await.unwrap();
        store.hook().lie_once();
        tail.commit(&first, hit()).await.unwrap_err();
        fs::write(&path, "one\ntwo\n").unwrap();
        let second = tail.read().await.unwrap();
        let error = tail.commit(&second, hit().hit("lines", Timestamp::EPOCH));
        let error = error.await.unwrap_err();
        assert!(
            error.to_string().contains("up to line 0:4, whose answer"),
            "{error}"
        );
        assert_eq!(tail.committed().await.unwrap().offset, 4);
        assert_eq!(n_hits().await, 1);
        tail.commit(&second, hit()).await.unwrap();
        assert_eq!(tail.committed().await.unwrap().offset, 8);
        assert_eq!(n_hits().await, 2);
        // One that was not made is made with the next.
        store.hook().refuse_once();
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let third = tail.read().await.unwrap();
        tail.commit(&third, hit()).await.unwrap_err();
        fs::write(&path, "one\ntwo\nthree\nfour\n").unwrap();
        let fourth = tail.read().await.unwrap();
        let both = hit().hit("lines", Timestamp::from_secs(1));
        tail.commit(&fourth, both).await.unwrap();
        assert_eq!(n_hits().await, 4);
    }
}
