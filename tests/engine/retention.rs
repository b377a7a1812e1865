//! Retention at work: what is too old or too much goes, through the archive, and nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::port::{
    Archive, Commit, Fence, MemoryStore, Retention, Store, StoreError, Version,
};
use homeostasis::core::record::{EventKind, HealEvent, Resolution, SCHEMA_VERSION};
use homeostasis::core::testing::store::{CrashPoint, CrashStore};
use homeostasis::core::{IncidentId, ManualClock, NodeId, Timestamp, async_trait};
use homeostasis::store::{FileArchive, RedbStore};
use homeostasis::{EngineSettings, Homeostasis, SimulatedClock};

use crate::world::{START, pass};

/// Keeps what it is given, and notes what it was given twice.
#[derive(Debug, Default)]
struct MemoryArchive {
    incidents: Mutex<BTreeMap<IncidentId, Vec<HealEvent>>>,
    again: Mutex<Vec<IncidentId>>,
    is_full: AtomicBool,
    refuses: Option<IncidentId>,
}

impl MemoryArchive {
    fn ids(&self) -> Vec<IncidentId> {
        self.incidents.lock().unwrap().keys().copied().collect()
    }
}

#[async_trait]
impl Archive for MemoryArchive {
    async fn append(&self, incidents: &[Vec<HealEvent>]) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(StoreError::Io {
                what: "archive".to_owned(),
                source: "no space left".into(),
            });
        }
        if incidents
            .iter()
            .any(|of| Some(of[0].incident) == self.refuses)
        {
            return Err(StoreError::Invalid {
                reason: "too large".to_owned(),
            });
        }
        for events in incidents {
            let id = events[0].incident;
            let before = self.incidents.lock().unwrap().insert(id, events.clone());
            if let Some(before) = before {
                assert_eq!(&before, events);
                self.again.lock().unwrap().push(id);
            }
        }
        Ok(())
    }
}

fn id(n: u32) -> IncidentId {
    IncidentId::from_u128(n.into())
}

fn ids(numbers: impl Iterator<Item = u32>) -> Vec<IncidentId> {
    numbers.map(id).collect()
}

/// Incident `n`, closed `n` seconds before the start; without an end if it is open.
fn events(n: u32, is_open: bool) -> Vec<HealEvent> {
    let mut kinds = vec![EventKind::Escalated {
        reason: "x".repeat(100),
    }];
    if !is_open {
        let resolution = Resolution::Recovered;
        kinds.push(EventKind::Closed { resolution });
    }
    (0..)
        .zip(kinds)
        .map(|(seq, kind)| HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: id(n),
            seq,
            at: START - Duration::from_secs(n.into()),
            node: NodeId::default(),
            kind,
        })
        .collect()
}

async fn fill(store: &dyn Store, n_closed: u32) {
    for n in 1..=n_closed {
        let commit = Commit::append(Version::NONE, events(n, false));
        store.commit(commit).await.unwrap();
    }
}

async fn closed(store: &dyn Store) -> Vec<IncidentId> {
    let mut closed = store.closed_incidents().await.unwrap();
    closed.sort_by_key(|incident| incident.id);
    closed.iter().map(|incident| incident.id).collect()
}

fn most(max_incidents: u64) -> Retention {
    Retention {
        max_incidents: Some(max_incidents),
        ..Retention::default()
    }
}

/// Hours pass here: looking at signals ten times a second would only cost time.
fn unhurried() -> EngineSettings {
    let mut settings = EngineSettings::default();
    settings.tick = Duration::from_secs(30);
    // Disks are real where files are, the time is not.
    settings.stage_deadline = Duration::from_secs(3600);
    settings
}

