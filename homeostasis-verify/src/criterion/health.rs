//! Health checks that must pass.

use std::time::Duration;

use homeostasis_core::record::CheckOutcome;
use homeostasis_core::signal::{HealthReport, HealthState, HealthTier};
use homeostasis_core::stage::VerifyError;
use homeostasis_core::{Ratio, Target};

use super::{Look, Reading, check_window, not_over};

#[derive(Debug, Clone)]
pub(super) struct Healthy {
    target: Target,
    check: Option<String>,
    tier: Option<HealthTier>,
    rule: Rule,
    window: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// At least this share over the whole window.
    PassRate(Ratio),
    /// The newest reports of every check and target pass, this many each.
    InARow(u32),
}

impl Healthy {
    pub(super) fn new(
        target: Target,
        pass_rate: Ratio,
        window: Duration,
    ) -> Result<Self, VerifyError> {
        check_window(window)?;
        Ok(Self {
            target,
            check: None,
            tier: None,
            rule: Rule::PassRate(pass_rate),
            window,
        })
    }

    pub(super) fn in_a_row(
        target: Target,
        check: Option<String>,
        looks: u32,
        window: Duration,
    ) -> Self {
        Self {
            target,
            check,
            tier: None,
            rule: Rule::InARow(looks),
            window,
        }
    }

