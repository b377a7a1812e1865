//! What each slot answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use homeostasis_core::record::{ArmInterval, Latencies};
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
/// Recording adds to two counters at most, without lock or allocation; a slot takes 4 KiB of them.
/// A request that ends while the meter is asked may be among the requests of one interval and the
/// latencies of the next; none is lost or counted twice.
#[derive(Debug, Clone)]
pub struct SlotMeter(Arc<BTreeMap<String, SlotCounters>>);

/// What a slot did, in numbers that many threads add to.
#[derive(Debug)]
struct SlotCounters {
    succeeded: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    copies_left_out: AtomicU64,
    latencies: Box<[AtomicU64]>,
}

impl SlotCounters {
    fn new() -> Self {
        let [succeeded, failed, cancelled, copies_left_out] = [0; 4].map(AtomicU64::new);
        let latencies = std::iter::repeat_with(AtomicU64::default);
        Self {
            succeeded,
            failed,
            cancelled,
            copies_left_out,
            latencies: latencies.take(Latencies::N_BUCKETS).collect(),
        }
    }

    fn add(&self, end: End, took: Duration) {
        let add_one = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        match end {
            End::Cancelled => add_one(&self.cancelled),
            End::LeftOut => add_one(&self.copies_left_out),
            End::Answered | End::Failed => {
                if let Some(bucket) = self.latencies.get(Latencies::bucket_of(took)) {
                    add_one(bucket);
                }
                let is_failed = end == End::Failed;
                add_one(if is_failed {
                    &self.failed
                } else {
                    &self.succeeded
                })
            }
        };
    }

    fn take(&self) -> SlotInterval {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let mut interval = SlotInterval {
            cancelled: take(&self.cancelled),
            copies_left_out: take(&self.copies_left_out),
            ..SlotInterval::default()
        };
        interval.arm.failed = take(&self.failed);
        interval.arm.requests = take(&self.succeeded).saturating_add(interval.arm.failed);
        interval.arm.latencies = Latencies::of_counts(self.latencies.iter().map(take));
        interval
    }
}

impl SlotMeter {
    pub(super) fn new<'a>(slots: impl Iterator<Item = &'a String>) -> Self {
        let slots = slots.map(|slot| (slot.clone(), SlotCounters::new()));
        Self(Arc::new(slots.collect()))
    }

    /// What each slot did since this was last called: ask from one place only.
    pub fn take(&self) -> BTreeMap<String, SlotInterval> {
        let slots = self.0.iter();
        slots
            .map(|(slot, counters)| (slot.clone(), counters.take()))
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
        if let Some(counters) = self.0.get(slot) {
            counters.add(end, took);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_add_is_taken_once_and_whole() {
        let slot = "stable".to_owned();
        let meter = SlotMeter::new(std::iter::once(&slot));
        let mut sum = SlotInterval::default();
        std::thread::scope(|threads| {
            let adding: Vec<_> = (1..=4)
                .map(|thread| {
                    let meter = meter.clone();
                    threads.spawn(move || {
                        for n in 0..5_000_u64 {
                            let end = if n % 5 == 0 {
                                End::Failed
                            } else {
                                End::Answered
                            };
                            meter.add("stable", end, Duration::from_millis(thread));
                            meter.add("stable", End::Cancelled, Duration::ZERO);
                            meter.add("elsewhere", End::Answered, Duration::ZERO);
                        }
                    })
                })
                .collect();
            let mut is_last = false;
            while !is_last {
                is_last = adding
                    .iter()
                    .all(std::thread::ScopedJoinHandle::is_finished);
                let taken = meter.take().remove("stable").unwrap();
                sum.arm.requests += taken.arm.requests;
                sum.arm.failed += taken.arm.failed;
                sum.arm.latencies.merge(&taken.arm.latencies);
                sum.cancelled += taken.cancelled;
            }
        });
        assert_eq!((sum.arm.requests, sum.arm.failed), (20_000, 4_000));
        assert_eq!((sum.arm.latencies.count(), sum.cancelled), (20_000, 20_000));
        assert_eq!(meter.take()["stable"], SlotInterval::default());
    }
}
