//! The rule of Flagger: failed checks are counted, and never forgotten.

/// A canary of Flagger with one metric and the range `value <= most`.
///
/// Each check whose value is above `most`, or that finds no value, adds to a counter that nothing
/// lowers (flagger issue 1801); at `limit` the canary is rolled back. What is not rolled back when
/// its steps are over is promoted.
/// Source: documentation of Flagger, *How it works* and *Metrics analysis*.
///
/// ```
/// use homeostasis::verify::rules::FlaggerRule;
/// let mut rule = FlaggerRule::new(0.01, 2);
/// assert!(!rule.check(Some(0.5)));
/// assert!(!rule.check(Some(0.0)));
/// assert!(rule.check(None), "no data is a failed check");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FlaggerRule {
    most: f64,
    limit: u32,
    n_failed: u32,
}

impl FlaggerRule {
    /// A canary with this range, rolled back at `limit` failed checks.
    pub fn new(most: f64, limit: u32) -> Self {
        Self {
            most,
            limit,
            n_failed: 0,
        }
    }

    /// Takes the value of a check, `None` or NaN if there is none; whether to roll back.
    pub fn check(&mut self, value: Option<f64>) -> bool {
        let good = value.is_some_and(|value| value <= self.most);
        self.n_failed = self.n_failed.saturating_add(u32::from(!good));
        self.n_failed >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_checks_add_up_however_far_apart_and_nan_is_one() {
        let mut rule = FlaggerRule::new(0.01, 3);
        for round in 0..3 {
            let value = if round == 1 { f64::NAN } else { 0.011 };
            assert_eq!(rule.check(Some(value)), round == 2, "round {round}");
            if round < 2 {
                assert!((0..50).all(|_| !rule.check(Some(0.01))));
            }
        }
    }
}
