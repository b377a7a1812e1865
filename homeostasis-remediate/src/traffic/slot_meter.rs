//! What each slot answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homeostasis_core::record::ArmInterval;
use homeostasis_core::signal::{SeriesKey, SignalSink};
use homeostasis_core::{Target, Timestamp};

/// What one slot did since it was last asked about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SlotInterval {
    /// Requests that were answered or failed, and how long they took.
    pub arm: ArmInterval,
    /// Requests that whoever asked gave up before they were answered: no failure of the slot, unless it
    /// hangs. Set a time limit inside of each slot, and these become failures.
    pub cancelled: u64,
    /// Copies that were not sent because too many were on their way to this slot.
    pub copies_left_out: u64,
}

/// Counts what the slots of a [`WeightedService`](super::WeightedService) answer, copies as well, and for how
/// long. Clones are of the same counts.
///
/// Recording takes a lock of the slot for as long as it takes to add one.
#[derive(Debug, Clone)]
pub struct SlotMeter(Arc<BTreeMap<String, Mutex<SlotInterval>>>);

impl SlotMeter {
    pub(super) fn new<'a>(slots: impl Iterator<Item = &'a String>) -> Self {
        Self(Arc::new(
            slots.map(|slot| (slot.clone(), Mutex::default())).collect(),
        ))
    }

    /// What each slot did since this was last called: ask from one place only.
    pub fn take(&self) -> BTreeMap<String, SlotInterval> {
        let slots = self.0.iter();
        slots
            .map(|(slot, interval)| (slot.clone(), std::mem::take(&mut *lock(interval))))
            .collect()
    }

    /// The same, and it is recorded as series of `target` with the label `slot`: `slot_requests`,
    /// `slot_failures` and `slot_cancelled` (in the interval), and if there were requests
    /// `slot_error_ratio`, `slot_request_duration_p50_seconds` and `…_p95_seconds`.
    pub fn record(
        &self,
        target: &Target,
        at: Timestamp,
        sink: &dyn SignalSink,
    ) -> BTreeMap<String, SlotInterval> {
        let taken = self.take();
        for (slot, interval) in &taken {
            let sample = |metric: &str, value: f64| {
                let mut key = SeriesKey::new(metric)
                    .with("service", target.service_name())
                    .with("slot", slot);
                if let Some(instance) = target.instance_name() {
                    key = key.with("instance", instance);
                }
                sink.sample_of(&key, at, value);
            };
            let arm = &interval.arm;
            sample("slot_requests", arm.requests as f64);
            sample("slot_failures", arm.failed as f64);
            sample("slot_cancelled", interval.cancelled as f64);
            if arm.requests > 0 {
                sample("slot_error_ratio", arm.failed as f64 / arm.requests as f64);
            }
            for (name, q) in [("p50", 0.5), ("p95", 0.95)] {
                if let Some(took) = arm.latencies.quantile(q) {
                    sample(
                        &format!("slot_request_duration_{name}_seconds"),
                        took.as_secs_f64(),
                    );
                }
            }
        }
        taken
    }

    pub(super) fn add(&self, slot: &str, end: End, took: Duration) {
        let Some(interval) = self.0.get(slot) else {
            return;
        };
        let mut interval = lock(interval);
        match end {
            End::Cancelled => interval.cancelled += 1,
            End::LeftOut => interval.copies_left_out += 1,
            End::Answered | End::Failed => {
                interval.arm.requests += 1;
                interval.arm.failed += u64::from(end == End::Failed);
                interval.arm.latencies.record(took, 1);
            }
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    Failed,
    Cancelled,
    LeftOut,
}

fn lock(interval: &Mutex<SlotInterval>) -> MutexGuard<'_, SlotInterval> {
    interval.lock().unwrap_or_else(PoisonError::into_inner)
}
