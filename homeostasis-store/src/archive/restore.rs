//! From the archive back into a store.

use homeostasis_core::IncidentId;
use homeostasis_core::port::{Commit, Store, StoreError, Version};
use tokio::sync::mpsc;

use super::file_archive::FileArchive;
use super::reader::ArchiveError;

/// What became of the incidents of an archive.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Restored {
    /// How many were put back.
    pub n_restored: u64,
    /// How many were there already with the same events.
    pub n_present: u64,
    /// Those that are there with other events, and were left alone.
    pub conflicts: Vec<IncidentId>,
    /// What could not be read.
    pub damage: Vec<ArchiveError>,
}

pub(super) async fn restore(
    archive: FileArchive,
    store: &dyn Store,
) -> Result<Restored, StoreError> {
    // Reading blocks, so it has a thread of its own; it ends when nobody listens any more.
    let (sender, mut incidents) = mpsc::channel(4);
    let folder = archive.folder().display().to_string();
    let reading = std::thread::Builder::new()
        .name("homeostasis-archive".to_owned())
        .spawn(move || match archive.read() {
            Ok(mut reader) => {
                while reader
                    .next()
                    .is_some_and(|read| sender.blocking_send(read).is_ok())
                {}
            }
            Err(error) => drop(sender.blocking_send(Err(error))),
        })
        .map_err(|error| StoreError::Io {
            what: format!("starting a thread to read {folder}"),
            source: error.into(),
        })?;
    let mut restored = Restored::default();
    while let Some(read) = incidents.recv().await {
        let events = match read {
            Ok(events) => events,
            Err(damage) => {
                restored.damage.push(damage);
                continue;
            }
        };
        let Some(id) = events.first().map(|event| event.incident) else {
            continue;
        };
        let present = store.read(id).await?;
        if present == events {
            restored.n_present += 1;
        } else if !present.is_empty() {
            restored.conflicts.push(id);
        } else {
            match store.commit(Commit::append(Version::NONE, events)).await {
                Ok(_) => restored.n_restored += 1,
                // Somebody wrote it meanwhile.
                Err(StoreError::Conflict { .. }) => restored.conflicts.push(id),
                Err(error) => return Err(error),
            }
        }
    }
    if reading.join().is_err() {
        return Err(StoreError::Io {
            what: format!("reading {folder}"),
            source: "its thread panicked".into(),
        });
    }
    Ok(restored)
}
