//! What was learned outlives the process: models are stored in parts, and taken up at the start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::port::{Commit, MemoryStore, Store, Version};
use homeostasis::core::record::Anomaly;
use homeostasis::core::signal::{Level, LogRecord, SeriesKey, SignalBatch};
use homeostasis::core::stage::{DetectError, Detector, ModelPart, ModelRest, ModelSnapshot};
use homeostasis::core::testing::store::{CrashPoint, CrashStore, Faults, FaultyStore};
use homeostasis::core::{Context, Timestamp, async_trait};
use homeostasis::detect::{
    Ewma, EwmaConfig, ModelStatus, ModelVersions, ModelVersionsConfig, PerSeries, Selector,
};
use homeostasis::signals::TemplateEnricher;
use homeostasis::{Builder, EngineHealth, EngineSettings, Homeostasis, SimulatedClock};
use serde_json::{Value, json};

use crate::world::{START, pass};

mod trouble;

const LEARNER: &str = "model/local/detector/shop%2Flearner";

/// How a [`Learner`] behaves, and what it has learned; the test holds the same.
#[derive(Debug, Default)]
struct Inner {
    sums: Mutex<Vec<f64>>,
    fails: AtomicBool,
    snapshot_panics: AtomicBool,
    restore_panics: AtomicBool,
}

/// Adds samples up, three times over; each sum is a part of its model.
#[derive(Debug)]
struct Learner(Arc<Inner>, u32);

fn learner() -> (Learner, Arc<Inner>) {
    let inner = Arc::new(Inner::default());
    *inner.sums.lock().unwrap() = vec![0.0; 3];
    (Learner(Arc::clone(&inner), 1), inner)
}

impl Inner {
    fn sums(&self) -> Vec<f64> {
        self.sums.lock().unwrap().clone()
    }
}

#[async_trait]
impl Detector for Learner {
    fn name(&self) -> &str {
        "shop/learner"
    }

    async fn detect(
        &mut self,
        _: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        for sample in batch.samples {
            for sum in &mut *self.0.sums.lock().unwrap() {
                *sum += sample.value;
            }
        }
        if self.0.fails.load(Ordering::SeqCst) && !batch.is_empty() {
            return Err(DetectError::invalid("a sample", "told to fail"));
        }
        Ok(Vec::new())
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        Some(self.part(0, &self.0.sums()))
    }

    fn snapshot_part(&self, from: Option<&Value>, _: usize) -> Option<ModelPart> {
        assert!(!self.0.snapshot_panics.load(Ordering::SeqCst), "a defect");
        let at = from.map_or(Some(0), |from| usize::try_from(from.as_u64()?).ok())?;
        let n_left = 2 - at;
        Some(ModelPart {
            snapshot: self.part(at, &[self.0.sums()[at]]),
            rest: (n_left > 0).then(|| ModelRest {
                from: (at + 1).into(),
                n_left,
            }),
        })
    }

    fn restore_part(&mut self, part: &ModelSnapshot) -> Result<(), DetectError> {
        assert!(!self.0.restore_panics.load(Ordering::SeqCst), "a defect");
        if part.version != self.1 {
            let what = format!("version {} of the snapshot", part.version);
            return Err(DetectError::invalid(what, "expected another"));
        }
        let at = usize::try_from(part.state["at"].as_u64().unwrap()).unwrap();
        let sum = part.state["sums"][0].as_f64().unwrap();
        self.0.sums.lock().unwrap()[at] = sum;
        Ok(())
    }
}

impl Learner {
    fn part(&self, at: usize, sums: &[f64]) -> ModelSnapshot {
        ModelSnapshot {
            detector: self.name().to_owned(),
            version: self.1,
            state: json!({ "at": at, "sums": sums }),
        }
    }
}

fn empty(store: &Arc<impl Store + 'static>, at: Timestamp) -> Builder {
    Homeostasis::empty()
        .clock(Arc::new(SimulatedClock::starting_at(at)))
        .store(Arc::clone(store) as Arc<_>)
}

