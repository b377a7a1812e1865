//! Analyzers learn from incidents that are over, and what they learned outlives the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::Finding;
use homeostasis::core::stage::{AnalyzeError, Analyzer, DetectError, Evidence, ModelSnapshot};
use homeostasis::core::{Context, Incident, async_trait};

use crate::world::{World, is, pass, until};

/// Finds nothing, and counts: looks at open incidents, and incidents that are over.
#[derive(Debug, Default)]
struct Counter {
    looks: AtomicU64,
    over: AtomicU64,
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

#[tokio::test(start_paused = true)]
async fn what_an_analyzer_learns_from_closed_incidents_is_stored_and_taken_up() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut over = Vec::new();
    for _ in 0..2 {
        let (world, counter) = (Arc::new(World::default()), Arc::new(Counter::default()));
        let builder = world.healer().analyzer(Forgetful);
        let builder = builder.analyzer(Arc::clone(&counter));
        let healer = builder.store(Arc::clone(&store)).start().await.unwrap();
        over.push(counter.over.load(Ordering::SeqCst));
        let mut events = healer.subscribe();
        world.watch(&healer, &["a"]);
        world.fall_ill("a");
        until(&healer, &mut events, is("closed")).await;
        pass(&healer, 1).await;
        assert!(counter.looks.load(Ordering::SeqCst) > 0);
        let health = healer.health();
        let model = health.models.iter().find(|it| it.of == "analyzer/counter");
        assert_eq!(model.unwrap().is_restored, over.len() == 2);
        // Who fails at it is named, and the others are told.
        let blamed = health.blames.iter().filter(|it| it.plugin == "forgetful");
        assert_eq!(blamed.count(), 1, "{:?}", health.blames);
        healer.shutdown().await;
        over.push(counter.over.load(Ordering::SeqCst));
    }
    assert_eq!(over, [0, 1, 1, 2]);
}
