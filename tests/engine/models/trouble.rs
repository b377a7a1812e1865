//! A store that cannot be read, processes that get in each other's way, learners that hang.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::port::{
    Commit, Document, Enricher, MemoryStore, Store, StoreError, Version,
};
use homeostasis::core::record::Anomaly;
use homeostasis::core::signal::{LogRecord, SeriesKey, SignalBatch};
use homeostasis::core::stage::{DetectError, Detector, ModelSnapshot};
use homeostasis::core::{Cancellation, Context, async_trait};

use homeostasis::core::testing::store::{CrashPoint, CrashStore, HookedStore, WriteHook};
use homeostasis::signals::TemplateEnricher;
use homeostasis::{EngineSettings, Homeostasis};
use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::{LEARNER, Learner, empty, kept, learner, live, record};
use crate::world::{START, pass};

/// How many reads fail, and how.
type Fails = (u32, fn() -> StoreError);

/// Documents that cannot be read, by their keys.
#[derive(Debug, Default)]
struct Unreadable(Mutex<BTreeMap<String, Fails>>);

fn busy() -> StoreError {
    StoreError::Io {
        what: "reading a document".to_owned(),
        source: "the medium is busy".into(),
    }
}

impl Unreadable {
    fn of(inner: &Arc<MemoryStore>) -> Arc<HookedStore<Arc<MemoryStore>, Self>> {
        Arc::new(HookedStore::new(Arc::clone(inner), Self::default()))
    }

    fn fail(&self, key: &str, times: u32, how: fn() -> StoreError) {
        self.0.lock().unwrap().insert(key.to_owned(), (times, how));
    }
}

