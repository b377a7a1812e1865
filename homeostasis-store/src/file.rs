//! The journal file: opened exclusively, checked, and opened anew after the medium failed.

#[cfg(unix)]
use std::fs::File;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use homeostasis_core::port::StoreError;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError, TableHandle};

use crate::config::RedbConfig;
use crate::failure::{Failure, store_error};
use crate::stats::Counters;
use crate::table::{FORMAT, META, Tables};

/// The version of redb's own file format that this version of redb reads.
const REDB_FORMAT: u32 = 3;

/// The first bytes of every redb file; redb writes them last when it creates one.
const MAGIC_LEN: usize = 9;

/// How large a file may be that redb was still creating when the process died.
const MAX_UNFINISHED_BYTES: u64 = 16 << 20;

/// Makes the database; `true` allows it to be new.
pub(crate) type Opener = Box<dyn Fn(bool) -> Result<Database, DatabaseError> + Send + Sync>;

/// The open file.
///
/// A failure of the medium latches redb shut. Then the file is closed here, and the next request
/// opens it again: a disk that was full and was cleaned must not leave a healer without a journal.
pub(crate) struct JournalFile {
    path: PathBuf,
    name: String,
    opener: Opener,
    slot: RwLock<Option<Database>>,
    counters: Arc<Counters>,
}

impl JournalFile {
    /// Opens the file at `path`, creating it and its folders if they are missing.
    pub(crate) fn open(
        path: &Path,
        config: &RedbConfig,
        counters: Arc<Counters>,
    ) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|error| io_error("finding", path, error))?;
        prepare(&path)?;
        let (cache_bytes, check) = (config.cache_bytes, config.check_on_open);
        let opener_path = path.clone();
        let opener = move |create| {
            let mut builder = Builder::new();
            builder
                .set_cache_size(cache_bytes)
                .set_check_integrity_on_open(check);
            if create {
                builder.create(&opener_path)
            } else {
                builder.open(&opener_path)
            }
        };
        Self::open_with(path, Box::new(opener), counters)
    }

    /// Opens what `opener` makes.
    pub(crate) fn open_with(
        path: PathBuf,
        opener: Opener,
        counters: Arc<Counters>,
    ) -> Result<Self, StoreError> {
        let file = Self {
            name: path.display().to_string(),
            path,
            opener,
            slot: RwLock::new(None),
            counters,
        };
        let db = file.open_checked(true)?;
        *file.slot.write().unwrap_or_else(PoisonError::into_inner) = Some(db);
        Ok(file)
    }

    /// The path, as errors name it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `use_it` on the open file; `what` names it in errors.
    ///
    /// A panic inside of redb is a failure of the medium here.
    pub(crate) fn with<T>(
        &self,
        what: &str,
        use_it: impl FnOnce(&Database) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.reopen_if_closed()?;
        let outcome = {
            let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
            let Some(db) = slot.as_ref() else {
                return Err(io_error(what, &self.path, "the file failed just now"));
            };
            catch_unwind(AssertUnwindSafe(|| use_it(db)))
        };
        let error = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(Failure::Refused(error))) => return Err(error),
            Ok(Err(Failure::Broken(error))) => store_error(&self.path, what, &error),
            Err(panic) => io_error(what, &self.path, panic_text(&*panic)),
        };
        tracing::warn!(path = %self.name, %error, cause = ?error, "the journal failed");
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = None;
        Err(error)
    }

    /// Gives free pages back to the file system; says whether there were any.
    pub(crate) fn compact(&self) -> Result<bool, StoreError> {
        self.reopen_if_closed()?;
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = slot.as_mut() else {
            return Err(io_error(
                "compacting",
                &self.path,
                "the file failed just now",
            ));
        };
        let error = match catch_unwind(AssertUnwindSafe(|| db.compact())) {
            Ok(Ok(compacted)) => return Ok(compacted),
            Ok(Err(error)) => io_error("compacting", &self.path, error.to_string()),
            Err(panic) => io_error("compacting", &self.path, panic_text(&*panic)),
        };
        *slot = None;
        Err(error)
    }

    fn reopen_if_closed(&self) -> Result<(), StoreError> {
        if self
            .slot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
        {
            return Ok(());
        }
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            // Never create it here: a file that vanished is a fault, not a fresh start.
            *slot = Some(self.open_checked(false)?);
            self.counters.reopened.fetch_add(1, Ordering::Relaxed);
            tracing::info!(path = %self.name, "the journal was opened again");
        }
        Ok(())
    }

    fn open_checked(&self, create: bool) -> Result<Database, StoreError> {
        let open = || -> Result<Database, StoreError> {
            let db = (self.opener)(create).map_err(|error| self.open_error(error))?;
            match check_format(&db) {
                Ok(Format::Ours) => Ok(db),
                Ok(Format::Other(found)) => Err(StoreError::Format {
                    path: self.name.clone(),
                    found,
                    supported: FORMAT,
                }),
                Ok(Format::Foreign) => Err(self.corrupt(
                    "its table of contents",
                    "it is a redb file of another program",
                )),
                Err(Failure::Refused(error)) => Err(error),
                Err(Failure::Broken(error)) => Err(store_error(&self.path, "opening", &error)),
            }
        };
        // redb may panic on a file that was damaged from outside.
        catch_unwind(AssertUnwindSafe(open))
            .unwrap_or_else(|panic| Err(self.corrupt("its structure", panic_text(&*panic))))
    }

    fn open_error(&self, error: DatabaseError) -> StoreError {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                StoreError::InUse {
                    path: self.name.clone(),
                }
            }
            DatabaseError::UpgradeRequired(found) => StoreError::Format {
                path: self.name.clone(),
                found: found.into(),
                supported: REDB_FORMAT,
            },
            DatabaseError::Storage(StorageError::Io(error))
                if !matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                io_error("opening", &self.path, error)
            }
            damaged @ (DatabaseError::Storage(StorageError::Io(_) | StorageError::Corrupted(_))
            | DatabaseError::RepairAborted) => {
                self.corrupt("its header or its tables", damaged.to_string())
            }
            other => io_error("opening", &self.path, other.to_string()),
        }
    }

    fn corrupt(&self, place: &str, cause: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            path: self.name.clone(),
            place: place.to_owned(),
            source: Some(cause.into().into()),
        }
    }
}

