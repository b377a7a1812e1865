use std::sync::Mutex;

use async_trait::async_trait;
use homeostasis_core::signal::{HealthReport, HealthState, Level, LogRecord, Signal, VecSink};
use homeostasis_core::{ManualClock, ServiceFacts, Target, Topology};

use super::*;

/// What a probe of these tests does when it is asked.
#[derive(Debug, Clone, Copy)]
enum Does {
    Answer,
    Hang,
    /// Hang, and panic when the time is over and it is dropped.
    HangAndBreak,
    Panic,
    /// Answer after so many seconds.
    Dawdle(u64),
    /// Fail so many times, then be well.
    Fail(usize),
}

struct Breaks;

impl Drop for Breaks {
    fn drop(&mut self) {
        panic!("broken Drop");
    }
}

#[derive(Debug)]
struct Scripted {
    name: &'static str,
    target: Target,
    tier: HealthTier,
    timeout: Duration,
    does: Does,
    asked: Arc<Mutex<Vec<Timestamp>>>,
}

impl Scripted {
    fn new(name: &'static str, does: Does) -> Self {
        let timeout = match does {
            Does::Dawdle(secs) => Duration::from_secs(secs + 1),
            _ => Duration::from_secs(5),
        };
        Self {
            name,
            target: Target::service("shop").unwrap(),
            tier: HealthTier::Shallow,
            timeout,
            does,
            asked: Arc::default(),
        }
    }

    fn of(mut self, target: &str, tier: HealthTier) -> Self {
        (self.target, self.tier) = (target.parse().unwrap(), tier);
        self
    }

    fn within(mut self, millis: u64) -> Self {
        self.timeout = Duration::from_millis(millis);
        self
    }

    fn asked(&self) -> Arc<Mutex<Vec<Timestamp>>> {
        Arc::clone(&self.asked)
    }
}

#[async_trait]
impl Probe for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn tier(&self) -> HealthTier {
        self.tier
    }

    async fn probe(&self, cx: &Context) -> Reading {
        let at = cx.now();
        let n_before = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(at);
            asked.len() - 1
        };
        let mut state = HealthState::Healthy;
        match self.does {
            Does::Hang => std::future::pending().await,
            Does::HangAndBreak => {
                let _breaks = Breaks;
                std::future::pending::<()>().await;
            }
            Does::Panic => panic!("no such thing"),
            Does::Dawdle(secs) => cx.clock().sleep(Duration::from_secs(secs)).await,
            Does::Fail(times) if n_before < times => state = HealthState::Unhealthy,
            Does::Answer | Does::Fail(_) => {}
        }
        let mut reading = Reading::default();
        reading
            .signals
            .push(Signal::Log(LogRecord::new(at, Level::Info, self.name)));
        reading.reporting(HealthReport::new(at, self.target.clone(), self.name, state))
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// A schedule and the time it runs in.
struct Stage {
    clock: ManualClock,
    cx: Context,
    sink: Arc<VecSink>,
    schedule: ProbeSchedule,
}

impl Stage {
    fn new(probes: Vec<Scripted>, seed: u64) -> Self {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let sink = Arc::new(VecSink::default());
        let mut topology = Topology::default();
        for (name, needs) in [("shop", "db"), ("db", "disk"), ("disk", "disk")] {
            let depends_on = [needs.to_owned()].into();
            let facts = ServiceFacts {
                depends_on,
                ..ServiceFacts::default()
            };
            topology.insert(name, facts);
        }
        let cx = Context::new(Arc::new(clock.clone()), seed).in_topology(Arc::new(topology));
        let empty = ProbeSchedule::new(Arc::clone(&sink) as Arc<dyn SignalSink>);
        let schedule = probes.into_iter().fold(empty, ProbeSchedule::with);
        Self {
            clock,
            cx,
            sink,
            schedule,
        }
    }

    /// Runs it for `secs` simulated seconds and calls `meanwhile` every 50 ms.
    async fn run(self, secs: u64, meanwhile: impl Fn(Timestamp)) -> Vec<Signal> {
        let drive = async {
            for _ in 0..secs * 20 {
                self.clock.advance(Duration::from_millis(50));
                meanwhile(self.cx.now());
                // What was asked may ask others, and those may be asked again.
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            }
            self.cx.cancellation().cancel();
        };
        tokio::join!(self.schedule.run(&self.cx), drive);
        self.sink.take()
    }
}

fn reports(signals: Vec<Signal>) -> Vec<HealthReport> {
    let report = |signal| match signal {
        Signal::Health(report) => Some(report),
        _ => None,
    };
    signals.into_iter().filter_map(report).collect()
}

