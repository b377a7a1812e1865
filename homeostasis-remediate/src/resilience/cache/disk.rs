//! The level on disk: what a process remembers over its restarts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::{BoxError, ConfigError, Violation, Violations};
use redb::backends::FileBackend;
use redb::{
    Database, Durability, MultimapTableDefinition, ReadableDatabase, ReadableMultimapTable,
    ReadableTable, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::super::part::within;
use super::entry::StoredEntry;
use super::key::{CacheKey, Invalidation};
use super::ledger::{Ledger, Moment};
use super::level::{CacheLevel, Lease, LevelReading};

/// By name: the number of the write, and the entry.
const ENTRIES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("entries_1");
/// By the number of the write: the name.
const ORDER: TableDefinition<'_, u64, &str> = TableDefinition::new("order_1");
/// By tag: names.
const TAGS: MultimapTableDefinition<'_, &str, &str> = MultimapTableDefinition::new("tags_1");
/// `next`: the number of the next write; `bytes`: of all entries; `oldest`: the version that still counts.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers_1");

/// Of pages in memory.
const PAGES_BYTES: usize = 16 * 1024 * 1024;

/// Where it is and how much it may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskLevelConfig {
    /// The file; it is made if it is not there, readable by its owner only. One process at a time.
    pub path: PathBuf,
    /// Entries. Default 100,000; 1 to 100,000,000. Beyond, the oldest leave.
    #[serde(default = "DiskLevelConfig::default_max_entries")]
    pub max_entries: u32,
    /// Bytes of names and entries. Default 256 MiB; at least 1. The file takes more: its pages are
    /// used again, and not given back.
    #[serde(default = "DiskLevelConfig::default_max_bytes")]
    pub max_bytes: u64,
}

impl DiskLevelConfig {
    /// The defaults for the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_entries: Self::default_max_entries(),
            max_bytes: Self::default_max_bytes(),
        }
    }

    fn default_max_entries() -> u32 {
        100_000
    }

    fn default_max_bytes() -> u64 {
        256 * 1024 * 1024
    }
}

/// Entries in one file of redb, which belongs to one process.
///
/// An invalidation is durable before it is answered; entries are written to the disk by and by, so that a
/// crash may forget the newest and brings back none that was made invalid. Calls run on tokio's
/// threads for blocking work: one that changes something and four that read at a time, so that a disk that
/// hangs holds no more of them. It uses 16 MiB of memory for pages. O(log n); O(entries) for an
/// invalidation of versions, which is carried out also if its caller gave up.
#[derive(Clone)]
pub struct DiskLevel {
    inner: Arc<Inner>,
}

struct Inner {
    config: DiskLevelConfig,
    database: Database,
    /// Of this process: what is under way ends with it.
    ledger: Ledger,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl DiskLevel {
    /// Opens or makes the file. It reads the disk and may wait for it.
    ///
    /// # Errors
    /// - A value is out of its range.
    /// - The file cannot be opened, is open in another process, or is no database. A file that is damaged
    ///   may be deleted: it is a cache.
    pub fn open(config: DiskLevelConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        within(
            &mut wrong,
            "max_entries",
            config.max_entries,
            1..=100_000_000,
        );
        if config.max_bytes == 0 {
            wrong.push(Violation::new("max_bytes", 0, "at least 1"));
        }
        let path = config.path.clone();
        let unusable = |error: BoxError| {
            let expected = format!("a file that this process alone uses as a cache: {error}");
            ConfigError::single("path", path.display(), expected)
        };
        let database = wrong.absorb(open(&config.path).map_err(unusable));
        match (database, wrong.into_error()) {
            (Some(database), None) => Ok(Self {
                inner: Arc::new(Inner {
                    config,
                    database,
                    ledger: Ledger::default(),
                    reads: Arc::new(Semaphore::new(4)),
                    writes: Arc::new(Semaphore::new(1)),
                }),
            }),
            (_, wrong) => Err(wrong.unwrap_or_else(|| unusable("it is not there".into()))),
        }
    }

    /// How many entries it holds, and their bytes.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn size(&self) -> Result<(u64, u64), BoxError> {
        self.run(&self.inner.reads, |inner| {
            let read = inner.database.begin_read()?;
            let n = redb::ReadableTableMetadata::len(&read.open_table(ENTRIES)?)?;
            let bytes = read.open_table(NUMBERS)?.get("bytes")?;
            Ok((n, bytes.map_or(0, |bytes| bytes.value())))
        })
        .await
    }

