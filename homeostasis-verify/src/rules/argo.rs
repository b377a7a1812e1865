//! The rule of Argo Rollouts: so many failed measurements are too many.

/// How an analysis run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgoPhase {
    /// It goes on.
    Running,
    /// All measurements were taken and not too many failed; also without a single one.
    Successful,
    /// More than `failure_limit` measurements failed.
    Failed,
    /// More than `consecutive_error_limit` measurements in a row could not be taken.
    Error,
}

/// An analysis of one metric by Argo Rollouts with a failure condition `value > threshold`.
///
/// A measurement above the threshold fails; more than `failure_limit` of them fail the run, however
/// many succeed in between. One that gives no number is an error; more than
/// `consecutive_error_limit` in a row end the run with an error, which aborts the rollout as well.
/// Source: documentation of Argo Rollouts, *Analysis & Progressive Delivery*; a run that is ended
/// before its first measurement is successful (argo-rollouts issue 1329).
///
/// ```
/// use homeostasis::verify::rules::{ArgoPhase, ArgoRule};
/// let mut rule = ArgoRule::new(0.01, 3);
/// for value in [0.02, 0.0, 0.02, 0.02] {
///     assert_eq!(rule.measure(Some(value)), ArgoPhase::Running);
/// }
/// assert_eq!(rule.measure(Some(0.02)), ArgoPhase::Failed);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ArgoRule {
    threshold: f64,
    failure_limit: u32,
    consecutive_error_limit: u32,
    n_failed: u32,
    errors_in_a_row: u32,
}

impl ArgoRule {
    /// A run with the tool's own limit of 4 errors in a row.
    pub fn new(threshold: f64, failure_limit: u32) -> Self {
        Self {
            threshold,
            failure_limit,
            consecutive_error_limit: 4,
            n_failed: 0,
            errors_in_a_row: 0,
        }
    }

    /// Takes a measurement; `None` or NaN if there is no number.
    pub fn measure(&mut self, value: Option<f64>) -> ArgoPhase {
        match value.filter(|value| !value.is_nan()) {
            None => self.errors_in_a_row = self.errors_in_a_row.saturating_add(1),
            Some(value) => {
                self.errors_in_a_row = 0;
                self.n_failed = self
                    .n_failed
                    .saturating_add(u32::from(value > self.threshold));
            }
        }
        self.phase()
    }

    /// How it stands while it runs.
    pub fn phase(&self) -> ArgoPhase {
        if self.n_failed > self.failure_limit {
            ArgoPhase::Failed
        } else if self.errors_in_a_row > self.consecutive_error_limit {
            ArgoPhase::Error
        } else {
            ArgoPhase::Running
        }
    }

    /// How it stands when its time is over.
    pub fn end(&self) -> ArgoPhase {
        match self.phase() {
            ArgoPhase::Running => ArgoPhase::Successful,
            ended => ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_measurement_at_all_is_a_success() {
        assert_eq!(ArgoRule::new(0.01, 3).end(), ArgoPhase::Successful);
    }

    #[test]
    fn errors_count_in_a_row_only_and_a_number_ends_the_row() {
        let mut rule = ArgoRule::new(0.01, 0);
        for _ in 0..4 {
            assert_eq!(rule.measure(None), ArgoPhase::Running);
        }
        assert_eq!(rule.measure(Some(0.01)), ArgoPhase::Running);
        for _ in 0..4 {
            assert_eq!(rule.measure(Some(f64::NAN)), ArgoPhase::Running);
        }
        assert_eq!(rule.measure(None), ArgoPhase::Error);
        assert_eq!(rule.end(), ArgoPhase::Error);
    }
}
