//! Did the share of failures rise? A beta-binomial mixture e-process.

/// How many trials failed and how many did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Trials that failed.
    pub failures: u64,
    /// Trials that did not.
    pub successes: u64,
}

impl Counts {
    /// Counts of trials.
    pub const fn new(failures: u64, successes: u64) -> Self {
        Self {
            failures,
            successes,
        }
    }

    /// All trials; saturates.
    pub const fn trials(self) -> u64 {
        self.failures.saturating_add(self.successes)
    }

    /// The share that failed; `None` without trials.
    pub fn rate(self) -> Option<f64> {
        (self.trials() > 0).then(|| self.failures as f64 / self.trials() as f64)
    }

    /// The counts of both stretches together; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            failures: self.failures.saturating_add(other.failures),
            successes: self.successes.saturating_add(other.successes),
        }
    }
}

/// An e-process against "the share of failures after is at most `ratio` times the share before".
///
/// Both shares are unknown. The numerator is the likelihood of all trials mixed over independent
/// Jeffreys priors `Beta(1/2, 1/2)` of the two shares, the denominator the largest likelihood that
/// the null hypothesis allows. The numerator is a predictable mixture, so its ratio to the true
/// likelihood is a martingale, and the quotient here is never above it: an e-process.
///
/// Sources: L. Wasserman, A. Ramdas, S. Balakrishnan, *Universal inference*, PNAS 117 (2020),
/// doi:10.1073/pnas.1922664117; the mixture is that of R. Krichevsky and V. Trofimov,
/// *The performance of universal encoding*, IEEE Trans. Inf. Theory 27 (1981).
/// Deviation: the margin `ratio`; the boundary of the null is then the root of a quadratic.
///
/// It holds for independent trials. Failures that come in bursts break it: check
/// [`dispersion_index`](super::dispersion_index) first.
///
/// ```
/// use homeostasis::verify::stats::{Counts, ErrorIncrease};
/// let mut test = ErrorIncrease::new(Counts::new(0, 60), 1.0);
/// test.observe(Counts::new(4, 0));
/// assert!(test.log_e() > 100.0_f64.ln(), "four failures in a row after none in sixty");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorIncrease {
    before: Counts,
    after: Counts,
    ratio: f64,
}

impl ErrorIncrease {
    /// A test with these trials before. A `ratio` below 1 or NaN counts as 1.
    pub fn new(before: Counts, ratio: f64) -> Self {
        Self {
            before,
            after: Counts::default(),
            ratio: if ratio > 1.0 { ratio } else { 1.0 },
        }
    }

    /// Adds trials after.
    pub fn observe(&mut self, counts: Counts) {
        self.after = self.after.plus(counts);
    }

    /// The trials before.
    pub fn before(&self) -> Counts {
        self.before
    }

    /// The trials after, so far.
    pub fn after(&self) -> Counts {
        self.after
    }

    /// The natural logarithm of the e-process; 0 or less without trials after. O(1).
    pub fn log_e(&self) -> f64 {
        if self.after.trials() == 0 {
            return 0.0;
        }
        log_mixture(self.before) + log_mixture(self.after) - self.log_null()
    }

    /// The logarithm of the largest likelihood with `after <= ratio * before`.
    fn log_null(&self) -> f64 {
        let (before, after) = (
            self.before.rate().unwrap_or(1.0),
            self.after.rate().unwrap_or(0.0),
        );
        if after <= self.ratio * before {
            return log_likelihood(self.before, before) + log_likelihood(self.after, after);
        }
        let share = self.boundary();
        log_likelihood(self.before, share)
            + log_likelihood(self.after, (share * self.ratio).min(1.0))
    }

    /// The share before that maximizes the likelihood where `after = ratio * before`.
    fn boundary(&self) -> f64 {
        let failures = self.before.failures as f64 + self.after.failures as f64;
        let (good_before, good_after) = (self.before.successes as f64, self.after.successes as f64);
        let a = self.ratio * (failures + good_before + good_after);
        let b = failures * (1.0 + self.ratio) + self.ratio * good_after + good_before;
        let root = libm::sqrt((b * b - 4.0 * a * failures).max(0.0));
        // The smaller root of a p^2 - b p + failures, in the form that does not cancel.
        (2.0 * failures / (b + root)).clamp(0.0, 1.0 / self.ratio)
    }
}

/// The likelihood of the counts mixed over `Beta(1/2, 1/2)`.
fn log_mixture(counts: Counts) -> f64 {
    let (bad, good) = (counts.failures as f64, counts.successes as f64);
    log_beta(bad + 0.5, good + 0.5) - log_beta(0.5, 0.5)
}

pub(super) fn log_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

