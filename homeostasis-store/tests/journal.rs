//! The journal file as a host sees it: conformance, reopening, sharing, damage.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homeostasis_core::port::{Commit, Fence, Store, StoreError, Version};
use homeostasis_core::record::{EventKind, HealEvent, Resolution, SCHEMA_VERSION};
use homeostasis_core::testing::store::{CrashPoint, CrashStore, conformance};
use homeostasis_core::{ErrorKind, IncidentId, NodeId, Timestamp};
use homeostasis_store::{RedbConfig, RedbStore};
use redb::{Database, ReadableDatabase, TableDefinition};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    (folder, path)
}

fn incident(bits: u128) -> IncidentId {
    IncidentId::from_u128(bits)
}

fn event(bits: u128, seq: u64, reason: &str) -> HealEvent {
    HealEvent {
        schema_version: SCHEMA_VERSION,
        incident: incident(bits),
        seq,
        at: Timestamp::from_secs(1),
        node: NodeId::default(),
        kind: EventKind::Escalated {
            reason: reason.to_owned(),
        },
    }
}

fn opening(bits: u128) -> Commit {
    Commit::append(Version::NONE, vec![event(bits, 0, "opened")])
}

#[tokio::test]
async fn it_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let mut n = 0;
    conformance(async || {
        n += 1;
        RedbStore::open(folder.path().join(format!("{n}.redb"))).unwrap()
    })
    .await;
}

#[tokio::test]
async fn it_conforms_without_group_commit_and_with_a_queue_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = RedbConfig {
        max_batch: 1,
        queue: 1,
        ..RedbConfig::default()
    };
    let mut n = 0;
    conformance(async || {
        n += 1;
        let path = folder.path().join(format!("{n}.redb"));
        RedbStore::open_with(path, config.clone()).unwrap()
    })
    .await;
}

#[tokio::test]
async fn reopening_finds_everything() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    let commit = Commit::append(Version::NONE, vec![event(1, 0, "a"), event(1, 1, "b")])
        .hit("heals", Timestamp::from_secs(4))
        .put("breaker", Version::NONE, serde_json::json!({"open": true}));
    store.commit(commit).await.unwrap();
    let token = store.next_token("orders").await.unwrap();
    drop(store);

    let store = RedbStore::open(&path).unwrap();
    assert_eq!(
        store.read(incident(1)).await.unwrap(),
        [event(1, 0, "a"), event(1, 1, "b")]
    );
    assert_eq!(store.open_incidents().await.unwrap(), [incident(1)]);
    assert_eq!(
        store.last_hit("heals").await.unwrap(),
        Some(Timestamp::from_secs(4))
    );
    let breaker = store.document("breaker").await.unwrap().unwrap();
    assert_eq!(breaker.version, Version(1));
    let fence = Fence {
        resource: "orders".to_owned(),
        token,
    };
    store
        .commit(Commit::default().fenced(Some(fence)))
        .await
        .unwrap();
    assert!(store.next_token("orders").await.unwrap() > token);
    assert!(matches!(
        store.commit(opening(1)).await,
        Err(StoreError::Conflict { .. })
    ));
}

#[tokio::test]
async fn a_crash_after_a_write_leaves_it_to_the_next_process() {
    let (_folder, path) = folder();
    let store = CrashStore::of(RedbStore::open(&path).unwrap()).crash_at(CrashPoint::After(1));
    assert!(store.commit(opening(1)).await.is_err());
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.open_incidents().await.unwrap(), [incident(1)]);
}

#[tokio::test]
async fn commits_that_come_together_share_a_sync_and_a_conflict_spoils_no_other() {
    let (_folder, path) = folder();
    let config = RedbConfig {
        linger: Duration::from_millis(50),
        ..RedbConfig::default()
    };
    let store = std::sync::Arc::new(RedbStore::open_with(path, config).unwrap());
    // Incident 7 is opened twice: one of the two must lose, and nobody else.
    let writers: Vec<_> = (0..64)
        .chain([7])
        .map(|bits| {
            let store = std::sync::Arc::clone(&store);
            async move { store.commit(opening(bits)).await }
        })
        .collect();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in writers {
        tasks.spawn(writer);
    }
    let results = tasks.join_all().await;
    let n_won = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(n_won, 64);
    let stats = store.stats();
    assert_eq!((stats.written, stats.refused), (64, 1), "{stats:?}");
    assert!(stats.transactions < 64, "{stats:?}");
    assert!(stats.largest_batch > 1, "{stats:?}");
    assert_eq!(store.incidents(99).await.unwrap().len(), 64);
}

