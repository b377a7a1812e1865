//! [`FileArchive`]: a folder of `incidents-YYYY-MM.jsonl.gz`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use flate2::Compression;
use flate2::write::GzEncoder;
use homeostasis_core::port::{Archive, Store, StoreError};
use homeostasis_core::record::HealEvent;
use tokio::sync::oneshot;

use super::members::{MAX_MEMBER_BYTES, Member, Members};
use super::reader::{ArchiveError, ArchiveReader, io_error};
use super::restore::{self, Restored};
use crate::apply::{encode_event, event_name};

/// A member that holds this much is full: one append of much makes several.
const MEMBER_BYTES: usize = 8 << 20;

/// Closed incidents in files `incidents-YYYY-MM.jsonl.gz` of one folder, by the month in which they
/// closed.
///
/// A line is an event as JSON; the events of an incident follow each other. Each append is one gzip
/// member, synced before the call returns, so that the files are what `zcat` and `jq` read. An
/// append that was cut short by a crash leaves a torn member at the end: the next append cuts it
/// off, a reader names it. One process at a time may append: the file is locked while it does.
///
/// ```
/// use homeostasis::core::port::Archive;
/// use homeostasis::core::record::{EventKind, HealEvent, Resolution, SCHEMA_VERSION};
/// use homeostasis::core::{IncidentId, NodeId, Timestamp};
/// use homeostasis::store::FileArchive;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let archive = FileArchive::open(folder.path())?;
/// let closed = HealEvent {
///     schema_version: SCHEMA_VERSION,
///     incident: IncidentId::from_u128(1),
///     seq: 0,
///     at: "2026-11-22T01:00:00Z".parse()?,
///     node: NodeId::default(),
///     kind: EventKind::Closed { resolution: Resolution::Recovered },
/// };
/// archive.append(&[vec![closed.clone()]]).await?;
/// assert!(folder.path().join("incidents-2026-11.jsonl.gz").exists());
/// let read: Vec<_> = archive.read()?.collect::<Result<_, _>>()?;
/// assert_eq!(read, [[closed]]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct FileArchive {
    folder: Arc<Path>,
    /// The length of each file that is known to end with a whole member.
    whole: Arc<Mutex<BTreeMap<PathBuf, u64>>>,
}

impl FileArchive {
    /// The archive in `folder`, which is made if it is missing. It blocks shortly.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file system refuses.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let folder = folder.as_ref();
        let above = folders_to_sync(folder);
        fs::create_dir_all(folder)
            .and_then(|()| above.iter().try_for_each(|above| sync_folder(above)))
            .map_err(|error| failed("creating", folder, error))?;
        Ok(Self {
            folder: folder.into(),
            whole: Arc::default(),
        })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything in it, each incident once. Reading blocks.
    ///
    /// # Errors
    /// [`ArchiveError::Io`] if the folder cannot be listed; what is wrong with a file comes in its
    /// place from the iterator.
    pub fn read(&self) -> Result<ArchiveReader, ArchiveError> {
        let listed = || -> io::Result<Vec<PathBuf>> {
            let mut files = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let path = entry?.path();
                let name = path.file_name().map(|name| name.to_string_lossy());
                if name.is_some_and(|n| n.starts_with("incidents-") && n.ends_with(".jsonl.gz")) {
                    files.push(path);
                }
            }
            files.sort();
            Ok(files)
        };
        let files = listed().map_err(|source| io_error(&self.folder, source))?;
        Ok(ArchiveReader::new(files))
    }

    /// Puts everything in it back into `store`, each incident in one commit.
    ///
    /// It may be repeated: incidents that are there already, event for event, stay as they are.
    /// Those that are there with other events are left alone and named, and so is damage. What is
    /// older than the store's retention leaves it again in due time.
    ///
    /// # Errors
    /// If the store fails; what was restored until then stays.
    pub async fn restore_into(&self, store: &dyn Store) -> Result<Restored, StoreError> {
        restore::restore(self.clone(), store).await
    }

    fn append_blocking(&self, incidents: &[Vec<HealEvent>]) -> Result<(), StoreError> {
        let mut members: Vec<(String, Vec<u8>)> = Vec::new();
        for events in incidents {
            let month = month_of(events)?;
            let mut lines = Vec::new();
            for event in events {
                lines.extend(encode_event(event)?);
                lines.push(b'\n');
            }
            if lines.len() as u64 > MAX_MEMBER_BYTES {
                let reason = format!(
                    "{} takes {} bytes, expected at most {MAX_MEMBER_BYTES}",
                    events[0].incident,
                    lines.len()
                );
                return Err(StoreError::Invalid { reason });
            }
            match members.last_mut() {
                Some((of, member)) if *of == month && member.len() < MEMBER_BYTES => {
                    member.append(&mut lines);
                }
                _ => members.push((month, lines)),
            }
        }
        for (month, lines) in members {
            let path = self.folder.join(format!("incidents-{month}.jsonl.gz"));
            let append = || -> io::Result<()> {
                let mut packer = GzEncoder::new(Vec::new(), Compression::default());
                packer.write_all(&lines)?;
                self.append_member(&path, &packer.finish()?)
            };
            append().map_err(|error| failed("appending to", &path, error))?;
        }
        Ok(())
    }

    fn append_member(&self, path: &Path, member: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.try_lock().map_err(io::Error::from)?;
        let mut known = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let len = file.metadata()?.len();
        if known.get(path) != Some(&len) {
            cut_torn_end(path, &file)?;
        }
        let before = file.metadata()?.len();
        if before == 0 {
            sync_folder(&self.folder)?;
        }
        if let Err(error) = file.write_all(member).and_then(|()| file.sync_data()) {
            known.remove(path);
            // If this fails too the next append finds the torn end.
            let _ = file.set_len(before);
            return Err(error);
        }
        known.insert(path.to_owned(), before + member.len() as u64);
        Ok(())
    }
}

