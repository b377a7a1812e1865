//! The child: a real healer of the world in a folder, until it is killed or has nothing left to do.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::policy::{BreakerPolicy, Limit, LimitScope, Policy};
use homeostasis::core::port::Store;
use homeostasis::core::record::RiskLevel;
use homeostasis::core::signal::SeriesKey;
use homeostasis::core::testing::store::HookedStore;
use homeostasis::core::{Clock, Mode as Reach, Ratio, Rng, ServiceFacts, Timestamp};
use homeostasis::remediate::PlaybookRemediator;
use homeostasis::remediate::playbook::CheckRegistry;
use homeostasis::store::RedbStore;
use homeostasis::{EngineSettings, Homeostasis};

use super::actions::actions;
use super::clock::{FastClock, SPEED};
use super::people;
use super::playbooks::{Illness, PLAYBOOKS, playbooks};
use super::protocol::{Line, say};
use super::remote::Remote;
use super::stages::{CureVerifier, GAUGE, IllnessAnalyzer, IllnessDetector};
use super::witness::Witness;
use super::world::{SERVICES, World, give_up};

/// How a child lives. Written and read as its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChildOptions {
    pub(crate) folder: PathBuf,
    /// The chance of this life.
    pub(crate) seed: u64,
    /// When the drill began, in nanoseconds since the epoch: where the fast clock starts.
    pub(crate) base: i64,
    pub(crate) mode: Mode,
    /// Whether journal and leases are the parent's, shared with another life.
    pub(crate) shared: bool,
}

impl ChildOptions {
    /// Where the parent answers if they are.
    pub(crate) fn socket(folder: &Path) -> PathBuf {
        folder.join("shared.sock")
    }
}

/// What a life is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Services fall ill.
    Busy,
    /// Nobody falls ill any more; it says when nothing is left to do, and waits.
    Calm,
    /// The same, and then it shuts down.
    Finish,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Calm => "calm",
            Self::Finish => "finish",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Busy, Self::Calm, Self::Finish]
            .into_iter()
            .find(|mode| mode.name() == name)
    }
}

/// Heals until it is killed, or finished.
///
/// # Errors
/// If the healer does not start: the parent then sees a life that ended by itself.
pub(crate) fn serve(options: &ChildOptions) -> Result<(), Box<dyn Error>> {
    say(&[Line::Starting]);
    end_with_the_parent();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?;
    runtime.block_on(live(options))
}

/// The parent holds the other end of standard input: when it is gone, so is the child.
fn end_with_the_parent() {
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        std::process::exit(3);
    });
}

async fn live(options: &ChildOptions) -> Result<(), Box<dyn Error>> {
    let world = Arc::new(World::open(&options.folder)?);
    let remote = Remote::new(ChildOptions::socket(&options.folder));
    let journal: Arc<dyn Store> = if options.shared {
        Arc::new(remote.clone())
    } else {
        Arc::new(RedbStore::open(options.folder.join("journal.redb"))?)
    };
    let store = HookedStore::new(journal, Witness::default());
    say(&[Line::Opened]);
    let actions = actions(&world)?;
    let playbooks = playbooks(&actions)?;
    let clock = FastClock {
        base: Timestamp::from_nanos(options.base),
    };
    let mut settings = settings();
    let mut builder = Homeostasis::empty();
    if options.shared {
        settings.lease_ttl = SHARED_TTL;
        builder = builder.coordinator(Arc::new(remote));
    }
    let builder = builder
        .settings(settings)
        .policy(policy())
        .mode(Reach::Auto)
        .seed(options.seed)
        .clock(Arc::new(clock))
        .store(Arc::new(store))
        .escalation(people::rules())
        .detector(IllnessDetector)
        .analyzer(IllnessAnalyzer)
        .remediator(PlaybookRemediator::new(
            playbooks,
            actions,
            CheckRegistry::default(),
        ))
        .verifier(CureVerifier(Arc::clone(&world)));
    let builder = people::CHANNELS.into_iter().fold(builder, |builder, name| {
        let world = Arc::clone(&world);
        builder.channel(name, Arc::new(people::Channel { name, world }))
    });
    let healer = SERVICES
        .into_iter()
        .fold(builder, |builder, service| {
            builder.service(service, ServiceFacts::default())
        })
        .start()
        .await?;
    say(&[Line::Recovered]);
    healer.spawn(sample(healer.clone(), Arc::clone(&world)));
    let chance = Rng::from_seed(options.seed).fork(SERVICES.len() as u64);
    healer.spawn(people::respond(healer.clone(), Arc::clone(&world), chance));
    if options.mode == Mode::Busy {
        for (service, stream) in SERVICES.into_iter().zip(0..) {
            let chance = Rng::from_seed(options.seed).fork(stream);
            healer.spawn(fall_ill(
                healer.clone(),
                Arc::clone(&world),
                service,
                chance,
            ));
        }
        return std::future::pending().await;
    }
    until_idle(&healer, &world).await;
    say(&[Line::Idle]);
    if options.mode == Mode::Calm {
        return std::future::pending().await;
    }
    healer.shutdown().await;
    Ok(())
}

