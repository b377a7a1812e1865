//! What every [`Detector`] must do, ours or a stranger's.
//!
//! ```
//! use homeostasis::core::record::{Anomaly, Subject};
//! use homeostasis::core::signal::SignalBatch;
//! use homeostasis::core::stage::{DetectError, Detector};
//! use homeostasis::core::testing::detector::{Suite, conformance};
//! use homeostasis::core::{Context, async_trait};
//!
//! #[derive(Debug)]
//! struct Negative;
//!
//! #[async_trait]
//! impl Detector for Negative {
//!     fn name(&self) -> &str {
//!         "negative"
//!     }
//!
//!     async fn detect(&mut self, _: &Context, batch: SignalBatch<'_>) -> Result<Vec<Anomaly>, DetectError> {
//!         let found = batch.samples.iter().filter(|sample| sample.value < 0.0).filter_map(|sample| {
//!             let key = batch.catalog.key(sample.series)?;
//!             let anomaly = Anomaly::new("negative", key.target()?, Subject::Series((*key).clone()), sample.at);
//!             Some(anomaly.saying("a value below zero"))
//!         });
//!         Ok(found.collect())
//!     }
//! }
//!
//! conformance(|| Negative);
//! // The same with what this detector looks at, and the demand that it finds something there.
//! Suite::new(|| Negative).series("account_balance").finds_something().run();
//! ```

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Waiting, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use crate::context::Context;
use crate::record::{Anomaly, Expectation};
use crate::rng::Rng;
use crate::signal::{
    Change, ChangeKind, HealthReport, HealthState, Level, LogRecord, LogTemplate, Sample,
    SeriesCatalog, SeriesId, SeriesKey, SignalBatch, SpanRecord,
};
use crate::stage::Detector;
use crate::target::Target;
use crate::time::{ManualClock, Timestamp};

/// Runs the whole [`Suite`] with its defaults.
///
/// # Panics
/// As [`Suite::run`].
pub fn conformance<D: Detector>(make: impl Fn() -> D) {
    Suite::new(make).run();
}

/// The checks of a detector, and what it is shown.
///
/// It is shown three services for some hours: steady noise, outliers, level shifts, growth, values far from any
/// normal range, failing health checks, bursts of log errors, slow spans and changes; and then everything hostile
/// that signals may be: NaN, infinities, huge numbers, duplicates, late samples, samples from the end of time,
/// and handles of another catalog.
#[derive(Debug)]
pub struct Suite<F> {
    make: F,
    series: Vec<SeriesKey>,
    depends_on_batches: bool,
    must_find: bool,
    must_explain: bool,
}

/// When the show begins.
const START: Timestamp = Timestamp::from_secs(1_700_000_000);
/// How many instants it has.
const N_INSTANTS: usize = 600;
/// No model of the story has more parts.
const MAX_PARTS: usize = 10_000;
/// How far they are apart.
const STEP: Duration = Duration::from_secs(15);

impl<D: Detector, F: Fn() -> D> Suite<F> {
    /// A suite for the detectors `make` gives; each of them must be new and the same.
    pub fn new(make: F) -> Self {
        let series = [
            "up",
            "probe_latency_seconds",
            "process_resident_memory_bytes",
            "process_cpu_ratio",
            "http_requests_rate",
            "error_ratio",
            "disk_usage_percent",
        ];
        Self {
            make,
            series: series.into_iter().map(SeriesKey::new).collect(),
            depends_on_batches: false,
            must_find: false,
            must_explain: false,
        }
    }

    /// Shows this metric too, of each service.
    pub fn series(self, metric: impl Into<String>) -> Self {
        self.key(SeriesKey::new(metric))
    }

    /// Shows this series too; without the label `service` it is shown of each service.
    pub fn key(mut self, key: SeriesKey) -> Self {
        self.series.push(key);
        self
    }

    /// Allows that what is found depends on where batches end.
    pub fn depends_on_batches(mut self) -> Self {
        self.depends_on_batches = true;
        self
    }

    /// Demands that it finds something in what it is shown, so that the other checks are not empty.
    pub fn finds_something(mut self) -> Self {
        self.must_find = true;
        self
    }

