//! A third party's detector goes from the conformance suite into a running engine and opens an incident.
//!
//! Run it: `cargo run --example custom_detector`. It needs no network and takes a few seconds.
//!
//! [`my_plugin`] stands for somebody else's crate: it depends on `homeostasis-core` alone. The rest
//! is the host: a mailer with a queue, whose worker becomes slow. The program ends with 0 only if
//! the detector keeps its contract, is silent while all is well, and finds the slow worker.
#![expect(
    clippy::print_stdout,
    reason = "an example talks to the person who runs it"
)]

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use homeostasis::core::signal::SeriesKey;
use homeostasis::core::{BoxError, BoxFuture, Clock, ServiceFacts, timeout};
use homeostasis::{Homeostasis, Recorder};

use my_plugin::QueueWait;

/// The plug-in: one file, one dependency.
mod my_plugin {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use homeostasis_core::record::{Anomaly, Direction, Expectation, Subject};
    use homeostasis_core::signal::{Interest, SignalBatch};
    use homeostasis_core::stage::{DetectError, Detector};
    use homeostasis_core::{Context, Target, Timestamp, async_trait};

    /// How many targets are followed; more are passed over.
    const MAX_TARGETS: usize = 1_000;

    /// Finds queues in which work waits longer than promised, before anybody has waited so long.
    ///
    /// By Little's law (J. D. C. Little, "A Proof for the Queuing Formula L = λW", 1961) who joins
    /// the queue now will wait for `queue_depth / jobs_done_rate` seconds, if that pace lasts.
    #[derive(Debug)]
    pub(crate) struct QueueWait {
        promised: Duration,
        queues: BTreeMap<Target, Queue>,
    }

    #[derive(Debug, Default)]
    struct Queue {
        /// Jobs per second; `None` until one was seen.
        rate: Option<f64>,
        /// Since when the wait is too long without a break.
        late_since: Option<Timestamp>,
    }

    impl QueueWait {
        /// A detector of waits longer than `promised`.
        pub(crate) fn new(promised: Duration) -> Self {
            Self {
                promised,
                queues: BTreeMap::new(),
            }
        }

        fn has_room_for(&self, target: &Target) -> bool {
            self.queues.len() < MAX_TARGETS || self.queues.contains_key(target)
        }

        fn judge(
            &mut self,
            target: Target,
            subject: Subject,
            at: Timestamp,
            depth: f64,
        ) -> Option<Anomaly> {
            let queue = self.queues.get_mut(&target)?;
            // No rate is no opinion: missing data is neither health nor trouble.
            let wait = depth / queue.rate?;
            let promised = self.promised.as_secs_f64();
            // An empty queue that does nothing is 0 / 0: NaN, which is not above anything.
            if wait.is_nan() || wait <= promised {
                queue.late_since = None;
                return None;
            }
            let since = *queue.late_since.get_or_insert(at);
            let explanation = if wait.is_finite() {
                format!(
                    "{depth:.0} jobs wait for {wait:.1} s at the present pace, {promised} s are promised"
                )
            } else {
                format!("{depth:.0} jobs wait and none is done, {promised} s are promised")
            };
            let mut anomaly = Anomaly::new("queue_wait", target, subject, at).saying(explanation);
            // A sample that comes late must not make it begin after it was found.
            anomaly.since = since.min(at);
            anomaly.direction = Direction::High;
            // JSON knows no infinity, and what is found is stored as JSON.
            anomaly.observed = Some(wait).filter(|wait| wait.is_finite());
            anomaly.expected = Expectation::Between {
                low: None,
                high: Some(promised),
            };
            Some(anomaly)
        }
    }

    #[async_trait]
    impl Detector for QueueWait {
        fn name(&self) -> &str {
            "queue_wait"
        }

        fn interest(&self) -> Interest {
            Interest::samples()
        }

        async fn detect(
            &mut self,
            _: &Context,
            batch: SignalBatch<'_>,
        ) -> Result<Vec<Anomaly>, DetectError> {
            let mut found = Vec::new();
            for sample in batch.samples {
                let Some(key) = batch.catalog.key(sample.series) else {
                    continue;
                };
                let Some(target) = key.target() else { continue };
                // A number that cannot be is no number: NaN, infinite, or less than nothing.
                let is_possible = sample.value.is_finite() && sample.value >= 0.0;
                match key.metric.as_str() {
                    "jobs_done_rate" if self.has_room_for(&target) => {
                        let queue = self.queues.entry(target).or_default();
                        queue.rate = Some(sample.value).filter(|_| is_possible);
                    }
                    "queue_depth" if is_possible => {
                        let subject = Subject::Series((*key).clone());
                        found.extend(self.judge(target, subject, sample.at, sample.value));
                    }
                    _ => {}
                }
            }
            Ok(found)
        }
    }
}

/// How long a mail may wait.
const PROMISED: Duration = Duration::from_secs(1);
/// How often the queue is measured.
const PERIOD: Duration = Duration::from_millis(100);