    /// Waits for its turn without a thread; the turn is over when the work is, be the caller gone or not.
    async fn run<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        work: impl FnOnce(&Inner) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, BoxError> {
        let inner = Arc::clone(&self.inner);
        let turn = Arc::clone(turns).acquire_owned().await?;
        let work = move || {
            let _turn = turn;
            work(&inner)
        };
        tokio::task::spawn_blocking(work).await?
    }
}

fn open(path: &Path) -> Result<Database, BoxError> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = FileBackend::new(options.open(path)?)?;
    let database = Database::builder()
        .set_cache_size(PAGES_BYTES)
        .create_with_backend(file)?;
    let write = database.begin_write()?;
    make_tables(&write)?;
    write.commit()?;
    Ok(database)
}

fn make_tables(write: &WriteTransaction) -> Result<(), BoxError> {
    write.open_table(ENTRIES)?;
    write.open_table(ORDER)?;
    write.open_multimap_table(TAGS)?;
    write.open_table(NUMBERS)?;
    Ok(())
}

fn number(write: &WriteTransaction, name: &str) -> Result<u64, BoxError> {
    let numbers = write.open_table(NUMBERS)?;
    Ok(numbers.get(name)?.map_or(0, |number| number.value()))
}

fn set_number(write: &WriteTransaction, name: &str, value: u64) -> Result<(), BoxError> {
    write.open_table(NUMBERS)?.insert(name, value)?;
    Ok(())
}

fn weight(name: &str, entry: &[u8]) -> u64 {
    (name.len() + entry.len()) as u64
}

/// Removes the entry of `name` with everything that points to it.
fn remove(write: &WriteTransaction, name: &str) -> Result<(), BoxError> {
    let removed = {
        let mut entries = write.open_table(ENTRIES)?;
        let Some(removed) = entries.remove(name)? else {
            return Ok(());
        };
        let (order, bytes) = removed.value();
        (
            order,
            weight(name, bytes),
            StoredEntry::version_and_tags(bytes),
        )
    };
    let (order, weight, known) = removed;
    write.open_table(ORDER)?.remove(order)?;
    let mut tags = write.open_multimap_table(TAGS)?;
    for tag in known.into_iter().flat_map(|(_, tags)| tags) {
        tags.remove(tag.as_str(), name)?;
    }
    let all = number(write, "bytes")?;
    set_number(write, "bytes", all.saturating_sub(weight))
}

impl Inner {
    fn read(&self, name: &str) -> Result<Option<StoredEntry>, BoxError> {
        let read = self.database.begin_read()?;
        let entries = read.open_table(ENTRIES)?;
        let found = entries.get(name)?;
        Ok(found.and_then(|found| StoredEntry::decode(found.value().1)))
    }

    fn write(&self, key: &CacheKey, entry: &StoredEntry, began: Moment) -> Result<(), BoxError> {
        let (name, bytes) = (key.name(), entry.encode());
        let mut write = self.database.begin_write()?;
        // Inside the transaction: an invalidation marks first and then waits for its own.
        let lives = self.ledger.lives(key, entry.version, began)
            && u64::from(entry.version) >= number(&write, "oldest")?;
        if !lives || weight(name, &bytes) > self.config.max_bytes {
            return Ok(write.abort()?);
        }
        let order = number(&write, "next")?;
        // Without a durable commit from time to time the file only grows.
        if order % 256 != 0 {
            write.set_durability(Durability::None)?;
        }
        remove(&write, name)?;
        set_number(&write, "next", order + 1)?;
        let all = number(&write, "bytes")?;
        set_number(&write, "bytes", all + weight(name, &bytes))?;
        write
            .open_table(ENTRIES)?
            .insert(name, (order, bytes.as_slice()))?;
        write.open_table(ORDER)?.insert(order, name)?;
        {
            let mut tags = write.open_multimap_table(TAGS)?;
            for tag in &entry.tags {
                tags.insert(tag.as_str(), name)?;
            }
        }
        self.bound(&write)?;
        Ok(write.commit()?)
    }

    /// The oldest leave until the rest is within the bounds.
    fn bound(&self, write: &WriteTransaction) -> Result<(), BoxError> {
        loop {
            let n = redb::ReadableTableMetadata::len(&write.open_table(ENTRIES)?)?;
            let over = n > u64::from(self.config.max_entries)
                || number(write, "bytes")? > self.config.max_bytes;
            let oldest = {
                let order = write.open_table(ORDER)?;
                let first = order.first()?;
                first.map(|(_, name)| name.value().to_owned())
            };
            match oldest {
                Some(name) if over => remove(write, &name)?,
                _ => return Ok(()),
            }
        }
    }

