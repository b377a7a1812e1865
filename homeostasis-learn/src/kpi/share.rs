//! Shares of a whole, with an interval.

use serde::{Deserialize, Serialize};

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A part of a whole, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Share {
    /// How many.
    pub part: u64,
    /// Of how many.
    pub whole: u64,
    /// How many are not decided and so in neither.
    pub left_out: u64,
}

impl Share {
    /// `part` of `whole`; a part larger than the whole counts as the whole.
    pub fn new(part: u64, whole: u64, left_out: u64) -> Self {
        Self {
            part: part.min(whole),
            whole,
            left_out,
        }
    }

    /// The share, `0..=1`; `None` of nothing.
    pub fn value(&self) -> Option<f64> {
        (self.whole > 0).then(|| self.part as f64 / self.whole as f64)
    }

    /// Its 95 % interval; `None` of nothing.
    pub fn interval(&self) -> Option<(f64, f64)> {
        wilson_interval(self.part, self.whole)
    }
}

/// The 95 % score interval of a share, within `0..=1`; `None` if `whole` is 0 or less than `part`.
///
/// Source: E. B. Wilson, *Probable inference, the law of succession, and statistical inference*,
/// JASA 22 (1927); without continuity correction.
///
/// ```
/// use homeostasis::learn::kpi::wilson_interval;
/// let (low, high) = wilson_interval(8, 10).unwrap();
/// assert!((low - 0.490_162).abs() < 1e-6 && (high - 0.943_318).abs() < 1e-6);
/// ```
pub fn wilson_interval(part: u64, whole: u64) -> Option<(f64, f64)> {
    if whole == 0 || part > whole {
        return None;
    }
    let (n, p) = (whole as f64, part as f64 / whole as f64);
    let scale = 1.0 + Z * Z / n;
    let center = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some((
        ((center - half) / scale).clamp(0.0, p),
        ((center + half) / scale).clamp(p, 1.0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(serde::Deserialize)]
    struct Row {
        part: u64,
        whole: u64,
        low: f64,
        high: f64,
    }

    #[test]
    fn the_interval_agrees_with_the_stored_reference() {
        let rows: Vec<Row> =
            serde_json::from_str(include_str!("../../testdata/wilson.json")).unwrap();
        assert!(rows.len() > 5);
        for row in rows {
            let (low, high) = wilson_interval(row.part, row.whole).unwrap();
            assert!(
                (low - row.low).abs() < 1e-9 && (high - row.high).abs() < 1e-9,
                "{} of {}: {low}..{high}, expected {}..{}",
                row.part,
                row.whole,
                row.low,
                row.high
            );
        }
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_share_and_stays_within_bounds(part in 0_u64..5000, rest in 0_u64..5000) {
            prop_assume!(part + rest > 0);
            let share = Share::new(part, part + rest, 0);
            let ((low, high), value) = (share.interval().unwrap(), share.value().unwrap());
            prop_assert!(0.0 <= low && low <= value && value <= high && high <= 1.0);
        }
    }

    #[test]
    fn nothing_has_no_share() {
        assert_eq!(Share::new(0, 0, 3).value(), None);
        assert_eq!(wilson_interval(3, 2), None);
    }
}