enum Format {
    Ours,
    Other(u32),
    Foreign,
}

/// Whose file it is; an empty one becomes ours.
fn check_format(db: &Database) -> Result<Format, Failure> {
    let txn = db.begin_read()?;
    let names: Vec<_> = txn.list_tables()?.map(|t| t.name().to_owned()).collect();
    if names.iter().any(|name| name == META.name()) {
        let found = match txn.open_table(META) {
            Ok(table) => table.get("format")?.map(|found| found.value()),
            Err(redb::TableError::Storage(error)) => return Err(error.into()),
            Err(_) => None,
        };
        return Ok(match found {
            Some(FORMAT) => Format::Ours,
            Some(other) => Format::Other(other),
            None => Format::Foreign,
        });
    }
    if !names.is_empty() || txn.list_multimap_tables()?.next().is_some() {
        return Ok(Format::Foreign);
    }
    drop(txn);
    let txn = db.begin_write()?;
    drop(Tables::open(&txn)?);
    txn.open_table(META)?.insert("format", FORMAT)?;
    txn.commit()?;
    Ok(Format::Ours)
}

/// Makes the folders and an empty file that only its owner may read; what is there stays.
fn prepare(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(|error| io_error("creating the folder of", path, error))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => {
            // The name must be as durable as what is written under it.
            #[cfg(unix)]
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| io_error("syncing the folder of", path, error))?;
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            empty_if_unfinished(path).map_err(|error| io_error("opening", path, error))
        }
        Err(error) => Err(io_error("creating", path, error)),
    }
}

/// Empties a file whose creation was cut short by a crash: it has no magic number yet, and nothing
/// but zeros behind its first page. redb would refuse it for ever; nothing was ever stored in it.
fn empty_if_unfinished(path: &Path) -> io::Result<()> {
    const PAGE: usize = 4096;
    let len = fs::metadata(path)?.len();
    if len == 0 || len > MAX_UNFINISHED_BYTES {
        return Ok(());
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.try_lock().is_err() {
        // Somebody is at work on it, as redb will say; or the system has no locks.
        return Ok(());
    }
    let mut start = [0; MAGIC_LEN];
    let n_start = start.len().min(usize::try_from(len).unwrap_or(usize::MAX));
    file.read_exact(&mut start[..n_start])?;
    if start != [0; MAGIC_LEN] {
        return Ok(());
    }
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(PAGE as u64))?;
    file.read_to_end(&mut rest)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), "the journal's creation was cut short; it starts anew");
    file.set_len(0)
}

fn io_error(what: &str, path: &Path, source: impl Into<homeostasis_core::BoxError>) -> StoreError {
    StoreError::Io {
        what: format!("{what} {}", path.display()),
        source: source.into(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("redb panicked: {}", text.unwrap_or("without a message"))
}
