//! What ends while the gate is asked counts for who is asked about.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use homeostasis::core::policy::{BreakerPolicy, BreakerState};
use homeostasis::core::port::{Commit, Document, MemoryStore, Store, StoreError, Version};
use homeostasis::core::testing::store::{HookedStore, WriteHook};
use homeostasis::core::{IncidentId, async_trait};

use crate::world::{START, World, is, names, until};

const KEY: &str = "breaker/doctor.cure";

/// Opens the breaker just after it was read for the `nth` time, as a run that ends elsewhere does.
#[derive(Debug)]
struct OpensAfter {
    nth: u32,
    n_read: Arc<AtomicU32>,
}

#[async_trait]
impl WriteHook for OpensAfter {
    async fn document(&self, inner: &dyn Store, key: &str) -> Result<Option<Document>, StoreError> {
        let read = inner.document(key).await?;
        if key == KEY && self.n_read.fetch_add(1, Ordering::SeqCst) + 1 == self.nth {
            let version = read.as_ref().map_or(Version::NONE, |it| it.version);
            inner
                .commit(Commit::default().put(KEY, version, open()))
                .await?;
        }
        Ok(read)
    }
}

fn open() -> serde_json::Value {
    let mut breaker = BreakerState::default();
    for _ in 0..3 {
        breaker.record(false, START, &BreakerPolicy::default());
    }
    serde_json::to_value(&breaker).unwrap()
}

/// What happened to an incident whose plan's breaker opens after its `nth` reading, and how often it was
/// read.
async fn story(nth: u32) -> (Vec<&'static str>, u32) {
    let world = Arc::new(World::default());
    let inner = Arc::new(MemoryStore::default());
    let closed = serde_json::to_value(BreakerState::default()).unwrap();
    let known = Commit::default().put(KEY, Version::NONE, closed);
    inner.commit(known).await.unwrap();
    let n_read = Arc::new(AtomicU32::new(0));
    let hook = OpensAfter {
        nth,
        n_read: Arc::clone(&n_read),
    };
    let store: Arc<dyn Store> = Arc::new(HookedStore::new(Arc::clone(&inner), hook));
    let healer = world.healer().store(store).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let gated: IncidentId = until(&healer, &mut events, is("gated")).await.incident;
    let n_read = n_read.load(Ordering::SeqCst);
    healer.shutdown().await;
    (names(&*inner, gated).await, n_read)
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_while_the_gate_is_asked_holds_the_run_back() {
    let (untouched, n_read) = story(u32::MAX).await;
    assert!(untouched.contains(&"run_opened"), "{untouched:?}");
    assert!(n_read >= 2, "it is read before the leases and under them");
    for nth in 1..=n_read {
        let (names, _) = story(nth).await;
        assert!(
            !names.contains(&"run_opened"),
            "{nth} of {n_read}: {names:?}"
        );
    }
}
