//! A shop of two slots, a router that remembers what it was told, and an analyst whose rule is so
//! plain that its answers are known beforehand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::policy::Policy;
use homeostasis::core::port::{
    ArmMeter, MemoryArms, MemoryRouter, Store, TrafficError, TrafficRouter, Weights,
};
use homeostasis::core::record::{
    ArmInterval, CanaryAnswer, CanaryDecision, CanaryForecast, CanaryInterval, CanaryTraffic,
};
use homeostasis::core::stage::{CanaryAnalysis, CanaryAnalyst, CanaryError};
use homeostasis::core::{
    Clock, Context, Incident, IncidentId, Mode, Rng, ServiceFacts, Timestamp, async_trait,
};
use homeostasis::remediate::action::{AwaitCanary, ShiftTraffic};
use homeostasis::remediate::rollout::{Rollout, RolloutStage, RolloutStrategy};
use homeostasis::{Builder, EngineSettings, Homeostasis, SimulatedClock};

/// Requests a second.
const LOAD: u64 = 40;

/// What an arm must have answered before anything is said of it.
const ENOUGH: u64 = 50;

#[derive(Debug)]
pub(super) struct Shop {
    pub(super) router: Arc<MemoryRouter>,
    pub(super) arms: Arc<MemoryArms>,
    pub(super) clock: Arc<dyn Clock>,
    /// Which share of its requests a slot fails.
    pub(super) fails: Mutex<BTreeMap<String, f64>>,
    /// Answers by slot, good and bad.
    pub(super) answered: Mutex<BTreeMap<String, (u64, u64)>>,
    /// Weights of the new version, in the order they changed.
    pub(super) history: Mutex<Vec<u32>>,
    /// Whether anything is measured.
    pub(super) is_measured: Mutex<bool>,
    /// Until when the router answers nobody.
    pub(super) away_until: Mutex<Timestamp>,
}

/// The weight of the new version.
pub(super) fn green(weights: &Weights) -> u32 {
    let mut slots = weights.iter();
    slots
        .find(|(slot, _)| *slot == "green")
        .map_or(0, |it| it.1)
}

impl Shop {
    /// All requests go to `blue`; they flow as long as somebody has the shop.
    pub(super) async fn open() -> Arc<Self> {
        let start = Timestamp::from_secs(1_700_000_000);
        let shop = Arc::new(Self {
            router: Arc::default(),
            arms: Arc::default(),
            clock: Arc::new(SimulatedClock::starting_at(start)),
            fails: Mutex::default(),
            answered: Mutex::default(),
            history: Mutex::default(),
            is_measured: Mutex::new(true),
            away_until: Mutex::new(start),
        });
        let all = Weights::new([("blue", 100)]).unwrap();
        shop.router.set_weights("orders", &all).await.unwrap();
        let (weak, clock) = (Arc::downgrade(&shop), Arc::clone(&shop.clock));
        tokio::spawn(async move {
            let mut rng = Rng::from_seed(7);
            while let Some(shop) = weak.upgrade() {
                shop.serve_a_second(&mut rng);
                drop(shop);
                clock.sleep(Duration::from_secs(1)).await;
            }
        });
        shop
    }

    fn serve_a_second(&self, rng: &mut Rng) {
        for _ in 0..LOAD {
            let slot = self.router.pick("orders", rng).unwrap();
            let fails = self.fails.lock().unwrap();
            let is_failed = rng.unit() < fails.get(&slot).copied().unwrap_or(0.0);
            let mut answered = self.answered.lock().unwrap();
            let counts = answered.entry(slot.clone()).or_default();
            counts.0 += u64::from(!is_failed);
            counts.1 += u64::from(is_failed);
            let took = Duration::from_millis(5);
            self.arms
                .record(&*self.clock, ("orders", &slot), took, is_failed);
        }
    }

    pub(super) fn breaks(&self, slot: &str, share: f64) {
        self.fails.lock().unwrap().insert(slot.to_owned(), share);
    }

    fn reach(&self) -> Result<(), TrafficError> {
        if self.clock.now() < *self.away_until.lock().unwrap() {
            return Err(TrafficError::transient("reaching the router", "it is away"));
        }
        Ok(())
    }

    /// The weight of the new version now.
    pub(super) async fn green(&self) -> u32 {
        green(&self.router.weights("orders").await.unwrap().unwrap())
    }

    /// A healer of this shop that may roll out without asking.
    pub(super) fn healer(self: &Arc<Self>, store: &Arc<dyn Store>) -> Builder {
        let meter = Arc::clone(self) as Arc<dyn ArmMeter>;
        self.healer_by(store, AwaitCanary::new(meter, Arc::new(PlainAnalyst)))
    }

