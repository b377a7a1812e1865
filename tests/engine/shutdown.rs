//! Shutting down ends everything, loses nothing, and leaves unfinished runs to the next start.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use homeostasis::core::port::{Coordinator, LocalCoordinator, MemoryStore, Store};
use homeostasis::core::record::Anomaly;
use homeostasis::core::signal::SignalBatch;
use homeostasis::core::stage::{DetectError, Detector};
use homeostasis::core::{Context, async_trait};
use homeostasis::{EngineSettings, SimulatedClock, SystemClock};
use tokio::sync::oneshot;

use crate::world::{START, World, is, names, pass, until};

#[tokio::test(start_paused = true)]
async fn the_stream_gives_what_happened_and_then_ends() {
    let world = Arc::new(World::default());
    let healer = world.healer().start().await.unwrap();
    let mut reader = healer.subscribe();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    until(&healer, &mut events, is("closed")).await;
    healer.shutdown().await;
    let rest = async {
        let mut story = Vec::new();
        while let Some(event) = reader.next().await {
            story.push(event.kind.name());
        }
        story
    };
    // The healer is not dropped: the end of the stream must not wait for that.
    let story = tokio::time::timeout(Duration::from_secs(3600), rest)
        .await
        .expect("the stream ends");
    assert_eq!(
        (story.first(), story.last()),
        (Some(&"opened"), Some(&"closed"))
    );
    drop(healer);
}

/// Says that it was called, then blocks its thread until the test lets go.
#[derive(Debug)]
struct Blocker {
    called: Mutex<Option<oneshot::Sender<()>>>,
    blocked: Mutex<mpsc::Receiver<()>>,
}

#[async_trait]
impl Detector for Blocker {
    fn name(&self) -> &str {
        "blocker"
    }

    async fn detect(
        &mut self,
        _: &Context,
        _: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        if let Some(called) = self.called.lock().unwrap().take() {
            let _ = called.send(());
        }
        let _ = self.blocked.lock().unwrap().recv();
        Ok(Vec::new())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn shutdown_returns_although_a_plug_in_blocks_its_thread_and_counts_it() {
    let world = Arc::new(World::default());
    let (release, blocked) = mpsc::channel();
    let (called, is_called) = oneshot::channel();
    let mut settings = EngineSettings::default();
    settings.shutdown_grace = Duration::from_millis(100);
    let blocker = Blocker {
        called: Mutex::new(Some(called)),
        blocked: Mutex::new(blocked),
    };
    let healer = world
        .healer()
        .settings(settings)
        .clock(Arc::new(SystemClock))
        .detector(blocker)
        .start()
        .await
        .unwrap();
    is_called.await.unwrap();
    let n_ended = tokio::time::timeout(Duration::from_secs(30), healer.shutdown())
        .await
        .expect("shutdown returns");
    assert!(n_ended >= 1, "the blocked one is counted");
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_a_lease_at_shutdown_stays_open_for_the_next_start() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut settings = EngineSettings::default();
    settings.shutdown_grace = Duration::ZERO;
    world.fall_ill("a");
    let healer = world
        .healer()
        .settings(settings)
        .store(Arc::clone(&store))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    let id = until(&healer, &mut events, is("run_opened")).await.incident;
    healer.shutdown().await;
    let before = names(&*store, id).await;

    // Another holder has the lease for as long as the second life lasts.
    let clock = Arc::new(SimulatedClock::starting_at(START + Duration::from_secs(10)));
    let leases = LocalCoordinator::new(Arc::clone(&store), Arc::clone(&clock) as Arc<_>);
    let leases = Arc::new(leases);
    leases
        .acquire("heal/a", "another", Duration::from_secs(300))
        .await
        .unwrap();
    let healer = world
        .healer()
        .clock(clock)
        .coordinator(leases)
        .store(Arc::clone(&store))
        .start()
        .await
        .unwrap();
    assert_eq!(healer.recovered().resumed, [id]);
    pass(&healer, 3).await;
    healer.shutdown().await;
    assert_eq!(names(&*store, id).await, before, "nothing was decided");

    let healer = world
        .healer()
        .store(Arc::clone(&store))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    until(&healer, &mut events, is("run_ended")).await;
    assert!(names(&*store, id).await.contains(&"run_resumed"));
    assert!(world.cures("a") <= 1);
    healer.shutdown().await;
}
