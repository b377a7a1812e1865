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
        self.failure_ratio()
            .is_some_and(|ratio| ratio - self.radius() > limit)
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
    }
}
