//! What a plan is worth: the downtime it probably saves against the downtime it costs.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::BreakerState;
use crate::record::{BlastRadius, Plan, RiskLevel};
use crate::unit::Ratio;

/// How downtime is weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CostBenefitPolicy {
    /// How long an incident lasts if nobody does anything. Default 30 min.
    pub without_healing: Duration,
    /// How long a failed step of low risk keeps what the plan reaches down. Default 1 min.
    pub low: Duration,
    /// The same of medium risk. Default 5 min.
    pub medium: Duration,
    /// The same of high risk. Default 30 min.
    pub high: Duration,
    /// The same of critical risk. Default 4 h.
    pub critical: Duration,
}

impl Default for CostBenefitPolicy {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            without_healing: 30 * minute,
            low: minute,
            medium: 5 * minute,
            high: 30 * minute,
            critical: 240 * minute,
        }
    }
}

impl CostBenefitPolicy {
    fn harm(&self, risk: RiskLevel) -> Duration {
        match risk {
            RiskLevel::Low => self.low,
            RiskLevel::Medium => self.medium,
            RiskLevel::High => self.high,
            RiskLevel::Critical => self.critical,
        }
    }
}

/// The sum behind an answer, in minutes in which everything would be down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostBenefit {
    /// How probably it helps: `(successes + 1) / (attempts + 2)` of those its breaker remembers (Laplace's rule).
    pub success: Ratio,
    /// What success saves: minutes without healing times the share of services that the incident hits.
    pub saved: f64,
    /// What every attempt costs: the time its steps may take times the share of services that it reaches.
    pub effort: f64,
    /// What failure costs: the minutes of its risk times the share of services that it reaches.
    pub harm: f64,
}

impl CostBenefit {
    /// Adds up what `plan` is worth in an incident of `incident`'s reach among `n_services`.
    ///
    /// A reach that nobody knows is the worst case on either side: the incident hits one service, the plan reaches all.
    /// Repeated attempts of a step and the waits between them are part of the time it may take.
    ///
    /// ```
    /// use homeostasis::core::policy::{BreakerState, CostBenefit, CostBenefitPolicy};
    /// use homeostasis::core::record::{BlastRadius, Plan, RadiusLevel};
    /// use homeostasis::core::{IncidentId, PlanId, Target};
    /// let one = BlastRadius { level: RadiusLevel::SingleInstance, instances: 1, services: 1, risk_score: 5.0 };
    /// let (id, incident) = (PlanId::from_u128(1), IncidentId::from_u128(2));
    /// let mut plan = Plan::new(id, incident, "mine", "restart", Target::service("orders")?);
    /// plan.radius = one;
    /// let policy = CostBenefitPolicy::default();
    /// let worth = CostBenefit::of(&plan, one, 3, &BreakerState::default(), &policy);
    /// assert_eq!(worth.saved, 10.0);
    /// assert!(worth.net() > 0.0);
    /// # Ok::<(), homeostasis::core::NameError>(())
    /// ```
    pub fn of(
        plan: &Plan,
        incident: BlastRadius,
        n_services: u64,
        history: &BreakerState,
        policy: &CostBenefitPolicy,
    ) -> Self {
        let n_services = n_services.max(1);
        let hit = Ratio::of(incident.services.max(1), n_services).get();
        let reached = match plan.radius.services {
            0 => 1.0,
            services => Ratio::of(services, n_services).get(),
        };
        let (successes, attempts) = history.outcomes();
        let time: Duration = plan
            .steps
            .iter()
            .map(|step| {
                let attempts = step.retry.attempts.max(1);
                let waits = step.retry.max_backoff.saturating_mul(attempts - 1);
                step.timeout.saturating_mul(attempts).saturating_add(waits)
            })
            .fold(Duration::ZERO, Duration::saturating_add);
        Self {
            success: Ratio::of(successes + 1, attempts + 2),
            saved: hit * minutes(policy.without_healing),
            effort: reached * minutes(time),
            harm: reached * minutes(policy.harm(plan.risk())),
        }
    }

    /// What it is worth: success times what is saved, less the effort, less failure times the harm.
    pub fn net(&self) -> f64 {
        self.success.get() * self.saved - self.effort - self.success.complement().get() * self.harm
    }
}