#[tokio::test]
async fn refusals_alone_cost_no_sync() {
    let (_folder, path) = folder();
    let store = RedbStore::open(path).unwrap();
    for _ in 0..3 {
        let ahead = Commit::append(Version(1), vec![event(1, 1, "ahead")]);
        assert!(store.commit(ahead).await.is_err());
    }
    assert_eq!(store.stats().transactions, 0);
}

#[tokio::test]
async fn an_event_that_would_not_read_back_is_refused() {
    let (_folder, path) = folder();
    let store = RedbStore::open(path).unwrap();
    let mut commit = opening(1);
    let EventKind::Escalated { reason } = &mut commit.events[0].kind else {
        panic!("an escalation was made above");
    };
    // JSON can say everything a string holds.
    *reason = "\u{0}\u{7f}\u{2028}\"".to_owned();
    store.commit(commit).await.unwrap();
    let radius = homeostasis_core::record::BlastRadius {
        risk_score: f64::NAN,
        ..homeostasis_core::record::BlastRadius::UNKNOWN
    };
    let plan = {
        let id = homeostasis_core::PlanId::from_u128(1);
        let target = homeostasis_core::Target::service("orders").unwrap();
        let mut plan = homeostasis_core::record::Plan::new(id, incident(1), "r", "t", target);
        plan.radius = radius;
        plan
    };
    let mut bad = event(1, 1, "");
    bad.kind = EventKind::Planned {
        plans: vec![plan],
        considered: Vec::new(),
    };
    let error = store
        .commit(Commit::append(Version(1), vec![bad]))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Invalid { .. }), "{error:?}");
    assert!(error.to_string().contains("event 1 of inc-"), "{error}");
    assert_eq!(store.read(incident(1)).await.unwrap().len(), 1);
}

#[test]
fn a_second_open_is_refused_by_name_and_succeeds_after_the_drop() {
    let (_folder, path) = folder();
    let first = RedbStore::open(&path).unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("journal.redb"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Permanent);
    drop(first);
    RedbStore::open(&path).unwrap();
}

#[test]
fn missing_folders_are_created_and_the_file_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/journal.redb");
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.path(), path);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_folder_in_place_of_the_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let error = RedbStore::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains(&folder.path().display().to_string())
    );
}

/// The error of opening `path`, which must be `Corrupt`, name the file, say what to do, and leave
/// the file as it was.
fn refused_as_damaged(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let error = RedbStore::open(path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains(&path.display().to_string()), "{message}");
    assert!(message.contains("move the file away"), "{message}");
    assert!(fs::read(path).unwrap() == before, "the file was changed");
    message
}

#[test]
fn garbage_is_refused() {
    let (_folder, path) = folder();
    for garbage in [&b"hello, this is not a journal"[..], &[0xff; 9_000], b"x"] {
        fs::write(&path, garbage).unwrap();
        refused_as_damaged(&path);
    }
}

/// A closed journal of many pages, as bytes.
fn journal(path: &Path) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let store = RedbStore::open(path).unwrap();
        for bits in 1..=40 {
            let events = vec![event(bits, 0, &"x".repeat(3000))];
            store
                .commit(Commit::append(Version::NONE, events))
                .await
                .unwrap();
        }
    });
    fs::read(path).unwrap()
}

#[test]
fn a_truncated_file_is_refused() {
    let (_folder, path) = folder();
    let whole = journal(&path);
    for len in [1, 8, 100, 4096, 8192, 12_000, 65_536, 150_000] {
        assert!(len < whole.len());
        fs::write(&path, &whole[..len]).unwrap();
        let error = RedbStore::open(&path).unwrap_err();
        let named = error.to_string().contains("journal.redb");
        assert!(
            matches!(error, StoreError::Corrupt { .. }) && named,
            "{len}: {error:?}"
        );
    }
}