#[async_trait]
impl Archive for FileArchive {
    async fn append(&self, incidents: &[Vec<HealEvent>]) -> Result<(), StoreError> {
        let (archive, incidents) = (self.clone(), incidents.to_vec());
        let (reply, answer) = oneshot::channel();
        // A thread of its own: the disk must not block the host's runtime.
        std::thread::Builder::new()
            .name("homeostasis-archive".to_owned())
            .spawn(move || {
                // The caller may have gone meanwhile; the work is done all the same.
                let _ = reply.send(archive.append_blocking(&incidents));
            })
            .map_err(|error| failed("starting a thread for", &self.folder, error))?;
        answer
            .await
            .unwrap_or_else(|_| Err(failed("appending to", &self.folder, "its thread panicked")))
    }
}

/// The month in which the last event happened: `2026-11`.
fn month_of(events: &[HealEvent]) -> Result<String, StoreError> {
    let invalid = |reason: String| StoreError::Invalid { reason };
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Err(invalid("an incident without events".to_owned()));
    };
    for (event, seq) in events.iter().zip(0..) {
        if event.incident != first.incident || event.seq != seq {
            let found = event_name(event.incident, event.seq);
            let expected = event_name(first.incident, seq);
            return Err(invalid(format!("{found}, expected {expected}")));
        }
    }
    let day = last.at.to_string();
    Ok(day.split('-').take(2).collect::<Vec<_>>().join("-"))
}

/// Cuts off what an append left that was cut short itself. Damage elsewhere stays for the reader.
fn cut_torn_end(path: &Path, file: &File) -> io::Result<()> {
    let mut members = Members::new(File::open(path)?)?;
    while let Some(member) = members.next()? {
        if let Member::Damaged {
            offset,
            bytes,
            is_torn: true,
            ..
        } = member
        {
            tracing::warn!(path = %path.display(), offset, bytes, "an append was cut short; its rest is removed");
            file.set_len(offset)?;
        }
    }
    Ok(())
}

/// The folders that get a new entry when `folder` is made, innermost first. Its own parent is
/// always there, if it can be read: a process may have died between making and syncing.
fn folders_to_sync(folder: &Path) -> Vec<PathBuf> {
    let mut above = Vec::new();
    let mut made = folder;
    while let Some(parent) = made.parent() {
        let is_here = parent.as_os_str().is_empty();
        let parent_or_here = if is_here { Path::new(".") } else { parent };
        let is_new = !made.exists();
        if is_new || (above.is_empty() && fs::read_dir(parent_or_here).is_ok()) {
            above.push(parent_or_here.to_owned());
        }
        if !is_new || is_here {
            break;
        }
        made = parent;
    }
    above
}

/// The name must be as durable as what is written under it.
fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn failed(what: &str, path: &Path, source: impl Into<homeostasis_core::BoxError>) -> StoreError {
    StoreError::Io {
        what: format!("{what} {}", path.display()),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_that_gets_a_new_entry_is_synced() {
        let root = tempfile::tempdir().unwrap();
        let of = |path: &str| folders_to_sync(&root.path().join(path));
        let made = ["a/b", "a", ""].map(|path| root.path().join(path));
        assert_eq!(of("a/b/c"), made);
        FileArchive::open(root.path().join("a/b/c")).unwrap();
        assert_eq!(of("a/b/c"), made[..1]);
        assert_eq!(folders_to_sync(Path::new("not-there")), [Path::new(".")]);
    }
}
