//! Asks probes at their intervals.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use homeostasis_core::signal::{HealthTier, SignalSink};
use homeostasis_core::{BoxFuture, Context, Timestamp};
use tokio::sync::Notify;

use super::asking::ask_until_sure;
use super::join::join_all;
use super::probing::Probe;
use super::reading::Reading;
use super::trigger::{Bell, ProbeTrigger};

/// The shortest interval: a probe must not become a load.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// The first asking comes within this time, or within the interval if that is shorter.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// A probe is asked out of turn this long after it was asked last, or later.
const LEAST_REST: Duration = Duration::from_secs(5);

/// Runs probes, each at its own interval and independent of all others.
///
/// - A probe is asked in slots of its interval, each with a jitter of up to a tenth of it; the
///   first comes within a second. Jitter comes from the context's seed and the probe's name and
///   target, so a run can be repeated and the order of adding does not matter.
/// - A probe never overlaps itself: slots that pass while it is being asked are left out.
/// - Each attempt has the probe's own time limit; a probe that is slow, hangs or panics delays no
///   other and is reported by name ([`Probe::missed`]).
/// - A failure is asked about again before it is reported, after a pause of a twentieth to a tenth
///   of the interval and at most 1 s, as often as the probe says ([`Probe::retries`]) and while an
///   attempt with its whole time limit still ends before the next slot. The report says how many
///   attempts it took; of the others only log records, spans and changes are kept.
/// - When a shallow check has failed, the deep checks of the same target, and of the services it
///   depends on according to the context's topology, are asked at once; hosts do the same with a
///   [`ProbeTrigger`].
/// - Reports get the probe's tier and interval.
/// - Nothing is spawned: [`ProbeSchedule::run`] is one future for all, and
///   [`ProbeSchedule::into_tasks`] gives one per probe for hosts that spawn them.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use homeostasis::core::signal::{HealthState, Signal, VecSink};
/// use homeostasis::core::{Context, ManualClock, Target, Timestamp};
/// use homeostasis::signals::{FnProbe, ProbeSchedule};
///
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let cx = Context::new(clock.clone(), 7);
/// let sink = Arc::new(VecSink::default());
/// let queue = Target::service("queue")?;
/// let probe = FnProbe::of_state("depth", queue, |_| async { (HealthState::Degraded, "900 waiting".to_owned()) });
/// let running = ProbeSchedule::new(sink.clone()).with(probe).run(&cx);
/// let stop = async {
///     for _ in 0..5 {
///         clock.advance(Duration::from_secs(10));
///         tokio::task::yield_now().await;
///     }
///     cx.cancellation().cancel();
/// };
/// tokio::join!(running, stop);
/// assert!(matches!(&sink.take()[0], Signal::Health(report) if report.state == HealthState::Degraded));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a schedule does nothing until it runs"]
pub struct ProbeSchedule {
    sink: Arc<dyn SignalSink>,
    probes: Vec<Arc<dyn Probe>>,
    trigger: ProbeTrigger,
}

impl ProbeSchedule {
    /// A schedule without probes that writes into `sink`.
    pub fn new(sink: Arc<dyn SignalSink>) -> Self {
        Self {
            sink,
            probes: Vec::new(),
            trigger: ProbeTrigger::default(),
        }
    }

    /// The same with one probe more; an `Arc<dyn Probe>` is a probe.
    pub fn with(mut self, probe: impl Probe + 'static) -> Self {
        self.probes.push(Arc::new(probe));
        self
    }

    /// The probes, in the order they were added.
    pub fn probes(&self) -> &[Arc<dyn Probe>] {
        &self.probes
    }

    /// What asks these probes out of turn once they run, those added later included.
    pub fn trigger(&self) -> ProbeTrigger {
        self.trigger.clone()
    }

    /// Asks all probes until the context is cancelled. They run in turn on the polling thread.
    ///
    /// # Cancel safety
    /// Dropping it drops what is being asked; nothing half is written.
    pub async fn run(self, cx: &Context) {
        join_all(self.into_tasks(cx)).await;
    }

