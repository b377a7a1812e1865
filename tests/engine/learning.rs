//! Analyzers learn from incidents that are over, and what they learned outlives the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use homeostasis::Homeostasis;
use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::Finding;
use homeostasis::core::stage::{AnalyzeError, Analyzer, DetectError, Evidence, ModelSnapshot};
use homeostasis::core::{Context, Incident, IncidentId, async_trait};

use crate::world::{World, is, pass, until};

/// Finds nothing, and counts: looks at open incidents, and incidents that are over.
#[derive(Debug, Default)]
struct Counter {
    looks: AtomicU64,
    over: AtomicU64,
    /// Incidents of which it was told in this life.
    ids: Mutex<Vec<IncidentId>>,
}

impl Counter {
    fn told(&self) -> usize {
        self.ids.lock().unwrap().len()
    }
}

#[async_trait]
impl Analyzer for Counter {
    fn name(&self) -> &str {
        "counter"
    }

    async fn analyze(&self, _: &Context, _: &Evidence<'_>) -> Result<Vec<Finding>, AnalyzeError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Ok(Vec::new())
    }

    fn closed(&self, incident: &Incident) {
        assert!(incident.is_closed() && incident.diagnosis.is_some());
        self.over.fetch_add(1, Ordering::SeqCst);
        self.ids.lock().unwrap().push(incident.id);
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        Some(ModelSnapshot {
            detector: self.name().to_owned(),
            version: 1,
            state: self.over.load(Ordering::SeqCst).into(),
        })
    }

    fn restore(&self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let over = snapshot.state.as_u64();
        let over = over.ok_or_else(|| DetectError::invalid("state", "expected a number"))?;
        self.over.store(over, Ordering::SeqCst);
        Ok(())
    }
}

/// Panics where it may learn.
#[derive(Debug)]
struct Forgetful;

#[async_trait]
impl Analyzer for Forgetful {
    fn name(&self) -> &str {
        "forgetful"
    }

    async fn analyze(&self, _: &Context, _: &Evidence<'_>) -> Result<Vec<Finding>, AnalyzeError> {
        Ok(Vec::new())
    }

    fn closed(&self, _: &Incident) {
        panic!("where was I");
    }
}

/// A healer of `world` that keeps what `counter` learns in `store`.
async fn healer(world: &Arc<World>, counter: &Arc<Counter>, store: &Arc<dyn Store>) -> Homeostasis {
    let builder = world.healer().analyzer(Forgetful);
    let builder = builder.analyzer(Arc::clone(counter));
    builder.store(Arc::clone(store)).start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_an_analyzer_learns_from_closed_incidents_is_stored_and_taken_up() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let (world, counter) = (Arc::new(World::default()), Arc::new(Counter::default()));
    let first = healer(&world, &counter, &store).await;
    let mut events = first.subscribe();
    world.watch(&first, &["a"]);
    world.fall_ill("a");
    until(&first, &mut events, is("closed")).await;
    pass(&first, 1).await;
    assert!(counter.looks.load(Ordering::SeqCst) > 0);
    assert_eq!(counter.over.load(Ordering::SeqCst), 1);
    // Who fails at it is named, and the others are told.
    let blames = first.health().blames;
    let named = blames.iter().filter(|it| it.plugin == "forgetful");
    assert_eq!(named.count(), 1, "{blames:?}");
    first.shutdown().await;

    let (world, counter) = (Arc::new(World::default()), Arc::new(Counter::default()));
    let second = healer(&world, &counter, &store).await;
    assert_eq!(counter.over.load(Ordering::SeqCst), 1);
    let models = second.health().models;
    let model = models.iter().find(|it| it.of == "analyzer/counter");
    assert!(model.unwrap().is_restored, "{models:?}");
    // What closes in this life is told once, and what closed in the last one is not told again.
    let mut events = second.subscribe();
    world.watch(&second, &["a"]);
    world.fall_ill("a");
    until(&second, &mut events, is("closed")).await;
    pass(&second, 1).await;
    assert_eq!(counter.told(), 1, "{:?}", counter.ids.lock());
    assert_eq!(counter.over.load(Ordering::SeqCst), 2);
    second.shutdown().await;
}
