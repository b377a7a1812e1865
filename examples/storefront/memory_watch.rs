//! A service's memory seen from outside, through `/proc`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::deployment::ServiceSpec;
use crate::process::Identity;
use crate::timeline::Timeline;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// Growth below this is not called a leak.
const NOTABLE_BYTES: u64 = 8 * 1024 * 1024;

type Samples = Arc<Mutex<Vec<(Duration, u64)>>>;

/// Resident memory over time.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    samples: Samples,
    task: JoinHandle<()>,
}

impl MemoryWatch {
    pub(crate) fn start(service: ServiceSpec, timeline: Arc<Timeline>) -> Self {
        let samples = Samples::default();
        let sink = Arc::clone(&samples);
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(INTERVAL);
            loop {
                tick.tick().await;
                if let Some(bytes) = service.running().and_then(Identity::resident_bytes) {
                    let mut samples = sink.lock().unwrap_or_else(PoisonError::into_inner);
                    samples.push((timeline.now(), bytes));
                }
            }
        });
        Self { samples, task }
    }

    fn since(&self, from: Duration) -> Vec<(Duration, u64)> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples
            .iter()
            .filter(|(at, _)| *at >= from)
            .copied()
            .collect()
    }

    /// How much memory grew since `from`, at its largest.
    pub(crate) fn growth_bytes(&self, from: Duration) -> u64 {
        growth(&self.since(from)).map_or(0, |(_, bytes)| bytes)
    }

    /// When memory was given back: the first instant after its peak at which at least three
    /// quarters of the growth were gone. `None` if not yet or never looked at; zero if
    /// it hardly grew.
    pub(crate) fn recovered_after(&self, from: Duration) -> Option<Duration> {
        recovered(&self.since(from)).map(|at| at.saturating_sub(from))
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Index of the peak, and its height above the first sample.
fn growth(samples: &[(Duration, u64)]) -> Option<(usize, u64)> {
    let (_, first) = *samples.first()?;
    let (peak_idx, (_, peak)) = samples
        .iter()
        .enumerate()
        .max_by_key(|(_, (_, bytes))| *bytes)?;
    Some((peak_idx, peak.saturating_sub(first)))
}

fn recovered(samples: &[(Duration, u64)]) -> Option<Duration> {
    let (peak_idx, grown) = growth(samples)?;
    if grown < NOTABLE_BYTES {
        return Some(Duration::ZERO);
    }
    let enough = samples[0].1 + grown / 4;
    samples[peak_idx..]
        .iter()
        .find_map(|(at, bytes)| (*bytes <= enough).then_some(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(mebibytes: &[u64]) -> Vec<(Duration, u64)> {
        mebibytes
            .iter()
            .zip(0..)
            .map(|(mib, s)| (Duration::from_secs(s), mib << 20))
            .collect()
    }

    #[test]
    fn memory_recovers_when_the_growth_is_given_back() {
        let leaking = series(&[10, 20, 40, 60]);
        assert_eq!(recovered(&leaking), None);
        let restarted = series(&[10, 20, 40, 60, 9, 10]);
        assert_eq!(recovered(&restarted), Some(Duration::from_secs(4)));
        assert_eq!(recovered(&series(&[10, 11, 12])), Some(Duration::ZERO));
        assert_eq!(recovered(&[]), None);
    }
}
