//! Whose doing it is: a heal that only seems to help is no success, whatever its criteria say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::policy::Policy;
use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::{
    EffectClass, EventKind, Inverse, Recommendation, Resolution, RiskLevel, Verdict, VerdictKind,
};
use homeostasis::core::signal::SeriesKey;
use homeostasis::core::{BoxError, Context, Mode, ServiceFacts, async_trait};
use homeostasis::remediate::action::{Action, ActionCall, ActionError, ActionSpec};
use homeostasis::verify::{ScenarioFunction, Scenarios, SequentialWatch, WatchConfig};
use homeostasis::{Builder, EngineSettings, Homeostasis, SimulatedClock};
use serde_json::{Map, Value, json};

use crate::world::{START, is, pass, until};

const RESTART: &str = "\
playbook_id: restart
name: Restart the instance
version: '1'
severity: low
trigger:
  # Of one instance: trouble of most of them is a storm, and the gate lets nobody act in it.
  condition: queue_seconds{instance='0'} > 5
  duration: 5s
  service: a/0
remediation_steps:
  - {step: 1, action: restart, timeout: 30s}
verification:
  check: queue_seconds < 2
  consecutive: 3
  wait_time: 1s
  watch: 30s
";

/// Three instances with a queue each. The engine sees them through the gauge `queue_seconds` only.
#[derive(Debug, Default)]
struct Pool {
    queues: Mutex<BTreeMap<&'static str, f64>>,
    /// Whether a restart empties the queue of `a/0`, or does nothing.
    is_remedy: AtomicBool,
    n_restarts: AtomicU32,
}

impl Pool {
    fn new(is_remedy: bool) -> Arc<Self> {
        let pool = Self::default();
        pool.is_remedy.store(is_remedy, Ordering::SeqCst);
        pool.set(&["0", "1", "2"], 1.0);
        Arc::new(pool)
    }

    fn set(&self, instances: &[&'static str], secs: f64) {
        let mut queues = self.queues.lock().unwrap();
        queues.extend(instances.iter().map(|instance| (*instance, secs)));
    }

    fn builder(self: &Arc<Self>, playbook: &str) -> Builder {
        let mut settings = EngineSettings::default();
        settings.quiet = Duration::from_secs(30);
        let mut policy = Policy {
            min_interval: Duration::ZERO,
            ..Policy::default()
        };
        policy.pre_approved.insert("restart".to_owned());
        let facts = ServiceFacts {
            instances: 3,
            ..ServiceFacts::default()
        };
        Homeostasis::builder()
            .action(Restart(restart_spec(), Arc::clone(self)))
            .playbook("restart.yaml", playbook)
            .settings(settings)
            .policy(policy)
            .mode(Mode::Auto)
            .clock(Arc::new(SimulatedClock::starting_at(START)))
            .store(Arc::new(MemoryStore::default()) as Arc<dyn Store>)
            .service("a", facts)
    }

    /// Records what the queues are of those of `instances` once a second.
    fn record(self: &Arc<Self>, healer: &Homeostasis, instances: &'static [&'static str]) {
        let (pool, recorder, clock) = (Arc::clone(self), healer.recorder(), healer.clock());
        healer.spawn(async move {
            let gauges: Vec<_> = instances
                .iter()
                .map(|instance| {
                    let key = SeriesKey::new("queue_seconds").with("service", "a");
                    recorder.series(&key.with("instance", *instance))
                })
                .collect();
            loop {
                for (instance, gauge) in instances.iter().zip(&gauges) {
                    let secs = pool.queues.lock().unwrap()[instance];
                    gauge.record(secs);
                }
                clock.sleep(Duration::from_secs(1)).await;
            }
        });
    }
}

fn restart_spec() -> ActionSpec {
    ActionSpec::new("a test")
        .with_effect(EffectClass::Idempotent)
        .with_risk(RiskLevel::Low)
        .with_inverse(Inverse::Nothing)
}

#[derive(Debug)]
struct Restart(ActionSpec, Arc<Pool>);

#[async_trait]
impl Action for Restart {
    fn name(&self) -> &'static str {
        "restart"
    }

    fn spec(&self) -> &ActionSpec {
        &self.0
    }

    async fn perform(&self, cx: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        cx.clock().sleep(Duration::from_secs(3)).await;
        self.1.n_restarts.fetch_add(1, Ordering::SeqCst);
        if self.1.is_remedy.load(Ordering::SeqCst) {
            self.1.set(&["0"], 1.0);
        }
        Ok(Value::Null)
    }
}