    /// The same with another watch.
    pub(super) fn healer_by(
        self: &Arc<Self>,
        store: &Arc<dyn Store>,
        watch: AwaitCanary,
    ) -> Builder {
        let mut settings = EngineSettings::default();
        settings.tick = Duration::from_secs(1);
        settings.lease_ttl = Duration::from_secs(10);
        settings.shutdown_grace = Duration::ZERO;
        let mut policy = Policy {
            min_interval: Duration::ZERO,
            permit_ttl: Duration::from_secs(30),
            ..Policy::default()
        };
        for name in [
            "rollouts.shift_traffic",
            "shift_traffic",
            "await_canary",
            "restart",
            "prepare",
            "retire",
        ] {
            policy.pre_approved.insert(name.to_owned());
        }
        Homeostasis::empty()
            .settings(settings)
            .policy(policy)
            .mode(Mode::Auto)
            .clock(Arc::clone(&self.clock))
            .store(Arc::clone(store))
            .service("orders", ServiceFacts::default())
            .action(ShiftTraffic::new(Arc::clone(self) as Arc<_>))
            .action(watch)
    }

    /// Waits until the rollout is closed or with people, for at most `secs`.
    pub(super) async fn ended(&self, healer: &Homeostasis, id: IncidentId, secs: u64) -> Incident {
        for _ in 0..secs {
            let incident = healer.incident(id).await.unwrap();
            if incident.is_closed() || incident.escalated {
                return incident;
            }
            self.clock.sleep(Duration::from_secs(1)).await;
        }
        panic!("{id} has not ended: {:?}", healer.incident(id).await);
    }
}

/// Three stages of at least ten seconds each, looked at every five.
pub(super) fn quick() -> Rollout {
    let mut rollout = Rollout::new("orders", "blue", "green");
    let stages = [10, 50, 100].map(|percent| RolloutStage {
        at_least: Duration::from_secs(10),
        ..RolloutStage::of(percent)
    });
    rollout.strategy = RolloutStrategy::Stages(stages.to_vec());
    rollout.interval = Duration::from_secs(5);
    rollout.decide_within = Duration::from_secs(60);
    rollout.min_requests = 50;
    rollout
}

#[async_trait]
impl TrafficRouter for Shop {
    async fn set_weights(&self, service: &str, weights: &Weights) -> Result<(), TrafficError> {
        self.reach()?;
        self.router.set_weights(service, weights).await?;
        let mut history = self.history.lock().unwrap();
        if history.last().copied().unwrap_or(0) != green(weights) {
            history.push(green(weights));
        }
        Ok(())
    }

    async fn weights(&self, service: &str) -> Result<Option<Weights>, TrafficError> {
        self.reach()?;
        self.router.weights(service).await
    }
}

#[async_trait]
impl ArmMeter for Shop {
    async fn answered(
        &self,
        cx: &Context,
        arm: (&str, &str),
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ArmInterval>, TrafficError> {
        if !*self.is_measured.lock().unwrap() {
            return Ok(None);
        }
        self.arms.answered(cx, arm, from, until).await
    }
}

/// Bad if more than twice the share fails and one in a hundred more, good otherwise, once both arms
/// have answered enough.
#[derive(Debug, Default)]
struct Plain {
    canary: (u64, u64),
    baseline: (u64, u64),
}

#[derive(Debug)]
pub(super) struct PlainAnalyst;

impl CanaryAnalysis for Plain {
    fn calibrate(&mut self, _: &CanaryInterval) {}

    fn observe(&mut self, interval: &CanaryInterval) {
        let arms = [&interval.canary, &interval.baseline];
        for (sum, arm) in [&mut self.canary, &mut self.baseline].into_iter().zip(arms) {
            let (requests, failed) = arm.as_ref().map_or((0, 0), |it| (it.requests, it.failed));
            *sum = (sum.0 + requests, sum.1 + failed);
        }
    }

    fn decision(&self) -> CanaryDecision {
        let share = |(requests, failed): (u64, u64)| failed as f64 / requests.max(1) as f64;
        let (canary, baseline) = (share(self.canary), share(self.baseline));
        let answer = if self.canary.0.min(self.baseline.0) < ENOUGH {
            CanaryAnswer::Continue
        } else if canary > 2.0 * baseline + 0.01 {
            CanaryAnswer::RollBack
        } else {
            CanaryAnswer::Promote
        };
        CanaryDecision {
            answer,
            reason: format!("{canary:.3} of the canary fail, {baseline:.3} of the baseline"),
            settled_by: Some(format!("{ENOUGH} requests of each")),
            harm_limit: 0.0,
            safe_limit: 0.0,
            evidence: Vec::new(),
        }
    }

    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

impl CanaryAnalyst for PlainAnalyst {
    fn begin(&self) -> Box<dyn CanaryAnalysis> {
        Box::new(Plain::default())
    }

    fn resume(&self, _: &serde_json::Value) -> Result<Box<dyn CanaryAnalysis>, CanaryError> {
        Ok(self.begin())
    }

    fn forecast(&self, _: &CanaryTraffic) -> CanaryForecast {
        CanaryForecast {
            minimum_effect: None,
            twice_found_after: None,
            promoted_after: None,
            summary: "after fifty requests of each".to_owned(),
        }
    }
}
