//! [`RedbStore`]: the [`Store`] port on one redb file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use homeostasis_core::port::{
    ClosedIncident, Commit, Document, FencingToken, Store, StoreError, Version,
};
use homeostasis_core::record::HealEvent;
use homeostasis_core::{IncidentId, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::apply;
use crate::config::RedbConfig;
use crate::failure::Failure;
use crate::file::JournalFile;
use crate::query::Snapshot;
use crate::reader::{self, Read};
use crate::stats::{Counters, RedbStats};
use crate::table::Tables;
use crate::writer::{self, Write};

/// The durable journal: one redb file, owned by one process.
///
/// What a call acknowledged survives `kill -9`, and a loss of power if the disk honors syncs.
/// Two threads do the blocking work, one writes and one reads, so the host's runtime is never
/// blocked and any runtime will do. Commits that wait while another batch is being synced share the
/// next sync; each is checked by itself, and one that conflicts does not spoil the others.
///
/// After a failure of the medium (a full disk) the calls at hand get [`StoreError::Io`], and the
/// file is opened anew for the next one. Whether a write that failed so is durable is unknown until
/// the incident is read again; it is there entirely or not at all.
///
/// Dropping the store waits for the batch at hand, a few milliseconds as a rule; then the file is
/// closed and may be opened again.
pub struct RedbStore {
    file: Arc<JournalFile>,
    config: RedbConfig,
    counters: Arc<Counters>,
    writes: Option<mpsc::Sender<Box<dyn Write>>>,
    reads: Option<mpsc::Sender<Read>>,
    threads: Vec<JoinHandle<()>>,
}

impl RedbStore {
    /// Opens the journal at `path` with the default settings; see [`open_with`](Self::open_with).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, RedbConfig::default())
    }

    /// Opens the journal at `path`, or creates it, readable by its owner only, and the folders it
    /// lies in. It blocks: milliseconds as a rule, longer after a crash or with a large file.
    ///
    /// # Errors
    /// - [`StoreError::InUse`] if the file is open already, here or in another process.
    /// - [`StoreError::Corrupt`] if it is damaged, or not a journal.
    /// - [`StoreError::Format`] if another version wrote it.
    /// - [`StoreError::Invalid`] if a setting is out of range.
    /// - [`StoreError::Io`] if the file system refuses.
    pub fn open_with(path: impl AsRef<Path>, config: RedbConfig) -> Result<Self, StoreError> {
        config.check()?;
        let counters = Arc::new(Counters::default());
        let file = JournalFile::open(path.as_ref(), &config, Arc::clone(&counters))?;
        Self::start(file, config, counters)
    }

    pub(crate) fn start(
        file: JournalFile,
        config: RedbConfig,
        counters: Arc<Counters>,
    ) -> Result<Self, StoreError> {
        let file = Arc::new(file);
        let (writes, write_queue) = mpsc::channel(config.queue);
        let (reads, read_queue) = mpsc::channel(config.queue);
        let no_thread = |source: std::io::Error| StoreError::Io {
            what: format!("starting the threads of {}", file.name()),
            source: source.into(),
        };
        let counting = Arc::clone(&counters);
        let threads = vec![
            reader::start(Arc::clone(&file), read_queue).map_err(no_thread)?,
            writer::start(Arc::clone(&file), &config, counting, write_queue).map_err(no_thread)?,
        ];
        Ok(Self {
            file,
            config,
            counters,
            writes: Some(writes),
            reads: Some(reads),
            threads,
        })
    }

    /// The file, as an absolute path.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The settings it was opened with.
    pub fn config(&self) -> &RedbConfig {
        &self.config
    }

    /// What was done since the file was opened.
    pub fn stats(&self) -> RedbStats {
        self.counters.read()
    }

    /// Gives the space of what was forgotten back to the file system; says whether there was any.
    ///
    /// Without it the space is used for later writes and the file does not shrink. It moves pages
    /// about in several synced steps, so it takes time in proportion to the file; other calls wait
    /// for it meanwhile. What is stored stays as it is, also if the process dies in between.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the medium fails.
    pub async fn compact(&self) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        let work: Read = Box::new(move |file: &JournalFile| {
            // The caller may have gone meanwhile; the work is done all the same.
            let _ = reply.send(file.compact());
        });
        self.ask(self.reads.as_ref(), work, answer).await
    }

    async fn write<T, F>(&self, changes: bool, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tables<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (write, answer) = writer::request(changes, work);
        self.ask(self.writes.as_ref(), write, answer).await
    }

    async fn read<T, F>(&self, what: &'static str, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot) -> Result<T, Failure> + Send + 'static,
    {
        let (read, answer) = reader::request(what, query);
        self.ask(self.reads.as_ref(), read, answer).await
    }

    async fn ask<Q, T>(
        &self,
        queue: Option<&mpsc::Sender<Q>>,
        request: Q,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let stopped = || StoreError::Io {
            what: format!("asking the thread of {}", self.file.name()),
            source: "it has stopped".into(),
        };
        let queue = queue.ok_or_else(stopped)?;
        queue.send(request).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        drop((self.writes.take(), self.reads.take()));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(path = self.file.name(), "a thread of the journal panicked");
            }
        }
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore")
            .field("path", &self.path())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        let nothing =
            commit.events.is_empty() && commit.hits.is_empty() && commit.documents.is_empty();
        self.write(!nothing, move |tables| apply::commit(tables, &commit))
            .await
    }

    async fn read(&self, incident: IncidentId) -> Result<Vec<HealEvent>, StoreError> {
        self.read("reading an incident", move |snapshot| {
            snapshot.events(incident)
        })
        .await
    }

    async fn read_time(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<HealEvent>, StoreError> {
        self.read("reading events by time", move |snapshot| {
            snapshot.events_by_time(from, to, limit)
        })
        .await
    }

    async fn open_incidents(&self) -> Result<Vec<IncidentId>, StoreError> {
        self.read("listing open incidents", Snapshot::open_incidents)
            .await
    }

    async fn incidents(&self, limit: usize) -> Result<Vec<IncidentId>, StoreError> {
        self.read("listing incidents", move |snapshot| {
            snapshot.incidents(limit)
        })
        .await
    }

    async fn hits(&self, key: &str, since: Timestamp) -> Result<u64, StoreError> {
        let key = key.to_owned();
        self.read("counting hits", move |snapshot| snapshot.hits(&key, since))
            .await
    }

    async fn last_hit(&self, key: &str) -> Result<Option<Timestamp>, StoreError> {
        let key = key.to_owned();
        self.read("finding the last hit", move |snapshot| {
            snapshot.last_hit(&key)
        })
        .await
    }

    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        let key = key.to_owned();
        self.read("reading a document", move |snapshot| {
            snapshot.document(&key)
        })
        .await
    }

    async fn documents(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        let prefix = prefix.to_owned();
        self.read("listing documents", move |snapshot| {
            snapshot.documents(&prefix, limit)
        })
        .await
    }

    async fn next_token(&self, resource: &str) -> Result<FencingToken, StoreError> {
        let resource = resource.to_owned();
        self.write(true, move |tables| apply::next_token(tables, &resource))
            .await
    }

    async fn prune_hits(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(true, move |tables| apply::prune_hits(tables, before))
            .await
    }

    async fn closed_incidents(&self) -> Result<Vec<ClosedIncident>, StoreError> {
        let listed = self.read("listing closed incidents", Snapshot::closed_incidents);
        let (incidents, measured) = listed.await?;
        if !measured.is_empty() {
            let noted = self
                .write(true, move |tables| apply::note_sizes(tables, &measured))
                .await;
            // The answer is right without; the next one takes as long again.
            if let Err(error) = noted {
                tracing::debug!(path = self.file.name(), %error, "sizes were not noted");
            }
        }
        Ok(incidents)
    }

    async fn forget(&self, incidents: &[(IncidentId, Version)]) -> Result<u64, StoreError> {
        let incidents = incidents.to_vec();
        self.write(!incidents.is_empty(), move |tables| {
            apply::forget(tables, &incidents)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
