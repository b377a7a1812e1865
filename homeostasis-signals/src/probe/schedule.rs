//! Asks probes at their intervals.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use homeostasis_core::signal::SignalSink;
use homeostasis_core::{BoxFuture, Context, timeout};

use super::join::join_all;
use super::probing::{Missed, Probe};
use super::reading::Reading;

/// The shortest interval: a probe must not become a load.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// The first asking comes within this time, or within the interval if that is shorter.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// Runs probes, each at its own interval and independent of all others.
///
/// - A probe is asked in slots of its interval, each with a jitter of up to a tenth of it; the
///   first comes within a second. Jitter comes from the context's seed and the probe's name, so a
///   run can be repeated and the order of adding does not matter.
/// - A probe never overlaps itself: slots that pass while it is being asked are left out.
/// - Each asking has the probe's own time limit; a probe that is slow, hangs or panics delays no
///   other and is reported by name ([`Probe::missed`]).
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
}

impl ProbeSchedule {
    /// A schedule without probes that writes into `sink`.
    pub fn new(sink: Arc<dyn SignalSink>) -> Self {
        Self {
            sink,
            probes: Vec::new(),
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

    /// Asks all probes until the context is cancelled. They run in turn on the polling thread.
    ///
    /// # Cancel safety
    /// Dropping it drops what is being asked; nothing half is written.
    pub async fn run(self, cx: &Context) {
        join_all(self.into_tasks(cx)).await;
    }

    /// One future per probe, each of which ends when the context is cancelled.
    pub fn into_tasks(self, cx: &Context) -> Vec<BoxFuture<'static, ()>> {
        let sink = self.sink;
        self.probes
            .into_iter()
            .map(|probe| {
                let (cx, sink) = (cx.clone(), Arc::clone(&sink));
                let task: BoxFuture<'static, ()> = Box::pin(async move {
                    let cancellation = cx.cancellation().clone();
                    let following = follow(&*probe, &cx, &*sink);
                    first_of(cancellation.cancelled(), following).await;
                });
                task
            })
            .collect()
    }
}

/// Asks `probe` once, with its time limit, and whatever happens gives a reading.
///
/// This is what a schedule does at each slot; verifiers use it to ask now.
pub async fn ask(probe: &dyn Probe, cx: &Context) -> Reading {
    let limit = probe.timeout();
    let cx = cx.clone().within(limit);
    let asked = timeout(&**cx.clock(), limit, no_panic(probe.probe(&cx))).await;
    let why = match asked {
        Ok(Ok(reading)) => return reading,
        Ok(Err(message)) => Missed::Panicked(message),
        Err(_) => Missed::TimedOut(limit),
    };
    let missed = AssertUnwindSafe(|| probe.missed(cx.now(), &why));
    catch_unwind(missed).unwrap_or_default()
}

async fn follow(probe: &dyn Probe, cx: &Context, sink: &dyn SignalSink) {
    let interval = probe.interval().max(MIN_INTERVAL);
    let mut rng = cx.rng(stream_of(probe.name()));
    let mut slot = cx.now() + rng.jitter(interval.min(FIRST_WITHIN));
    loop {
        let wait = (slot + rng.jitter(interval / 10)).since(cx.now());
        cx.clock().sleep(wait).await;
        ask(probe, cx).await.record(sink);
        slot = slot + interval;
        let now = cx.now();
        if slot < now || slot.since(now) > interval * 2 {
            // Slots were missed, or the clock was set: the next one is a whole interval away only
            // if it would otherwise come at once.
            let late = now.since(slot).as_nanos() % interval.as_nanos().max(1);
            let late = Duration::from_nanos(u64::try_from(late).unwrap_or(u64::MAX));
            slot = now + interval.saturating_sub(late);
        }
    }
}

/// FNV-1a: the same name draws the same jitter in every run.
pub(crate) fn stream_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Runs `future`; a panic in it becomes its message.
async fn no_panic<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = Box::pin(future);
    poll_fn(
        move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a payload that is not text".to_owned()))),
        },
    )
    .await
}

/// Completes with the first of both, which is dropped with the other.
async fn first_of(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| {
        if a.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        b.as_mut().poll(cx)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use homeostasis_core::signal::{HealthReport, HealthState, Signal, VecSink};
    use homeostasis_core::{ManualClock, Target, Timestamp};

    use super::*;

    /// What a probe of these tests does when it is asked.
    #[derive(Debug, Clone, Copy)]
    enum Does {
        Answer,
        Hang,
        Panic,
        /// Answer after so many seconds.
        Dawdle(u64),
    }

    #[derive(Debug)]
    struct Scripted {
        name: &'static str,
        target: Target,
        does: Does,
        asked: Arc<Mutex<Vec<Timestamp>>>,
    }

    impl Scripted {
        fn new(name: &'static str, does: Does) -> Self {
            Self {
                name,
                target: Target::service("shop").unwrap(),
                does,
                asked: Arc::default(),
            }
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

        async fn probe(&self, cx: &Context) -> Reading {
            self.asked.lock().unwrap().push(cx.now());
            match self.does {
                Does::Answer => {}
                Does::Hang => std::future::pending().await,
                Does::Panic => panic!("no such thing"),
                Does::Dawdle(secs) => cx.clock().sleep(Duration::from_secs(secs)).await,
            }
            let report = HealthReport::new(
                cx.now(),
                self.target.clone(),
                self.name,
                HealthState::Healthy,
            );
            Reading::default().reporting(report)
        }

        fn timeout(&self) -> Duration {
            match self.does {
                Does::Dawdle(secs) => Duration::from_secs(secs + 1),
                _ => Duration::from_secs(5),
            }
        }
    }

    /// Runs the probes for `secs` simulated seconds; gives the reports.
    async fn run(probes: Vec<Scripted>, secs: u64, seed: u64) -> Vec<HealthReport> {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let cx = Context::new(Arc::new(clock.clone()), seed);
        let sink = Arc::new(VecSink::default());
        let schedule = probes.into_iter().fold(
            ProbeSchedule::new(Arc::clone(&sink) as Arc<dyn SignalSink>),
            ProbeSchedule::with,
        );
        let drive = async {
            for _ in 0..secs * 20 {
                clock.advance(Duration::from_millis(50));
                tokio::task::yield_now().await;
            }
            cx.cancellation().cancel();
        };
        tokio::join!(schedule.run(&cx), drive);
        sink.take()
            .into_iter()
            .map(|signal| match signal {
                Signal::Health(report) => report,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[tokio::test]
    async fn probes_that_hang_or_panic_are_named_and_delay_no_other() {
        let probes = vec![
            Scripted::new("hangs", Does::Hang),
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
        for name in ["hangs", "panics", "answers"] {
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
        let asked = Arc::clone(&slow.asked);
        run(vec![slow], 200, 2).await;
        let asked = asked.lock().unwrap().clone();
        assert!((6..=8).contains(&asked.len()), "{asked:?}");
        assert!(
            asked
                .windows(2)
                .all(|pair| pair[1].since(pair[0]) >= Duration::from_secs(25))
        );
    }

    #[tokio::test]
    async fn slots_do_not_drift_and_jitter_is_seeded() {
        let ask_all = async |seed| {
            let probe = Scripted::new("steady", Does::Answer);
            let asked = Arc::clone(&probe.asked);
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
}
