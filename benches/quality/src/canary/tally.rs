//! What came out, counted.

use homeostasis::core::record::CanaryAnswer;
use serde_json::{Value, json};

use super::contenders::Decided;

/// The 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959_964;

/// The decisions of one contender in one cell.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) n: u32,
    pub(super) rolled_back: u32,
    pub(super) promoted: u32,
    bad: u64,
    /// How often it decided after so many minutes; those that never did are left out.
    minutes: Vec<u32>,
}

impl Tally {
    pub(super) fn add(&mut self, decided: Decided) {
        self.n += 1;
        self.bad += decided.bad;
        match decided.answer {
            CanaryAnswer::RollBack => self.rolled_back += 1,
            CanaryAnswer::Promote => self.promoted += 1,
            CanaryAnswer::Continue | CanaryAnswer::Uncertain => return,
        }
        let at = decided.minutes as usize;
        self.minutes.resize(self.minutes.len().max(at + 1), 0);
        self.minutes[at] += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.rolled_back += other.rolled_back;
        self.promoted += other.promoted;
        self.bad += other.bad;
        self.minutes
            .resize(self.minutes.len().max(other.minutes.len()), 0);
        for (sum, n) in self.minutes.iter_mut().zip(&other.minutes) {
            *sum += n;
        }
    }

    pub(super) fn uncertain(&self) -> u32 {
        self.n - self.rolled_back - self.promoted
    }

    /// When half of all runs were decided; `None` if fewer were.
    pub(super) fn median_minutes(&self) -> Option<usize> {
        let mut decided = 0;
        self.minutes.iter().position(|n| {
            decided += n;
            decided * 2 >= self.n && decided > 0
        })
    }

    /// Failed requests of the canary until the decision, on average.
    pub(super) fn bad_requests(&self) -> f64 {
        self.bad as f64 / f64::from(self.n.max(1))
    }

    pub(super) fn report(&self) -> Value {
        json!({
            "rolled_back": share(self.rolled_back, self.n),
            "promoted": share(self.promoted, self.n),
            "uncertain": share(self.uncertain(), self.n),
            "median_minutes": self.median_minutes(),
            "bad_requests": (self.bad_requests() * 10.0).round() / 10.0,
        })
    }
}

pub(super) fn share(part: u32, of: u32) -> f64 {
    f64::from(part) / f64::from(of.max(1))
}

/// The upper end of the 95 % interval of a share (E. B. Wilson 1927); 1 of nothing.
pub(super) fn wilson_upper(part: u32, of: u32) -> f64 {
    if of == 0 {
        return 1.0;
    }
    let (n, p) = (f64::from(of), share(part, of));
    let center = p + Z * Z / (2.0 * n);
    let reach = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    (center + reach) / (1.0 + Z * Z / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_limit_agrees_with_statsmodels() {
        // statsmodels.stats.proportion.proportion_confint(k, n, method="wilson")
        for (part, of, expected) in [
            (10, 2000, 0.009_179_7),
            (0, 2000, 0.001_917_0),
            (1, 10, 0.404_150),
        ] {
            let found = wilson_upper(part, of);
            assert!((found - expected).abs() < 1e-5, "{found}");
        }
        assert_eq!(wilson_upper(0, 0), 1.0);
    }

    #[test]
    fn undecided_runs_count_in_the_median() {
        let decided = |answer, minutes| Decided {
            answer,
            minutes,
            bad: 4,
        };
        let mut tally = Tally::default();
        tally.add(decided(CanaryAnswer::RollBack, 3));
        assert_eq!(tally.median_minutes(), Some(3));
        let mut more = Tally::default();
        more.add(decided(CanaryAnswer::Uncertain, 30));
        more.add(decided(CanaryAnswer::Uncertain, 30));
        tally.merge(&more);
        assert_eq!(tally.median_minutes(), None);
        tally.add(decided(CanaryAnswer::Promote, 9));
        assert_eq!(tally.median_minutes(), Some(9));
        assert_eq!(
            (tally.n, tally.uncertain(), tally.bad_requests()),
            (4, 2, 4.0)
        );
    }
}
