//! Strategy: which of several good plans is tried first.

use std::fmt;

use async_trait::async_trait;

use crate::context::Context;
use crate::cycle::Incident;
use crate::error::stage_error;
use crate::record::Plan;

stage_error!(
    /// Why a selector gave no order; the plans are then tried in the order they came.
    StrategyError
);

/// Orders plans. It sees them and cannot change them; the gate still asks about each.
#[async_trait]
pub trait StrategySelector: fmt::Debug + Send + Sync {
    /// The positions of `plans` in the order in which they are tried; those left out are not tried.
    async fn order(
        &self,
        cx: &Context,
        incident: &Incident,
        plans: &[Plan],
    ) -> Result<Vec<usize>, StrategyError>;
}

const _: fn(&dyn StrategySelector) = |_| {};

/// The plans in `order`.
///
/// # Errors
/// A sentence about what is wrong with `order`: a position that does not exist, or comes twice.
pub fn reorder(plans: Vec<Plan>, order: &[usize]) -> Result<Vec<Plan>, String> {
    let n_plans = plans.len();
    let mut slots: Vec<_> = plans.into_iter().map(Some).collect();
    order
        .iter()
        .map(|&idx| {
            let slot = slots
                .get_mut(idx)
                .ok_or_else(|| format!("plan {idx}, expected one of 0..{n_plans}"))?;
            slot.take().ok_or_else(|| format!("plan {idx} comes twice"))
        })
        .collect()
}

/// Best fitness first, as the remediators see it; at equal fitness the lower risk, then the order
/// they came in. A fitness that is not a number comes last.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByFitness;

#[async_trait]
impl StrategySelector for ByFitness {
    async fn order(
        &self,
        _: &Context,
        _: &Incident,
        plans: &[Plan],
    ) -> Result<Vec<usize>, StrategyError> {
        Ok(by_fitness(plans))
    }
}

fn by_fitness(plans: &[Plan]) -> Vec<usize> {
    let fitness = |plan: &Plan| {
        if plan.fitness.is_nan() {
            f64::NEG_INFINITY
        } else {
            plan.fitness
        }
    };
    let mut order: Vec<_> = (0..plans.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&plans[a], &plans[b]);
        fitness(b)
            .total_cmp(&fitness(a))
            .then_with(|| a.risk().cmp(&b.risk()))
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{IncidentId, PlanId};
    use crate::record::{PlanStep, RiskLevel};
    use crate::target::Target;

    fn plan(fitness: f64, risk: RiskLevel) -> Plan {
        let target = Target::service("orders").unwrap();
        let (id, incident) = (PlanId::from_u128(1), IncidentId::from_u128(1));
        let mut step = PlanStep::new("s", "restart", target.clone());
        step.risk = risk;
        let mut plan = Plan::new(id, incident, "r", format!("{fitness} {risk}"), target);
        plan.fitness = fitness;
        plan.steps.push(step);
        plan
    }

    #[test]
    fn the_fittest_comes_first_then_the_less_risky_and_nan_last() {
        use RiskLevel::{High, Low};
        let plans = [
            plan(f64::NAN, Low),
            plan(0.5, High),
            plan(0.9, High),
            plan(0.5, Low),
            plan(0.5, Low),
        ];
        assert_eq!(by_fitness(&plans), [2, 3, 4, 1, 0]);
        assert!(by_fitness(&[]).is_empty());
    }

    #[test]
    fn an_order_may_leave_out_but_not_invent_or_repeat() {
        let plans = || vec![plan(0.1, RiskLevel::Low), plan(0.2, RiskLevel::Low)];
        let kept = reorder(plans(), &[1]).unwrap();
        assert_eq!(kept, [plan(0.2, RiskLevel::Low)]);
        assert_eq!(
            reorder(plans(), &[2]).unwrap_err(),
            "plan 2, expected one of 0..2"
        );
        assert_eq!(reorder(plans(), &[0, 0]).unwrap_err(), "plan 0 comes twice");
    }
}
