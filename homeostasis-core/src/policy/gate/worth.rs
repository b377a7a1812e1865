//! Whether it is worth it.

use super::{Answer, GateFacts};
use crate::policy::{BreakerState, CostBenefit};
use crate::record::Plan;

pub(super) fn cost_benefit(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let Some(policy) = &facts.policy.cost_benefit else {
        return (Answer::Pass, "nobody asks what it is worth".to_owned());
    };
    let unproven = BreakerState::default();
    let breaker = facts.breaker.unwrap_or(&unproven);
    let sum = CostBenefit::of(
        plan,
        facts.incident_radius,
        facts.n_services,
        breaker,
        policy,
    );
    let answer = if sum.net() > 0.0 {
        Answer::Pass
    } else {
        // People may know what it is worth better than the sum does.
        Answer::NeedsApproval(1)
    };
    (answer, sum.to_string())
}