/// Runs the probes for `secs` simulated seconds; gives the reports.
async fn run(probes: Vec<Scripted>, secs: u64, seed: u64) -> Vec<HealthReport> {
    reports(Stage::new(probes, seed).run(secs, |_| {}).await)
}

fn gaps(asked: &[Timestamp]) -> Vec<Duration> {
    asked.windows(2).map(|two| two[1].since(two[0])).collect()
}

#[tokio::test]
async fn probes_that_hang_or_panic_are_named_and_delay_no_other() {
    let probes = vec![
        Scripted::new("hangs", Does::Hang),
        Scripted::new("breaks", Does::HangAndBreak),
        Scripted::new("panics", Does::Panic),
        Scripted::new("answers", Does::Answer),
    ];
    let reports = run(probes, 100, 1).await;
    let of = |name: &str| -> Vec<&HealthReport> {
        reports
            .iter()
            .filter(|report| report.check == name)
            .collect()
    };
    for name in ["hangs", "breaks", "panics", "answers"] {
        assert!(
            (9..=11).contains(&of(name).len()),
            "{name}: {}",
            of(name).len()
        );
    }
    assert!(
        of("answers")
            .iter()
            .all(|r| r.state == HealthState::Healthy)
    );
    assert!(
        of("hangs")
            .iter()
            .all(|r| !r.is_up() && r.detail.contains("within 5s"))
    );
    assert!(
        of("panics")
            .iter()
            .all(|r| !r.is_up() && r.detail.contains("no such thing"))
    );
}

#[tokio::test]
async fn a_probe_slower_than_its_interval_never_overlaps_itself() {
    let slow = Scripted::new("slow", Does::Dawdle(25));
    let asked = slow.asked();
    run(vec![slow], 200, 2).await;
    let asked = asked.lock().unwrap().clone();
    assert!((6..=8).contains(&asked.len()), "{asked:?}");
    assert!(
        gaps(&asked)
            .iter()
            .all(|gap| *gap >= Duration::from_secs(25))
    );
}

#[tokio::test]
async fn slots_do_not_drift_and_jitter_is_seeded() {
    let ask_all = async |seed| {
        let probe = Scripted::new("steady", Does::Answer);
        let asked = probe.asked();
        run(vec![probe], 1000, seed).await;
        let asked = asked.lock().unwrap();
        asked.clone()
    };
    let times = ask_all(3).await;
    assert_eq!(times.len(), 100);
    for (n, at) in times.iter().enumerate() {
        let slot = n as f64 * 10.0;
        assert!((slot..slot + 2.1).contains(&at.as_secs_f64()), "{n}: {at}");
    }
    assert_eq!(times, ask_all(3).await);
    assert_ne!(times, ask_all(4).await);
}

#[tokio::test]
async fn the_same_check_of_many_instances_does_not_ask_all_in_the_same_moment() {
    let probes: Vec<_> = (0..8)
        .map(|n| {
            Scripted::new("healthz", Does::Answer).of(&format!("shop/{n}"), HealthTier::Shallow)
        })
        .collect();
    let asked: Vec<_> = probes.iter().map(Scripted::asked).collect();
    run(probes, 15, 6).await;
    let mut first: Vec<_> = asked.iter().map(|asked| asked.lock().unwrap()[0]).collect();
    first.sort();
    first.dedup();
    // The clock of the test moves in steps of 50 ms, of which a second has 20.
    assert!(first.len() >= 4, "{first:?}");
}

#[tokio::test]
async fn a_blip_is_asked_about_again_and_not_reported() {
    let blip = Scripted::new("blip", Does::Fail(2)).within(100);
    let signals = Stage::new(vec![blip], 5).run(15, |_| {}).await;
    // The logs of every attempt are kept: they are read once.
    let is_log = |signal: &&Signal| matches!(signal, Signal::Log(_));
    assert_eq!(signals.iter().filter(is_log).count(), 4);
    let reports = reports(signals);
    let seen: Vec<_> = reports.iter().map(|r| (r.state, r.attempts)).collect();
    assert_eq!(seen, [(HealthState::Healthy, 3), (HealthState::Healthy, 1)]);
    assert_eq!(reports[0].interval, Some(Duration::from_secs(10)));
}

