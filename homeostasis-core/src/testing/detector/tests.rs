use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::*;
use crate::record::Subject;
use crate::target::Target;

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
            let Some((key, target)) = key.and_then(|key| Some((Arc::clone(&key), key.target()?)))
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
