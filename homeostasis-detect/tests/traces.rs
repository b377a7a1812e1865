//! Detectors of traces keep the contract of detectors, and find what they are for in traces as they come.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::record::Anomaly;
use homeostasis::core::signal::{SeriesCatalog, SignalBatch, SpanRecord, SpanStatus};
use homeostasis::core::stage::Detector;
use homeostasis::core::testing::detector::Suite;
use homeostasis::core::{Clock, Context, ManualClock, Rng, Target, Timestamp};
use homeostasis::detect::{
    OperationCalls, OperationCallsConfig, OperationFailures, OperationFailuresConfig,
    OperationKernel, OperationLatency, OperationLatencyConfig, PerOperation, PerOperationConfig,
};

fn lift<K: OperationKernel + Clone + 'static>(kernel: K, min_spans: u32) -> PerOperation<K> {
    let config = PerOperationConfig {
        min_spans,
        ..PerOperationConfig::default()
    };
    PerOperation::new("traces", config, move || kernel.clone()).unwrap()
}

fn latency() -> OperationLatency {
    OperationLatency::new(OperationLatencyConfig::default()).unwrap()
}

fn failures() -> OperationFailures {
    OperationFailures::new(OperationFailuresConfig::default()).unwrap()
}

fn calls() -> OperationCalls {
    OperationCalls::new(OperationCallsConfig::default()).unwrap()
}

#[test]
fn latencies() {
    Suite::new(|| lift(latency(), 2))
        .finds_something()
        .explains()
        .run();
}

#[test]
fn failing_operations_and_calls_in_spans_without_either() {
    Suite::new(|| lift(failures(), 1)).run();
    Suite::new(|| lift(calls(), 1)).run();
}

/// A shop: a checkout asks the stock and charges the payment, which asks a bank; 20 checkouts a second.
struct Shop {
    rng: Rng,
    n_traces: u64,
    clock: Arc<ManualClock>,
    catalog: SeriesCatalog,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The bank needs a second.
    SlowBank,
    /// One charge in four fails.
    FailingCharges,
    /// The stock is not asked any more.
    NoStock,
    /// The stock is asked once for each item.
    Loop,
    /// The charge asks a second bank.
    SecondBank,
}

impl Shop {
    fn new() -> Self {
        Self {
            rng: Rng::from_seed(9),
            n_traces: 0,
            clock: Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000))),
            catalog: SeriesCatalog::default(),
        }
    }

    /// The spans of one checkout, in the order in which they end.
    fn checkout(&mut self, at: Timestamp, fault: Fault) -> Vec<SpanRecord> {
        self.n_traces += 1;
        let trace = format!("{:032x}", self.n_traces);
        let mut spans = Vec::new();
        let mut span = |service: &str, operation: &'static str, id, parent, millis: f64| {
            let millis = millis * (0.8 + 0.4 * self.rng.unit());
            let duration = Duration::from_secs_f64(millis / 1000.0);
            let mut span = SpanRecord::new(at, duration, operation)
                .of(Target::instance(service, "0").unwrap());
            (span.trace, span.span, span.parent) = (Some(trace.clone()), id, parent);
            spans.push(span);
        };
        let n_reservations = match fault {
            Fault::NoStock => 0,
            Fault::Loop => 12,
            _ => 1,
        };
        for idx in 0..n_reservations {
            span("stock", "reserve", 10 + idx, 1, 3.0);
        }
        let bank = if fault == Fault::SlowBank {
            1000.0
        } else {
            20.0
        };
        span("bank", "transfer", 3, 2, bank);
        if fault == Fault::SecondBank {
            span("bank", "transfer abroad", 4, 2, 30.0);
        }
        span("payment", "charge", 2, 1, bank + 2.0);
        span("shop", "POST /checkout", 1, 0, bank + 10.0);
        if fault == Fault::FailingCharges && self.n_traces.is_multiple_of(4) {
            for span in spans.iter_mut().filter(|span| span.operation != "reserve") {
                span.status = SpanStatus::Error;
            }
        }
        spans
    }

    /// Shows `seconds` of traffic to the detectors, a second at a time; all of them find the same.
    async fn run<D: Detector>(
        &mut self,
        detectors: &mut [&mut D],
        seconds: u32,
        fault: Fault,
    ) -> Vec<Anomaly> {
        let mut all = Vec::new();
        for _ in 0..seconds {
            let now = self.clock.now();
            let spans: Vec<SpanRecord> = (0..20_u64)
                .flat_map(|i| self.checkout(now + Duration::from_millis(50 * i), fault))
                .collect();
            self.clock.advance(Duration::from_secs(1));
            let cx = Context::new(Arc::clone(&self.clock) as Arc<dyn Clock>, 1);
            let batch = SignalBatch::empty(&self.catalog).with_spans(&spans);
            let mut found: Option<Vec<Anomaly>> = None;
            for detector in &mut *detectors {
                let its = detector.detect(&cx, batch).await.unwrap();
                assert_eq!(*found.get_or_insert_with(|| its.clone()), its);
            }
            all.extend(found.unwrap_or_default());
        }
        all
    }
}

