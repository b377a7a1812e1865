//! The writer: one thread that puts the writes that wait into one transaction and syncs them once.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use homeostasis_core::port::StoreError;
use redb::{Database, Durability};
use tokio::sync::{mpsc, oneshot};

use crate::config::RedbConfig;
use crate::failure::Failure;
use crate::file::JournalFile;
use crate::stats::Counters;
use crate::table::Tables;

/// A write that waits for its turn.
pub(crate) trait Write: Send {
    /// Whether its caller has gone: then it is not done.
    fn is_abandoned(&self) -> bool;

    /// Does it inside the batch's transaction; says whether that changed something.
    ///
    /// # Errors
    /// Only if the transaction is broken: a refusal is kept as the answer.
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<Applied, Failure>;

    /// Tells the caller; `fate` is that of the batch.
    fn answer(self: Box<Self>, fate: Result<(), StoreError>);
}

/// What one write did to the batch's transaction.
pub(crate) enum Applied {
    Changed,
    Unchanged,
    Refused,
}

/// Starts the thread; it ends when all senders of its channel are gone and all writes are done.
pub(crate) fn start(
    file: Arc<JournalFile>,
    config: &RedbConfig,
    counters: Arc<Counters>,
    mut writes: mpsc::Receiver<Box<dyn Write>>,
) -> std::io::Result<JoinHandle<()>> {
    let (linger, max_batch) = (config.linger, config.max_batch);
    Builder::new()
        .name("homeostasis-write".to_owned())
        .spawn(move || {
            while let Some(first) = writes.blocking_recv() {
                if !linger.is_zero() {
                    std::thread::sleep(linger);
                }
                let mut batch = vec![first];
                while batch.len() < max_batch
                    && let Ok(next) = writes.try_recv()
                {
                    batch.push(next);
                }
                batch.retain(|write| !write.is_abandoned());
                if !batch.is_empty() {
                    write_batch(&file, &counters, batch);
                }
            }
        })
}

fn write_batch(file: &JournalFile, counters: &Counters, mut batch: Vec<Box<dyn Write>>) {
    let fate = file.with("writing", |db| transact(db, &mut batch));
    match fate {
        Ok(Tally {
            accepted,
            refused,
            synced,
        }) => {
            counters.batch_ended(accepted, refused, synced);
            for write in batch {
                write.answer(Ok(()));
            }
        }
        Err(error) => {
            counters.batch_failed(batch.len() as u64);
            for write in batch {
                write.answer(Err(again(&error)));
            }
        }
    }
}

struct Tally {
    accepted: u64,
    refused: u64,
    synced: bool,
}

/// Each write sees those before it; a refused one has changed nothing, so it spoils no other.
fn transact(db: &Database, batch: &mut [Box<dyn Write>]) -> Result<Tally, Failure> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    let mut tables = Tables::open(&txn)?;
    let mut tally = Tally {
        accepted: 0,
        refused: 0,
        synced: false,
    };
    for write in batch {
        match write.apply(&mut tables)? {
            Applied::Changed => {
                tally.accepted += 1;
                tally.synced = true;
            }
            Applied::Unchanged => tally.accepted += 1,
            Applied::Refused => tally.refused += 1,
        }
    }
    drop(tables);
    if tally.synced {
        txn.commit()?;
    } else {
        txn.abort()?;
    }
    Ok(tally)
}

/// The same error for another member of the batch.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::InUse { path } => StoreError::InUse { path: path.clone() },
        StoreError::Corrupt {
            path,
            place,
            source,
        } => StoreError::Corrupt {
            path: path.clone(),
            place: place.clone(),
            source: source.as_ref().map(|source| source.to_string().into()),
        },
        StoreError::Format {
            path,
            found,
            supported,
        } => StoreError::Format {
            path: path.clone(),
            found: *found,
            supported: *supported,
        },
        StoreError::Io { what, source } => StoreError::Io {
            what: what.clone(),
            source: source.to_string().into(),
        },
        other => StoreError::Io {
            what: "writing the journal".to_owned(),
            source: other.to_string().into(),
        },
    }
}

/// A write made of a closure, and where its answer goes.
struct Pending<T, F> {
    work: F,
    changes: bool,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Write for Pending<T, F>
where
    T: Send,
    F: FnMut(&mut Tables<'_>) -> Result<T, Failure> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<Applied, Failure> {
        match (self.work)(tables) {
            Ok(value) => {
                self.result = Some(Ok(value));
                Ok(if self.changes {
                    Applied::Changed
                } else {
                    Applied::Unchanged
                })
            }
            Err(Failure::Refused(error)) => {
                self.result = Some(Err(error));
                Ok(Applied::Refused)
            }
            Err(broken) => Err(broken),
        }
    }

    fn answer(self: Box<Self>, fate: Result<(), StoreError>) {
        let result = match (fate, self.result) {
            (Ok(()), Some(result)) => result,
            (Err(error), _) => Err(error),
            // Dropping the sender tells the caller that the writer did not do it.
            (Ok(()), None) => return,
        };
        // The caller may have gone meanwhile; the write is done all the same.
        let _ = self.reply.send(result);
    }
}

/// A write, and where its answer will come; `changes` says whether success needs a sync.
pub(crate) fn request<T, F>(
    changes: bool,
    work: F,
) -> (Box<dyn Write>, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnMut(&mut Tables<'_>) -> Result<T, Failure> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let write = Pending {
        work,
        changes,
        result: None,
        reply,
    };
    (Box::new(write), answer)
}
