//! From a statistic without a unit to a score, by what it was on the rows that were learned.

use homeostasis_core::Violations;
use homeostasis_core::stage::RowScore;
use serde::{Deserialize, Serialize};

use crate::{check, scale};

/// Where a statistic usually is, and beyond what only the given share of the learned rows was.
///
/// The score is 0 at the median and 0.5 at the limit. The surprise grows in proportion up to the limit, where it
/// is minus the logarithm of the share beyond, and then with twice the logarithm of the distance, as for the
/// tails that Cantelli's bound allows: nothing is known of how thin the tail is out there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Calibration {
    usual: f64,
    limit: f64,
    nats: f64,
}

impl Calibration {
    /// The calibration on the finite `statistics`, which it reorders; `share` is above 0 and below 1.
    pub(super) fn of(statistics: &mut [f64], share: f64) -> Self {
        let usual = quantile(statistics, 0.5);
        let floor = scale::floor(usual, f64::MIN_POSITIVE);
        Self {
            usual,
            limit: quantile(statistics, 1.0 - share).max(usual + floor),
            nats: -share.ln(),
        }
    }

    pub(super) fn judge(self, statistic: f64) -> RowScore {
        let excess = ((statistic - self.usual) / (self.limit - self.usual)).max(0.0);
        let beyond = 2.0 * excess.max(1.0).ln();
        RowScore {
            score: scale::score(excess),
            surprise: self.nats * excess.min(1.0) + beyond.min(f64::MAX),
        }
    }
}

/// The value at rank `⌈share · n⌉`; 0 for none.
pub(super) fn quantile(values: &mut [f64], share: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else {
        return 0.0;
    };
    let rank = (share * values.len() as f64).ceil() - 1.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a rank; a share is at most 1"
    )]
    let rank = (rank.max(0.0) as usize).min(last);
    *values.select_nth_unstable_by(rank, f64::total_cmp).1
}

/// A share of rows beyond the limit.
pub(super) fn check_share(found: &mut Violations, path: &str, share: f64) {
    let holds = share > 0.0 && share < 0.5;
    check::that(found, holds, path, share, "0 < contamination < 0.5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_scores_one_half_and_half_of_the_rows_score_nothing() {
        let mut statistics: Vec<f64> = (1..=1000).map(f64::from).collect();
        let calibration = Calibration::of(&mut statistics, 0.01);
        assert_eq!(calibration.judge(500.0).score.get(), 0.0);
        assert_eq!(calibration.judge(990.0).score.get(), 0.5);
        assert!((calibration.judge(990.0).surprise - 100.0_f64.ln()).abs() < 1e-12);
        let twice = calibration.judge(1480.0).surprise;
        assert!((twice - 400.0_f64.ln()).abs() < 1e-12);
        assert_eq!(calibration.judge(f64::NAN), RowScore::default());
        assert!(calibration.judge(f64::INFINITY).surprise.is_finite());
    }

    #[test]
    fn a_statistic_that_never_moved_has_a_limit_all_the_same() {
        let calibration = Calibration::of(&mut [7.0; 50], 0.1);
        assert_eq!(calibration.judge(7.0), RowScore::default());
        assert!(calibration.judge(7.1).score.get() > 0.99);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