/// What is said of whom after 20 quiet minutes and two minutes of the fault.
async fn found<K: OperationKernel + Clone + 'static>(kernel: K, fault: Fault) -> Vec<String> {
    let (mut shop, mut detector) = (Shop::new(), lift(kernel.clone(), 20));
    let quiet = shop.run(&mut [&mut detector], 1200, Fault::None).await;
    assert!(quiet.is_empty(), "{quiet:?}");
    // Nothing of what it knows is lost on the way through a snapshot.
    let snapshot = serde_json::to_string(&detector.snapshot().unwrap()).unwrap();
    let mut restored = lift(kernel, 20);
    restored
        .restore(&serde_json::from_str(&snapshot).unwrap())
        .unwrap();
    let anomalies = shop
        .run(&mut [&mut detector, &mut restored], 120, fault)
        .await;
    let first_raised: Vec<_> = anomalies.iter().map(|a| (a.at, a.since)).collect();
    for (at, since) in first_raised {
        assert!(at.since(since) <= Duration::from_secs(120), "{at} {since}");
    }
    assert!(
        anomalies
            .iter()
            .all(|anomaly| anomaly.violation().is_none())
    );
    let mut said: Vec<String> = anomalies
        .iter()
        .map(|anomaly| anomaly.explanation.clone())
        .collect();
    said.dedup();
    said
}

fn about<'a>(said: &'a [String], operation: &str) -> Vec<&'a str> {
    let said = said.iter().map(String::as_str);
    said.filter(|text| text.starts_with(operation)).collect()
}

#[tokio::test]
async fn a_slow_callee_is_slow_and_so_are_its_callers() {
    let said = found(latency(), Fault::SlowBank).await;
    for operation in [
        "transfer of bank takes",
        "charge of payment takes",
        "POST /checkout of shop takes",
    ] {
        assert!(!about(&said, operation).is_empty(), "{operation}: {said:?}");
    }
    assert!(about(&said, "reserve of stock").is_empty(), "{said:?}");
}

#[tokio::test]
async fn failures_are_found_where_they_are() {
    let said = found(failures(), Fault::FailingCharges).await;
    assert!(
        about(&said, "charge of payment fails 1")[0].contains(" of 600 times (2"),
        "{said:?}"
    );
    assert!(about(&said, "reserve of stock").is_empty(), "{said:?}");
}

#[tokio::test]
async fn a_change_of_who_calls_whom_is_found_at_the_caller() {
    for (fault, text) in [
        (
            Fault::NoStock,
            "POST /checkout of shop does not call stock reserve any more: 0 of ",
        ),
        (
            Fault::Loop,
            "POST /checkout of shop calls stock reserve 12 times in each of ",
        ),
        (
            Fault::SecondBank,
            "charge of payment calls bank transfer abroad, which it did not in about ",
        ),
    ] {
        let said = found(calls(), fault).await;
        assert!(!about(&said, text).is_empty(), "{fault:?}: {said:?}");
        let caller = text.split(" of ").next().unwrap();
        assert_eq!(
            about(&said, caller).len(),
            said.len(),
            "{fault:?}: {said:?}"
        );
    }
}