/// On the fast clock: `millis` of the wall.
pub(crate) fn wall(millis: u64) -> Duration {
    Duration::from_millis(millis) * SPEED
}

/// How long a shared lease lives without its holder.
pub(crate) const SHARED_TTL: Duration = Duration::from_millis(150 * SPEED as u64);

fn settings() -> EngineSettings {
    let mut settings = EngineSettings::default();
    settings.tick = wall(5);
    settings.settle = wall(4);
    settings.correlation_window = wall(20);
    settings.aftershock = wall(10);
    settings.quiet = wall(40);
    settings.max_concurrent_heals = 3;
    // The disk does not run faster with the clock.
    settings.detect_deadline = Duration::from_secs(60);
    settings.stage_deadline = wall(10_000);
    settings.lease_ttl = wall(10_000);
    settings
}

/// Limits, cool-downs and breakers bite, and the drill knows what they allow; everything else is
/// approved beforehand.
pub(crate) fn policy() -> Policy {
    let limit = |scope, max, window| Limit { scope, max, window };
    Policy {
        pre_approved: PLAYBOOKS.map(str::to_owned).into(),
        max_risk: RiskLevel::High,
        limits: vec![
            limit(LimitScope::Global, 8, wall(300)),
            limit(LimitScope::Target, 3, wall(300)),
        ],
        min_interval: wall(60),
        breaker: BreakerPolicy {
            consecutive_failures: 4,
            failure_ratio: Ratio::ONE,
            cool_down: wall(500),
            ..BreakerPolicy::default()
        },
        no_progress: 0,
        permit_ttl: wall(60_000),
        ..Policy::default()
    }
}

/// Records who is ill.
async fn sample(healer: Homeostasis, world: Arc<World>) {
    let (recorder, clock) = (healer.recorder(), healer.clock());
    let gauges = SERVICES.map(|service| {
        let key = SeriesKey::new(GAUGE).with("service", service);
        (service, recorder.series(&key))
    });
    loop {
        for (service, gauge) in &gauges {
            gauge.record(ill(&world, service).map_or(0.0, Illness::gauge));
        }
        clock.sleep(wall(3)).await;
    }
}

/// A service that falls ill again and again.
async fn fall_ill(healer: Homeostasis, world: Arc<World>, service: &'static str, mut chance: Rng) {
    let clock = healer.clock();
    loop {
        clock.sleep(wall(chance.below(100))).await;
        let illness = Illness::nth(chance.below(Illness::COUNT));
        if ill(&world, service).is_none()
            && let Err(error) = world.fall_ill(service, illness)
        {
            give_up(&error);
        }
        while ill(&world, service).is_some() {
            clock.sleep(wall(5)).await;
        }
    }
}

/// Nobody is ill and nothing is open, for long enough that nothing can be on its way.
async fn until_idle(healer: &Homeostasis, world: &World) {
    let mut quiet = 0;
    while quiet < 5 {
        healer.clock().sleep(wall(10)).await;
        let healthy = world.is_healthy().unwrap_or_else(|error| give_up(&error));
        let told = healer.channels().values().all(|it| it.waiting == 0);
        let idle = healthy && told && healer.open_incidents().is_empty();
        quiet = if idle { quiet + 1 } else { 0 };
    }
}

fn ill(world: &World, service: &str) -> Option<Illness> {
    world
        .illness(service)
        .unwrap_or_else(|error| give_up(&error))
}
