//! What is proven of a share of failures, however often one looks.

/// Where the bound is tightest, as a variance: about a thousand requests.
const RHO: f64 = 20.0;

/// The chance that one of all looks at one arm is wrong by more than its bound.
const ALPHA: f64 = 0.0025;

/// The requests one arm answered so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) failed: u64,
}

impl Tally {
    pub(super) fn add(&mut self, requests: u64, failed: u64) {
        self.requests = self.requests.saturating_add(requests);
        self.failed = self.failed.saturating_add(failed.min(requests));
    }

    /// The share that failed; `None` without requests.
    pub(super) fn failure_ratio(self) -> Option<f64> {
        (self.requests > 0).then(|| self.failed as f64 / self.requests as f64)
    }

    /// How far the share seen may be from the true one, at every look at once with probability
    /// 1 - [`ALPHA`]; 1 without requests.
    ///
    /// Source: S. Howard, A. Ramdas, J. `McAuliffe`, J. Sekhon, *Time-uniform, nonparametric,
    /// nonasymptotic confidence sequences*, Annals of Statistics 49(2), 2021, equation (14), with
    /// the variance bound 1/4 of a share.
    fn radius(self) -> f64 {
        if self.requests == 0 {
            return 1.0;
        }
        let n = self.requests as f64;
        let v = n / 4.0 + RHO;
        ((v * (v / (RHO * ALPHA * ALPHA)).ln()).sqrt() / n).min(1.0)
    }

    /// Whether more than a share of `limit` is proven to fail.
    pub(super) fn exceeds(self, limit: f64) -> bool {
        if limit <= 0.0 {
            return self.failed > 0;
        }
        // Larger shares, never more than all: from half as much again to thirty times as much.
        let larger = [1.5, 3.0, 10.0, 30.0].map(|times| 1.0 - (1.0 - limit).powf(times));
        limit < 1.0 && self.contradicts(limit, larger)
    }

    /// Whether less than a share of `limit` is proven to fail. Of a limit of 2 % that takes 357
    /// requests of which none fails.
    pub(super) fn is_below(self, limit: f64) -> bool {
        limit > 0.0
            && limit < 1.0
            && self.contradicts(limit, [0.0, 0.25, 0.5, 0.75].map(|part| limit * part))
    }

    /// Whether the requests prove that the true share lies on the side of `others`, as seen from
    /// `limit`: at every look at once, if it does not, with probability [`ALPHA`] at most.
    ///
    /// A mean of likelihood ratios of requests that fail independently: each is a test
    /// supermartingale for every share on the other side of the limit, because it is monotone in the
    /// failures. Source: A. Wald, *Sequential Analysis*, 1947; J. Ville, *Étude critique de la notion
    /// de collectif*, 1939, for the bound.
    fn contradicts(self, limit: f64, others: [f64; 4]) -> bool {
        let (failed, good) = (self.failed as f64, (self.requests - self.failed) as f64);
        let times = |count: f64, log: f64| if count == 0.0 { 0.0 } else { count * log };
        let logs = others.map(|share| {
            times(failed, (share / limit).ln()) + times(good, ((1.0 - share) / (1.0 - limit)).ln())
        });
        let highest = logs.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - highest).exp()).sum();
        highest + (sum / logs.len() as f64).ln() >= (1.0 / ALPHA).ln()
    }

    /// Whether the share that fails is proven to be more than `limit` above that of `other`.
    pub(super) fn exceeds_by(self, other: Self, limit: f64) -> bool {
        let (Some(mine), Some(theirs)) = (self.failure_ratio(), other.failure_ratio()) else {
            return false;
        };
        (mine - self.radius()) - (theirs + other.radius()) > limit
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::Rng;

    use super::*;

    #[test]
    fn looking_after_every_request_proves_nothing_false_and_finds_what_is_there() {
        let mut rng = Rng::from_seed(11);
        let mut draw = |share: f64| u64::from(rng.unit() < share);
        let (mut false_alarms, mut found_by) = (0, Vec::new());
        for _ in 0..400 {
            let (mut same, mut worse, mut base) =
                (Tally::default(), Tally::default(), Tally::default());
            let (mut alarm, mut found) = (false, None);
            for n in 1..=3000 {
                base.add(1, draw(0.10));
                same.add(1, draw(0.15));
                worse.add(1, draw(0.40));
                // 15 % is 5 points more, and not more than that.
                alarm |= same.exceeds_by(base, 0.05) || same.exceeds(0.15);
                if found.is_none() && worse.exceeds_by(base, 0.05) {
                    found = Some(n);
                }
            }
            false_alarms += u32::from(alarm);
            found_by.push(found.unwrap_or(u32::MAX));
        }
        // 0.5 % of 400 are 2.
        assert!(false_alarms <= 2, "{false_alarms}");
        found_by.sort_unstable();
        assert!(found_by[399] < 2000, "{}", found_by[399]);
    }

    #[test]
    fn without_requests_nothing_is_proven() {
        let (none, bad) = (
            Tally::default(),
            Tally {
                requests: 10_000,
                failed: 10_000,
            },
        );
        assert!(!none.exceeds(0.0) && !none.exceeds_by(bad, 0.0) && !bad.exceeds_by(none, 0.05));
        assert!(bad.exceeds(0.9));
        assert_eq!(none.failure_ratio(), None);
        assert!(!none.is_below(0.02) && !none.is_below(1.0) && !bad.is_below(0.99));
    }

    #[test]
    fn a_limit_that_is_kept_is_proven_by_enough_requests_and_one_that_is_not_by_none() {
        let tally = |requests, failed| Tally { requests, failed };
        assert!(!tally(356, 0).is_below(0.02) && tally(357, 0).is_below(0.02));
        assert!(tally(20_000, 200).is_below(0.02) && !tally(20_000, 390).is_below(0.02));
        assert!(
            tally(1, 1).exceeds(0.0) && !tally(9, 0).exceeds(0.0) && !tally(9, 0).is_below(0.0)
        );
        // At every look of 400 services that fail exactly as often as the limit says.
        let mut rng = Rng::from_seed(5);
        let (mut n_below, mut n_above) = (0, 0);
        for _ in 0..400 {
            let (mut seen, mut below, mut above) = (Tally::default(), false, false);
            for _ in 0..5000 {
                seen.add(1, u64::from(rng.unit() < 0.02));
                below |= seen.is_below(0.02);
                above |= seen.exceeds(0.02);
            }
            n_below += u32::from(below);
            n_above += u32::from(above);
        }
        // 0.25 % of 400 is one.
        assert!(n_below <= 3 && n_above <= 3, "{n_below} and {n_above}");
    }
}
