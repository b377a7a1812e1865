//! Follows values that only grow, and says by how much.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::time::Duration;

use homeostasis_core::Timestamp;

/// What grows until its source restarts.
pub(super) trait Cumulative: Clone {
    /// What came to `before`; `None` if this is no continuation of it.
    fn since(&self, before: &Self) -> Option<Self>;
}

impl Cumulative for f64 {
    fn since(&self, before: &Self) -> Option<Self> {
        (self >= before).then(|| self - before)
    }
}

/// One reading of a cumulative value.
#[derive(Debug, Clone)]
pub(super) struct Reading<T> {
    pub(super) value: T,
    /// When it was read at its source.
    pub(super) at: Timestamp,
    /// Since when it grows, if the source says so.
    pub(super) start: Option<Timestamp>,
    /// The last time at which it is known not to have existed: it has then grown from zero.
    pub(super) absent_at: Option<Timestamp>,
}

/// By how much a value has grown.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Growth<T> {
    /// By so much, in so many seconds.
    By(T, f64),
    /// It was reset and stands here, after so many seconds.
    From0(T, f64),
    /// There is nothing to compare with.
    Unknown,
    /// There is no room to remember it.
    LeftOut,
}

/// The last readings of many values, bounded in number.
#[derive(Debug)]
pub(super) struct CumulativeSeries<K, T> {
    last: HashMap<K, Seen<T>>,
    max: usize,
    round: u64,
}

#[derive(Debug)]
struct Seen<T> {
    value: T,
    at: Timestamp,
    start: Option<Timestamp>,
    /// When it came, on our clock.
    arrived: Timestamp,
    round: u64,
}

impl<K: Eq + Hash, T: Cumulative> CumulativeSeries<K, T> {
    /// Room for `max` values.
    pub(super) fn new(max: usize) -> Self {
        Self {
            last: HashMap::new(),
            max,
            round: 0,
        }
    }

    /// Begins a page or a message, on which each value counts once.
    pub(super) fn next_round(&mut self) {
        self.round += 1;
    }

    /// Remembers a reading that came at `arrived` and says by how much its value has grown.
    ///
    /// A reading that is not later than the one before is the new beginning and says nothing.
    pub(super) fn advance(&mut self, key: K, read: Reading<T>, arrived: Timestamp) -> Growth<T> {
        let full = self.last.len() >= self.max;
        let Reading {
            value,
            at,
            start,
            absent_at,
        } = read;
        let seen = |value| Seen {
            value,
            at,
            start,
            arrived,
            round: self.round,
        };
        match self.last.entry(key) {
            Entry::Occupied(mut entry) => {
                if entry.get().round == self.round {
                    // The same value twice in one round: the first counts.
                    return Growth::Unknown;
                }
                let before = entry.insert(seen(value.clone()));
                let seconds = at.since(before.at).as_secs_f64();
                // A start after the last reading says that it began anew, however far it has come.
                let restarted = start > before.start && start >= Some(before.at);
                if seconds <= 0.0 {
                    return Growth::Unknown;
                }
                match value.since(&before.value) {
                    Some(grown) if !restarted => Growth::By(grown, seconds),
                    _ => Growth::From0(value, seconds),
                }
            }
            Entry::Vacant(_) if full => Growth::LeftOut,
            Entry::Vacant(entry) => {
                entry.insert(seen(value.clone()));
                match absent_at {
                    Some(absent) if at > absent => {
                        Growth::By(value, at.since(absent).as_secs_f64())
                    }
                    _ => Growth::Unknown,
                }
            }
        }
    }

    /// Forgets one value: its source says that it has ended.
    #[cfg(feature = "otlp")]
    pub(super) fn remove(&mut self, key: &K) {
        self.last.remove(key);
    }

    /// Forgets what has not come for longer than `after`.
    pub(super) fn forget(&mut self, now: Timestamp, after: Duration) {
        self.last.retain(|_, seen| now.since(seen.arrived) <= after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: f64, at: i64, start: Option<i64>, absent_at: Option<i64>) -> Reading<f64> {
        Reading {
            value,
            at: Timestamp::from_secs(at),
            start: start.map(Timestamp::from_secs),
            absent_at: absent_at.map(Timestamp::from_secs),
        }
    }

    fn follow(readings: &[Reading<f64>]) -> Vec<Growth<f64>> {
        let mut series = CumulativeSeries::new(1);
        readings
            .iter()
            .map(|reading| {
                series.next_round();
                series.advance("n", reading.clone(), reading.at)
            })
            .collect()
    }

    #[test]
    fn a_later_start_is_a_reset_even_if_the_value_did_not_fall() {
        let growths = follow(&[
            read(5.0, 10, Some(0), None),
            read(9.0, 20, Some(0), None),
            read(9.0, 30, Some(25), None),
            // A corrected start that lies before the last reading is none.
            read(11.0, 40, Some(26), None),
        ]);
        let expected = [
            Growth::Unknown,
            Growth::By(4.0, 10.0),
            Growth::From0(9.0, 10.0),
            Growth::By(2.0, 10.0),
        ];
        assert_eq!(growths, expected);
    }

    #[test]
    fn what_was_absent_has_grown_from_zero_and_what_has_no_room_is_left_out() {
        assert_eq!(
            follow(&[read(6.0, 10, None, Some(7))]),
            [Growth::By(6.0, 3.0)]
        );
        assert_eq!(follow(&[read(6.0, 10, None, Some(10))]), [Growth::Unknown]);
        let mut series = CumulativeSeries::new(1);
        series.advance("a", read(1.0, 1, None, None), Timestamp::EPOCH);
        let other = series.advance("b", read(1.0, 1, None, None), Timestamp::EPOCH);
        assert_eq!(other, Growth::LeftOut);
        series.forget(Timestamp::from_secs(9), Duration::from_secs(5));
        let other = series.advance("b", read(1.0, 1, None, None), Timestamp::EPOCH);
        assert_eq!(other, Growth::Unknown);
    }
}
