//! What the shop's customers saw, request by request, and what follows from it: is it calm, how
//! many requests failed, when did it recover.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The shop is called calm, and recovered, when it was well for this long.
pub(crate) const CALM: Duration = Duration::from_secs(2);

/// In a calm window at most this share of the requests is slow: a busy machine hiccups.
const MAX_SLOW_SHARE: f64 = 0.05;

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Since the start of the timeline.
    pub(crate) started: Duration,
    pub(crate) latency: Duration,
    pub(crate) ok: bool,
}

/// What is normal, learned while nothing was wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Normal {
    /// A request that takes longer is slow.
    pub(crate) slow: Duration,
    /// Requests that arrive in a second.
    pub(crate) rate_per_second: f64,
}

/// A stretch of time in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
}

/// Every request so far, and the ids of the orders that were acknowledged.
#[derive(Debug)]
pub(crate) struct Timeline {
    origin: Instant,
    samples: Mutex<Vec<Sample>>,
    acknowledged: Mutex<Vec<u64>>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            samples: Mutex::default(),
            acknowledged: Mutex::default(),
        }
    }

    /// Now, on this timeline.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    pub(crate) fn record(&self, sample: Sample) {
        self.samples().push(sample);
    }

    pub(crate) fn acknowledge(&self, order: u64) {
        let mut acknowledged = self
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        acknowledged.push(order);
    }

    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        let acknowledged = self
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        acknowledged.clone()
    }

    fn samples(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The requests that started in `from..until`, in the order of their start.
    fn between(&self, from: Duration, until: Duration) -> Vec<Sample> {
        let mut found: Vec<Sample> = self
            .samples()
            .iter()
            .filter(|sample| (from..until).contains(&sample.started))
            .copied()
            .collect();
        found.sort_by_key(|sample| sample.started);
        found
    }

    pub(crate) fn summary(&self, from: Duration, until: Duration) -> Summary {
        Summary::of(&self.between(from, until))
    }

    /// Was the shop well in the last [`CALM`]?
    pub(crate) fn is_calm(&self, normal: Normal) -> bool {
        let now = self.now();
        let from = now.saturating_sub(CALM);
        is_calm(&self.between(from, now), normal)
    }

    /// When, after `from`, customers were well again: the first instant after the first request
    /// that was hurt from which on the shop was calm. `None` if it is not so far; zero if no
    /// request was hurt.
    pub(crate) fn recovered_after(&self, from: Duration, normal: Normal) -> Option<Duration> {
        recovered_after(&self.between(from, self.now()), from, self.now(), normal)
    }

    /// One line a second: second, requests, failed, median and 95th percentile in milliseconds.
    pub(crate) fn write_csv(&self, path: &Path) -> io::Result<()> {
        let mut text = "second,requests,failed,p50_ms,p95_ms\n".to_owned();
        for second in 0..=self.now().as_secs() {
            let from = Duration::from_secs(second);
            let summary = self.summary(from, from + Duration::from_secs(1));
            text.push_str(&format!(
                "{second},{},{},{:.1},{:.1}\n",
                summary.requests, summary.failed, summary.p50_ms, summary.p95_ms
            ));
        }
        std::fs::write(path, text)
    }
}

impl Summary {
    fn of(samples: &[Sample]) -> Self {
        let mut latencies: Vec<Duration> = samples.iter().map(|sample| sample.latency).collect();
        latencies.sort_unstable();
        // Nearest rank; zero when there was no request.
        let percentile = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100).saturating_sub(1);
            let latency = latencies.get(rank).copied().unwrap_or_default();
            (latency.as_secs_f64() * 10_000.0).round() / 10.0
        };
        Self {
            requests: samples.len(),
            failed: samples.iter().filter(|sample| !sample.ok).count(),
            p50_ms: percentile(50),
            p95_ms: percentile(95),
        }
    }
}

impl Normal {
    /// Learns from a stretch without faults.
    pub(crate) fn learn(summary: Summary, rate_per_second: f64) -> Self {
        let slow_ms = (summary.p95_ms * 5.0).max(150.0);
        Self {
            slow: Duration::from_secs_f64(slow_ms / 1000.0),
            rate_per_second,
        }
    }