    /// Demands that every anomaly is explained: it has an expectation of its own, a number that was seen where numbers
    /// were expected, its beginning in the sentence, and points for a picture, in the order of time, that reach from its
    /// beginning or before to when it was found and not beyond.
    pub fn explains(mut self) -> Self {
        self.must_explain = true;
        self
    }

    /// Runs all checks.
    ///
    /// # Panics
    /// With what was expected and what was found, if the detector breaks its contract.
    pub fn run(&self) {
        self.has_a_stable_name();
        self.says_nothing_of_nothing();
        let story = Story::new(&self.series);
        let by_instant = self.play(&story, &[1]);
        assert!(
            !self.must_find || !by_instant.is_empty(),
            "{} found nothing in {N_INSTANTS} instants of outliers, shifts, growth and failures",
            self.name()
        );
        if self.must_explain {
            for anomaly in &by_instant {
                if let Some(lack) = lack(anomaly) {
                    panic!("{} gave an anomaly {lack}: {anomaly:?}", self.name());
                }
            }
        }
        let again = self.play(&story, &[1]);
        self.same(&by_instant, &again, "the same signals were given twice");
        if !self.depends_on_batches {
            for sizes in [&[N_INSTANTS][..], &[1, 7, 40, 2]] {
                let batched = self.play(&story, sizes);
                let why = format!("batches of {sizes:?} instants were given in place of one each");
                self.same(&by_instant, &batched, &why);
            }
        }
        self.restores(&story, &by_instant);
        self.survives_the_worst(&story);
    }

    fn name(&self) -> String {
        (self.make)().name().to_owned()
    }

    fn has_a_stable_name(&self) {
        let name = self.name();
        assert!(!name.trim().is_empty(), "a detector without a name");
        assert_eq!(name, self.name(), "two new detectors have different names");
    }

    fn says_nothing_of_nothing(&self) {
        let mut detector = (self.make)();
        let catalog = SeriesCatalog::default();
        for minute in 0..3 {
            let now = START + Duration::from_secs(60 * minute);
            let batch = SignalBatch::empty(&catalog);
            let found = ask(&mut detector, now, batch);
            assert!(
                found.is_empty(),
                "{} found {found:?} in empty batches",
                detector.name()
            );
        }
    }

    /// What a new detector finds in the story, in batches of `sizes` instants, again and again.
    fn play(&self, story: &Story, sizes: &[usize]) -> Vec<Anomaly> {
        let mut detector = (self.make)();
        let name = detector.name().to_owned();
        let mut found = Vec::new();
        let (mut from, mut sizes) = (0, sizes.iter().cycle());
        while from < N_INSTANTS {
            let to = (from + sizes.next().copied().unwrap_or(1)).min(N_INSTANTS);
            found.extend(story.show(&mut detector, from..to));
            from = to;
        }
        assert_eq!(detector.name(), name, "the name changed");
        found
    }

    fn same(&self, expected: &[Anomaly], found: &[Anomaly], why: &str) {
        // Within one instant the order may depend on the batch; between instants it may not.
        let sorted = |anomalies: &[Anomaly]| {
            let mut sorted = anomalies.to_vec();
            sorted.sort_by_cached_key(|a| (a.at, a.target.clone(), a.subject.to_string()));
            sorted
        };
        let (expected, found) = (sorted(expected), sorted(found));
        for (idx, expected) in expected.iter().enumerate() {
            assert_eq!(
                found.get(idx),
                Some(expected),
                "{}: {why}, and anomaly {idx} differs",
                self.name()
            );
        }
        let n = expected.len();
        assert_eq!(
            found.len(),
            n,
            "{}: {why}, and there are other anomalies: {:?}",
            self.name(),
            found.get(n)
        );
    }

