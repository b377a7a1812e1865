//! Times to an event when some have not seen it yet.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long something lasted, or has lasted so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lifetime {
    /// How long.
    pub lasted: Duration,
    /// Whether it was cut off before its end was seen.
    pub censored: bool,
}

impl Lifetime {
    /// One whose end was seen.
    pub const fn ended(lasted: Duration) -> Self {
        Self {
            lasted,
            censored: false,
        }
    }

    /// One that was cut off: it lasts longer than this.
    pub const fn cut_off(lasted: Duration) -> Self {
        Self {
            lasted,
            censored: true,
        }
    }
}

/// The product-limit estimate of a survival curve.
///
/// Source: E. L. Kaplan and P. Meier, *Nonparametric estimation from incomplete observations*, JASA
/// 53 (1958). Of equal times, ends come before cut-offs.
///
/// ```
/// use std::time::Duration;
/// use homeostasis::learn::kpi::{KaplanMeier, Lifetime};
/// let secs = Duration::from_secs;
/// let curve = KaplanMeier::of(&[
///     Lifetime::ended(secs(1)),
///     Lifetime::cut_off(secs(2)),
///     Lifetime::ended(secs(3)),
/// ]);
/// assert_eq!(curve.quantile(0.5), Some(secs(3)));
/// assert_eq!(KaplanMeier::of(&[Lifetime::cut_off(secs(9))]).quantile(0.5), None);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct KaplanMeier {
    /// After which time which share survives.
    steps: Vec<(Duration, f64)>,
}

impl KaplanMeier {
    /// The curve of `lifetimes`, in any order. O(n log n).
    pub fn of(lifetimes: &[Lifetime]) -> Self {
        let mut sorted = lifetimes.to_vec();
        sorted.sort_unstable();
        let mut steps = Vec::new();
        let mut alive = 1.0;
        let mut at_risk = sorted.len();
        for group in sorted.chunk_by(|a, b| a.lasted == b.lasted) {
            let ends = group.iter().filter(|lifetime| !lifetime.censored).count();
            if ends > 0 {
                alive *= (at_risk - ends) as f64 / at_risk as f64;
                steps.push((group[0].lasted, alive));
            }
            at_risk -= group.len();
        }
        Self { steps }
    }

    /// The share that lasts longer than `time`.
    pub fn survival(&self, time: Duration) -> f64 {
        self.steps
            .iter()
            .take_while(|(at, _)| *at <= time)
            .last()
            .map_or(1.0, |(_, alive)| *alive)
    }

    /// The first time by which the share `q` has ended; `None` if that was not seen.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        // The product of shares rounds; 1e-9 is below one in any number of incidents.
        self.steps
            .iter()
            .find(|(_, alive)| *alive <= 1.0 - q + 1e-9)
            .map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Weeks of remission under 6-mercaptopurine (E. J. Freireich et al., Blood 21 (1963)), the
    /// example of the textbooks: D. R. Cox and D. Oakes, *Analysis of Survival Data* (1984), table 1.1.
    #[test]
    fn the_textbook_example_comes_out() {
        let ended = [6, 6, 6, 7, 10, 13, 16, 22, 23];
        let cut_off = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35];
        let all: Vec<_> = ended
            .map(|week| Lifetime::ended(secs(week)))
            .into_iter()
            .chain(cut_off.map(|week| Lifetime::cut_off(secs(week))))
            .collect();
        let curve = KaplanMeier::of(&all);
        for (week, survival) in [
            (5, 1.0),
            (6, 0.857),
            (7, 0.807),
            (10, 0.753),
            (13, 0.690),
            (16, 0.627),
            (22, 0.538),
            (23, 0.448),
            (40, 0.448),
        ] {
            let found = curve.survival(secs(week));
            assert!((found - survival).abs() < 0.0006, "week {week}: {found}");
        }
        assert_eq!(curve.quantile(0.5), Some(secs(23)));
        assert_eq!(curve.quantile(0.9), None);
    }

    proptest! {
        #[test]
        fn without_cut_offs_quantiles_are_order_statistics(times in prop::collection::vec(0_u64..1000, 1..50)) {
            let all: Vec<_> = times.iter().map(|t| Lifetime::ended(secs(*t))).collect();
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let curve = KaplanMeier::of(&all);
            prop_assert_eq!(curve.quantile(0.5), Some(secs(sorted[times.len().div_ceil(2) - 1])));
            prop_assert!(curve.survival(secs(1000)).abs() < 1e-12);
        }

        #[test]
        fn cutting_one_off_never_shortens_the_median(times in prop::collection::vec(1_u64..1000, 1..30), pick in any::<prop::sample::Index>()) {
            let mut all: Vec<_> = times.iter().map(|t| Lifetime::ended(secs(*t))).collect();
            let full = KaplanMeier::of(&all).quantile(0.5);
            all[pick.index(times.len())].censored = true;
            let cut = KaplanMeier::of(&all).quantile(0.5);
            prop_assert!(cut.is_none() || cut >= full);
        }
    }
}
