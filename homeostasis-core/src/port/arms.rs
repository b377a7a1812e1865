//! Arms: what each slot of a service answered, so that a new version can be told from the old one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::context::Context;
use crate::port::TrafficError;
use crate::record::ArmInterval;
use crate::signal::Labels;
use crate::time::{Clock, Timestamp};

/// Measures what the slots of services answer.
///
/// *Assumptions:* it changes nothing, and the same stretch of the past gives the same numbers as
/// long as it is kept: a watch that was cut short by a crash reads it again from its beginning.
#[async_trait]
pub trait ArmMeter: fmt::Debug + Send + Sync {
    /// What `slot` of `service` answered after `from` and up to `until`; `None` if that was not
    /// measured, which is not the same as no requests.
    ///
    /// # Errors
    /// If it cannot be read now.
    async fn answered(
        &self,
        cx: &Context,
        (service, slot): (&str, &str),
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ArmInterval>, TrafficError>;
}

const _: fn(&dyn ArmMeter) = |_| {};

/// Whole seconds are kept, so many of them.
const KEPT_SECS: i64 = 2 * 3600;

/// Counts in memory, second by second for the last two hours, for hosts that see each answer.
///
/// A second is counted when it is over. A slot is measured from its first
/// [`record`](Self::record) on.
#[derive(Debug, Default)]
pub struct MemoryArms {
    slots: Mutex<BTreeMap<(String, String), Seconds>>,
}

#[derive(Debug)]
struct Seconds {
    since: i64,
    counts: BTreeMap<i64, ArmInterval>,
}

impl MemoryArms {
    /// Notes an answer of `slot` that took `latency`. O(log seconds).
    pub fn record(
        &self,
        clock: &dyn Clock,
        (service, slot): (&str, &str),
        latency: Duration,
        is_failed: bool,
    ) {
        let second = second_of(clock.now());
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (service.to_owned(), slot.to_owned());
        let seconds = slots.entry(key).or_insert_with(|| Seconds {
            since: second,
            counts: BTreeMap::new(),
        });
        let count = seconds.counts.entry(second).or_default();
        count.requests += 1;
        count.failed += u64::from(is_failed);
        count.latencies.record(latency, 1);
        while let Some(oldest) = seconds.counts.first_entry()
            && *oldest.key() < second - KEPT_SECS
        {
            seconds.since = *oldest.key() + 1;
            oldest.remove();
        }
    }
}

fn second_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1000)
}

#[async_trait]
impl ArmMeter for MemoryArms {
    async fn answered(
        &self,
        _: &Context,
        (service, slot): (&str, &str),
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ArmInterval>, TrafficError> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seconds) = slots.get(&(service.to_owned(), slot.to_owned())) else {
            return Ok(None);
        };
        let (from, until) = (second_of(from), second_of(until));
        if until <= seconds.since || from >= until {
            return Ok(None);
        }
        let mut sum = ArmInterval::default();
        for count in seconds.counts.range(from..until).map(|(_, count)| count) {
            sum.requests += count.requests;
            sum.failed += count.failed;
            sum.latencies.merge(&count.latencies);
        }
        Ok(Some(sum))
    }
}

/// Reads counters that only grow from what was [observed](Context::observations) lately: one of
/// requests and one of failed requests for each slot, labeled with service and slot.
///
/// A counter that shrank began anew at zero. A slot without a point of both counters in a stretch,
/// and without one before it to compare with, was not measured there: let a counter of failures
/// start at 0. Latencies are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesArms {
    /// The metric of requests.
    pub requests: String,
    /// The metric of failed requests.
    pub failures: String,
    /// The label that says which slot.
    pub slot_label: String,
}

impl Default for SeriesArms {
    /// `requests_total` and `request_failures_total`, labeled `slot`.
    fn default() -> Self {
        Self {
            requests: "requests_total".to_owned(),
            failures: "request_failures_total".to_owned(),
            slot_label: "slot".to_owned(),
        }
    }
}