    /// A model that is stored and taken up again goes on as if nothing had happened.
    fn restores(&self, story: &Story, expected: &[Anomaly]) {
        for middle in [1, N_INSTANTS / 3, N_INSTANTS * 2 / 3] {
            let mut detector = (self.make)();
            let mut found = Vec::new();
            for instant in 0..middle {
                found.extend(story.show(&mut detector, instant..instant + 1));
            }
            let Some(snapshot) = detector.snapshot() else {
                return;
            };
            assert_eq!(
                snapshot.detector,
                detector.name(),
                "a snapshot under another name"
            );
            let text = serde_json::to_string(&snapshot).expect("snapshots serialize");
            let read = serde_json::from_str(&text).expect("snapshots read back");
            let mut restored = (self.make)();
            if let Err(error) = restored.restore(&read) {
                panic!("{} refuses its own snapshot: {error}", self.name());
            }
            let mut pieced = (self.make)();
            self.restore_parts(&detector, &mut pieced);
            let before = found.clone();
            for (mut restored, how) in [(restored, "stored"), (pieced, "stored in parts")] {
                let mut found = before.clone();
                for instant in middle..N_INSTANTS {
                    found.extend(story.show(&mut restored, instant..instant + 1));
                }
                let why = format!("its model was {how} and restored after {middle} instants");
                self.same(expected, &found, &why);
            }

            let mut foreign = read;
            foreign.detector.push_str("_of_another");
            assert!(
                (self.make)().restore(&foreign).is_err(),
                "{} takes up the snapshot of another detector",
                self.name()
            );
        }
    }

    /// Takes up the model of `from` in parts as small as can be.
    fn restore_parts(&self, from: &D, restored: &mut D) {
        let mut rest = None;
        for _ in 0..MAX_PARTS {
            let part = from.snapshot_part(rest.as_ref(), 1);
            let part = part.unwrap_or_else(|| panic!("{}: no part from {rest:?}", self.name()));
            let text = serde_json::to_string(&part.snapshot).expect("snapshots serialize");
            let read = serde_json::from_str(&text).expect("snapshots read back");
            if let Err(error) = restored.restore_part(&read) {
                panic!("{} refuses a part of its own model: {error}", self.name());
            }
            let Some(left) = part.rest else { return };
            assert!(left.n_left > 0, "{}: a rest of nothing", self.name());
            rest = Some(left.from);
        }
        panic!("{}: its parts have no end", self.name());
    }

    /// Hostile signals neither make it panic nor break what it returns.
    fn survives_the_worst(&self, story: &Story) {
        let mut detector = (self.make)();
        let mut twin = (self.make)();
        let mut rng = Rng::from_seed(13);
        // A handle that the story's catalog never gave.
        let other = SeriesCatalog::default();
        for i in 0..story.catalog.len() {
            other.intern(&SeriesKey::new(format!("other_{i}")));
        }
        let foreign = other.intern(&SeriesKey::new("foreign"));
        for instant in 0..N_INSTANTS {
            let mut worst = story.clone_instant(instant);
            worst.corrupt(foreign, &mut rng);
            let now = START + STEP * u32::try_from(instant).unwrap_or(u32::MAX);
            let found = ask(&mut detector, now, worst.batch(&story.catalog));
            let again = ask(&mut twin, now, worst.batch(&story.catalog));
            self.same(&found, &again, "the same hostile signals were given twice");
        }
    }
}

/// What the explanation of an anomaly lacks, in the middle of a sentence.
fn lack(anomaly: &Anomaly) -> Option<&'static str> {
    let (is_band, is_told) = match &anomaly.expected {
        Expectation::Between { low, high } => (true, low.is_some() || high.is_some()),
        Expectation::Words(words) => (false, !words.is_empty() && words != "normal behavior"),
    };
    let (first, last) = (anomaly.series.first(), anomaly.series.last());
    let reaches = first.is_some_and(|(at, _)| *at <= anomaly.at)
        && last.is_some_and(|(at, _)| (anomaly.since..=anomaly.at).contains(at));
    let lacks = [
        (!is_told, "that does not say what was expected"),
        (
            is_band && anomaly.observed.is_none(),
            "that expects a number and does not say which one was seen",
        ),
        (
            !anomaly.explanation.contains(&anomaly.since.to_string()),
            "whose sentence does not say since when",
        ),
        (!reaches, "without points from its own time"),
        (
            !anomaly.series.is_sorted_by_key(|(at, _)| *at),
            "whose points are not in the order of time",
        ),
    ];
    lacks
        .into_iter()
        .find_map(|(lacks, what)| lacks.then_some(what))
}

