//! A histogram of bounded size that many threads fill without a lock.

use std::sync::atomic::{AtomicU32, Ordering};

/// Buckets for each doubling: a value is known to 1/64 of itself.
const BITS: u32 = 5;
/// Doublings that are told apart, from 2^-30 (a nanosecond, in seconds) to 2^34 (16 GiB, in bytes).
const LOWEST_EXPONENT: i32 = -30;
const DOUBLINGS: usize = 64;
/// One below the range (zero and negative values too) and one above it.
const N_BUCKETS: usize = (DOUBLINGS << BITS) + 2;
/// How far the bits of a float are shifted to leave its exponent and the first bits of its mantissa.
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - BITS;

/// Counts values in buckets of equal relative width.
///
/// This is the log-linear histogram of HDR: the leading bits of a float are its bucket, so that
/// recording is one shift and one addition. A quantile is off by at most 1/64 (1.6 %) of itself
/// within 1e-9 to 1.7e10; smaller values read as 0 and larger ones as the upper end. 8 KiB.
#[derive(Debug)]
pub(super) struct Sketch(Box<[AtomicU32]>);

/// What a sketch held: values by size, and how often each occurred.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Distribution {
    values: Vec<(f64, u64)>,
    n: u64,
}

impl Sketch {
    pub(super) fn new() -> Self {
        Self(
            std::iter::repeat_with(AtomicU32::default)
                .take(N_BUCKETS)
                .collect(),
        )
    }

    /// Counts `value` `n` times; NaN is no value. Neither locks nor allocates.
    pub(super) fn record(&self, value: f64, n: usize) {
        if !value.is_nan() {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            self.0[bucket_of(value)].fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Takes out what was counted since the last time: each value once, whoever records meanwhile.
    pub(super) fn take(&self) -> Distribution {
        let mut taken = Distribution::default();
        for (bucket, count) in self.0.iter().enumerate() {
            if count.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let count = u64::from(count.swap(0, Ordering::Relaxed));
            taken.values.push((middle_of(bucket), count));
            taken.n += count;
        }
        taken
    }
}

impl Distribution {
    /// Adds the values of `other`.
    #[cfg(feature = "tower")]
    pub(super) fn add(&mut self, other: &Self) {
        self.values.extend(&other.values);
        self.values.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.n += other.n;
    }

    /// The smallest value that at least the share `q` of all does not exceed; `None` without values.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q * self.n as f64).ceil().max(1.0);
        let mut below = 0;
        let reached = self.values.iter().find(|(_, count)| {
            below += count;
            below as f64 >= rank
        });
        reached.or(self.values.last()).map(|(value, _)| *value)
    }
}

/// The bits of the lower end of the range, as they stand in a bucket's number.
fn base() -> u64 {
    2.0_f64.powi(LOWEST_EXPONENT).to_bits() >> SHIFT
}

fn bucket_of(value: f64) -> usize {
    if value < 2.0_f64.powi(LOWEST_EXPONENT) {
        return 0;
    }
    let above = (value.to_bits() >> SHIFT).saturating_sub(base());
    usize::try_from(above).map_or(N_BUCKETS - 1, |above| (above + 1).min(N_BUCKETS - 1))
}

fn middle_of(bucket: usize) -> f64 {
    let lower_end = |bucket: usize| f64::from_bits((base() + bucket as u64 - 1) << SHIFT);
    match bucket {
        0 => 0.0,
        _ if bucket == N_BUCKETS - 1 => lower_end(bucket),
        _ => f64::midpoint(lower_end(bucket), lower_end(bucket + 1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_values_within_a_sixty_fourth(
            values in prop::collection::vec(-28.0_f64..33.0, 1..200),
            q in 0.0_f64..=1.0,
        ) {
            let sketch = Sketch::new();
            let mut values: Vec<f64> = values.into_iter().map(f64::exp2).collect();
            for value in &values {
                sketch.record(*value, 1);
            }
            values.sort_by(f64::total_cmp);
            let rank = values.iter().enumerate().find(|(n, _)| (n + 1) as f64 >= q * values.len() as f64);
            let exact = *rank.unwrap().1;
            let told = sketch.take().quantile(q).unwrap();
            prop_assert!((told - exact).abs() <= exact / 64.0 * 1.000_001, "{told} {exact}");
            prop_assert_eq!(sketch.take().quantile(q), None);
        }
    }

    #[test]
    fn values_outside_the_range_are_counted_at_its_ends() {
        let sketch = Sketch::new();
        sketch.record(f64::NAN, 1);
        assert_eq!(sketch.take(), Distribution::default());
        for value in [f64::NEG_INFINITY, -3.0, 0.0, 1e-300, f64::INFINITY] {
            sketch.record(value, 2);
        }
        let taken = sketch.take();
        assert_eq!(taken.values, [(0.0, 8), (2.0_f64.powi(34), 2)]);
        assert_eq!(taken.quantile(0.5), Some(0.0));
        assert_eq!(taken.quantile(0.99), Some(2.0_f64.powi(34)));
    }

    #[test]
    fn what_many_threads_record_is_taken_once() {
        let sketch = Sketch::new();
        let mut taken = 0;
        std::thread::scope(|scope| {
            // All on one bucket, so that takers and writers meet there.
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    let sketch = &sketch;
                    scope.spawn(move || {
                        for _ in 0..3_000_000 {
                            sketch.record(1e-12, 1);
                        }
                    })
                })
                .collect();
            while !writers
                .iter()
                .all(std::thread::ScopedJoinHandle::is_finished)
            {
                taken += sketch.take().n;
            }
        });
        assert_eq!(taken + sketch.take().n, 9_000_000);
    }
}
