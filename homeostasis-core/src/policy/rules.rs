//! The operator's policy as data.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::{
    BreakerPolicy, CostBenefitPolicy, MaintenancePolicy, PatchPolicy, PolicyMatrix, PolicyRule,
    QuorumPolicy, SafeModePolicy, SignOff, StormPolicy,
};
use crate::record::{Plan, RadiusLevel, RiskLevel};

/// What a limit is counted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitScope {
    /// Everything.
    Global,
    /// One target.
    Target,
    /// One playbook or action.
    Action,
    /// One playbook or action on one target.
    ActionOnTarget,
    /// One service, with all its instances.
    Service,
    /// One tenant.
    Tenant,
}

/// At most `max` runs within `window`, over a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What is counted together.
    pub scope: LimitScope,
    /// How many.
    pub max: u64,
    /// In how long.
    pub window: Duration,
}

impl Limit {
    /// The durable counter a run of `plan` hits for this scope.
    ///
    /// That of a tenant is within the tenant: where tenants share a store it is found under
    /// [`tenant_key`](crate::port::tenant_key).
    pub fn counter(scope: LimitScope, plan: &Plan) -> String {
        match scope {
            LimitScope::Global => "runs".to_owned(),
            LimitScope::Target => format!("runs/target/{}", plan.target),
            LimitScope::Action => format!("runs/action/{}", plan.action_key()),
            LimitScope::ActionOnTarget => {
                format!("runs/action/{}/{}", plan.action_key(), plan.target)
            }
            LimitScope::Service => format!("runs/service/{}", plan.target.service_name()),
            LimitScope::Tenant => "runs/tenant".to_owned(),
        }
    }

    /// The counters a run of `plan` hits: one for each scope but the tenant.
    pub fn counters(plan: &Plan) -> [String; 5] {
        [
            LimitScope::Global,
            LimitScope::Target,
            LimitScope::Action,
            LimitScope::ActionOnTarget,
            LimitScope::Service,
        ]
        .map(|scope| Self::counter(scope, plan))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.scope {
            LimitScope::Global => "in all",
            LimitScope::Target => "per target",
            LimitScope::Action => "per action",
            LimitScope::ActionOnTarget => "per action and target",
            LimitScope::Service => "per service",
            LimitScope::Tenant => "per tenant",
        };
        write!(f, "{} in {:?} {scope}", self.max, self.window)
    }
}

/// What the healer may do by itself. The default is careful.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Playbooks and actions an operator approved beforehand: they may run in a SEV0 and may be
    /// irreversible without a person being asked. Default none.
    pub pre_approved: BTreeSet<String>,
    /// What severity and reach ask for. Default see [`PolicyMatrix`].
    pub matrix: PolicyMatrix,
    /// What asks for more. Default none.
    pub rules: Vec<PolicyRule>,
    /// Plans of higher risk need approval. Default medium.
    pub max_risk: RiskLevel,
    /// Plans that reach further need approval. Default a single service.
    pub max_radius: RadiusLevel,
    /// More instances than this need approval although it is one service. Default 10.
    pub max_instances: u64,
    /// What plans that change files may do.
    pub patches: PatchPolicy,
    /// Which plans other healers vote on.
    pub quorum: QuorumPolicy,
    /// Whose consent is needed, by reach.
    pub sign_off: SignOff,
    /// How often plans may run. Default 10 per minute in all and 3 per hour per action and target.
    pub limits: Vec<Limit>,
    /// The time between two runs on one target. Default 10 s.
    pub min_interval: Duration,
    /// When an action that fails is no longer tried.
    pub breaker: BreakerPolicy,
    /// The same action for the same fingerprint this many times within a day without lasting
    /// success is a loop: people are called. 0 turns it off. Default 3.
    pub no_progress: u64,
    /// When little may be done because little is known.
    pub safe_mode: SafeModePolicy,
    /// When nothing may be done because little is left.
    pub storm: StormPolicy,
    /// What waits for a maintenance window. Default nothing.
    pub maintenance: MaintenancePolicy,
    /// How a plan's worth is added up: one that costs more than it saves needs approval. `None` does not ask.
    pub cost_benefit: Option<CostBenefitPolicy>,
    /// How long people have to decide, silence is a refusal; and how long their consent is good for.
    /// Default 60 min.
    pub approval_ttl: Duration,
    /// How long a permit is good for; it bounds the run, which may take longer by what its
    /// plan [watches](crate::record::PlanStep::watches). Default 15 min.
    pub permit_ttl: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            pre_approved: BTreeSet::new(),
            matrix: PolicyMatrix::default(),
            rules: Vec::new(),
            max_risk: RiskLevel::Medium,
            max_radius: RadiusLevel::SingleService,
            max_instances: 10,
            patches: PatchPolicy::default(),
            quorum: QuorumPolicy::default(),
            sign_off: SignOff::default(),
            limits: vec![
                Limit {
                    scope: LimitScope::Global,
                    max: 10,
                    window: minute,
                },
                Limit {
                    scope: LimitScope::ActionOnTarget,
                    max: 3,
                    window: 60 * minute,
                },
            ],
            min_interval: Duration::from_secs(10),
            breaker: BreakerPolicy::default(),
            no_progress: 3,
            safe_mode: SafeModePolicy::default(),
            storm: StormPolicy::default(),
            maintenance: MaintenancePolicy::default(),
            cost_benefit: Some(CostBenefitPolicy::default()),
            approval_ttl: 60 * minute,
            permit_ttl: 15 * minute,
        }
    }
}

impl Policy {
    /// Whether an operator approved `plan`'s playbook, or each of its actions, beforehand.
    ///
    /// A playbook is named by its id. An action is named by itself or as `remediator.action`, and
    /// one approved action does not vouch for the others of its plan.
    pub fn is_pre_approved(&self, plan: &Plan) -> bool {
        let listed = |name: &str| self.pre_approved.contains(name);
        let by_playbook = plan.playbook.as_ref().is_some_and(|book| listed(&book.id));
        let by_steps = !plan.steps.is_empty()
            && plan.steps.iter().all(|step| {
                listed(&step.action) || listed(&format!("{}.{}", plan.remediator, step.action))
            });
        by_playbook || by_steps
    }
}