    fn invalidate(&self, what: &Invalidation) -> Result<(), BoxError> {
        self.ledger.mark(what);
        let write = self.database.begin_write()?;
        let gone = match what {
            Invalidation::Key(name) => vec![name.clone()],
            Invalidation::Tag(tag) => {
                let tags = write.open_multimap_table(TAGS)?;
                let mut names = Vec::new();
                for name in tags.get(tag.as_str())? {
                    names.push(name?.value().to_owned());
                }
                names
            }
            Invalidation::OlderThan(oldest) => {
                if number(&write, "oldest")? >= u64::from(*oldest) {
                    return Ok(write.abort()?);
                }
                set_number(&write, "oldest", u64::from(*oldest))?;
                let mut names = Vec::new();
                for entry in write.open_table(ENTRIES)?.iter()? {
                    let (name, stored) = entry?;
                    let known = StoredEntry::version_and_tags(stored.value().1);
                    if known.is_none_or(|(version, _)| version < *oldest) {
                        names.push(name.value().to_owned());
                    }
                }
                names
            }
            Invalidation::All => {
                write.delete_table(ENTRIES)?;
                write.delete_table(ORDER)?;
                write.delete_multimap_table(TAGS)?;
                make_tables(&write)?;
                set_number(&write, "bytes", 0)?;
                Vec::new()
            }
        };
        for name in &gone {
            remove(&write, name)?;
        }
        Ok(write.commit()?)
    }
}

#[async_trait]
impl CacheLevel for DiskLevel {
    fn name(&self) -> &'static str {
        "disk"
    }

    async fn read(&self, key: &CacheKey) -> Result<LevelReading, BoxError> {
        let lease = Lease(vec![self.inner.ledger.now().0.to_string()]);
        let name = key.name().to_owned();
        let entry = self
            .run(&self.inner.reads, move |inner| inner.read(&name))
            .await?;
        Ok(LevelReading { entry, lease })
    }

    async fn write(
        &self,
        key: &CacheKey,
        entry: &StoredEntry,
        lease: &Lease,
    ) -> Result<(), BoxError> {
        let began = lease.0.first().and_then(|number| number.parse().ok());
        let began = Moment(began.ok_or("a lease of this level is expected")?);
        let (key, entry) = (key.clone(), entry.clone());
        self.run(&self.inner.writes, move |inner| {
            inner.write(&key, &entry, began)
        })
        .await
    }

    async fn invalidate(&self, what: &Invalidation) -> Result<(), BoxError> {
        let what = what.clone();
        self.run(&self.inner.writes, move |inner| inner.invalidate(&what))
            .await
    }
}