impl SeriesArms {
    fn increase(
        &self,
        cx: &Context,
        metric: &str,
        (service, slot): (&str, &str),
        from: Timestamp,
        until: Timestamp,
    ) -> Option<u64> {
        let mut labels = Labels::new();
        labels.insert("service".to_owned(), service.to_owned());
        labels.insert(self.slot_label.clone(), slot.to_owned());
        // The last point before the stretch is what its first one is compared with.
        let before = from - until.since(from).max(Duration::from_secs(60));
        let mut sum = None;
        for series in cx.observations().series(metric, &labels, before, until) {
            let points = series.points.iter().filter(|(_, value)| value.is_finite());
            let mut last: Option<f64> = None;
            for (at, value) in points {
                if let Some(last) = last.filter(|_| *at > from) {
                    let grown = if *value < last { *value } else { *value - last };
                    sum = Some(sum.unwrap_or(0.0) + grown.max(0.0));
                }
                last = Some(*value);
            }
        }
        sum.map(whole)
    }
}

/// The nearest whole count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count is finite and at least 0; a cast saturates"
)]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

#[async_trait]
impl ArmMeter for SeriesArms {
    async fn answered(
        &self,
        cx: &Context,
        arm: (&str, &str),
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ArmInterval>, TrafficError> {
        let requests = self.increase(cx, &self.requests, arm, from, until);
        let failed = self.increase(cx, &self.failures, arm, from, until);
        let both = requests.zip(failed);
        Ok(both.map(|(requests, failed)| ArmInterval::new(requests, failed)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::signal::SeriesKey;
    use crate::testing::RecordedObservations;
    use crate::time::ManualClock;

    const AT: fn(i64) -> Timestamp = Timestamp::from_secs;

    #[tokio::test]
    async fn seconds_that_are_over_are_counted_once_and_what_was_never_measured_is_unknown() {
        let clock = Arc::new(ManualClock::new(AT(100)));
        let cx = Context::new(Arc::clone(&clock) as Arc<_>, 1);
        let arms = MemoryArms::default();
        let orders = ("orders", "blue");
        assert_eq!(
            arms.answered(&cx, orders, AT(0), AT(200)).await.unwrap(),
            None
        );
        for n in 0..30_u64 {
            arms.record(&*clock, orders, Duration::from_millis(n), n % 10 == 0);
            clock.advance(Duration::from_secs(1));
        }
        let read = async |from, until| arms.answered(&cx, orders, AT(from), AT(until)).await;
        let (first, second) = (read(90, 110).await, read(110, 130).await);
        let (first, second) = (first.unwrap().unwrap(), second.unwrap().unwrap());
        assert_eq!((first.requests, first.failed), (10, 1));
        assert_eq!((second.requests, second.failed), (20, 2));
        assert_eq!(second.latencies.count(), 20);
        // Measured, and nothing came.
        assert_eq!(read(140, 150).await.unwrap(), Some(ArmInterval::default()));
        assert_eq!(read(80, 90).await.unwrap(), None);
        clock.advance(Duration::from_secs(3 * 3600));
        arms.record(&*clock, orders, Duration::ZERO, false);
        assert_eq!(read(90, 110).await.unwrap(), None);
    }

    #[tokio::test]
    async fn counters_are_read_as_increases_through_a_restart_and_a_missing_one_is_no_zero() {
        let series = |metric: &str, slot: &str| {
            SeriesKey::new(metric)
                .with("service", "orders")
                .with("slot", slot)
        };
        let observed = RecordedObservations::new()
            .with_series(
                series("requests_total", "blue"),
                [(10, 100.0), (20, 160.0), (30, 5.0), (40, 25.0)].map(|(at, n)| (AT(at), n)),
            )
            .with_series(
                series("request_failures_total", "blue"),
                [(10, 0.0), (20, 2.0), (30, 0.0), (40, 1.0)].map(|(at, n)| (AT(at), n)),
            )
            .with_series(
                series("requests_total", "green"),
                [(10, 0.0), (40, 9.0)].map(|(at, n)| (AT(at), n)),
            );
        let cx = Context::new(Arc::new(ManualClock::new(AT(50))), 1).observing(Arc::new(observed));
        let arms = SeriesArms::default();
        let read = async |slot, from, until| {
            let arm = ("orders", slot);
            arms.answered(&cx, arm, AT(from), AT(until)).await.unwrap()
        };
        assert_eq!(read("blue", 10, 20).await, Some(ArmInterval::new(60, 2)));
        assert_eq!(read("blue", 10, 40).await, Some(ArmInterval::new(85, 3)));
        assert_eq!(read("green", 10, 40).await, None);
        assert_eq!(read("blue", 300, 400).await, None);
    }
}
