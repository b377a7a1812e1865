//! The gate: ordered checks between a plan and the world, each a pure function over facts.

mod access;
mod consent;
mod facts;
mod pace;
mod patch;
mod reach;
mod record;
mod switches;
mod worth;

pub use facts::{GateFacts, LimitUse, PeerHealth, Purpose, TenantUse, Testimony};
pub use record::{Answer, Check, GateAnswer, GateDecision, GateRecord};

use crate::digest::Digest;
use crate::id::RunId;
use crate::policy::Permit;
use crate::port::Lease;
use crate::record::Plan;
use crate::time::Timestamp;

/// The proof that a plan passed every check; with a lease it becomes a [`Permit`].
#[derive(Debug)]
#[must_use = "a clearance without a lease permits nothing"]
pub struct Clearance {
    plan_hash: Digest,
    purpose: Purpose,
    expires: Timestamp,
}

impl Clearance {
    /// The permit for `run` under `lease`.
    pub fn with_lease(self, run: RunId, lease: Lease) -> Permit {
        Permit::new(self.plan_hash, self.purpose, run, lease, self.expires)
    }
}

/// Asks every check in order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gate;

impl Gate {
    /// Decides on `plan`. A clearance is given exactly with [`GateDecision::Permitted`].
    ///
    /// The first check that refuses, defers, escalates or only recommends decides; checks that ask
    /// for approval are collected, the strictest counts.
    pub fn ask(plan: &Plan, facts: &GateFacts<'_>) -> (GateRecord, Option<Clearance>) {
        Self::ask_each(CHECKS, plan, facts)
    }

    /// The same with other checks: tests see what is missed when one is gone.
    fn ask_each(
        checks: &[(Check, Ask)],
        plan: &Plan,
        facts: &GateFacts<'_>,
    ) -> (GateRecord, Option<Clearance>) {
        let mut answers = Vec::new();
        let mut needed = 0;
        for (check, ask) in checks {
            let (answer, detail) = if check.applies(facts.purpose) {
                ask(plan, facts, needed)
            } else {
                continue;
            };
            answers.push(GateAnswer {
                check: *check,
                answer: answer.clone(),
                detail,
            });
            let decision = match answer {
                Answer::Pass => continue,
                Answer::NeedsApproval(n) if *check != Check::Approval => {
                    needed = needed.max(n);
                    continue;
                }
                Answer::NeedsApproval(approvals) => GateDecision::NeedsApproval {
                    approvals,
                    expires: consent::deadline(plan, facts),
                },
                Answer::Defer(until) => GateDecision::Deferred { until },
                Answer::Recommend => GateDecision::Recommended,
                Answer::Refuse => GateDecision::Refused,
                Answer::Escalate => GateDecision::Escalated,
            };
            return (GateRecord { decision, answers }, None);
        }
        let clearance = Clearance {
            plan_hash: plan.hash(),
            purpose: facts.purpose,
            expires: expiry(plan, facts),
        };
        (
            GateRecord {
                decision: GateDecision::Permitted,
                answers,
            },
            Some(clearance),
        )
    }
}

type Ask = fn(&Plan, &GateFacts<'_>, u32) -> (Answer, String);

/// In the order they are asked.
const CHECKS: &[(Check, Ask)] = &[
    (Check::KillSwitch, switches::kill_switch),
    (Check::People, switches::people),
    (Check::FeatureFlag, switches::feature_flag),
    (Check::Mode, switches::mode),
    (Check::Authorization, access::authorization),
    (Check::TenantQuota, access::tenant_quota),
    (Check::Policy, reach::severity_and_radius),
    (Check::PatchRisk, patch::patch_risk),
    (Check::Risk, reach::risk),
    (Check::Preconditions, reach::preconditions),
    (Check::Reversible, reach::reversible),
    (Check::SafeMode, reach::safe_mode),
    (Check::CircuitBreaker, pace::circuit_breaker),
    (Check::RateLimit, pace::rate_limit),
    (Check::CoolDown, pace::cool_down),
    (Check::NoProgress, pace::no_progress),
    (Check::Storm, pace::storm),
    (Check::MaintenanceWindow, pace::maintenance_window),
    (Check::CostBenefit, worth::cost_benefit),
    (Check::Quorum, consent::quorum),
    (Check::Approval, consent::approval),
];

/// A permit lasts longer by what its plan watches, and ends with the maintenance window that the
/// plan waited for.
fn expiry(plan: &Plan, facts: &GateFacts<'_>) -> Timestamp {
    let expires = facts.now + facts.policy.permit_ttl.saturating_add(plan.watches());
    let maintenance = &facts.policy.maintenance;
    let is_bound = facts.purpose != Purpose::Undo && maintenance.waits(plan).is_some();
    let closes = maintenance.open_until(facts.now).filter(|_| is_bound);
    closes.map_or(expires, |closes| expires.min(closes))
}

impl Check {
    fn applies(self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Execute => true,
            Purpose::Resume => matches!(
                self,
                Self::KillSwitch
                    | Self::FeatureFlag
                    | Self::Mode
                    | Self::Authorization
                    | Self::TenantQuota
                    | Self::MaintenanceWindow
            ),
            Purpose::Undo => self == Self::KillSwitch,
        }
    }
}

#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod tests;
