//! Leases: they live as long as the heal, and their loss stops it before anybody else may begin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use homeostasis::core::cycle::replay;
use homeostasis::core::policy::Permit;
use homeostasis::core::port::{
    Commit, CoordinateError, Coordinator, Lease, LocalCoordinator, MemoryStore, Store, StoreError,
    Version,
};
use homeostasis::core::record::{EventKind, HealEvent, Outcome, Plan};
use homeostasis::core::stage::{ExecuteError, PlanError, PlanRequest, Remediator, RunLog};
use homeostasis::core::testing::store::{HookedStore, WriteHook};
use homeostasis::core::{Clock, Context, PlanId, async_trait};
use homeostasis::{Builder, EngineSettings, SimulatedClock};

use crate::plugins::{Colleague, SlowVerifier};
use crate::world::{Doctor, START, World, blames, is, names, pass, until};

/// How long leases last by default.
const TTL: Duration = Duration::from_secs(30);

/// A lease keeper whose renewals can go wrong.
#[derive(Debug)]
struct Keeper {
    inner: LocalCoordinator,
    hangs: AtomicBool,
    loses: AtomicBool,
    /// It takes nothing back and never says so.
    keeps: AtomicBool,
    /// How many seconds it thinks before it gives a lease.
    thinks: AtomicU64,
}