/// The first that was blamed is told with this in its message.
#[track_caller]
fn assert_blamed(health: &EngineHealth, part: &str) {
    let message = &health.blames[0].report.message;
    assert!(message.contains(part), "{part}: {health:?}");
}

/// One life of a healer that learns `value`; ended by a shutdown.
async fn live(store: &Arc<impl Store + 'static>, learner: Learner, value: f64) -> Homeostasis {
    let healer = empty(store, START).detector(learner).start().await.unwrap();
    record(&healer, value).await;
    healer.shutdown().await;
    healer
}

async fn record(healer: &Homeostasis, value: f64) {
    let series = healer.recorder().series(&SeriesKey::new("orders"));
    series.record(value);
    pass(healer, 1).await;
}

/// What the next life would take up.
async fn kept(store: &Arc<impl Store + 'static>) -> Vec<f64> {
    let (learner, inner) = learner();
    let healer = empty(store, START).detector(learner).start().await.unwrap();
    let health = healer.health();
    assert!(health.models[0].is_restored && health.blames.is_empty());
    healer.shutdown().await;
    inner.sums()
}

/// The parts of a stored model, as they are.
async fn parts(store: &impl Store, key: &str) -> Vec<Value> {
    let head = store.document(key).await.unwrap().unwrap().value;
    let places = head["parts"].as_array().unwrap().iter().enumerate();
    let mut parts = Vec::new();
    for (idx, named) in places {
        let place = &named["place"];
        let document = store.document(&format!("{key}/{idx}/{place}")).await;
        parts.push(document.unwrap().unwrap().value);
    }
    parts
}

fn cpu() -> PerSeries<Ewma> {
    let ewma = Ewma::new(EwmaConfig::default()).unwrap();
    PerSeries::new("cpu", Selector::metric("cpu"), move |_| ewma.clone()).unwrap()
}

