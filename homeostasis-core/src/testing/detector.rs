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
use crate::signal::{SeriesCatalog, SeriesKey, SignalBatch};
use crate::stage::{DetectError, Detector, ModelSnapshot};
use crate::testing::hostile_state;
use crate::time::{ManualClock, Timestamp};
use story::Story;

mod story;

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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is told by a method of its own"
)]
pub struct Suite<F> {
    make: F,
    series: Vec<SeriesKey>,
    depends_on_batches: bool,
    must_find: bool,
    must_explain: bool,
    must_raise_anew: bool,
}

/// When the show begins.
const START: Timestamp = Timestamp::from_secs(1_700_000_000);
/// How many instants it has.
const N_INSTANTS: usize = 600;
/// No model of the story has more parts.
const MAX_PARTS: usize = 10_000;
/// How many of them are shown after a hostile snapshot.
const N_HOSTILE: usize = 4;
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
            must_raise_anew: false,
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

    /// Demands that it has alarms that last, and that one which is on is raised anew after
    /// [`forget_alarms`](Detector::forget_alarms).
    pub fn raises_anew(mut self) -> Self {
        self.must_raise_anew = true;
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
        if self.must_raise_anew {
            self.raises_what_it_forgot(&story, &by_instant);
        }
        self.restores(&story, &by_instant);
        self.survives_hostile_snapshots(&story);
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

    /// An alarm that was raised at an instant and not at the next is raised there after it was forgotten.
    fn raises_what_it_forgot(&self, story: &Story, found: &[Anomaly]) {
        let is_raised = |instant| found.iter().any(|anomaly| anomaly.at == now(instant));
        let mut silent = (0..N_INSTANTS - 1).filter(|i| is_raised(*i) && !is_raised(i + 1));
        let is_raised_anew = silent.any(|last| {
            let mut detector = (self.make)();
            for instant in 0..=last {
                story.show(&mut detector, instant..instant + 1);
            }
            detector.forget_alarms();
            let anew = story.show(&mut detector, last + 1..last + 2);
            !anew.is_empty()
        });
        assert!(
            is_raised_anew,
            "{} raises no alarm anew that it was told to forget",
            self.name()
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

    /// A snapshot with a number at its extreme or a list of another length is refused, or it goes on without a panic.
    fn survives_hostile_snapshots(&self, story: &Story) {
        let mut detector = (self.make)();
        story.show(&mut detector, 0..N_INSTANTS / 3);
        let Some(snapshot) = detector.snapshot() else {
            return;
        };
        let next = N_INSTANTS / 3..N_INSTANTS / 3 + N_HOSTILE;
        hostile_state::survives(&snapshot.state, |hostile| {
            let mut detector = (self.make)();
            let hostile = ModelSnapshot {
                state: hostile.clone(),
                ..snapshot.clone()
            };
            if detector.restore(&hostile).is_ok() {
                for instant in next.clone() {
                    // It may fail, and say what it likes.
                    detect(&mut detector, now(instant), story.batch(instant)).ok();
                }
                detector.snapshot();
            }
        });
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
            let now = now(instant);
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

fn now(instant: usize) -> Timestamp {
    START + STEP * u32::try_from(instant).unwrap_or(u32::MAX)
}

/// Shows `batch` to the detector at `now`.
fn detect(
    detector: &mut impl Detector,
    now: Timestamp,
    batch: SignalBatch<'_>,
) -> Result<Vec<Anomaly>, DetectError> {
    let cx = Context::new(Arc::new(ManualClock::new(now)), 7);
    block_on(detector.detect(&cx, batch.filtered(detector.interest())))
}

/// Shows `batch` to the detector at `now` and checks what it returns by itself.
fn ask(detector: &mut impl Detector, now: Timestamp, batch: SignalBatch<'_>) -> Vec<Anomaly> {
    let batch = batch.filtered(detector.interest());
    let found = match detect(detector, now, batch) {
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
mod tests;