    /// One future per probe, each of which ends when the context is cancelled.
    pub fn into_tasks(self, cx: &Context) -> Vec<BoxFuture<'static, ()>> {
        let Self {
            sink,
            probes,
            trigger,
        } = self;
        let bell = |probe: &Arc<dyn Probe>| Bell {
            target: probe.target().cloned(),
            tier: probe.tier(),
            rung: Arc::default(),
        };
        let bells: Vec<_> = probes.iter().map(bell).collect();
        let rungs: Vec<_> = bells.iter().map(|bell| Arc::clone(&bell.rung)).collect();
        trigger.connect(bells);
        let task = |(probe, rung): (Arc<dyn Probe>, Arc<Notify>)| -> BoxFuture<'static, ()> {
            let (cx, sink, trigger) = (cx.clone(), Arc::clone(&sink), trigger.clone());
            Box::pin(async move {
                let cancellation = cx.cancellation().clone();
                let following = follow(&*probe, &cx, &*sink, &rung, &trigger);
                first_of(cancellation.cancelled(), following).await;
            })
        };
        probes.into_iter().zip(rungs).map(task).collect()
    }
}

/// Asks one probe, slot after slot and whenever its bell rings.
async fn follow(
    probe: &dyn Probe,
    cx: &Context,
    sink: &dyn SignalSink,
    bell: &Notify,
    trigger: &ProbeTrigger,
) {
    let interval = probe.interval().max(MIN_INTERVAL);
    let mut rng = cx.rng(stream(probe));
    // Apart from the jitter of the slots, which must not depend on failures.
    let mut retry_rng = rng.fork(1);
    let mut slot = cx.now() + rng.jitter(interval.min(FIRST_WITHIN));
    let mut due = slot;
    // Nobody rang before: a call at the start is served at once.
    let mut rests_until = cx.now();
    loop {
        let is_slot = wait(due, bell, rests_until, cx).await;
        let until = if is_slot { slot + interval } else { due };
        // Who rang until now is answered by this asking.
        first_of(bell.notified(), ready(())).await;
        rests_until = cx.now() + LEAST_REST;
        let reading = ask_until_sure(probe, cx, &mut retry_rng, until).await;
        if probe.tier() == HealthTier::Shallow {
            look_deeper(&reading, cx, trigger);
        }
        reading.record(sink);
        if !is_slot && due > cx.now() {
            continue;
        }
        slot = slot + interval;
        let now = cx.now();
        if slot < now || slot.since(now) > interval * 2 {
            // Slots were missed, or the clock was set: the next one is a whole interval away only
            // if it would otherwise come at once.
            let late = now.since(slot).as_nanos() % interval.as_nanos().max(1);
            let late = Duration::from_nanos(u64::try_from(late).unwrap_or(u64::MAX));
            slot = now + interval.saturating_sub(late);
        }
        due = slot + rng.jitter(interval / 10);
    }
}

/// Waits for `due`, or for the bell and the end of the rest if that is earlier. Says whether it is
/// due.
async fn wait(due: Timestamp, bell: &Notify, rests_until: Timestamp, cx: &Context) -> bool {
    let is_due = {
        let (due, rung) = (cx.clock().sleep(due.since(cx.now())), bell.notified());
        first_of(due, rung).await
    };
    // A clock that was set back must not make the rest longer.
    let rest = rests_until.since(cx.now()).min(LEAST_REST);
    if is_due || cx.now() + rest >= due {
        cx.clock().sleep(due.since(cx.now())).await;
        return true;
    }
    cx.clock().sleep(rest).await;
    false
}

/// Asks the deep checks of what failed, and of what it depends on.
fn look_deeper(reading: &Reading, cx: &Context, trigger: &ProbeTrigger) {
    let failed = reading.reports().filter(|report| !report.is_up());
    let failed: BTreeSet<_> = failed.map(|report| &report.target).collect();
    for target in failed {
        trigger.ask_around(target, HealthTier::Deep, cx.topology());
    }
}

/// The chance of a probe: of its name and its target, since the same check of many instances must
/// not ask all of them in the same moment.
fn stream(probe: &dyn Probe) -> u64 {
    match probe.target() {
        Some(target) => stream_of(&format!("{target} {}", probe.name())),
        None => stream_of(probe.name()),
    }
}

/// FNV-1a: the same name draws the same jitter in every run.
pub(crate) fn stream_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Completes with the first of both, which is dropped with the other, and says whether that is `a`.
async fn first_of(a: impl Future<Output = ()>, b: impl Future<Output = ()>) -> bool {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| {
        if a.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        b.as_mut().poll(cx).map(|()| false)
    })
    .await
}

#[cfg(test)]
mod tests;