/// Shows `batch` to the detector at `now` and checks what it returns by itself.
fn ask(detector: &mut impl Detector, now: Timestamp, batch: SignalBatch<'_>) -> Vec<Anomaly> {
    let cx = Context::new(Arc::new(ManualClock::new(now)), 7);
    let batch = batch.filtered(detector.interest());
    let found = match block_on(detector.detect(&cx, batch)) {
        Ok(found) => found,
        Err(error) => panic!("{} failed: {}", detector.name(), error.report()),
    };
    let n_signals = batch.samples.len()
        + batch.logs.len()
        + batch.spans.len()
        + batch.changes.len()
        + batch.health.len();
    assert!(
        found.len() <= n_signals,
        "{} found {} anomalies in {n_signals} signals, expected at most one each",
        detector.name(),
        found.len()
    );
    for anomaly in &found {
        if let Some(violation) = anomaly.violation() {
            panic!("{} returned {violation}: {anomaly:?}", detector.name());
        }
        assert_eq!(
            anomaly.detector,
            detector.name(),
            "an anomaly under another name"
        );
        let text = serde_json::to_string(anomaly).expect("anomalies serialize");
        let read: Anomaly = serde_json::from_str(&text).expect("anomalies read back");
        assert_eq!(
            read, *anomaly,
            "an anomaly that is not the same after it was stored"
        );
    }
    found
}

/// What happens at one instant.
#[derive(Debug, Clone, Default)]
struct Instant {
    samples: Vec<Sample>,
    logs: Vec<LogRecord>,
    spans: Vec<SpanRecord>,
    changes: Vec<Change>,
    health: Vec<HealthReport>,
}

impl Instant {
    fn batch<'a>(&'a self, catalog: &'a SeriesCatalog) -> SignalBatch<'a> {
        SignalBatch::empty(catalog)
            .with_samples(&self.samples)
            .with_logs(&self.logs)
            .with_spans(&self.spans)
            .with_changes(&self.changes)
            .with_health(&self.health)
    }

    /// Spoils some of the signals.
    fn corrupt(&mut self, foreign: SeriesId, rng: &mut Rng) {
        let values = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            -0.0,
            1e300,
        ];
        let times = [
            Timestamp::from_nanos(i64::MIN),
            Timestamp::EPOCH,
            START,
            Timestamp::MAX,
        ];
        let mut late = Vec::new();
        for sample in &mut self.samples {
            let original = *sample;
            match rng.below(12) {
                0..=2 => sample.value = pick(&values, rng),
                3 => late.push(original),
                4 => sample.at = pick(&times, rng),
                5 => {
                    sample.at = sample.at - rng.jitter(Duration::from_secs(600));
                    late.push(original);
                }
                _ => {}
            }
        }
        self.samples.extend(late);
        self.samples.push(Sample {
            series: foreign,
            at: START,
            value: 1.0,
        });
        let doubled: Vec<HealthReport> = self.health.clone();
        for report in &mut self.health {
            if rng.below(4) == 0 {
                report.at = pick(&times, rng);
            }
        }
        self.health.extend(doubled);
        for log in &mut self.logs {
            if rng.below(2) == 0 {
                log.at = pick(&times, rng);
                log.message = "\u{0}\u{202e}%s{}\n".repeat(20);
            }
        }
        for span in &mut self.spans {
            if rng.below(2) == 0 {
                (span.at, span.duration) = (pick(&times, rng), Duration::MAX);
            }
        }
    }
}

fn pick<T: Copy>(all: &[T], rng: &mut Rng) -> T {
    all[usize::try_from(rng.below(all.len() as u64)).unwrap_or(0)]
}

/// What a detector is shown.
#[derive(Debug)]
struct Story {
    catalog: SeriesCatalog,
    instants: Vec<Instant>,
}