#[tokio::test]
async fn operations_beyond_the_bound_are_refused_until_others_are_silent() {
    let kernel = failures();
    let config = PerOperationConfig {
        max_operations: 2,
        ..PerOperationConfig::default()
    };
    let mut detector = PerOperation::new("traces", config, move || kernel.clone()).unwrap();
    let mut shop = Shop::new();
    shop.run(&mut [&mut detector], 1, Fault::None).await;
    assert_eq!(
        (detector.n_operations(), detector.counts().refused),
        (2, 40)
    );
    shop.clock.advance(Duration::from_secs(7200));
    let cx = Context::new(Arc::clone(&shop.clock) as Arc<dyn Clock>, 1);
    let now = shop.clock.now();
    let other = Target::service("other").unwrap();
    let spans = [
        SpanRecord::new(now, Duration::ZERO, "op").of(other.clone()),
        SpanRecord::new(now, Duration::MAX, "op").of(other),
        SpanRecord::new(now, Duration::ZERO, "op"),
    ];
    let batch = SignalBatch::empty(&shop.catalog).with_spans(&spans);
    detector.detect(&cx, batch).await.unwrap();
    let counts = detector.counts();
    assert_eq!(
        (detector.n_operations(), counts.ahead, counts.untargeted),
        (1, 1, 1)
    );
}

/// Windows of any spans and calls; the model is stored after each, and what was stored goes on to the bit.
#[test]
fn a_kernel_that_is_stored_after_any_window_goes_on_to_the_bit() {
    fn check<K: OperationKernel>(make: impl Fn() -> K) {
        let names: Vec<Arc<str>> = (0..100).map(|i| format!("call {i}").into()).collect();
        let mut rng = Rng::from_seed(71);
        for _ in 0..20 {
            let mut kernel = make();
            let mut at = Timestamp::from_secs(1_700_000_000);
            for _ in 0..60 {
                let text = serde_json::to_string(&kernel.save().unwrap()).unwrap();
                let mut stored = make();
                stored.load(&serde_json::from_str(&text).unwrap()).unwrap();
                for _ in 0..rng.below(80) {
                    let duration =
                        Duration::from_secs_f64(rng.unit() * 10_f64.powf(6.0 * rng.unit() - 4.0));
                    let mut span = SpanRecord::new(at, duration, "op");
                    if rng.below(9) == 0 {
                        span.status = SpanStatus::Error;
                    }
                    let n_calls = usize::try_from(rng.below(5)).unwrap();
                    let calls: Vec<_> = (0..n_calls)
                        .map(|_| {
                            // Few are frequent, many are rare.
                            let most = 1 + rng.below(100);
                            let i = usize::try_from(rng.below(most)).unwrap();
                            Arc::clone(&names[i])
                        })
                        .collect();
                    let late = &names[n_calls];
                    for kernel in [&mut kernel, &mut stored] {
                        kernel.take(&span, &calls);
                        kernel.take_late_call(late);
                    }
                }
                at = at + Duration::from_secs(1 + rng.below(100));
                let judged = kernel.close(at);
                assert_eq!(stored.close(at), judged);
                assert_eq!(stored.explain(), kernel.explain());
                assert_eq!(stored.save(), kernel.save());
                assert!(judged.surprise.is_finite() && judged.surprise >= 0.0);
            }
        }
    }
    check(latency);
    check(failures);
    check(calls);
    check(|| {
        let config = OperationCallsConfig {
            max_calls: 5,
            warm_up: 10,
            new_for: 2,
            ..OperationCallsConfig::default()
        };
        OperationCalls::new(config).unwrap()
    });
}
