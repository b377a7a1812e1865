//! The store under failures that no file can be made to show: a medium that fails and recovers.

use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis_core::ErrorKind;
use redb::StorageBackend;
use redb::backends::FileBackend;

use super::*;

const fn assert_shareable<T: Send + Sync + 'static>() {}
const _: () = assert_shareable::<RedbStore>();
const _: () = assert_shareable::<RedbConfig>();
const _: () = assert_shareable::<RedbStats>();

/// A file whose writes and syncs fail while the disk is "full".
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(start, end)
    }
}

fn hit(secs: i64) -> Commit {
    Commit::default().hit("k", Timestamp::from_secs(secs))
}

#[tokio::test]
async fn a_disk_that_was_full_does_not_end_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let full = Arc::new(AtomicBool::new(false));
    let opener = {
        let (path, full) = (path.clone(), Arc::clone(&full));
        move |_| {
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            redb::Builder::new().create_with_backend(Disk {
                file: FileBackend::new(file)?,
                full: Arc::clone(&full),
            })
        }
    };
    let counters = Arc::new(Counters::default());
    let file = JournalFile::open_with(path, Box::new(opener), Arc::clone(&counters)).unwrap();
    let store = RedbStore::start(file, RedbConfig::default(), counters).unwrap();
    store.commit(hit(1)).await.unwrap();
    full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let error = store.commit(hit(2)).await.unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Transient);
    }
    full.store(false, Ordering::SeqCst);
    store.commit(hit(3)).await.unwrap();
    assert_eq!(store.hits("k", Timestamp::from_secs(3)).await.unwrap(), 1);
    assert_eq!(store.hits("k", Timestamp::EPOCH).await.unwrap(), 2);
    let stats = store.stats();
    assert!(stats.failed >= 1, "{stats:?}");
    assert_eq!((stats.written, stats.reopened), (2, 1), "{stats:?}");
}

#[tokio::test]
async fn a_commit_whose_caller_left_before_its_turn_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let config = RedbConfig {
        linger: Duration::from_millis(200),
        ..RedbConfig::default()
    };
    let store = RedbStore::open_with(folder.path().join("journal.redb"), config).unwrap();
    let mut left = Box::pin(store.commit(hit(1)));
    let sent =
        std::future::poll_fn(|cx| std::task::Poll::Ready(left.as_mut().poll(cx).is_pending()));
    assert!(sent.await);
    drop(left);
    store.commit(hit(2)).await.unwrap();
    assert_eq!(store.hits("k", Timestamp::EPOCH).await.unwrap(), 1);
    assert_eq!(store.stats().written, 1);
}