    /// The same of the checks of one tier.
    pub(super) fn of(mut self, tier: Option<HealthTier>) -> Self {
        self.tier = tier;
        self
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn about(&self, other: &Target) -> Self {
        Self {
            target: other.clone(),
            ..self.clone()
        }
    }

    pub(super) fn look(&self, look: &Look<'_>) -> Reading {
        let mut reports =
            look.observations
                .health(Some(&self.target), look.from(self.window), look.now);
        reports.retain(|report| {
            self.check
                .as_ref()
                .is_none_or(|check| report.check == *check)
                && self.tier.is_none_or(|tier| report.tier == tier)
        });
        if reports.is_empty() {
            let what = match (&self.check, self.tier) {
                (Some(check), _) => format!("reports of health check {check} of {}", self.target),
                (None, Some(tier)) => format!("reports of {tier} health checks of {}", self.target),
                (None, None) => format!("health reports of {}", self.target),
            };
            return Reading::new(CheckOutcome::NoData, format!("no {what} after the remedy"))
                .settled_by(what);
        }
        match self.rule {
            Rule::PassRate(needed) => self.rate(look, &reports, needed),
            Rule::InARow(needed) => in_a_row(&reports, needed),
        }
    }

    fn rate(&self, look: &Look<'_>, reports: &[HealthReport], needed: Ratio) -> Reading {
        let passed = reports.iter().filter(|report| passes(report)).count() as u64;
        let total = reports.len() as u64;
        let detail = format!(
            "{passed} of {total} healthy{}, expected {needed}",
            last_problem(reports)
        );
        // Counted in whole reports, so that 95 of 100 are 95 %.
        if (passed as f64) < needed.get() * total as f64 - 1e-9 {
            return Reading::new(CheckOutcome::Failed, detail);
        }
        not_over(look, self.window, &detail)
            .unwrap_or_else(|| Reading::new(CheckOutcome::Passed, detail))
    }
}

/// Only `Healthy` passes: a target that works worse than it should has not recovered.
fn passes(report: &HealthReport) -> bool {
    report.state == HealthState::Healthy
}

fn last_problem(reports: &[HealthReport]) -> String {
    reports
        .iter()
        .rev()
        .find(|report| !passes(report))
        .map(|report| {
            let colon = if report.detail.is_empty() { "" } else { ": " };
            format!(
                " (last problem: {} of {} {:?}{colon}{})",
                report.check, report.target, report.state, report.detail
            )
        })
        .unwrap_or_default()
}

fn in_a_row(reports: &[HealthReport], needed: u32) -> Reading {
    let mut probes: Vec<(&Target, &str)> = reports
        .iter()
        .map(|report| (&report.target, report.check.as_str()))
        .collect();
    probes.sort_unstable();
    probes.dedup();
    let of = |probe: &(&Target, &str)| {
        let (target, check) = (probe.0.clone(), probe.1.to_owned());
        reports
            .iter()
            .rev()
            .filter(move |report| report.target == target && report.check == check)
    };
    let failing: Vec<_> = probes
        .iter()
        .filter(|probe| of(probe).next().is_some_and(|newest| !passes(newest)))
        .map(|(target, check)| format!("{check} of {target}"))
        .collect();
    if !failing.is_empty() {
        return Reading::new(
            CheckOutcome::Failed,
            format!("{} fails{}", failing.join(", "), last_problem(reports)),
        );
    }
    let row = probes
        .iter()
        .map(|probe| of(probe).take_while(|report| passes(report)).count())
        .min()
        .unwrap_or(0) as u64;
    let needed = u64::from(needed);
    let detail = format!("{} of {needed} times in a row healthy", row.min(needed));
    if row >= needed {
        Reading::new(CheckOutcome::Passed, detail)
    } else {
        Reading::new(CheckOutcome::Undecided, detail)
            .settled_by(format!("{} more healthy reports", needed - row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Timestamp;
    use homeostasis_core::testing::RecordedObservations;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn world(states: &[(i64, &str, HealthState)]) -> RecordedObservations {
        states.iter().fold(
            RecordedObservations::new(),
            |world, (secs, instance, state)| {
                let target = Target::instance("orders", *instance).unwrap();
                world.with_health(HealthReport::new(at(*secs), target, "http", *state))
            },
        )
    }

    fn rate(world: &RecordedObservations, needed: f64, now: i64) -> Reading {
        Healthy::new(
            Target::service("orders").unwrap(),
            Ratio::new(needed).unwrap(),
            Duration::from_secs(10),
        )
        .unwrap()
        .look(&Look::new(world, at(0), at(100), at(now)))
    }

    #[test]
    fn no_report_after_the_remedy_is_no_data() {
        let world = world(&[
            (99, "0", HealthState::Healthy),
            (100, "0", HealthState::Critical),
        ]);
        assert_eq!(rate(&world, 1.0, 120).outcome, CheckOutcome::NoData);
    }

    #[test]
    fn the_rate_must_hold_over_the_whole_window_and_degraded_is_not_healthy() {
        use HealthState::{Degraded, Healthy as Well};
        let good: Vec<_> = (101..130).map(|secs| (secs, "0", Well)).collect();
        let early = rate(&world(&good), 1.0, 105);
        assert_eq!(early.outcome, CheckOutcome::Undecided);
        assert!(
            early.detail.contains("5s of 10s watched"),
            "{}",
            early.detail
        );
        assert_eq!(rate(&world(&good), 1.0, 110).outcome, CheckOutcome::Passed);
        let mut slow = good.clone();
        slow[15].2 = Degraded;
        assert_eq!(rate(&world(&slow), 1.0, 120).outcome, CheckOutcome::Failed);
        assert_eq!(rate(&world(&slow), 0.9, 120).outcome, CheckOutcome::Passed);
        assert_eq!(
            rate(&world(&slow), 1.0, 129).outcome,
            CheckOutcome::Passed,
            "the window moved on"
        );
    }

    #[test]
    fn a_tier_counts_its_own_checks_only() {
        let report = |secs, tier, state| {
            HealthReport::new(at(secs), Target::service("orders").unwrap(), "c", state)
                .in_tier(tier)
        };
        let world = (101..115).fold(RecordedObservations::new(), |world, secs| {
            world
                .with_health(report(secs, HealthTier::Shallow, HealthState::Healthy))
                .with_health(report(secs, HealthTier::Deep, HealthState::Critical))
        });
        let look = |tier| {
            let window = Duration::from_secs(10);
            Healthy::new(Target::service("orders").unwrap(), Ratio::ONE, window)
                .unwrap()
                .of(tier)
                .look(&Look::new(&world, at(0), at(100), at(114)))
        };
        assert_eq!(
            look(Some(HealthTier::Shallow)).outcome,
            CheckOutcome::Passed
        );
        assert_eq!(look(Some(HealthTier::Deep)).outcome, CheckOutcome::Failed);
        assert_eq!(look(None).outcome, CheckOutcome::Failed);
        let none = look(Some(HealthTier::Comprehensive));
        assert_eq!(none.outcome, CheckOutcome::NoData);
        assert!(
            none.detail.contains("comprehensive health checks"),
            "{}",
            none.detail
        );
    }

    #[test]
    fn a_row_counts_each_instance_by_itself() {
        use HealthState::{Healthy as Well, Unhealthy};
        let look = |states: &[_], looks| {
            Healthy::in_a_row(
                Target::service("orders").unwrap(),
                None,
                looks,
                Duration::from_secs(60),
            )
            .look(&Look::new(&world(states), at(0), at(100), at(110)))
            .outcome
        };
        let both = [
            (101, "0", Well),
            (102, "0", Well),
            (101, "1", Unhealthy),
            (102, "1", Well),
        ];
        assert_eq!(look(&both, 1), CheckOutcome::Passed);
        assert_eq!(look(&both, 2), CheckOutcome::Undecided);
        assert_eq!(look(&both[..3], 1), CheckOutcome::Failed);
    }
}
