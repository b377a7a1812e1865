use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::record::Direction;
use crate::stage::DetectError;

static CALLS: AtomicU64 = AtomicU64::new(0);

/// The distance from the last value but one fault.
#[derive(Debug, Default)]
struct Faulty {
    fault: &'static str,
    last: Option<(Timestamp, f64)>,
    seen: Vec<f64>,
}

impl SeriesDetector for Faulty {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let mut expected = Expectation::Between {
            low: self.last.map(|last| last.1 - 10.0),
            high: self.last.map(|last| last.1 + 10.0),
        };
        if self.fault == "bounds" {
            expected = Expectation::Between {
                low: Some(1.0),
                high: Some(0.0),
            };
        }
        let usable = match self.fault {
            "infinite" => value,
            _ => value.filter(|value| value.abs() < 1e150),
        };
        let Some(value) = usable else {
            return KernelScore::normal(expected);
        };
        let delta = self.last.map_or(0.0, |last| value - last.1).abs();
        let mut r = delta / 10.0;
        match self.fault {
            "deaf" => r = 0.0,
            "shrill" => r = 3.0,
            "peaked" if r > 100.0 => r = 1.0,
            "chance" if CALLS.fetch_add(1, Ordering::SeqCst).is_multiple_of(1001) => r += 1.0,
            _ => {}
        }
        let is_new = self.last.is_none_or(|last| at > last.0);
        if is_new || self.fault == "late" {
            self.last = Some((at, value));
        }
        if self.fault == "grows" {
            self.seen.push(value);
        }
        KernelScore {
            score: Score::saturating(r * r / (1.0 + r * r)),
            surprise: if self.fault == "nats" { f64::NAN } else { r },
            direction: Direction::High,
            expected,
        }
    }

    fn update_batch(&mut self, samples: &[(Timestamp, f64)], scores: &mut Vec<Score>) {
        for (at, value) in samples {
            let score = self.update(*at, Some(*value)).score;
            scores.push(if self.fault == "batch" && samples.len() > 100 {
                Score::ZERO
            } else {
                score
            });
        }
    }

    fn save(&self) -> Option<Value> {
        let last = self.last.filter(|_| self.fault != "forgets");
        Some(json!({ "last": last, "seen": self.seen }))
    }

    fn load(&mut self, state: &Value) -> Result<(), DetectError> {
        let last = state.get("last");
        if last.is_none() && self.fault != "credulous" {
            return Err(DetectError::invalid("state", "has no `last`"));
        }
        self.last = last
            .and_then(|last| serde_json::from_value(last.clone()).ok())
            .unwrap_or_default();
        let seen = state.get("seen").cloned().unwrap_or_default();
        self.seen = serde_json::from_value(seen).unwrap_or_default();
        Ok(())
    }
}

fn suite(fault: &'static str) -> Suite<impl Fn() -> Faulty> {
    Suite::new(move || Faulty {
        fault,
        ..Faulty::default()
    })
    .monotone()
    .finds_something()
}

#[test]
fn a_kernel_that_keeps_its_contract_passes() {
    suite("none").run();
}

#[test]
fn every_fault_is_found() {
    for fault in [
        "bounds",
        "infinite",
        "deaf",
        "shrill",
        "peaked",
        "chance",
        "late",
        "grows",
        "nats",
        "batch",
        "forgets",
        "credulous",
    ] {
        let found = catch_unwind(AssertUnwindSafe(|| suite(fault).run()));
        assert!(found.is_err(), "a kernel with the fault {fault:?} passed");
    }
}