fn verdict_of(kind: &EventKind) -> Option<Verdict> {
    match kind {
        EventKind::Verified { verdict, .. } => Some(verdict.clone()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn one_instance_that_a_restart_cures_is_a_success_at_once() {
    let pool = Pool::new(true);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let builder = pool.builder(RESTART).store(Arc::clone(&store));
    let healer = builder.start().await.unwrap();
    pool.record(&healer, &["0", "1", "2"]);
    pass(&healer, 300).await;
    let mut events = healer.subscribe();
    pool.set(&["0"], 9.0);
    let began = healer.clock().now();
    let verified = until(&healer, &mut events, is("verified")).await;
    let verdict = verdict_of(&verified.kind).unwrap();
    assert_eq!(verdict.kind, VerdictKind::Success, "{verdict:?}");
    let took = verdict.at.since(began);
    assert!(
        took < Duration::from_secs(25),
        "{took:?}: peers that are well are not waited for"
    );
    let closed = until(&healer, &mut events, is("closed")).await;
    let EventKind::Closed { resolution } = &closed.kind else {
        unreachable!("asked for")
    };
    assert!(
        !matches!(resolution, Resolution::Recovered),
        "{resolution:?}"
    );
    let breaker = store.document("breaker/restart").await.unwrap();
    assert!(breaker.is_some(), "it counts a success");
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_single_host_that_was_hardly_seen_before_is_partial_at_most() {
    let pool = Pool::new(true);
    let healer = pool.builder(RESTART).start().await.unwrap();
    pool.record(&healer, &["0"]);
    pass(&healer, 15).await;
    let mut events = healer.subscribe();
    pool.set(&["0"], 9.0);
    let verified = until(&healer, &mut events, is("verified")).await;
    let verdict = verdict_of(&verified.kind).unwrap();
    assert_eq!(verdict.kind, VerdictKind::Partial, "{verdict:?}");
    assert!(verdict.reason.contains("it was seen for"), "{verdict:?}");
    // It is over, nobody is called, and nobody says that the playbook did it.
    let closed = until(&healer, &mut events, is("closed")).await;
    assert!(matches!(
        &closed.kind,
        EventKind::Closed {
            resolution: Resolution::Recovered
        }
    ));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_metric_that_falls_everywhere_by_itself_is_partial_and_not_a_success() {
    let pool = Pool::new(false);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let builder = pool.builder(RESTART).store(Arc::clone(&store));
    let healer = builder.start().await.unwrap();
    pool.record(&healer, &["0", "1", "2"]);
    pass(&healer, 60).await;
    let mut events = healer.subscribe();
    // A shock that hits all alike, and passes alike while one of them is restarted for nothing.
    pool.set(&["0", "1", "2"], 9.0);
    until(&healer, &mut events, is("step_intended")).await;
    pool.set(&["0", "1", "2"], 1.0);
    let verified = until(&healer, &mut events, is("verified")).await;
    let verdict = verdict_of(&verified.kind).unwrap();
    assert_eq!(pool.n_restarts.load(Ordering::SeqCst), 1);
    assert_eq!(verdict.kind, VerdictKind::Partial, "{verdict:?}");
    assert!(
        verdict
            .reason
            .contains("2 of 2 untreated peers that failed it alike got well too"),
        "{}",
        verdict.reason
    );
    // It is over all the same, and nobody says that the playbook did it.
    let closed = until(&healer, &mut events, is("closed")).await;
    assert!(matches!(
        &closed.kind,
        EventKind::Closed {
            resolution: Resolution::Recovered
        }
    ));
    let story = healer.events_of(closed.incident).await.unwrap();
    let verdicts = story.iter().filter_map(|event| verdict_of(&event.kind));
    assert!(
        verdicts
            .into_iter()
            .all(|it| it.kind != VerdictKind::Success)
    );
    let breaker = store.document("breaker/restart").await.unwrap();
    assert!(
        breaker.is_none(),
        "nothing failed, and nothing is proven: {breaker:?}"
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn peers_that_stay_ill_prove_the_remedy_once_they_had_as_long() {
    let pool = Pool::new(true);
    let healer = pool.builder(RESTART).start().await.unwrap();
    pool.record(&healer, &["0", "1", "2"]);
    pass(&healer, 60).await;
    let mut events = healer.subscribe();
    pool.set(&["0", "1", "2"], 9.0);
    let verified = until(&healer, &mut events, is("verified")).await;
    let verdict = verdict_of(&verified.kind).unwrap();
    assert_eq!(verdict.kind, VerdictKind::Success, "{verdict:?}");
    let details: Vec<_> = verdict
        .checks
        .iter()
        .map(|check| check.detail.as_str())
        .collect();
    assert!(
        details
            .iter()
            .any(|it| it.contains("0 of 2 untreated peers")),
        "{details:?}"
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_single_noisy_host_whose_excursions_end_by_themselves_is_never_a_success() {
    let pool = Pool::new(false);
    let healer = pool
        .builder(RESTART)
        .mode(Mode::Observe)
        .start()
        .await
        .unwrap();
    pool.record(&healer, &["0"]);
    let mut events = healer.subscribe();
    // Excursions of 3 to 17 s, 45 s apart; it acts from the ninth on, and its restarts do nothing.
    for (idx, secs) in [3, 9, 12, 4, 17, 8, 5, 11]
        .into_iter()
        .cycle()
        .take(40)
        .enumerate()
    {
        if idx == 8 {
            healer.set_mode(Mode::Auto);
        }
        pool.set(&["0"], 9.0);
        pass(&healer, secs).await;
        pool.set(&["0"], 1.0);
        pass(&healer, 45).await;
    }
    healer.shutdown().await;
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await {
        kinds.extend(verdict_of(&event.kind).map(|verdict| verdict.kind));
    }
    assert!(pool.n_restarts.load(Ordering::SeqCst) > 0);
    assert!(
        !kinds.is_empty() && !kinds.contains(&VerdictKind::Success),
        "{kinds:?}"
    );
}

/// A function of the host that says how many orders can be placed.
#[derive(Debug)]
struct Orders(Arc<AtomicU32>);

#[async_trait]
impl ScenarioFunction for Orders {
    fn has_side_effects(&self) -> bool {
        false
    }

    async fn call(&self, _: &Context, _: &Map<String, Value>) -> Result<Value, BoxError> {
        Ok(json!({"placed": self.0.load(Ordering::SeqCst)}))
    }
}

const PHASES: &str = "
  immediate: {check: queue_seconds < 8, within: 10s}
  scenarios:
    - name: an order is placed
      steps:
        - {name: place, function: orders, json: {/placed: 1}}
  stability: 5m
  stability_interval: 10s
";

fn with_orders(orders: &Arc<AtomicU32>) -> SequentialWatch {
    let function = Orders(Arc::clone(orders));
    let scenarios = Scenarios::default()
        .with_function("orders", function)
        .unwrap();
    SequentialWatch::new(WatchConfig::default())
        .unwrap()
        .with_scenarios(scenarios)
}

#[tokio::test(start_paused = true)]
async fn every_phase_of_the_workflow_is_gone_through_in_its_time() {
    let orders = Arc::new(AtomicU32::new(1));
    let playbook = format!("{RESTART}{}", PHASES.trim_start_matches('\n'));
    for (placed, relapse, kind, advice) in [
        (1, false, VerdictKind::Success, Recommendation::Close),
        (0, false, VerdictKind::Partial, Recommendation::Investigate),
        (1, true, VerdictKind::Failed, Recommendation::RollBack),
    ] {
        orders.store(placed, Ordering::SeqCst);
        let pool = Pool::new(true);
        let builder = pool
            .builder(&playbook)
            .sequential_watch(with_orders(&orders));
        let healer = builder.start().await.unwrap();
        pool.record(&healer, &["0"]);
        pass(&healer, 300).await;
        let mut events = healer.subscribe();
        pool.set(&["0"], 9.0);
        let ended = until(&healer, &mut events, is("run_ended")).await;
        if relapse {
            pass(&healer, 120).await;
            pool.set(&["0"], 9.0);
        }
        let verified = until(&healer, &mut events, is("verified")).await;
        let verdict = verdict_of(&verified.kind).unwrap();
        assert_eq!(
            (verdict.kind, verdict.recommendation),
            (kind, advice),
            "{verdict:?}"
        );
        let watched = verdict.at.since(ended.at);
        let is_long = watched > Duration::from_secs(300);
        assert_eq!(is_long, placed == 1, "{watched:?}");
        let words: Vec<_> = verdict
            .checks
            .iter()
            .map(|it| it.criterion.as_str())
            .collect();
        for phase in [
            "immediate: queue_seconds < 8",
            "functional: an order is placed",
        ] {
            assert!(words.iter().any(|it| it.starts_with(phase)), "{words:?}");
        }
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_scenario_that_cannot_be_done_here_is_refused_at_the_start() {
    let playbook = format!("{RESTART}{}", PHASES.trim_start_matches('\n'));
    let refused = Pool::new(true)
        .builder(&playbook)
        .start()
        .await
        .unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("restart.verification.scenarios") && text.contains(r#"function = "orders""#),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_baseline_that_is_long_forgotten_is_refused_at_the_start() {
    let compare =
        "  comparison: [{metric: queue_seconds, at_most: 1.1, baseline: same_time_last_week}]";
    let playbook = format!("{RESTART}{compare}\n");
    let started = |window| {
        let mut settings = EngineSettings::default();
        settings.window = Duration::from_secs(window);
        let builder = Pool::new(true).builder(&playbook).settings(settings);
        async move { builder.start().await }
    };
    let text = started(900).await.unwrap_err().to_string();
    assert!(
        text.contains("restart.verification.comparison") && text.contains("this needs 604860s"),
        "{text}"
    );
    started(7 * 86_400 + 60).await.unwrap().shutdown().await;
}