#[async_trait]
impl Coordinator for Keeper {
    async fn acquire(
        &self,
        resource: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease, CoordinateError> {
        tokio::time::sleep(Duration::from_secs(self.thinks.load(Ordering::SeqCst))).await;
        self.inner.acquire(resource, holder, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, CoordinateError> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.loses.load(Ordering::SeqCst) {
            return Err(CoordinateError::Lost {
                resource: lease.resource.clone(),
                token: lease.token,
            });
        }
        self.inner.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) {
        if self.keeps.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.inner.release(lease).await;
    }
}

/// A healer whose leases other holders can ask for.
fn leased(world: &Arc<World>) -> (Builder, Arc<Keeper>, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let clock = Arc::new(SimulatedClock::starting_at(START));
    let keeper = Arc::new(Keeper {
        inner: LocalCoordinator::new(Arc::clone(&store), Arc::clone(&clock) as Arc<_>),
        hangs: AtomicBool::new(false),
        loses: AtomicBool::new(false),
        keeps: AtomicBool::new(false),
        thinks: AtomicU64::new(0),
    });
    let builder = world
        .healer()
        .clock(clock)
        .coordinator(Arc::clone(&keeper) as Arc<_>)
        .store(Arc::clone(&store));
    (builder, keeper, store)
}

#[tokio::test(start_paused = true)]
async fn the_lease_lives_through_verification_and_is_given_back_after_it() {
    let world = Arc::new(World::default());
    let (builder, keeper, _) = leased(&world);
    let healer = builder.verifier(SlowVerifier).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let opened = until(&healer, &mut events, is("run_opened")).await;
    let ended = until(&healer, &mut events, is("run_ended")).await;
    for _ in 0..8 {
        pass(&healer, 10).await;
        let other = keeper.acquire("heal/a", "another", TTL).await;
        let error = other.expect_err("the heal is not over");
        assert!(matches!(error, CoordinateError::Held { .. }), "{error}");
    }
    let closed = until(&healer, &mut events, is("closed")).await;
    assert!(closed.at >= ended.at + SlowVerifier::TAKES);
    assert!(closed.at > opened.at + TTL * 3);
    pass(&healer, 1).await;
    keeper
        .acquire("heal/a", "another", TTL)
        .await
        .expect("it was given back");
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_plan_that_failed_does_not_delay_the_next_plan() {
    let world = Arc::new(World::default());
    world.incurable.store(true, Ordering::SeqCst);
    let (builder, _, store) = leased(&world);
    let worse = |plan: &mut Plan| plan.fitness = 0.5;
    let healer = builder
        .remediator(Colleague::of(&world, worse))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let escalated = until(&healer, &mut events, is("escalated")).await;
    let story = names(&*store, escalated.incident).await;
    let count = |wanted: &str| story.iter().filter(|name| **name == wanted).count();
    assert_eq!((count("gated"), count("run_opened")), (2, 2), "{story:?}");
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_lease_of_another_holder_writes_little_and_ends_in_a_cure() {
    let world = Arc::new(World::default());
    let (builder, keeper, store) = leased(&world);
    let lasts = Duration::from_secs(900);
    let lease = keeper.acquire("heal/a", "another", lasts).await.unwrap();
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let id = until(&healer, &mut events, is("gated")).await.incident;
    pass(&healer, 800).await;
    assert_eq!(world.cures("a"), 0);
    let story = names(&*store, id).await;
    assert!(story.len() < 10, "{story:?}");
    let run = until(&healer, &mut events, is("run_opened")).await;
    assert!(run.at >= lease.expires);
    until(&healer, &mut events, is("closed")).await;
    assert_eq!(world.cures("a"), 1);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_healers_on_one_journal_never_act_on_a_service_at_once() {
    let world = Arc::new(World::default());
    // Nobody is cured, so that both go on trying for as long as they may.
    world.incurable.store(true, Ordering::SeqCst);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::starting_at(START));
    let keeper = LocalCoordinator::new(Arc::clone(&store), Arc::clone(&clock));
    let keeper: Arc<dyn Coordinator> = Arc::new(keeper);
    let mut healers = Vec::new();
    for seed in 1..=2 {
        let healer = world
            .healer()
            .seed(seed)
            .clock(Arc::clone(&clock))
            .coordinator(Arc::clone(&keeper))
            .store(Arc::clone(&store))
            .start()
            .await
            .unwrap();
        world.watch(&healer, &["a"]);
        healers.push(healer);
    }
    world.fall_ill("a");
    pass(&healers[0], 300).await;
    assert!(world.cures("a") >= 2, "each of them acted");
    assert_eq!(world.most_running.load(Ordering::SeqCst), 1);
    let mut runs = Vec::new();
    for id in store.incidents(100).await.unwrap() {
        let events = store.read(id).await.unwrap();
        let incident = replay(&events).unwrap().unwrap();
        runs.extend(
            incident
                .runs
                .iter()
                .map(|run| (run.opened_at, run.ended_at, run.token)),
        );
    }
    runs.sort();
    for pair in runs.windows(2) {
        let ((_, ended, before), (opened, _, after)) = (pair[0], pair[1]);
        assert!(ended.is_some_and(|ended| ended <= opened), "{pair:?}");
        assert!(before < after, "{pair:?}");
    }
    for healer in healers {
        healer.shutdown().await;
    }
}

/// A remedy of two minutes, counted while it is at work.
#[derive(Debug)]
struct Surgeon {
    doctor: Doctor,
    work: Arc<Work>,
}

#[derive(Debug, Default)]
struct Work {
    begun: AtomicU32,
    active: AtomicU32,
    finished: AtomicU32,
}

/// Ends when the work does, however it ends.
struct Shift(Arc<Work>);

impl Drop for Shift {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Remediator for Surgeon {
    fn name(&self) -> &str {
        "surgeon"
    }

    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        let mut plans = self.doctor.plan(cx, request).await?;
        for plan in &mut plans {
            plan.remediator = "surgeon".into();
            plan.title = "an operation before the cure".into();
            plan.id = PlanId::new(cx.now(), &mut cx.rng(3));
        }
        Ok(plans)
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        run.redeem(permit)
            .map_err(|error| ExecuteError::permanent("redeeming", error))?;
        self.work.begun.fetch_add(1, Ordering::SeqCst);
        self.work.active.fetch_add(1, Ordering::SeqCst);
        let _shift = Shift(Arc::clone(&self.work));
        cx.clock().sleep(Duration::from_secs(120)).await;
        self.work.finished.fetch_add(1, Ordering::SeqCst);
        Ok(Outcome::Halted {
            reason: "the operation had no step".to_owned(),
        })
    }

    async fn undo(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        self.doctor.undo(cx, permit, run).await
    }
}

/// Operates under leases that `harm` did something to; gives the opened run and the first blame.
async fn operate(harm: impl FnOnce(&Keeper)) -> (Arc<HealEvent>, Arc<HealEvent>) {
    let world = Arc::new(World::default());
    let (builder, keeper, _) = leased(&world);
    let work = Arc::new(Work::default());
    let surgeon = Surgeon {
        doctor: Doctor(Arc::clone(&world)),
        work: Arc::clone(&work),
    };
    let healer = builder.remediator(surgeon).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let opened = until(&healer, &mut events, is("run_opened")).await;
    harm(&keeper);
    let wanted = |event: &HealEvent| blames(event, "remediator", "surgeon");
    let blamed = until(&healer, &mut events, wanted).await;
    assert!(blamed.to_string().contains("lease"), "{blamed}");
    // It goes on under new leases, which are lost as well, and then people are called.
    until(&healer, &mut events, is("escalated")).await;
    assert_eq!(world.notifier.sent().len(), 1);
    let count = |counter: &AtomicU32| counter.load(Ordering::SeqCst);
    assert_eq!(count(&work.begun), 3, "once and two more times");
    assert_eq!(count(&work.active), 0, "nobody works without a lease");
    pass(&healer, 600).await;
    assert_eq!(count(&work.finished), 0);
    healer.shutdown().await;
    (opened, blamed)
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_lease_was_taken_over_is_stopped_at_the_next_renewal() {
    let (opened, blamed) = operate(|keeper| keeper.loses.store(true, Ordering::SeqCst)).await;
    assert!(blamed.at <= opened.at + TTL / 3 + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_lease_cannot_be_renewed_is_stopped_before_it_expires() {
    let (opened, blamed) = operate(|keeper| keeper.hangs.store(true, Ordering::SeqCst)).await;
    assert!(
        blamed.at < opened.at + TTL,
        "opened at {}, stopped at {}",
        opened.at,
        blamed.at
    );
}

/// The first run cannot be opened.
#[derive(Debug, Default)]
struct FirstRefused(AtomicBool);

#[async_trait]
impl WriteHook for FirstRefused {
    async fn commit(&self, inner: &dyn Store, commit: Commit) -> Result<Version, StoreError> {
        let opens = |event: &HealEvent| event.kind.name() == "run_opened";
        if commit.events.iter().any(opens) && !self.0.swap(true, Ordering::SeqCst) {
            return Err(StoreError::Io {
                what: "opening a run".to_owned(),
                source: "the disk is away".into(),
            });
        }
        inner.commit(commit).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_takes_no_lease_back_holds_up_no_heal() {
    let world = Arc::new(World::default());
    let (builder, keeper, store) = leased(&world);
    let store = HookedStore::new(store, FirstRefused::default());
    keeper.keeps.store(true, Ordering::SeqCst);
    let healer = builder.store(Arc::new(store)).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a", "b"]);
    world.fall_ill("a");
    world.fall_ill("b");
    for _ in 0..2 {
        until(&healer, &mut events, is("closed")).await;
    }
    assert_eq!((world.cures("a"), world.cures("b")), (1, 1));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn trouble_that_is_gone_when_the_leases_come_is_not_acted_on() {
    let world = Arc::new(World::default());
    let (builder, keeper, _) = leased(&world);
    let mut settings = EngineSettings::default();
    settings.quiet = Duration::from_secs(5);
    keeper.thinks.store(20, Ordering::SeqCst);
    let healer = builder.settings(settings).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    until(&healer, &mut events, is("planned")).await;
    pass(&healer, 1).await;
    world.cured_by_hand("a");
    until(&healer, &mut events, is("closed")).await;
    assert_eq!(world.cures("a"), 0);
    healer.shutdown().await;
}

/// Stands still before its first effect when it is first asked, like a process that was stopped.
#[derive(Debug)]
struct Stunned {
    doctor: Doctor,
    is_awake: AtomicBool,
}

#[async_trait]
impl Remediator for Stunned {
    fn name(&self) -> &str {
        "stunned"
    }

    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        let mut plans = self.doctor.plan(cx, request).await?;
        for plan in &mut plans {
            plan.remediator = "stunned".into();
            plan.title = "a cure by somebody who may be stopped".into();
            plan.id = PlanId::new(cx.now(), &mut cx.rng(3));
        }
        Ok(plans)
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        if !self.is_awake.swap(true, Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.doctor.execute(cx, permit, run).await
    }

    async fn undo(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        self.doctor.undo(cx, permit, run).await
    }
}

/// A healer loses its lease before the first effect and gets it back minutes later; another
/// one heals, if at all, while the first has none. Gives the cures and how the first run ended.
async fn lose_the_lease_and_wake(with_another: bool) -> (u32, Outcome) {
    let world = Arc::new(World::default());
    let (builder, keeper, store) = leased(&world);
    let mut settings = EngineSettings::default();
    settings.lease_ttl = Duration::from_secs(300);
    let first = builder
        .settings(settings)
        .remediator(Stunned {
            doctor: Doctor(Arc::clone(&world)),
            is_awake: AtomicBool::new(false),
        })
        .start()
        .await
        .unwrap();
    let another = if with_another {
        let keeper = LocalCoordinator::new(Arc::clone(&store), first.clock());
        let another = world.healer().seed(2).clock(first.clock());
        let another = another.coordinator(Arc::new(keeper)).store(store);
        Some(another.start().await.unwrap())
    } else {
        None
    };
    let mut events = first.subscribe();
    world.watch(&first, &["a"]);
    world.fall_ill("a");
    let opened = until(&first, &mut events, is("run_opened")).await;
    keeper.loses.store(true, Ordering::SeqCst);
    keeper.thinks.store(250, Ordering::SeqCst);
    if let Some(another) = &another {
        world.watch(another, &["a"]);
    }
    until(&first, &mut events, |event| {
        blames(event, "remediator", "stunned")
    })
    .await;
    keeper.loses.store(false, Ordering::SeqCst);
    let ended = until(&first, &mut events, |event| {
        event.incident == opened.incident && event.kind.name() == "run_ended"
    })
    .await;
    let EventKind::RunEnded { outcome, .. } = &ended.kind else {
        panic!("{ended}");
    };
    let outcome = outcome.clone();
    pass(&first, 600).await;
    for healer in another.into_iter().chain([first]) {
        healer.shutdown().await;
    }
    (world.cures("a"), outcome)
}

#[tokio::test(start_paused = true)]
async fn who_wakes_when_another_has_healed_the_target_does_not_heal_it_again() {
    let (cures, outcome) = lose_the_lease_and_wake(true).await;
    assert_eq!(cures, 1);
    let Outcome::Halted { reason } = outcome else {
        panic!("{outcome}");
    };
    assert!(reason.contains("acted on a meanwhile"), "{reason}");
    // With nobody else it goes on where it was.
    let (cures, outcome) = lose_the_lease_and_wake(false).await;
    assert_eq!((cures, outcome), (1, Outcome::Completed));
}
