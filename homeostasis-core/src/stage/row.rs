//! Kernels over rows: several series of one component at one time, judged together.

use std::fmt;

use serde_json::Value;

use crate::stage::DetectError;
use crate::time::Timestamp;
use crate::unit::Score;

/// Rows of equal width, oldest first; NaN is a missing value.
///
/// ```
/// use homeostasis::core::stage::Rows;
/// let rows = Rows::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3)?;
/// assert_eq!((rows.len(), rows.get(1)), (2, &[4.0, 5.0, 6.0][..]));
/// # Ok::<(), homeostasis::core::stage::DetectError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    values: &'a [f64],
    width: usize,
}

impl<'a> Rows<'a> {
    /// The rows in `values`, one after another.
    ///
    /// # Errors
    /// If `width` is 0 or `values` does not end with a row.
    pub fn new(values: &'a [f64], width: usize) -> Result<Self, DetectError> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(DetectError::invalid(
                format!("{} values in rows of {width}", values.len()),
                "expected whole rows of at least one value",
            ));
        }
        Ok(Self { values, width })
    }

    /// How many values a row has, at least 1.
    pub fn width(self) -> usize {
        self.width
    }

    /// How many rows there are.
    pub fn len(self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.values.is_empty()
    }

    /// All values, row after row.
    pub fn values(self) -> &'a [f64] {
        self.values
    }

    /// The row at `index`; empty if there is none.
    pub fn get(self, index: usize) -> &'a [f64] {
        let from = index.saturating_mul(self.width);
        let to = from.saturating_add(self.width);
        self.values.get(from..to).unwrap_or_default()
    }

    /// The rows, oldest first.
    pub fn iter(self) -> std::slice::ChunksExact<'a, f64> {
        self.values.chunks_exact(self.width)
    }

    /// The values of one feature, oldest first; none if there is no such feature.
    pub fn column(self, feature: usize) -> impl Iterator<Item = f64> + 'a {
        let values = self.values.get(feature..).unwrap_or_default();
        let n_rows = if feature < self.width { self.len() } else { 0 };
        values.iter().step_by(self.width).take(n_rows).copied()
    }
}

/// What a kernel says of one row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RowScore {
    /// How anomalous, `0..=1`; 0.5 at the limit of the kernel, 0 before it is fitted and for a row
    /// without values.
    pub score: Score,
    /// The same in nats; keeps its order where the score saturates.
    pub surprise: f64,
}

/// A detector of rows, as a sync kernel: learns from a window of the past, then judges one row after
/// another in bounded time and memory.
///
/// *Contract:* NaN and infinities are missing values, which do not count; a row without any value scores 0
/// and changes nothing. A row that is not later than the last one is scored and not learned. The
/// same rows give the same scores, whatever the batches. Learning goes in pieces of some milliseconds, so
/// that it never stops who calls it, and the last model serves until the new one is ready; a model
/// that cannot be learned leaves the last one as it is. Everything random comes from the seed of the
/// configuration.
pub trait RowDetector: fmt::Debug + Send {
    /// Begins to learn from `rows`, in place of what was begun before; they are copied.
    ///
    /// # Errors
    /// If nothing can be learned from them: too few rows, too wide ones, no values.
    fn begin(&mut self, rows: Rows<'_>) -> Result<(), DetectError>;

    /// Does the next piece of what was begun; whether more is left. Without anything begun there is
    /// nothing left.
    ///
    /// # Errors
    /// If the rows turn out to hold nothing to learn from; what was begun is then given up.
    fn learn(&mut self) -> Result<bool, DetectError>;

    /// Learns from `rows` at once: [`begin`](Self::begin), then [`learn`](Self::learn) to the end.
    ///
    /// # Errors
    /// As both.
    fn fit(&mut self, rows: Rows<'_>) -> Result<(), DetectError> {
        self.begin(rows)?;
        while self.learn()? {}
        Ok(())
    }

    /// Scores a row, then learns what it learns from single rows.
    ///
    /// # Errors
    /// If the row is not as wide as those it was fitted on. Before the first fit every row scores 0.
    fn update(&mut self, at: Timestamp, row: &[f64]) -> Result<RowScore, DetectError>;

    /// How much each feature contributed to the last score: 0 or more, larger is more, in no unit;
    /// empty if there is none or the kernel cannot say.
    fn contributions(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Its model and state, if they can be stored; neither the configuration nor a model that is
    /// still being learned is part of it.
    fn save(&self) -> Option<Value> {
        None
    }

    /// Takes a stored state up again; scores afterwards are the same to the bit. What was begun is given up.
    ///
    /// # Errors
    /// If it has no state that can be stored, or this one does not fit its configuration; the
    /// present state is then kept.
    fn load(&mut self, _: &Value) -> Result<(), DetectError> {
        Err(DetectError::invalid(
            "stored state",
            "this kernel keeps no state that can be stored",
        ))
    }
}

const _: fn(&dyn RowDetector) = |_| {};

impl<T: RowDetector + ?Sized> RowDetector for Box<T> {
    fn begin(&mut self, rows: Rows<'_>) -> Result<(), DetectError> {
        (**self).begin(rows)
    }

    fn learn(&mut self) -> Result<bool, DetectError> {
        (**self).learn()
    }

    fn fit(&mut self, rows: Rows<'_>) -> Result<(), DetectError> {
        (**self).fit(rows)
    }

    fn update(&mut self, at: Timestamp, row: &[f64]) -> Result<RowScore, DetectError> {
        (**self).update(at, row)
    }

    fn contributions(&self) -> Vec<f64> {
        (**self).contributions()
    }

    fn save(&self) -> Option<Value> {
        (**self).save()
    }

    fn load(&mut self, state: &Value) -> Result<(), DetectError> {
        (**self).load(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_whole_and_asking_beyond_them_gives_nothing() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let rows = Rows::new(&values, 2).unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows.get(2), [5.0, 6.0]);
        assert!(rows.get(3).is_empty() && rows.get(usize::MAX).is_empty());
        assert_eq!(rows.column(1).collect::<Vec<_>>(), [2.0, 4.0, 6.0]);
        assert_eq!(rows.column(2).count() + rows.column(9).count(), 0);
        for (n, width) in [(5, 2), (4, 0), (1, 3)] {
            let error = Rows::new(&values[..n], width).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{n} values in rows of {width}")),
                "{error}"
            );
        }
        assert!(Rows::new(&[], 4).unwrap().is_empty());
    }
}
