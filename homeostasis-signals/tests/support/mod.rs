//! What tests of probes need: real engines, and a proxy that misbehaves.
#![expect(
    clippy::disallowed_methods,
    reason = "tests start real programs and wait on a real clock"
)]

pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod rabbit;
pub(crate) mod redis;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homeostasis::SystemClock;
use homeostasis::core::signal::{HealthReport, HealthState, HealthTier};
use homeostasis::core::{Context, Target};
use homeostasis::signals::{Probe, Reading, ask};

/// How long an engine may take to start on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(120);

/// How much later than it should a busy machine may wake a test.
const PATIENCE: Duration = Duration::from_secs(30);

/// The password of every engine.
pub(crate) const PASSWORD: &str = "h-u-n-t-e-r-2";

pub(crate) fn target() -> Target {
    Target::service("shop").unwrap()
}

pub(crate) fn context() -> Context {
    Context::new(Arc::new(SystemClock), 7)
}

/// What one asking found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) reading: Reading,
    pub(crate) report: HealthReport,
    pub(crate) took: Duration,
}

impl Found {
    #[track_caller]
    pub(crate) fn is(&self, state: HealthState, beginning: &str) -> &Self {
        let report = &self.report;
        assert!(
            report.state == state && report.detail.starts_with(beginning),
            "{:?}: {}, expected {state:?}: {beginning}",
            report.state,
            report.detail
        );
        self
    }

    #[track_caller]
    pub(crate) fn is_healthy(&self) -> &Self {
        self.is(HealthState::Healthy, "")
    }

    #[track_caller]
    pub(crate) fn is_unhealthy(&self, beginning: &str) -> &Self {
        self.is(HealthState::Unhealthy, beginning)
    }
}

/// Asks once, as a schedule does, and checks what holds for every reading: one report of the deep
/// tier, `up`, the time limit kept, no task left behind, the password not told.
pub(crate) async fn found(probe: &impl Probe) -> Found {
    let alive = n_tasks();
    let started = Instant::now();
    let reading = ask(probe, &context()).await;
    let took = started.elapsed();
    assert!(took < probe.timeout() + PATIENCE, "{took:?}");
    if alive == 0 {
        assert_eq!(n_tasks(), 0, "tasks were left behind");
    }
    assert_eq!(reading.reports().count(), 1);
    let report = reading.reports().next().unwrap().clone();
    assert_eq!(report.tier, HealthTier::Deep);
    let up = if report.is_up() { 1.0 } else { 0.0 };
    assert_eq!(reading.value("up"), Some(up));
    assert!(!report.is_up() || reading.value("probe_latency_seconds").unwrap() > 0.0);
    for told in [format!("{reading:?}"), format!("{probe:?}")] {
        assert!(!told.contains(PASSWORD), "{told}");
    }
    Found {
        reading,
        report,
        took,
    }
}

/// Asks a probe that is given too little time, and checks that it tells what it ran out in, as far as
/// `during` goes.
///
/// A busy machine may use up a short time before it comes to that: then it is given more.
pub(crate) async fn given_up<P: Probe>(within: impl Fn(Duration) -> P, during: &str) -> Found {
    let mut limit = Duration::from_millis(300);
    loop {
        let now = found(&within(limit)).await;
        let expected = format!("timeout: no answer within {limit:?}, while {during}");
        if now.report.detail.starts_with(&expected) || limit > PATIENCE {
            now.is_unhealthy(&expected);
            assert!(now.took >= limit && now.report.latency == limit, "{now:?}");
            return now;
        }
        limit *= 5;
    }
}

/// How many tasks the runtime of this test has.
pub(crate) fn n_tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// Asks until `found` is as wanted: a server that comes and goes takes its time.
pub(crate) async fn found_in_time(probe: &impl Probe, wanted: impl Fn(&Found) -> bool) -> Found {
    let started = Instant::now();
    loop {
        let now = found(probe).await;
        if wanted(&now) || started.elapsed() > START {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs `command` to its end, gives what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}
