//! What the checks of one target say, counted.

use homeostasis_core::Timestamp;
use homeostasis_core::signal::{HealthReport, HealthState, HealthTier};

/// What the checks of one tier say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierTally {
    /// Checks that are healthy.
    pub passed: u32,
    /// Checks that pass, worse than they should.
    pub degraded: u32,
    /// Checks that fail, after their retries.
    pub failed: u32,
    /// Checks whose last report is too old to say anything.
    pub unknown: u32,
}

impl TierTally {
    /// Checks that say anything.
    pub fn n_known(&self) -> u32 {
        let known = self.passed.saturating_add(self.degraded);
        known.saturating_add(self.failed)
    }
}

/// What all checks of one target say, by tier. The order in which they are counted does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthTally {
    /// Shallow checks.
    pub shallow: TierTally,
    /// Deep checks.
    pub deep: TierTally,
    /// Comprehensive checks.
    pub comprehensive: TierTally,
}

impl HealthTally {
    /// The tally of these reports at `now`, one for each check of the target.
    ///
    /// A report older than `intervals` intervals of its check counts as unknown. A check that says
    /// *critical* asks for people itself, so it counts as a comprehensive failure whatever its tier.
    pub fn of<'a>(
        reports: impl IntoIterator<Item = &'a HealthReport>,
        now: Timestamp,
        intervals: u32,
    ) -> Self {
        let mut tally = Self::default();
        for report in reports {
            let state = report.is_fresh(now, intervals).then_some(report.state);
            tally.count(report.tier, state);
        }
        tally
    }

    /// Counts one check; `None` is one of which nothing is known.
    pub fn count(&mut self, tier: HealthTier, state: Option<HealthState>) {
        let tier = match state {
            Some(HealthState::Critical) => HealthTier::Comprehensive,
            _ => tier,
        };
        let of = self.tier_mut(tier);
        let n = match state {
            Some(HealthState::Healthy) => &mut of.passed,
            Some(HealthState::Degraded) => &mut of.degraded,
            Some(HealthState::Unhealthy | HealthState::Critical) => &mut of.failed,
            None => &mut of.unknown,
        };
        *n = n.saturating_add(1);
    }

    /// What the checks of `tier` say.
    pub fn tier(&self, tier: HealthTier) -> &TierTally {
        match tier {
            HealthTier::Shallow => &self.shallow,
            HealthTier::Deep => &self.deep,
            HealthTier::Comprehensive => &self.comprehensive,
        }
    }

    fn tier_mut(&mut self, tier: HealthTier) -> &mut TierTally {
        match tier {
            HealthTier::Shallow => &mut self.shallow,
            HealthTier::Deep => &mut self.deep,
            HealthTier::Comprehensive => &mut self.comprehensive,
        }
    }

    /// How many checks are counted by `part`, over all tiers.
    pub(super) fn total(&self, part: fn(&TierTally) -> u32) -> u32 {
        HealthTier::ALL.iter().fold(0, |sum: u32, tier| {
            sum.saturating_add(part(self.tier(*tier)))
        })
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::Target;

    use super::*;

    #[test]
    fn old_reports_are_unknown_and_critical_ones_ask_for_people() {
        let at = Timestamp::from_secs(1000);
        let report = |secs_ago: u64, state| {
            let asked = at - std::time::Duration::from_secs(secs_ago);
            HealthReport::new(asked, Target::service("a").unwrap(), "c", state)
        };
        let minute = std::time::Duration::from_secs(60);
        let reports = [
            report(30, HealthState::Healthy),
            report(31, HealthState::Unhealthy),
            report(180, HealthState::Degraded).every(minute),
            report(91, HealthState::Healthy).in_tier(HealthTier::Deep),
            report(0, HealthState::Critical),
        ];
        let tally = HealthTally::of(&reports, at, 3);
        let shallow = TierTally {
            passed: 1,
            degraded: 1,
            failed: 0,
            unknown: 1,
        };
        assert_eq!(tally.shallow, shallow);
        assert_eq!((tally.deep.unknown, tally.comprehensive.failed), (1, 1));
        assert_eq!((tally.shallow.n_known(), tally.deep.n_known()), (2, 0));
    }
}
