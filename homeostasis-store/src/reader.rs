//! The reader: a thread of its own, so that reads block neither the host's runtime nor the writer.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use homeostasis_core::port::StoreError;
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;
use crate::file::JournalFile;
use crate::query::Snapshot;

/// A read that waits for its turn.
pub(crate) type Read = Box<dyn FnOnce(&JournalFile) + Send>;

/// Starts the thread; it ends when all senders of its channel are gone.
pub(crate) fn start(
    file: Arc<JournalFile>,
    mut reads: mpsc::Receiver<Read>,
) -> std::io::Result<JoinHandle<()>> {
    Builder::new()
        .name("homeostasis-read".to_owned())
        .spawn(move || {
            while let Some(read) = reads.blocking_recv() {
                read(&file);
            }
        })
}

/// A read of one snapshot, and where its answer will come.
pub(crate) fn request<T, F>(
    what: &'static str,
    query: F,
) -> (Read, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&Snapshot) -> Result<T, Failure> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let read = move |file: &JournalFile| {
        if reply.is_closed() {
            return;
        }
        let result = file.with(what, |db| query(&Snapshot::new(db, file.name())?));
        // The caller may have gone meanwhile.
        let _ = reply.send(result);
    };
    (Box::new(read), answer)
}