impl Story {
    fn new(series: &[SeriesKey]) -> Self {
        let catalog = SeriesCatalog::default();
        let mut rng = Rng::from_seed(11);
        let services = ["gateway", "orders", "database"];
        let target = |service: &str| Target::service(service).expect("a valid name");
        let mut instants = Vec::with_capacity(N_INSTANTS);
        for idx in 0..N_INSTANTS {
            let at = START + STEP * u32::try_from(idx).unwrap_or(u32::MAX);
            let mut now = Instant::default();
            for key in series {
                for (turn, service) in services.iter().enumerate() {
                    let is_fixed = key.labels.contains_key("service");
                    if is_fixed && turn > 0 {
                        continue;
                    }
                    let key = if is_fixed {
                        key.clone()
                    } else {
                        key.clone().with("service", *service)
                    };
                    now.samples.push(Sample {
                        series: catalog.intern(&key),
                        at,
                        value: level(&key.metric, idx, turn) * (1.0 + 0.02 * rng.unit()),
                    });
                }
            }
            for (turn, service) in services.iter().enumerate() {
                let target = target(service);
                let is_down = (turn == 1 && (300..340).contains(&idx)) || idx % 97 == turn;
                let state = match (is_down, idx % 2) {
                    (false, _) => HealthState::Healthy,
                    (true, 0) => HealthState::Unhealthy,
                    (true, _) => HealthState::Critical,
                };
                now.health
                    .push(HealthReport::new(at, target.clone(), "http", state));
                let n_errors = if is_down {
                    10
                } else {
                    usize::from(idx % 50 == 0)
                };
                for error in 0..n_errors {
                    let message = format!("connection to 10.0.0.{error} refused");
                    let mut record = LogRecord::new(at, Level::Error, message);
                    record.template = Some(LogTemplate::new(1, "connection to <*> refused"));
                    now.logs.push(record.of(target.clone()));
                }
                let millis = if is_down { 3000 } else { 20 + rng.below(5) };
                let span = SpanRecord::new(at, Duration::from_millis(millis), "GET /orders");
                now.spans.push(span.of(target.clone()));
                if idx == 299 && turn == 1 {
                    let change = Change::new(at, ChangeKind::Deploy, target, "v1 -> v2");
                    now.changes.push(change);
                }
            }
            instants.push(now);
        }
        Self { catalog, instants }
    }

    fn clone_instant(&self, idx: usize) -> Instant {
        self.instants[idx].clone()
    }

    /// Shows some instants as one batch.
    fn show(&self, detector: &mut impl Detector, range: std::ops::Range<usize>) -> Vec<Anomaly> {
        let now = START + STEP * u32::try_from(range.end - 1).unwrap_or(u32::MAX);
        let mut all = Instant::default();
        for instant in &self.instants[range] {
            let instant = instant.clone();
            all.samples.extend(instant.samples);
            all.logs.extend(instant.logs);
            all.spans.extend(instant.spans);
            all.changes.extend(instant.changes);
            all.health.extend(instant.health);
        }
        ask(detector, now, all.batch(&self.catalog))
    }
}

/// The level of a metric of the service `turn` at instant `idx`: steady at first; the first service has outliers, the
/// second a shift by a factor of 40 and back, the third grows without end; shortly before the end all fall below zero.
fn level(metric: &str, idx: usize, turn: usize) -> f64 {
    let base = match metric {
        "up" => 1.0,
        _ if metric.ends_with("_bytes") => 2e8,
        _ if metric.ends_with("_ratio") => 0.02,
        _ if metric.ends_with("_seconds") => 0.05,
        _ => 20.0,
    };
    let factor = match turn {
        _ if idx >= N_INSTANTS - 20 => -1.0,
        0 if idx > 100 && idx.is_multiple_of(83) => 25.0,
        1 if (300..380).contains(&idx) => 40.0,
        2 if idx > 150 => 1.0 + (idx - 150) as f64 / 30.0,
        _ => 1.0,
    };
    base * factor
}

