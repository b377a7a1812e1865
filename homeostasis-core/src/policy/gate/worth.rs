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
    if sum.net() > 0.0 {
        (Answer::Pass, sum.to_string())
    } else if facts.policy.is_pre_approved(plan) {
        (Answer::Pass, format!("{sum}; but it is pre-approved"))
    } else {
        // People may know better than the sum does.
        (Answer::NeedsApproval(1), sum.to_string())
    }
}