impl fmt::Debug for DiskLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLevel")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use homeostasis_core::Timestamp;

    use super::super::super::testing::begin;
    use super::super::Lifetime;
    use super::*;

    fn entry(version: u32, tags: &[&str], length: usize) -> StoredEntry {
        let at = Timestamp::EPOCH;
        StoredEntry {
            version,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            lifetime: Lifetime {
                stored_at: at,
                fresh_until: at,
                usable_until: at,
            },
            value: Some(vec![b'x'; length]),
        }
    }

    async fn put(level: &DiskLevel, name: &str, entry: &StoredEntry) {
        let key = CacheKey::new(name)
            .tagged(entry.tags.clone())
            .at_least(entry.version);
        let lease = level.read(&key).await.unwrap().lease;
        level.write(&key, entry, &lease).await.unwrap();
    }

    async fn has(level: &DiskLevel, name: &str) -> bool {
        level
            .read(&CacheKey::new(name))
            .await
            .unwrap()
            .entry
            .is_some()
    }

    fn config(scratch: &tempfile::TempDir) -> DiskLevelConfig {
        DiskLevelConfig::new(scratch.path().join("cache"))
    }

    #[tokio::test]
    async fn what_was_made_invalid_is_gone_after_a_restart_and_the_rest_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let level = DiskLevel::open(config(&scratch)).unwrap();
        put(&level, "key", &entry(5, &[], 1)).await;
        put(&level, "tagged", &entry(5, &["a", "b"], 1)).await;
        put(&level, "old", &entry(4, &[], 1)).await;
        put(&level, "kept", &entry(5, &["a"], 1)).await;
        for what in [
            Invalidation::Key("key".to_owned()),
            Invalidation::Tag("b".to_owned()),
            Invalidation::OlderThan(5),
        ] {
            level.invalidate(&what).await.unwrap();
        }
        assert!(
            DiskLevel::open(config(&scratch)).is_err(),
            "it is open here"
        );
        drop(level);
        let level = DiskLevel::open(config(&scratch)).unwrap();
        for (name, there) in [
            ("key", false),
            ("tagged", false),
            ("old", false),
            ("kept", true),
        ] {
            assert_eq!(has(&level, name).await, there, "{name}");
        }
        put(&level, "old", &entry(4, &[], 1)).await;
        assert!(
            !has(&level, "old").await,
            "of a version that counts no more"
        );
        assert_eq!(level.size().await.unwrap().0, 1);
        level.invalidate(&Invalidation::All).await.unwrap();
        assert_eq!(level.size().await.unwrap(), (0, 0));
        put(&level, "old", &entry(4, &[], 1)).await;
        put(&level, "kept", &entry(5, &["b"], 1)).await;
        assert!(!has(&level, "old").await && has(&level, "kept").await);
        let tag = Invalidation::Tag("b".to_owned());
        level.invalidate(&tag).await.unwrap();
        assert_eq!(level.size().await.unwrap(), (0, 0));
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_a_few_threads_however_many_give_up() {
        let scratch = tempfile::tempdir().unwrap();
        let level = DiskLevel::open(config(&scratch)).unwrap();
        for turns in [&level.inner.reads, &level.inner.writes] {
            let n = turns.available_permits();
            let (release, hangs) = std::sync::mpsc::channel::<()>();
            let hangs = Arc::new(std::sync::Mutex::new(hangs));
            let began = Arc::new(AtomicUsize::new(0));
            for given_up in 0..20 {
                let (hangs, counts) = (Arc::clone(&hangs), Arc::clone(&began));
                let mut call = Box::pin(level.run(turns, move |_| {
                    counts.fetch_add(1, Ordering::SeqCst);
                    Ok(hangs.lock().unwrap().recv().is_err())
                }));
                begin(&mut call).await;
                while began.load(Ordering::SeqCst) < n.min(given_up + 1) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(release);
            let _all = turns.acquire_many(u32::try_from(n).unwrap()).await.unwrap();
            assert_eq!(began.load(Ordering::SeqCst), n);
        }
    }

    #[tokio::test]
    async fn it_stays_within_its_bounds_and_the_oldest_leave() {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = config(&scratch);
        (config.max_entries, config.max_bytes) = (3, 2_000);
        let level = DiskLevel::open(config).unwrap();
        for name in ["a", "b", "c", "a", "d"] {
            put(&level, name, &entry(0, &["t"], 10)).await;
        }
        assert!(
            !has(&level, "b").await && has(&level, "a").await,
            "a is newer"
        );
        put(&level, "large", &entry(0, &[], 1_500)).await;
        let (_, bytes) = level.size().await.unwrap();
        assert!(bytes <= 2_000 && has(&level, "large").await, "{bytes}");
        put(&level, "too large", &entry(0, &[], 2_500)).await;
        assert!(!has(&level, "too large").await && has(&level, "large").await);
    }

    #[tokio::test]
    async fn a_write_that_began_before_an_invalidation_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let level = DiskLevel::open(config(&scratch)).unwrap();
        let entry = entry(0, &["t"], 1);
        for what in [
            Invalidation::Key("k".to_owned()),
            Invalidation::Tag("t".to_owned()),
            Invalidation::All,
        ] {
            let key = CacheKey::new("k").tagged(["t"]);
            let lease = level.read(&key).await.unwrap().lease;
            level.invalidate(&what).await.unwrap();
            level.write(&key, &entry, &lease).await.unwrap();
            assert!(!has(&level, "k").await, "{what:?}");
        }
        put(&level, "k", &entry).await;
        assert!(has(&level, "k").await);
    }

    #[test]
    fn a_file_that_is_no_cache_is_refused_by_name() {
        let scratch = tempfile::tempdir().unwrap();
        let config = config(&scratch);
        std::fs::write(&config.path, "these are no pages").unwrap();
        let error = DiskLevel::open(config).unwrap_err().to_string();
        assert!(
            error.starts_with("path = ") && error.contains("cache"),
            "{error}"
        );
    }
}