fn minutes(duration: Duration) -> f64 {
    duration.as_secs_f64() / 60.0
}

impl fmt::Display for CostBenefit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} x {:.1} min saved - {:.1} min of effort - {:.2} x {:.1} min of harm = {:.1} min",
            self.success.get(),
            self.saved,
            self.effort,
            self.success.complement().get(),
            self.harm,
            self.net()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{IncidentId, PlanId};
    use crate::policy::BreakerPolicy;
    use crate::record::{PlanStep, RadiusLevel};
    use crate::target::Target;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn radius(services: u64) -> BlastRadius {
        BlastRadius {
            level: RadiusLevel::SingleService,
            instances: services,
            services,
            risk_score: 10.0,
        }
    }

    fn plan(risk: RiskLevel, reaches: BlastRadius) -> Plan {
        let target = Target::service("orders").unwrap();
        let ids = (PlanId::from_u128(1), IncidentId::from_u128(2));
        let mut plan = Plan::new(ids.0, ids.1, "mine", "restart", target.clone());
        plan.radius = reaches;
        let mut step = PlanStep::new("restart", "restart", target);
        step.risk = risk;
        plan.steps.push(step);
        plan
    }

    fn worth(plan: &Plan, incident: BlastRadius, history: &BreakerState) -> CostBenefit {
        CostBenefit::of(plan, incident, 10, history, &CostBenefitPolicy::default())
    }

    #[test]
    fn the_sum_is_the_one_that_is_shown() {
        let sum = worth(
            &plan(RiskLevel::Medium, radius(1)),
            radius(2),
            &BreakerState::default(),
        );
        // 2 of 10 services for 30 min; 30 s and 5 min of 1 of 10 services.
        assert_eq!((sum.saved, sum.effort, sum.harm), (6.0, 0.05, 0.5));
        assert_eq!(sum.net(), 0.5 * 6.0 - 0.05 - 0.5 * 0.5);
        assert_eq!(
            sum.to_string(),
            "0.50 x 6.0 min saved - 0.1 min of effort - 0.50 x 0.5 min of harm = 2.7 min"
        );
    }

    #[test]
    fn what_failed_often_or_reaches_further_than_the_trouble_is_not_worth_it() {
        let mut failing = BreakerState::default();
        for _ in 0..8 {
            failing.record(false, Timestamp::EPOCH, &BreakerPolicy::default());
        }
        let high = plan(RiskLevel::High, radius(1));
        assert!(worth(&high, radius(1), &BreakerState::default()).net() < 0.0);
        let medium = plan(RiskLevel::Medium, radius(1));
        assert!(worth(&medium, radius(1), &BreakerState::default()).net() > 0.0);
        assert!(worth(&medium, radius(1), &failing).net() < 0.0);
        assert!(
            worth(
                &plan(RiskLevel::Medium, radius(9)),
                radius(1),
                &BreakerState::default()
            )
            .net()
                < 0.0
        );
    }

    #[test]
    fn an_unknown_reach_is_the_worst_case_on_either_side() {
        let known = worth(
            &plan(RiskLevel::Low, radius(1)),
            radius(1),
            &BreakerState::default(),
        );
        let unknown = worth(
            &plan(RiskLevel::Low, BlastRadius::UNKNOWN),
            BlastRadius::UNKNOWN,
            &BreakerState::default(),
        );
        assert_eq!(unknown.saved, known.saved);
        assert_eq!(unknown.harm, 10.0 * known.harm);
    }

    proptest! {
        #[test]
        fn more_failures_are_never_worth_more(before in 0_usize..10, services in 0_u64..20) {
            let policy = BreakerPolicy::default();
            let mut history = BreakerState::default();
            for idx in 0..before {
                history.record(idx % 2 == 0, Timestamp::EPOCH, &policy);
            }
            let plan = plan(RiskLevel::Medium, radius(services));
            let first = worth(&plan, radius(1), &history).net();
            history.record(false, Timestamp::EPOCH, &policy);
            prop_assert!(first.is_finite());
            if before < policy.window {
                prop_assert!(worth(&plan, radius(1), &history).net() <= first);
            }
        }
    }
}