#[test]
fn a_flipped_byte_in_every_event_is_found_when_the_file_is_opened() {
    let (_folder, path) = folder();
    let mut bytes = journal(&path);
    let mut n_flipped = 0;
    // Old copies of pages lie about in the file, so every page that holds events is damaged.
    for page in bytes.chunks_exact_mut(4096) {
        if let Some(start) = page.windows(64).position(|w| w == [b'x'; 64]) {
            page[start] ^= 0x20;
            n_flipped += 1;
        }
    }
    assert!(n_flipped >= 40);
    fs::write(&path, &bytes).unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn a_creation_that_was_cut_short_starts_anew() {
    let (_folder, path) = folder();
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let store = RedbStore::open(&path).unwrap();
    store.commit(opening(1)).await.unwrap();
    drop(store);
    // Zeros at the start with something behind them were a journal once.
    let mut bytes = fs::read(&path).unwrap();
    bytes[..9].fill(0);
    fs::write(&path, &bytes).unwrap();
    refused_as_damaged(&path);
}

#[test]
fn a_redb_file_of_another_program_is_refused() {
    let (_folder, path) = folder();
    for name in ["users", "homeostasis"] {
        let _ = fs::remove_file(&path);
        let db = Database::create(&path).unwrap();
        let txn = db.begin_write().unwrap();
        let table: TableDefinition<'_, u64, u64> = TableDefinition::new(name);
        txn.open_table(table).unwrap().insert(1, 2).unwrap();
        txn.commit().unwrap();
        drop(db);
        let error = RedbStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "it is a redb file of another program");
    }
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let (_folder, path) = folder();
    drop(RedbStore::open(&path).unwrap());
    let meta: TableDefinition<'_, &str, u32> = TableDefinition::new("homeostasis");
    let db = Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(meta).unwrap().insert("format", 9).unwrap();
    txn.commit().unwrap();
    drop(db);
    let error = RedbStore::open(&path).unwrap_err();
    let StoreError::Format {
        found, supported, ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((found, supported), (9, 1));
}

#[tokio::test]
async fn a_damaged_event_is_named_by_incident_and_seq() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    let closing = HealEvent {
        kind: EventKind::Closed {
            resolution: Resolution::Recovered,
        },
        ..event(1, 1, "")
    };
    let commit = Commit::append(Version::NONE, vec![event(1, 0, "a"), closing]);
    store.commit(commit).await.unwrap();
    drop(store);
    let events: TableDefinition<'_, (u128, u64), (i64, &[u8])> = TableDefinition::new("events");
    let db = Database::open(&path).unwrap();
    for (damage, place) in [
        (Some(&b"{not json"[..]), "event 1 of inc-"),
        (
            None,
            "event 1 of inc-00000000000000000000000000000001: it is missing",
        ),
    ] {
        let txn = db.begin_write().unwrap();
        {
            let mut table = txn.open_table(events).unwrap();
            match damage {
                Some(json) => table.insert((1, 1), (1_000_000_000, json)).unwrap(),
                None => table.remove((1, 1)).unwrap(),
            };
        }
        txn.commit().unwrap();
        // The check below opens the file itself.
        let copy = path.with_extension("copy");
        fs::copy(&path, &copy).unwrap();
        let store = RedbStore::open(&copy).unwrap();
        for result in [
            store.read(incident(1)).await,
            store.read_time(Timestamp::EPOCH, Timestamp::MAX, 9).await,
        ] {
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
            assert!(error.to_string().contains(place), "{error}");
        }
        fs::remove_file(copy).unwrap();
    }
}

/// A closed incident of about 10 kB.
fn closed(bits: u128) -> Commit {
    let mut end = event(bits, 1, "");
    end.kind = EventKind::Closed {
        resolution: Resolution::Recovered,
    };
    Commit::append(
        Version::NONE,
        vec![event(bits, 0, &"x".repeat(10_000)), end],
    )
}

#[tokio::test]
async fn compacting_gives_back_what_was_forgotten_and_keeps_the_rest() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    for bits in 1..=200 {
        store.commit(closed(bits)).await.unwrap();
    }
    let due: Vec<_> = (2..=200).map(|bits| (incident(bits), Version(2))).collect();
    assert_eq!(store.forget(&due).await.unwrap(), 199);
    let before = fs::metadata(&path).unwrap().len();
    assert!(store.compact().await.unwrap());
    let after = fs::metadata(&path).unwrap().len();
    assert!(after < before / 2, "{before} bytes before, {after} after");
    assert_eq!(store.read(incident(1)).await.unwrap().len(), 2);
    store.commit(closed(2)).await.unwrap();
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.closed_incidents().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_from_before_sizes_were_kept_still_tells_them() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    for bits in 1..=2 {
        store.commit(closed(bits)).await.unwrap();
    }
    let expected = store.closed_incidents().await.unwrap();
    drop(store);
    let db = Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    let sizes: TableDefinition<'_, u128, u64> = TableDefinition::new("sizes");
    assert!(txn.delete_table(sizes).unwrap());
    txn.commit().unwrap();
    drop(db);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.closed_incidents().await.unwrap(), expected);
    drop(store);
    // From now on nobody measures again.
    let db = Database::open(&path).unwrap();
    let noted = db.begin_read().unwrap().open_table(sizes).unwrap();
    for incident in &expected {
        let size = noted.get(incident.id.as_u128()).unwrap();
        assert_eq!(size.unwrap().value(), incident.bytes);
    }
    drop((noted, db));
    let store = RedbStore::open(&path).unwrap();
    store.commit(closed(3)).await.unwrap();
    let now = store.closed_incidents().await.unwrap();
    assert_eq!(now[..2], expected);
    assert_eq!(now[2].bytes, expected[0].bytes);
    let all = [1, 2, 3].map(|bits| (incident(bits), Version(2)));
    assert_eq!(store.forget(&all).await.unwrap(), 3);
}