/// A queue of mails: who writes them is steady, who sends them may become slow.
#[derive(Debug)]
struct Mailer {
    written: AtomicU64,
    sent: AtomicU64,
    /// How long sending one takes, in milliseconds.
    cost_millis: AtomicU64,
}

impl Mailer {
    /// Starts writing, sending and measuring; all of it ends with the healer.
    fn start(healer: &Homeostasis) -> Arc<Self> {
        let mailer = Arc::new(Self {
            written: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cost_millis: AtomicU64::new(1),
        });
        healer.spawn(Arc::clone(&mailer).write(healer.clock()));
        healer.spawn(Arc::clone(&mailer).send(healer.clock()));
        healer.spawn(Arc::clone(&mailer).measure(healer.clock(), healer.recorder()));
        mailer
    }

    fn depth(&self) -> u64 {
        let sent = self.sent.load(Ordering::SeqCst);
        self.written.load(Ordering::SeqCst).saturating_sub(sent)
    }

    fn write(self: Arc<Self>, clock: Arc<dyn Clock>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                clock.sleep(Duration::from_millis(10)).await;
                self.written.fetch_add(1, Ordering::SeqCst);
            }
        })
    }

    fn send(self: Arc<Self>, clock: Arc<dyn Clock>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let cost = Duration::from_millis(self.cost_millis.load(Ordering::SeqCst));
                clock.sleep(cost).await;
                if self.depth() > 0 {
                    self.sent.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    }

    fn measure(
        self: Arc<Self>,
        clock: Arc<dyn Clock>,
        recorder: Recorder,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let series =
                |metric| recorder.series(&SeriesKey::new(metric).with("service", "mailer"));
            let (rate, depth) = (series("jobs_done_rate"), series("queue_depth"));
            // The pace of the last half second: one slow turn of this process is no slow worker.
            let mut seen = VecDeque::from([(clock.now(), 0)]);
            loop {
                clock.sleep(PERIOD).await;
                let (now, sent) = (clock.now(), self.sent.load(Ordering::SeqCst));
                seen.push_back((now, sent));
                if seen.len() > 6 {
                    seen.pop_front();
                }
                let (since, before) = seen[0];
                rate.record((sent - before) as f64 / (now - since).as_secs_f64());
                depth.record(self.depth() as f64);
            }
        })
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    // First the contract: three services in every kind of trouble, then hostile signals. It panics
    // with what was expected and what was found if the detector breaks it.
    homeostasis_core::testing::detector::Suite::new(|| QueueWait::new(PROMISED))
        .series("jobs_done_rate")
        .series("queue_depth")
        .finds_something()
        .run();
    println!("contract  queue_wait passes the conformance suite");

    // Then a real engine. It observes: nothing is touched unless a host asks for more.
    let healer = Homeostasis::builder()
        .service("mailer", ServiceFacts::default())
        .detector(QueueWait::new(PROMISED))
        .start()
        .await?;
    let code = watch(&healer).await?;
    healer.shutdown().await;
    Ok(code)
}

async fn watch(healer: &Homeostasis) -> Result<ExitCode, BoxError> {
    let (clock, mut events) = (healer.clock(), healer.subscribe());
    let mailer = Mailer::start(healer);

    clock.sleep(Duration::from_secs(2)).await;
    let (sent, false_alarms) = (mailer.sent.load(Ordering::SeqCst), healer.open_incidents());
    println!(
        "all well  {sent} mails sent, {} waiting, {} incidents",
        mailer.depth(),
        false_alarms.len()
    );
    if !false_alarms.is_empty() || sent == 0 {
        println!("FAILED    expected mails to be sent and no incident");
        return Ok(ExitCode::FAILURE);
    }

    mailer.cost_millis.store(50, Ordering::SeqCst);
    println!("fault     sending a mail now takes 50 ms, 10 ms pass between two mails");
    let opened = async {
        while let Some(event) = events.next().await {
            if event.kind.name() == "opened" {
                return Some(event);
            }
        }
        None
    };
    let Ok(Some(opened)) = timeout(&*clock, Duration::from_secs(20), opened).await else {
        println!("FAILED    no incident within 20 s");
        return Ok(ExitCode::FAILURE);
    };
    let incident = healer.incident(opened.incident).await?;
    println!("incident  {} {opened}", incident.id);
    for anomaly in &incident.anomalies {
        println!(
            "          {} found it in {}, expected {}",
            anomaly.detector, anomaly.subject, anomaly.expected
        );
    }
    let is_ours = incident
        .anomalies
        .iter()
        .any(|anomaly| anomaly.detector == "queue_wait");
    if !is_ours || !incident.blamed.is_empty() {
        println!(
            "FAILED    expected an anomaly of queue_wait and nobody blamed: {:?}",
            incident.blamed
        );
        return Ok(ExitCode::FAILURE);
    }
    println!("ok        the third party's detector opened the incident");
    Ok(ExitCode::SUCCESS)
}