fn log_likelihood(counts: Counts, share: f64) -> f64 {
    let term = |n: u64, p: f64| if n == 0 { 0.0 } else { n as f64 * libm::log(p) };
    term(counts.failures, share) + term(counts.successes, 1.0 - share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use proptest::prelude::*;

    #[derive(serde::Deserialize)]
    struct Row {
        before: (u64, u64),
        after: (u64, u64),
        ratio: f64,
        log_e: f64,
    }

    #[test]
    fn the_process_agrees_with_the_stored_reference() {
        let rows: Vec<Row> =
            serde_json::from_str(include_str!("../../testdata/error_increase.json")).unwrap();
        assert!(rows.len() >= 20);
        for row in rows {
            let mut test = ErrorIncrease::new(Counts::new(row.before.0, row.before.1), row.ratio);
            test.observe(Counts::new(row.after.0, row.after.1));
            let log_e = test.log_e();
            assert!(
                (log_e - row.log_e).abs() < 1e-6 * (1.0 + row.log_e.abs()),
                "{test:?}: {log_e}, expected {}",
                row.log_e
            );
        }
    }

    #[test]
    fn log_beta_agrees_with_statrs() {
        for (a, b) in [(0.5, 0.5), (3.5, 100.5), (1e6, 2.5), (40_000.5, 70_000.5)] {
            let reference = statrs::function::beta::ln_beta(a, b);
            assert!((log_beta(a, b) - reference).abs() < 1e-8 * reference.abs().max(1.0));
        }
    }

    /// Looks after each of `n_after` trials; whether the limit was ever reached.
    fn ever_rejects(rng: &mut Rng, (p0, p1): (f64, f64), (n0, n1): (u64, u64), ratio: f64) -> bool {
        let mut draw = |p: f64| {
            if rng.unit() < p {
                Counts::new(1, 0)
            } else {
                Counts::new(0, 1)
            }
        };
        let before = (0..n0).fold(Counts::default(), |sum, _| sum.plus(draw(p0)));
        let mut test = ErrorIncrease::new(before, ratio);
        (0..n1).any(|_| {
            test.observe(draw(p1));
            test.log_e() >= libm::log(100.0)
        })
    }

    #[test]
    fn looking_after_every_trial_keeps_the_false_alarms_below_alpha() {
        for (seed, p, n0) in [(1, 0.02, 60), (2, 0.2, 60), (3, 0.5, 20), (4, 0.9, 10)] {
            let mut rng = Rng::from_seed(seed);
            let alarms = (0..1000)
                .filter(|_| ever_rejects(&mut rng, (p, p), (n0, 300), 1.0))
                .count();
            assert!(
                alarms <= 10,
                "p = {p}: {alarms} of 1000, expected 10 at most"
            );
        }
        // On the edge of the margin: 1.5 times as many failures are still allowed.
        let mut rng = Rng::from_seed(5);
        let alarms = (0..1000)
            .filter(|_| ever_rejects(&mut rng, (0.2, 0.3), (200, 300), 1.5))
            .count();
        assert!(alarms <= 10, "{alarms} of 1000");
    }

    #[test]
    fn a_real_increase_is_found() {
        let mut rng = Rng::from_seed(6);
        let found = (0..200)
            .filter(|_| ever_rejects(&mut rng, (0.02, 0.3), (100, 200), 1.25))
            .count();
        assert!(found >= 190, "{found} of 200");
    }

    proptest! {
        #[test]
        fn an_improvement_is_never_evidence_of_harm(good in 0_u64..500, bad in 1_u64..500, n in 1_u64..500) {
            let mut test = ErrorIncrease::new(Counts::new(bad, good), 1.0);
            test.observe(Counts::new(0, n));
            prop_assert!(test.log_e() <= 1e-9);
        }

        #[test]
        fn what_the_margin_allows_is_never_evidence_of_harm(x0 in 0_u64..50, s0 in 1_u64..200, x1 in 0_u64..50, s1 in 1_u64..50, ratio in 1.0..3.0_f64) {
            let mut test = ErrorIncrease::new(Counts::new(x0, s0), ratio);
            test.observe(Counts::new(x1, s1));
            let allowed = test.after().rate() <= test.before().rate().map(|rate| rate * ratio);
            prop_assert!(!allowed || test.log_e() <= 1e-9);
        }

        #[test]
        fn the_process_is_finite_for_any_counts(a in any::<u32>(), b in any::<u32>(), c in any::<u32>(), d in any::<u32>(), ratio in 1.0..10.0_f64) {
            let mut test = ErrorIncrease::new(Counts::new(a.into(), b.into()), ratio);
            test.observe(Counts::new(c.into(), d.into()));
            prop_assert!(test.log_e().is_finite(), "{:?}", test);
        }
    }
}
