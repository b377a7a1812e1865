//! Buckets of histograms, by their bounds.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::quantile::Bucket;

/// Cumulative counts in the order of their upper bounds.
pub(super) type Buckets = BTreeMap<OrderedBound, f64>;

/// A bound of a bucket; `le` is a number here, because `0.10` and `0.1` are the same bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OrderedBound(f64);

impl OrderedBound {
    /// `None` for NaN, which bounds nothing.
    pub(super) fn new(bound: f64) -> Option<Self> {
        // `-0` and `0` are one bound.
        (!bound.is_nan()).then_some(Self(bound + 0.0))
    }

    pub(super) fn get(self) -> f64 {
        self.0
    }
}

impl Eq for OrderedBound {}

impl PartialOrd for OrderedBound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedBound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Adds the counts of one histogram to those of others with the same name.
pub(super) fn add(sum: &mut Buckets, more: impl IntoIterator<Item = (OrderedBound, f64)>) {
    for (bound, count) in more {
        *sum.entry(bound).or_insert(0.0) += count;
    }
}

/// The buckets as the quantile function takes them.
pub(super) fn to_buckets(sum: &Buckets) -> Vec<Bucket> {
    sum.iter()
        .map(|(bound, count)| Bucket {
            upper: bound.0,
            count: *count,
        })
        .collect()
}