#[tokio::test]
async fn each_tier_retries_as_its_plan_says_and_within_its_slot() {
    for (tier, attempts) in [
        (HealthTier::Shallow, 4),
        (HealthTier::Deep, 3),
        (HealthTier::Comprehensive, 1),
    ] {
        let failing = Scripted::new("fails", Does::Fail(usize::MAX))
            .of("shop", tier)
            .within(100);
        let asked = failing.asked();
        let reports = run(vec![failing], 25, 6).await;
        assert!(
            reports
                .iter()
                .all(|r| r.tier == tier && r.attempts == attempts)
        );
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), reports.len() * attempts as usize);
        for pause in gaps(&asked[..attempts as usize]) {
            assert!((500..=1050).contains(&pause.as_millis()), "{pause:?}");
        }
    }
}

#[tokio::test]
async fn no_attempt_begins_that_could_end_after_the_next_slot() {
    // 4 s each and a pause: two fit into 10 s, four do not.
    let hangs = Scripted::new("hangs", Does::Hang).within(4000);
    let asked = hangs.asked();
    let reports = run(vec![hangs], 200, 7).await;
    assert!((19..=21).contains(&reports.len()), "{}", reports.len());
    assert!(reports.iter().all(|report| report.attempts == 2));
    let asked = asked.lock().unwrap();
    let shortest = gaps(&asked).into_iter().min().unwrap();
    // The next attempt never begins before the last one's time limit is over.
    assert!(shortest >= Duration::from_secs(4), "{shortest:?}");
}

#[tokio::test]
async fn a_failing_shallow_check_asks_the_deep_ones_of_its_target_and_of_what_that_needs() {
    let deep = |name, target: &str| Scripted::new(name, Does::Answer).of(target, HealthTier::Deep);
    let probes = vec![
        Scripted::new("shallow", Does::Fail(usize::MAX))
            .of("shop/0", HealthTier::Shallow)
            .within(100),
        deep("own", "shop"),
        deep("needed", "db"),
        deep("needed by what is needed", "disk"),
        deep("neighbor", "shop/1"),
    ];
    let asked: Vec<_> = probes.iter().map(Scripted::asked).collect();
    run(probes, 300, 8).await;
    let asked: Vec<_> = asked.iter().map(|asked| asked.lock().unwrap()).collect();
    // 10 slots of their own, and one call for each of the 30 failures.
    for near in [1, 2] {
        let n = asked[near].len();
        assert!((35..=42).contains(&n), "{near}: {n}");
    }
    for far in [3, 4] {
        assert_eq!(asked[far].len(), 10, "{far}");
    }
}

#[tokio::test]
async fn failing_deep_checks_ask_nobody() {
    let probes = vec![
        Scripted::new("a", Does::Fail(usize::MAX)).of("shop", HealthTier::Deep),
        Scripted::new("b", Does::Answer).of("shop", HealthTier::Deep),
    ];
    let asked = probes[1].asked();
    run(probes, 300, 9).await;
    assert_eq!(asked.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn calls_without_end_are_answered_every_five_seconds_and_never_overlap() {
    let slow = Scripted::new("slow", Does::Dawdle(2)).of("shop", HealthTier::Comprehensive);
    let asked = slow.asked();
    let stage = Stage::new(vec![slow], 10);
    let trigger = stage.schedule.trigger();
    let shop = Target::service("shop").unwrap();
    let calls = |_| assert_eq!(trigger.ask(&shop, HealthTier::Comprehensive), 1);
    stage.run(100, calls).await;
    let asked = asked.lock().unwrap();
    assert!((19..=20).contains(&asked.len()), "{asked:?}");
    // Its only slot does not wait for the rest, but for the answer.
    let gaps = gaps(&asked);
    assert!(gaps[0] >= Duration::from_secs(2), "{gaps:?}");
    let pause = Duration::from_secs(5);
    assert!(gaps[1..].iter().all(|gap| *gap == pause), "{gaps:?}");
}

#[tokio::test]
async fn many_calls_before_an_asking_are_one_call() {
    let probe = Scripted::new("deep", Does::Answer).of("shop", HealthTier::Comprehensive);
    let asked = probe.asked();
    let stage = Stage::new(vec![probe], 11);
    let trigger = stage.schedule.trigger();
    let shop = Target::service("shop").unwrap();
    let calls = |now: Timestamp| {
        let is_time = (100..=102).contains(&(now.as_millis() / 1000));
        if is_time {
            assert_eq!(trigger.ask(&shop, HealthTier::Comprehensive), 1);
            assert_eq!(trigger.ask(&shop, HealthTier::Deep), 0);
        }
    };
    stage.run(200, calls).await;
    let asked: Vec<_> = asked
        .lock()
        .unwrap()
        .iter()
        .map(|at| at.as_millis() / 1000)
        .collect();
    // Its first slot, the first call, and once more for all the calls during its rest.
    assert_eq!(asked[1..], [100, 105], "{asked:?}");
}