#[async_trait]
impl WriteHook for Unreadable {
    async fn document(&self, inner: &dyn Store, key: &str) -> Result<Option<Document>, StoreError> {
        if let Some((left, how)) = self.0.lock().unwrap().get_mut(key)
            && *left > 0
        {
            *left -= 1;
            return Err(how());
        }
        inner.document(key).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_model_that_cannot_be_read_at_the_start_is_never_overwritten() {
    // The head; a part, which lies at its other place in the second life.
    for (key, later) in [("", ""), ("/1/0", "/1/1")] {
        let [key, later] = [key, later].map(|end| format!("{LEARNER}{end}"));
        let store = Arc::new(MemoryStore::default());
        live(&store, learner().0, 5.0).await;
        let failing = Unreadable::of(&store);
        // A store that fails for a moment is asked again.
        failing.hook().fail(&key, 2, busy);
        let (next, inner) = learner();
        let health = live(&failing, next, 2.0).await.health();
        assert!(health.models[0].is_restored && health.blames.is_empty());
        assert_eq!(inner.sums(), [7.0; 3], "{key}");
        // One that fails for longer is well again when the model would be stored.
        failing.hook().fail(&later, 3, busy);
        let (next, inner) = learner();
        let healer = empty(&failing, START).detector(next).start().await.unwrap();
        record(&healer, 1.0).await;
        pass(&healer, 700).await;
        healer.shutdown().await;
        let health = healer.health();
        assert_eq!(inner.sums(), [1.0; 3], "{key}: nothing of it is taken up");
        let model = &health.models[0];
        assert!(model.is_given_up && !model.is_restored && model.stored_at.is_none());
        let message = &health.blames[0].report.message;
        assert!(
            message.contains("not stored until the next start")
                && message.contains("reading a document failed"),
            "{message}"
        );
        assert_eq!(kept(&store).await, [7.0; 3], "{key}");
    }
}

/// Shuts the healer down in the middle of a turn.
#[derive(Debug)]
struct Ender(Arc<Mutex<Option<Cancellation>>>);

#[async_trait]
impl Detector for Ender {
    fn name(&self) -> &'static str {
        "ender"
    }

    async fn detect(
        &mut self,
        _: &Context,
        _: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        if let Some(end) = &*self.0.lock().unwrap() {
            end.cancel();
        }
        Ok(Vec::new())
    }
}

/// A learner beside the first one.
#[derive(Debug)]
struct Last(Learner);

#[async_trait]
impl Detector for Last {
    fn name(&self) -> &'static str {
        "last"
    }

    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        self.0.detect(cx, batch).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_in_the_middle_of_a_turn_blames_no_detector_and_waits_for_none() {
    let store = Arc::new(MemoryStore::default());
    let end = Arc::new(Mutex::new(None));
    let healer = empty(&store, START)
        .detector(learner().0)
        .detector(Ender(Arc::clone(&end)))
        .detector(Last(learner().0));
    let healer = healer.start().await.unwrap();
    record(&healer, 5.0).await;
    let began = healer.clock().now();
    *end.lock().unwrap() = Some(healer.cancellation());
    healer.cancellation().cancelled().await;
    assert_eq!(healer.shutdown().await, 0);
    let took = healer.clock().now().since(began);
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(healer.health().blames, []);
    assert_eq!(kept(&store).await, [5.0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_has_outgrown_the_bound_leaves_the_one_that_is_stored() {
    let store = Arc::new(MemoryStore::default());
    live(&store, learner().0, 5.0).await;
    let mut settings = EngineSettings::default();
    settings.model_bytes = 20;
    let healer = empty(&store, START)
        .settings(settings)
        .detector(learner().0);
    let healer = healer.start().await.unwrap();
    record(&healer, 2.0).await;
    pass(&healer, 700).await;
    healer.shutdown().await;
    let health = healer.health();
    let (model, blame) = (&health.models[0], &health.blames[0]);
    assert_eq!((model.left_out, model.stored_at), (3, None));
    assert!(model.is_restored);
    assert!(
        blame.times == 1 && blame.report.message.contains("what is stored of it stays"),
        "{blame:?}"
    );
    assert_eq!(kept(&store).await, [5.0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_head_without_parts_is_no_model_that_was_taken_up() {
    let store = Arc::new(MemoryStore::default());
    let head = json!({ "version": 1, "parts": [] });
    let commit = Commit::default().put(LEARNER, Version::NONE, head);
    store.commit(commit).await.unwrap();
    let healer = live(&store, learner().0, 5.0).await;
    assert!(!healer.health().models[0].is_restored);
    assert_eq!(kept(&store).await, [5.0; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_left_is_in_nobodys_way_however_late_its_place_is_needed() {
    let store = Arc::new(MemoryStore::default());
    live(&store, learner().0, 5.0).await;
    // The new first part is there, and no head names it.
    let crash = CrashPoint::After(1);
    let crashing = Arc::new(CrashStore::of(Arc::clone(&store)).crash_at(crash));
    live(&crashing, learner().0, 2.0).await;
    let (next, inner) = learner();
    let healer = empty(&store, START).detector(next).start().await.unwrap();
    inner.sums.lock().unwrap()[1] += 1.0;
    pass(&healer, 340).await;
    assert!(healer.health().models[0].stored_at.is_some());
    inner.sums.lock().unwrap()[0] += 1.0;
    healer.shutdown().await;
    assert_eq!(kept(&store).await, [6.0, 6.0, 5.0]);
}

/// Holds the write of one document back until it is opened.
#[derive(Debug)]
struct Gate {
    key: String,
    arrived: Notify,
    open: Semaphore,
}

#[async_trait]
impl WriteHook for Gate {
    async fn commit(&self, inner: &dyn Store, commit: Commit) -> Result<Version, StoreError> {
        if commit.documents.iter().any(|(key, ..)| *key == self.key) {
            self.arrived.notify_one();
            let _open = self.open.acquire().await.unwrap();
        }
        inner.commit(commit).await
    }
}

fn gated(inner: &Arc<MemoryStore>, key: &str) -> Arc<HookedStore<Arc<MemoryStore>, Gate>> {
    let gate = Gate {
        key: format!("{LEARNER}{key}"),
        arrived: Notify::new(),
        open: Semaphore::new(0),
    };
    Arc::new(HookedStore::new(Arc::clone(inner), gate))
}

#[tokio::test(start_paused = true)]
async fn parts_of_two_processes_are_no_model_and_who_notices_stores_its_own() {
    let store = Arc::new(MemoryStore::default());
    live(&store, learner().0, 5.0).await;
    let stores = [gated(&store, ""), gated(&store, "/1/1")];
    let mut lives = Vec::new();
    for store in &stores {
        let healer = empty(store, START).detector(learner().0);
        lives.push(healer.start().await.unwrap());
    }
    // One has written its parts and not its head when the other writes the first of its own there.
    let mut ends = JoinSet::new();
    for ((healer, store), value) in lives.iter().zip(&stores).zip([1.0, 2.0]) {
        healer
            .recorder()
            .series(&SeriesKey::new("orders"))
            .record(value);
        pass(healer, 1).await;
        let healer = healer.clone();
        ends.spawn(async move { healer.shutdown().await });
        store.hook().arrived.notified().await;
    }
    let [one, two] = stores.each_ref().map(|store| &store.hook().open);
    one.add_permits(1);
    assert_eq!(ends.join_next().await.unwrap().unwrap(), 0);
    let (next, inner) = learner();
    let between = empty(&store, START).detector(next).start().await.unwrap();
    assert_eq!(inner.sums(), [0.0; 3], "nothing of a mixture is taken up");
    let message = &between.health().blames[0].report.message;
    assert!(
        message.contains("its part 0 is not the one its head names"),
        "{message}"
    );
    two.add_permits(1);
    assert_eq!(ends.join_next().await.unwrap().unwrap(), 0);
    assert_eq!(kept(&store).await, [7.0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_pass_that_hangs() {
    let store = Arc::new(MemoryStore::default());
    live(&store, learner().0, 5.0).await;
    let hanging = gated(&store, "/1/1");
    let healer = empty(&hanging, START).detector(learner().0);
    let healer = healer.start().await.unwrap();
    record(&healer, 1.0).await;
    hanging.hook().arrived.notified().await;
    let began = healer.clock().now();
    assert_eq!(healer.shutdown().await, 0, "nothing had to be ended");
    let took = healer.clock().now().since(began);
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(kept(&store).await, [5.0; 3]);
}

/// Blocks its thread, in whatever it does, while the test holds this.
#[derive(Debug, Default)]
struct Blocks(Arc<Mutex<()>>, Arc<AtomicBool>);

impl Blocks {
    fn block(&self) {
        self.1.store(true, Ordering::SeqCst);
        drop(self.0.lock());
    }
}

#[async_trait]
impl Detector for Blocks {
    fn name(&self) -> &'static str {
        "blocks"
    }

    async fn detect(
        &mut self,
        _: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        if !batch.samples.is_empty() {
            self.block();
        }
        Ok(Vec::new())
    }
}

impl Enricher for Blocks {
    fn name(&self) -> &'static str {
        "blocks"
    }

    fn enrich(&self, _: &mut LogRecord) {}

    fn snapshot(&self) -> Option<ModelSnapshot> {
        self.block();
        None
    }
}

#[test]
fn at_the_end_those_that_hang_do_not_cost_the_others_their_models() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().unwrap();
    let store = Arc::new(MemoryStore::default());
    let is_blocked = Arc::new(AtomicBool::new(false));
    let (next, inner) = learner();
    let mut settings = EngineSettings::default();
    settings.detect_deadline = Duration::from_millis(50);
    settings.shutdown_grace = Duration::from_secs(2);
    let blocks = || Blocks(Arc::clone(&lock), Arc::clone(&is_blocked));
    let health = runtime.block_on(async {
        let healer = Homeostasis::empty()
            .store(Arc::clone(&store) as Arc<_>)
            .settings(settings)
            .detector(blocks())
            .detector(next)
            .enricher(Arc::new(blocks()))
            .enricher(Arc::new(TemplateEnricher::default()));
        let healer = healer.start().await.unwrap();
        healer
            .recorder()
            .series(&SeriesKey::new("orders"))
            .record(5.0);
        while !is_blocked.load(Ordering::SeqCst) || inner.sums() != [5.0; 3] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        healer.shutdown().await;
        healer.health()
    });
    drop(held);
    let stored = |of: &str| {
        health
            .models
            .iter()
            .any(|model| model.of == of && model.stored_at.is_some())
    };
    assert!(stored("detector/shop%2Flearner"), "{health:?}");
    assert!(stored("enricher/templates"), "{health:?}");
    let late = health
        .blames
        .iter()
        .find(|blame| blame.plugin == "enricher/blocks");
    assert_eq!(late.unwrap().report.message, "gave no model within 400ms");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_damaged_is_named_and_replaced_and_its_place_is_not_used_again() {
    let store = Arc::new(MemoryStore::default());
    live(&store, learner().0, 5.0).await;
    let damaged = Unreadable::of(&store);
    damaged
        .hook()
        .fail(&format!("{LEARNER}/1/0"), u32::MAX, || {
            StoreError::Corrupt {
                path: "journal.redb".to_owned(),
                place: "a document".to_owned(),
                source: None,
            }
        });
    let (next, inner) = learner();
    let healer = empty(&damaged, START).detector(next).start().await.unwrap();
    assert_eq!(inner.sums(), [0.0; 3]);
    for value in [2.0, 1.0, 4.0] {
        record(&healer, value).await;
        pass(&healer, 340).await;
    }
    healer.shutdown().await;
    let health = healer.health();
    assert_eq!((health.store_errors, health.blames.len()), (0, 1));
    let message = &health.blames[0].report.message;
    assert!(
        message.starts_with("begins anew: its part 1 cannot be read: journal.redb is damaged"),
        "{message}"
    );
    assert_eq!(kept(&damaged).await, [7.0; 3]);
}
