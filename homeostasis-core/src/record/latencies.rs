//! How long requests took: a histogram of bounded size.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Each power of two of microseconds is cut into so many equal parts.
const PARTS: u64 = 16;
const PARTS_LOG2: u32 = PARTS.ilog2();
/// Everything from 2^32 microseconds on (72 minutes) is in the last bucket.
const LAST: u16 = 463;

/// How often each latency occurred, to a sixteenth of it: at most 464 buckets, whatever is recorded.
///
/// Latencies below 16 µs are kept to the microsecond; from 2^32 µs on, all are alike.
/// Histograms have the same bounds everywhere, so that they may be added and compared.
///
/// ```
/// use homeostasis::core::record::Latencies;
/// use std::time::Duration;
/// let mut latencies = Latencies::default();
/// latencies.record(Duration::from_millis(3), 99);
/// latencies.record(Duration::from_millis(800), 1);
/// assert_eq!(latencies.count(), 100);
/// let median = latencies.quantile(0.5).unwrap();
/// assert!(median.abs_diff(Duration::from_millis(3)) < Duration::from_micros(200));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<u16, u64>", into = "BTreeMap<u16, u64>")]
pub struct Latencies(BTreeMap<u16, u64>);

impl Latencies {
    /// How many buckets there are; the `Vec` or array of a counter that takes no lock has that length.
    pub const N_BUCKETS: usize = LAST as usize + 1;

    /// The bucket of a latency, below [`Latencies::N_BUCKETS`]. O(1).
    pub fn bucket_of(latency: Duration) -> usize {
        usize::from(bucket(latency))
    }

    /// The histogram that has these counts in its buckets, from the first one on; those beyond the last
    /// are not looked at.
    ///
    /// ```
    /// use homeostasis::core::record::Latencies;
    /// use std::time::Duration;
    /// let mut counts = [0; Latencies::N_BUCKETS];
    /// counts[Latencies::bucket_of(Duration::from_millis(3))] = 7;
    /// assert_eq!(Latencies::of_counts(counts).count(), 7);
    /// ```
    pub fn of_counts(counts: impl IntoIterator<Item = u64>) -> Self {
        let buckets = (0..=LAST).zip(counts);
        Self(buckets.filter(|(_, times)| *times > 0).collect())
    }

    /// Adds `times` requests that took so long. O(log buckets).
    pub fn record(&mut self, latency: Duration, times: u64) {
        if times > 0 {
            let bucket = self.0.entry(bucket(latency)).or_default();
            *bucket = bucket.saturating_add(times);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, times) in &other.0 {
            let own = self.0.entry(*bucket).or_default();
            *own = own.saturating_add(*times);
        }
    }

    /// How many requests there were.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The `rank`-th smallest latency, from 1, as the middle of its bucket; `None` if there are
    /// fewer.
    pub fn ranked(&self, rank: u64) -> Option<Duration> {
        let mut below = 0_u64;
        (rank > 0).then_some(())?;
        let (bucket, _) = self.0.iter().find(|(_, times)| {
            below = below.saturating_add(**times);
            below >= rank
        })?;
        Some(middle(*bucket))
    }

    /// The smallest latency that a share of `q` does not exceed; `None` without requests, or if `q`
    /// is not in `0..=1`.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        if !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = (q * self.count() as f64).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a count"
        )]
        self.ranked((rank as u64).clamp(1, self.count().max(1)))
    }
}

impl TryFrom<BTreeMap<u16, u64>> for Latencies {
    type Error = String;

    fn try_from(buckets: BTreeMap<u16, u64>) -> Result<Self, String> {
        match buckets.iter().find(|(at, n)| **at > LAST || **n == 0) {
            Some((at, n)) => Err(format!(
                "latency bucket {at} = {n}, expected a bucket up to {LAST} with a count above 0"
            )),
            None => Ok(Self(buckets)),
        }
    }
}

impl From<Latencies> for BTreeMap<u16, u64> {
    fn from(latencies: Latencies) -> Self {
        latencies.0
    }
}

fn bucket(latency: Duration) -> u16 {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    if micros < PARTS {
        return u16::try_from(micros).unwrap_or(LAST);
    }
    let shift = micros.ilog2() - PARTS_LOG2;
    let bucket = u64::from(shift) * PARTS + (micros >> shift);
    u16::try_from(bucket).map_or(LAST, |bucket| bucket.min(LAST))
}

fn middle(bucket: u16) -> Duration {
    let bucket = u64::from(bucket);
    if bucket < PARTS {
        return Duration::from_micros(bucket);
    }
    let shift = bucket / PARTS - 1;
    let low = (PARTS + bucket % PARTS) << shift;
    Duration::from_micros(low + (1 << shift) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_of_buckets_are_what_was_recorded(micros in proptest::collection::vec(0_u64..1 << 34, 0..50)) {
            let (mut recorded, mut counts) = (Latencies::default(), [0; Latencies::N_BUCKETS]);
            for latency in micros.into_iter().map(Duration::from_micros) {
                recorded.record(latency, 1);
                counts[Latencies::bucket_of(latency)] += 1;
            }
            prop_assert_eq!(Latencies::of_counts(counts), recorded);
        }

        #[test]
        fn a_latency_is_told_to_a_sixteenth(micros in 0_u64..1 << 32) {
            let latency = Duration::from_micros(micros);
            let told = middle(bucket(latency));
            prop_assert!(told.abs_diff(latency) <= latency / 16, "{told:?} for {latency:?}");
        }

        #[test]
        fn longer_is_never_in_a_lower_bucket(a in any::<u64>(), b in any::<u64>()) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(bucket(Duration::from_micros(low)) <= bucket(Duration::from_micros(high)));
        }

        #[test]
        fn merging_is_recording_all(a in prop::collection::vec(any::<u32>(), 0..50), b in prop::collection::vec(any::<u32>(), 0..50)) {
            let of = |values: &[u32]| {
                let mut latencies = Latencies::default();
                for micros in values {
                    latencies.record(Duration::from_micros((*micros).into()), 1);
                }
                latencies
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(merged, of(&[a, b].concat()));
        }
    }

    #[test]
    fn the_size_is_bounded_and_quantiles_are_ranks() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        latencies.record(Duration::MAX, u64::MAX);
        latencies.record(Duration::from_micros(5), 3);
        assert_eq!(latencies.count(), u64::MAX);
        assert_eq!(latencies.ranked(0), None);
        assert_eq!(latencies.ranked(3), Some(Duration::from_micros(5)));
        assert!(latencies.ranked(4) > Some(Duration::from_secs(4000)));
        for q in [-0.1, 1.1, f64::NAN] {
            assert_eq!(latencies.quantile(q), None);
        }
        let mut two = Latencies::default();
        two.record(Duration::from_micros(1), 1);
        two.record(Duration::from_micros(2), 1);
        assert_eq!(two.quantile(0.5), Some(Duration::from_micros(1)));
        assert_eq!(two.quantile(0.51), Some(Duration::from_micros(2)));
        assert_eq!(two.quantile(0.0), Some(Duration::from_micros(1)));
        assert_eq!(bucket(Duration::MAX), LAST);
    }

    #[test]
    fn a_bucket_that_is_none_is_refused() {
        let read = |text| serde_json::from_str::<Latencies>(text).map_err(|e| e.to_string());
        assert!(read(r#"{"464":1}"#).unwrap_err().contains("464"));
        assert!(read(r#"{"1":0}"#).unwrap_err().contains("above 0"));
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_micros(7), 2);
        assert_eq!(read(r#"{"7":2}"#), Ok(latencies));
    }
}