/// Wakes the thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, without a runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut waiting = Waiting::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut waiting) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::record::Subject;
    use crate::stage::{DetectError, ModelSnapshot};

    /// A detector of negative values that breaks its contract in one way.
    #[derive(Debug, Default)]
    struct Faulty {
        fault: &'static str,
        n_calls: u64,
        n_seen: u64,
    }

    static CALLS: AtomicU64 = AtomicU64::new(0);

    #[async_trait]
    impl Detector for Faulty {
        fn name(&self) -> &str {
            if self.fault == "name" {
                " "
            } else {
                "negative"
            }
        }

        async fn detect(
            &mut self,
            _: &Context,
            batch: SignalBatch<'_>,
        ) -> Result<Vec<Anomaly>, DetectError> {
            self.n_calls += 1;
            let mut found = Vec::new();
            for sample in batch.samples {
                self.n_seen += 1;
                let key = batch.catalog.key(sample.series);
                let Some((key, target)) =
                    key.and_then(|key| Some((Arc::clone(&key), key.target()?)))
                else {
                    continue;
                };
                let is_odd = match self.fault {
                    "deaf" => false,
                    "panic" => {
                        assert!(!sample.value.is_nan(), "cannot compare");
                        sample.value < 0.0
                    }
                    "chance" => CALLS.fetch_add(1, Ordering::SeqCst).is_multiple_of(1001),
                    "batches" => self.n_calls.is_multiple_of(100) && sample.value < 0.0,
                    "forgets" => self.n_seen.is_multiple_of(1000),
                    _ => sample.value < 0.0,
                };
                if is_odd {
                    let subject = Subject::Series((*key).clone());
                    let mut anomaly = Anomaly::new("negative", target, subject, sample.at);
                    if self.fault != "silent" {
                        anomaly = anomaly.saying("below zero");
                    }
                    if self.fault == "many" {
                        found.push(anomaly.clone());
                    }
                    if self.fault == "infinite" {
                        anomaly.surprise = -sample.value / 0.0;
                    }
                    found.push(anomaly);
                }
            }
            if self.fault == "eager" && batch.is_empty() {
                let target = Target::service("a").unwrap();
                let subject = Subject::Logs("nothing".to_owned());
                found.push(Anomaly::new("negative", target, subject, START).saying("nothing"));
            }
            Ok(found)
        }

        fn snapshot(&self) -> Option<ModelSnapshot> {
            (self.fault == "forgets").then(|| ModelSnapshot {
                detector: self.name().to_owned(),
                version: 1,
                state: serde_json::Value::Null,
            })
        }

        fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
            if snapshot.detector == "negative" {
                return Ok(());
            }
            Err(DetectError::invalid("snapshot", "of another detector"))
        }
    }

    fn suite(fault: &'static str) -> Suite<impl Fn() -> Faulty> {
        Suite::new(move || Faulty {
            fault,
            ..Faulty::default()
        })
        .finds_something()
    }

    #[test]
    fn a_detector_that_keeps_its_contract_passes() {
        suite("none").run();
    }

    #[test]
    fn every_fault_is_found() {
        for fault in [
            "name", "deaf", "panic", "chance", "batches", "forgets", "silent", "many", "infinite",
            "eager",
        ] {
            let found = catch_unwind(AssertUnwindSafe(|| suite(fault).run()));
            assert!(found.is_err(), "a detector with the fault {fault:?} passed");
        }
    }

    #[test]
    fn an_anomaly_without_an_explanation_is_found() {
        let found = catch_unwind(AssertUnwindSafe(|| suite("none").explains().run()));
        assert!(found.is_err(), "`below zero` passed for an explanation");
        let target = Target::service("a").unwrap();
        let subject = Subject::Condition("a < 0".to_owned());
        let at = START + STEP;
        let mut anomaly = Anomaly::new("negative", target, subject, at);
        anomaly.since = START;
        anomaly.expected = Expectation::Between {
            low: Some(0.0),
            high: None,
        };
        anomaly.observed = Some(-1.0);
        anomaly.series = vec![(START, -1.0), (at, -1.0)];
        anomaly = anomaly.saying(format!("a is below zero since {START}"));
        assert_eq!(lack(&anomaly), None);
        let breaks: [fn(&mut Anomaly); 6] = [
            |a| a.expected = Expectation::Words("normal behavior".to_owned()),
            |a| a.observed = None,
            |a| a.explanation = "a is below zero".to_owned(),
            |a| a.series.clear(),
            |a| a.series.reverse(),
            |a| a.series = vec![(START, -1.0), (Timestamp::MAX, -1.0)],
        ];
        for (idx, breaks) in breaks.iter().enumerate() {
            let mut broken = anomaly.clone();
            breaks(&mut broken);
            assert!(lack(&broken).is_some(), "break {idx} passed");
        }
    }

    #[test]
    fn dependence_on_batches_can_be_allowed() {
        suite("batches").depends_on_batches().run();
    }
}