    fn is_hurt(&self, sample: &Sample) -> bool {
        !sample.ok || sample.latency > self.slow
    }
}

/// Enough requests, none failed, few slow. `window` are the requests of one [`CALM`].
fn is_calm(window: &[Sample], normal: Normal) -> bool {
    let expected = normal.rate_per_second * CALM.as_secs_f64();
    let slow = window
        .iter()
        .filter(|sample| sample.latency > normal.slow)
        .count();
    // Requests on their way are not in the window yet: many of them show as too few.
    window.len() as f64 >= expected / 2.0
        && window.iter().all(|sample| sample.ok)
        && slow as f64 <= window.len() as f64 * MAX_SLOW_SHARE
}

fn recovered_after(
    samples: &[Sample],
    from: Duration,
    now: Duration,
    normal: Normal,
) -> Option<Duration> {
    if !samples.iter().any(|sample| normal.is_hurt(sample)) {
        return Some(Duration::ZERO);
    }
    let mut ends: Vec<Duration> = samples
        .iter()
        .filter(|sample| normal.is_hurt(sample))
        .map(|sample| sample.started + sample.latency)
        .collect();
    ends.sort_unstable();
    ends.into_iter()
        .take_while(|end| *end + CALM <= now)
        .find(|end| {
            let window: Vec<Sample> = samples
                .iter()
                .filter(|sample| (*end..*end + CALM).contains(&sample.started))
                .copied()
                .collect();
            is_calm(&window, normal)
        })
        .map(|end| end.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: Normal = Normal {
        slow: Duration::from_millis(150),
        rate_per_second: 10.0,
    };

    /// Ten requests a second for twelve seconds; those that start in `bad` fail after 50 ms.
    fn samples(bad: std::ops::Range<u64>) -> Vec<Sample> {
        (0..120)
            .map(|n| Sample {
                started: Duration::from_millis(n * 100),
                latency: Duration::from_millis(50),
                ok: !bad.contains(&(n * 100)),
            })
            .collect()
    }

    fn recovery(samples: &[Sample], now_s: u64) -> Option<u128> {
        let (from, now) = (Duration::from_secs(1), Duration::from_secs(now_s));
        let seen: Vec<Sample> = samples
            .iter()
            .filter(|s| (from..now).contains(&s.started))
            .copied()
            .collect();
        recovered_after(&seen, from, now, NORMAL).map(|d| d.as_millis())
    }

    #[test]
    fn recovery_is_the_end_of_the_last_failed_request_before_the_calm() {
        assert_eq!(recovery(&samples(2000..5000), 12), Some(4900 + 50 - 1000));
    }

    #[test]
    fn a_short_pause_between_failures_is_no_recovery() {
        let mut samples = samples(2000..3000);
        samples[45].ok = false;
        assert_eq!(recovery(&samples, 12), Some(4500 + 50 - 1000));
    }

    #[test]
    fn recovery_is_not_claimed_before_two_seconds_of_calm() {
        assert_eq!(recovery(&samples(2000..5000), 6), None);
        assert_eq!(recovery(&samples(2000..5000), 7), Some(3950));
    }

    #[test]
    fn nothing_hurt_means_recovered_at_once() {
        assert_eq!(recovery(&samples(0..0), 12), Some(0));
    }

    #[test]
    fn silence_and_slowness_are_not_calm() {
        let calm = samples(0..0);
        assert!(is_calm(&calm[0..20], NORMAL));
        assert!(!is_calm(&calm[0..9], NORMAL));
        let mut slow = calm;
        for sample in slow.iter_mut().step_by(10) {
            sample.latency = Duration::from_millis(400);
        }
        assert!(!is_calm(&slow[0..20], NORMAL));
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let summary = Summary::of(&samples(0..1000));
        assert_eq!((summary.requests, summary.failed), (120, 10));
        assert_eq!((summary.p50_ms, summary.p95_ms), (50.0, 50.0));
        assert_eq!(Summary::of(&[]), Summary::default());
    }
}