async fn start(
    store: Arc<dyn Store>,
    retention: Retention,
    archive: &Arc<MemoryArchive>,
) -> Homeostasis {
    Homeostasis::empty()
        .settings(unhurried())
        .clock(Arc::new(SimulatedClock::starting_at(START)))
        .store(store)
        .retention(retention)
        .archive(Arc::clone(archive))
        .start()
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_oldest_closed_incidents_leave_for_the_archive_and_nothing_else_does() {
    let store = Arc::new(MemoryStore::default());
    fill(&*store, 200).await;
    let open = Commit::append(Version::NONE, events(500, true))
        .hit("live", START - Duration::from_secs(20 * 3600))
        .put("document", Version::NONE, serde_json::json!(1));
    store.commit(open).await.unwrap();
    let token = store.next_token("orders").await.unwrap();
    let archive = Arc::new(MemoryArchive::default());
    let retention = Retention {
        max_age: Some(Duration::from_secs(2 * 3600)),
        ..most(50)
    };
    let healer = start(Arc::clone(&store) as _, retention, &archive).await;
    pass(&healer, 59).await;
    assert_eq!(closed(&*store).await.len(), 200);
    pass(&healer, 62).await;
    assert_eq!(closed(&*store).await, ids(1..=50));
    assert_eq!(archive.ids(), ids(51..=200));
    assert_eq!(store.open_incidents().await.unwrap(), [id(500)]);
    // A counter is kept as long as anything may count it, however short incidents are kept.
    assert_eq!(store.hits("live", Timestamp::EPOCH).await.unwrap(), 1);
    assert!(store.document("document").await.unwrap().is_some());
    let resource = "orders".to_owned();
    let fenced = Commit::default().fenced(Some(Fence { resource, token }));
    store.commit(fenced).await.unwrap();
    pass(&healer, 2 * 3600).await;
    // By then they are too old, but never what is open.
    assert_eq!(closed(&*store).await, []);
    assert_eq!(store.incidents(9).await.unwrap(), [id(500)]);
    assert_eq!(archive.ids(), ids(1..=200));
    assert!(archive.again.lock().unwrap().is_empty());
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_size_in_bytes_is_kept_and_a_full_archive_keeps_the_journal() {
    let store = Arc::new(MemoryStore::default());
    fill(&*store, 10).await;
    let sizes = store.closed_incidents().await.unwrap();
    let all: u64 = sizes.iter().map(|incident| incident.bytes).sum();
    let retention = Retention {
        max_bytes: Some(all - 1),
        ..Retention::default()
    };
    let archive = Arc::new(MemoryArchive::default());
    archive.is_full.store(true, Ordering::SeqCst);
    let healer = start(Arc::clone(&store) as _, retention, &archive).await;
    pass(&healer, 121).await;
    assert_eq!(closed(&*store).await, ids(1..=10));
    assert_eq!(healer.health().store_errors, 1);
    archive.is_full.store(false, Ordering::SeqCst);
    pass(&healer, 3600).await;
    assert_eq!(closed(&*store).await, ids(1..=9));
    assert_eq!(archive.ids(), [id(10)]);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_incident_that_cannot_leave_stays_is_named_and_holds_up_no_other() {
    let store = Arc::new(MemoryStore::default());
    fill(&*store, 100).await;
    let archive = Arc::new(MemoryArchive {
        refuses: Some(id(100)),
        ..MemoryArchive::default()
    });
    let healer = start(Arc::clone(&store) as _, most(10), &archive).await;
    pass(&healer, 121).await;
    // Number 100 closed first: it comes before all that are due.
    assert_eq!(closed(&*store).await, ids((1..=10).chain([100])));
    assert_eq!(archive.ids(), ids(11..=99));
    let health = format!("{:?}", healer.health());
    assert!(health.contains(&id(100).to_string()), "{health}");
    assert_eq!(healer.health().store_errors, 0);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn without_an_archive_a_durable_journal_forgets_nothing_by_age_unless_told() {
    let told = Retention {
        max_age: Some(Duration::from_secs(3600)),
        ..Retention::default()
    };
    for (retention, kept) in [(Retention::default(), ids(1..=2)), (told, ids(1..=1))] {
        let store = Arc::new(MemoryStore::default());
        fill(&*store, 1).await;
        let mut old = events(2, false);
        for event in &mut old {
            event.at = START - Duration::from_secs(40 * 24 * 3600);
        }
        let old = Commit::append(Version::NONE, old);
        store.commit(old).await.unwrap();
        let healer = Homeostasis::empty()
            .settings(unhurried())
            .clock(Arc::new(SimulatedClock::starting_at(START)))
            .store(Arc::clone(&store) as _)
            .retention(retention)
            .start()
            .await
            .unwrap();
        pass(&healer, 121).await;
        assert_eq!(closed(&*store).await, kept);
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_leapt_ahead_makes_nothing_old_until_it_has_been_there_for_long() {
    let store = Arc::new(MemoryStore::default());
    fill(&*store, 10).await;
    let hit = Commit::default().hit("live", START - Duration::from_secs(60));
    store.commit(hit).await.unwrap();
    let archive = Arc::new(MemoryArchive::default());
    let leapt = START + Duration::from_secs(40 * 24 * 3600);
    let healer = Homeostasis::empty()
        .settings(unhurried())
        .clock(Arc::new(SimulatedClock::starting_at(leapt)))
        .store(Arc::clone(&store) as _)
        .retention(most(9))
        .archive(Arc::clone(&archive))
        .start()
        .await
        .unwrap();
    pass(&healer, 38 * 3600).await;
    // What is too many needs no clock.
    assert_eq!(closed(&*store).await, ids(1..=9));
    assert_eq!(store.hits("live", Timestamp::EPOCH).await.unwrap(), 1);
    // A day an hour: by then it is where the process really was stopped for so long.
    pass(&healer, 4 * 3600).await;
    assert_eq!(closed(&*store).await, []);
    assert_eq!(store.hits("live", Timestamp::EPOCH).await.unwrap(), 0);
    assert_eq!(archive.ids(), ids(1..=10));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_write_loses_nothing_and_the_next_life_goes_on() {
    // The clock is noted and hits are pruned first; three batches of at most 64 follow.
    for point in (1..=5).flat_map(|n| [CrashPoint::Before(n), CrashPoint::After(n)]) {
        let store = Arc::new(CrashStore::of(MemoryStore::default()));
        fill(&*store, 180).await;
        let n_before = store.n_writes();
        let store = Arc::into_inner(store).unwrap().into_inner();
        assert_eq!(n_before, 180);
        let store = Arc::new(CrashStore::of(store).crash_at(point));
        let archive = Arc::new(MemoryArchive::default());
        let healer = start(Arc::clone(&store) as _, most(10), &archive).await;
        pass(&healer, 121).await;
        assert!(store.is_frozen(), "{point:?}");
        healer.shutdown().await;
        let mut somewhere = archive.ids();
        somewhere.extend(closed(&*store).await);
        somewhere.sort();
        somewhere.dedup();
        assert_eq!(somewhere, ids(1..=180), "{point:?}");

        store.thaw();
        let healer = start(Arc::clone(&store) as _, most(10), &archive).await;
        pass(&healer, 121).await;
        assert_eq!(closed(&*store).await, ids(1..=10), "{point:?}");
        assert_eq!(archive.ids(), ids(11..=180), "{point:?}");
        healer.shutdown().await;
    }
}

#[tokio::test]
async fn the_file_archive_takes_what_the_durable_journal_forgets_and_gives_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(RedbStore::open(folder.path().join("journal.redb")).unwrap());
    fill(&*store, 20).await;
    let archive = FileArchive::open(folder.path().join("archive")).unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let healer = Homeostasis::empty()
        .settings(unhurried())
        .clock(Arc::clone(&clock) as _)
        .store(Arc::clone(&store) as _)
        .retention(most(5))
        .archive(archive.clone())
        .start()
        .await
        .unwrap();
    // Real threads are at work: the condition is waited for, not a time.
    while store.closed_incidents().await.unwrap().len() > 5 {
        clock.advance(Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    healer.shutdown().await;
    assert_eq!(closed(&*store).await, ids(1..=5));
    assert_eq!(archive.read().unwrap().flatten().count(), 15);
    let restored = archive.restore_into(&*store).await.unwrap();
    assert_eq!(restored.n_restored, 15);
    assert_eq!(closed(&*store).await, ids(1..=20));
    assert_eq!(store.read(id(20)).await.unwrap(), events(20, false));
}