async fn load(healer: &Homeostasis, seconds: std::ops::Range<u32>) {
    let key = SeriesKey::new("cpu").with("service", "shop");
    let series = healer.recorder().series(&key);
    for second in seconds {
        series.record(0.5 + f64::from(second * 7 % 11) / 100.0);
        pass(healer, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_anomaly_is_found_right_after_a_restart_and_only_by_who_remembers() {
    let store = Arc::new(MemoryStore::default());
    let healer = empty(&store, START).detector(cpu()).start().await.unwrap();
    load(&healer, 0..60).await;
    healer.shutdown().await;
    let noon = healer.clock().now();
    for (store, expected) in [(store, 1), (Arc::new(MemoryStore::default()), 0)] {
        let healer = empty(&store, noon).detector(cpu()).start().await.unwrap();
        let key = SeriesKey::new("cpu").with("service", "shop");
        for _ in 0..3 {
            healer.recorder().series(&key).record(40.0);
            pass(&healer, 1).await;
        }
        assert_eq!(healer.incidents(9).await.unwrap().len(), expected);
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn going_on_with_a_stored_model_is_as_if_it_had_never_stopped() {
    let (one, two) = (
        Arc::new(MemoryStore::default()),
        Arc::new(MemoryStore::default()),
    );
    let healer = empty(&one, START).detector(cpu()).start().await.unwrap();
    load(&healer, 0..90).await;
    healer.shutdown().await;
    let healer = empty(&two, START).detector(cpu()).start().await.unwrap();
    load(&healer, 0..37).await;
    healer.shutdown().await;
    let healer = empty(&two, healer.clock().now())
        .detector(cpu())
        .start()
        .await
        .unwrap();
    load(&healer, 37..90).await;
    healer.shutdown().await;
    let key = "model/local/detector/cpu";
    let (one, two) = (parts(&*one, key).await, parts(&*two, key).await);
    assert_eq!((one.len(), &one), (1, &two));
    assert_eq!(one[0]["state"]["series"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_while_it_stores_leaves_one_whole_model_or_the_other() {
    let mut kept_last = 0;
    for n in 1..=4 {
        for point in [CrashPoint::Before(n), CrashPoint::After(n)] {
            let store = Arc::new(MemoryStore::default());
            live(&store, learner().0, 5.0).await;
            let crashing = Arc::new(CrashStore::of(Arc::clone(&store)).crash_at(point));
            live(&crashing, learner().0, 2.0).await;
            assert!(
                crashing.is_frozen(),
                "{point:?}: three parts and a head are written"
            );
            let sums = kept(&store).await;
            // The head is the last of four writes.
            let expected = if point == CrashPoint::After(4) {
                7.0
            } else {
                5.0
            };
            assert_eq!(sums, [expected; 3], "{point:?}");
            kept_last += u32::from(expected > 6.0);
            // What was left half written is in nobody's way.
            live(&store, learner().0, 1.0).await;
            assert_eq!(kept(&store).await, [expected + 1.0; 3], "{point:?}");
        }
    }
    assert_eq!(kept_last, 1);
}

#[tokio::test(start_paused = true)]
async fn a_model_of_another_shape_is_refused_named_and_replaced() {
    let store = Arc::new(MemoryStore::default());
    live(&store, learner().0, 5.0).await;
    let (mut next, inner) = learner();
    next.1 = 2;
    let health = live(&store, next, 3.0).await.health();
    assert_eq!(inner.sums(), [3.0; 3], "it began anew");
    assert!(!health.models[0].is_restored);
    let blame = &health.blames[0];
    assert_eq!(
        (blame.stage.as_str(), blame.plugin.as_str()),
        ("model", "detector/shop%2Flearner")
    );
    assert_blamed(&health, "begins anew: version 1 of the snapshot");
    let (mut next, inner) = learner();
    next.1 = 2;
    assert!(live(&store, next, 1.0).await.health().models[0].is_restored);
    assert_eq!(inner.sums(), [4.0; 3]);
    // What is no model at all.
    let head = store.document(LEARNER).await.unwrap().unwrap();
    let broken = Commit::default().put(LEARNER, head.version, json!("a secret"));
    store.commit(broken).await.unwrap();
    let health = live(&store, learner().0, 8.0).await.health();
    assert_blamed(&health, "no part of a model");
    assert_eq!(kept(&store).await, [8.0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_model_is_made_or_taken_up_is_caught_and_named() {
    let store = Arc::new(MemoryStore::default());
    live(&store, learner().0, 5.0).await;
    let (next, inner) = learner();
    inner.restore_panics.store(true, Ordering::SeqCst);
    inner.snapshot_panics.store(true, Ordering::SeqCst);
    let health = live(&store, next, 2.0).await.health();
    assert_eq!(inner.sums(), [2.0; 3], "it works all the same");
    assert_eq!((health.blames.len(), health.blames[0].times), (1, 2));
    assert_blamed(&health, "panicked: a defect");
    assert_eq!(kept(&store).await, [5.0; 3]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stored_of_a_detector_whose_last_call_failed() {
    let store = Arc::new(MemoryStore::default());
    live(&store, learner().0, 5.0).await;
    let (next, inner) = learner();
    inner.fails.store(true, Ordering::SeqCst);
    live(&store, next, 2.0).await;
    assert_eq!(inner.sums(), [7.0; 3]);
    assert_eq!(kept(&store).await, [5.0; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_is_learned_is_stored_now_and_then_and_only_if_it_has_changed() {
    let store = Arc::new(CrashStore::of(MemoryStore::default()));
    let (learner, _) = learner();
    let healer = empty(&store, START)
        .detector(learner)
        .start()
        .await
        .unwrap();
    record(&healer, 5.0).await;
    pass(&healer, 331).await;
    let (first, n_writes) = (healer.health().models[0].clone(), store.n_writes());
    assert!(first.stored_at.is_some() && first.bytes > 100, "{first:?}");
    assert_eq!(parts(&*store, LEARNER).await.len(), 3);
    record(&healer, 0.0).await;
    pass(&healer, 340).await;
    assert!(healer.health().models[0].stored_at > first.stored_at);
    assert_eq!(store.n_writes(), n_writes, "nothing has changed");
    record(&healer, 1.0).await;
    pass(&healer, 340).await;
    // Three parts and the head, which takes away what they replace.
    assert_eq!(store.n_writes(), n_writes + 4);
    for place in ["0/0", "1/0", "2/0"] {
        assert_eq!(
            store.document(&format!("{LEARNER}/{place}")).await.unwrap(),
            None
        );
    }
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_costs_nothing_but_an_error_and_a_later_try() {
    let store = Arc::new(FaultyStore::new(MemoryStore::default(), Faults::default()));
    let (learner, _) = learner();
    let healer = empty(&store, START)
        .detector(learner)
        .start()
        .await
        .unwrap();
    store.hook().refuse(true);
    record(&healer, 5.0).await;
    pass(&healer, 340).await;
    assert!(healer.health().store_errors >= 1);
    assert_eq!(healer.health().models[0].stored_at, None);
    store.hook().refuse(false);
    // Nobody knows whether this one was made.
    store.hook().lie_once();
    pass(&healer, 660).await;
    assert!(healer.health().models[0].stored_at.is_some());
    record(&healer, 2.0).await;
    healer.shutdown().await;
    assert_eq!(kept(&store).await, [7.0; 3]);
}

#[tokio::test(start_paused = true)]
async fn two_processes_of_one_name_cost_each_other_models_and_nothing_else() {
    let store = Arc::new(MemoryStore::default());
    let (one, two) = (learner().0, learner().0);
    let one = empty(&store, START).detector(one).start().await.unwrap();
    let two = empty(&store, START).detector(two).start().await.unwrap();
    for round in 0..5 {
        record(&one, 1.0).await;
        record(&two, f64::from(round)).await;
        pass(&one, 340).await;
    }
    let errors = one.health().store_errors + two.health().store_errors;
    assert_eq!(
        (errors, one.shutdown().await, two.shutdown().await),
        (0, 0, 0)
    );
    // The whole of one or of the other.
    let kept = kept(&store).await;
    assert!(kept == [5.0; 3] || kept == [10.0; 3], "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_too_large_is_stored_in_part_and_what_is_left_out_is_counted() {
    let store = Arc::new(MemoryStore::default());
    live(&store, learner().0, 5.0).await;
    let part = parts(&*store, LEARNER).await[0].to_string().len();
    let mut settings = EngineSettings::default();
    settings.model_bytes = u64::try_from(2 * part + part / 2).unwrap();
    let (next, _) = learner();
    let healer = empty(&store, START)
        .settings(settings.clone())
        .detector(next);
    let healer = healer.start().await.unwrap();
    record(&healer, 2.0).await;
    healer.shutdown().await;
    let health = healer.health();
    assert_eq!(health.models[0].left_out, 1);
    assert!(health.models[0].bytes <= settings.model_bytes);
    assert_blamed(&health, "1 of its series");
    assert_eq!(
        store.document(&format!("{LEARNER}/2/0")).await.unwrap(),
        None
    );
    assert_eq!(kept(&store).await, [7.0, 7.0, 0.0]);
    // None at all are kept, nor taken up.
    settings.model_bytes = 0;
    let (next, inner) = learner();
    let healer = empty(&store, START).settings(settings).detector(next);
    let healer = healer.start().await.unwrap();
    healer.shutdown().await;
    assert_eq!(
        (inner.sums(), healer.health().models.len()),
        (vec![0.0; 3], 0)
    );
}

#[tokio::test(start_paused = true)]
async fn versions_of_a_model_and_their_history_outlive_the_process() {
    let make = || ModelVersions::new(ModelVersionsConfig::default(), cpu).unwrap();
    let store = Arc::new(MemoryStore::default());
    let versions = make();
    let handle = versions.handle();
    let healer = empty(&store, START)
        .detector(versions)
        .start()
        .await
        .unwrap();
    load(&healer, 0..30).await;
    handle.retrain("ann", "another season");
    load(&healer, 30..40).await;
    handle.promote("ann", "it is better");
    load(&healer, 40..50).await;
    healer.shutdown().await;
    let before: ModelStatus = handle.status();
    assert_eq!(before.serving.as_ref().map(|version| version.id), Some(2));

    let versions = make();
    let handle = versions.handle();
    let healer = empty(&store, healer.clock().now())
        .detector(versions)
        .start()
        .await
        .unwrap();
    assert_eq!(handle.status(), before);
    handle.roll_back(1, "ann", "it cries wolf");
    load(&healer, 50..52).await;
    let after = handle.status();
    assert_eq!(after.serving.map(|version| version.id), Some(1));
    assert_eq!(after.events.len(), before.events.len() + 1);
    healer.shutdown().await;
}

const LINES: [&str; 3] = [
    "disk nearly full on the primary",
    "order rejected by the bank",
    "a lease was lost and found again",
];

/// Logs these lines in one life, and gives the ids of their templates by then.
async fn mine(store: &Arc<MemoryStore>, lines: &[&str], is_killed: bool) -> Vec<u64> {
    let templates = Arc::new(TemplateEnricher::default());
    let crash = if is_killed {
        CrashPoint::Before(1)
    } else {
        CrashPoint::Before(1000)
    };
    let store = Arc::new(CrashStore::of(Arc::clone(store)).crash_at(crash));
    let healer = empty(&store, START).enricher(Arc::clone(&templates) as Arc<_>);
    let healer = healer.start().await.unwrap();
    for line in lines {
        healer
            .recorder()
            .log(LogRecord::new(START, Level::Info, *line));
        pass(&healer, 1).await;
    }
    healer.shutdown().await;
    let ids = |line: &&str| {
        let known = templates.templates();
        known
            .iter()
            .find(|template| template.text == *line)
            .unwrap()
            .id
    };
    lines.iter().map(ids).collect()
}

#[tokio::test(start_paused = true)]
async fn templates_keep_their_ids_through_restarts_and_kills() {
    let [a, b, c] = LINES;
    let store = Arc::new(MemoryStore::default());
    let first = mine(&store, &[a], false).await;
    let head = store
        .document("model/local/enricher/templates")
        .await
        .unwrap();
    assert_eq!(head.unwrap().version, Version(1));
    // Learned after the model was stored, and before the process was killed.
    let killed = mine(&store, &[b, a], true).await;
    assert_eq!(killed[1], first[0]);
    // What is new after the kill comes in another order.
    let next = mine(&store, &[c, b, a], false).await;
    assert_eq!(next[1..], killed);
    assert!(!killed.contains(&next[0]), "two templates of one id");
    let counts = mine(&store, &[a], false).await;
    assert_eq!(counts, first);
}

#[tokio::test(start_paused = true)]
async fn the_furnished_templates_are_stored_without_being_asked_for() {
    let store = Arc::new(MemoryStore::default());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let healer = Homeostasis::builder()
            .clock(Arc::new(SimulatedClock::starting_at(START)))
            .store(Arc::clone(&store) as Arc<_>)
            .start()
            .await
            .unwrap();
        healer
            .recorder()
            .log(LogRecord::new(START, Level::Info, LINES[0]));
        pass(&healer, 1).await;
        healer.shutdown().await;
        let parts = parts(&*store, "model/local/enricher/templates").await;
        seen.push(parts[0]["state"]["templates"][0].clone());
        let stored = |of: &str| {
            healer
                .health()
                .models
                .iter()
                .any(|model| model.of == of && model.bytes > 0)
        };
        assert!(stored("enricher/templates") && stored("detector/memory_growth"));
    }
    assert_eq!(seen[0]["id"], seen[1]["id"]);
    assert_eq!([&seen[0]["n_lines"], &seen[1]["n_lines"]], [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_where_no_store_was_given() {
    let (learner, _) = learner();
    let clock = Arc::new(SimulatedClock::starting_at(START));
    let healer = Homeostasis::empty()
        .clock(clock)
        .detector(learner)
        .start()
        .await
        .unwrap();
    record(&healer, 5.0).await;
    assert!(healer.health().models.is_empty());
    let ended = tokio::time::timeout(Duration::from_secs(5), healer.shutdown()).await;
    assert_eq!(ended, Ok(0));
}
