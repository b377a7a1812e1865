//! Permits for tests of executors, from the real gate.

use crate::flags::{Flags, Mode};
use crate::id::{RunId, TenantId};
use crate::policy::{
    Approval, BreakerState, Gate, GateFacts, Permit, Policy, Purpose, TenantUse, Testimony,
};
use crate::port::{Lease, Tally, TenantPolicy};
use crate::record::{BlastRadius, Plan, RadiusLevel, Severity};
use crate::time::Timestamp;

/// A permit for `run` of `plan` under `lease`, from the real gate in auto mode and with three
/// approvals; good for the default policy's permit lifetime from `now`.
///
/// ```
/// use homeostasis::core::port::{FencingToken, Lease};
/// use homeostasis::core::record::{Plan, PlanStep};
/// use homeostasis::core::testing::permit_for;
/// use homeostasis::core::{IncidentId, PlanId, RunId, Target, Timestamp};
///
/// let target = Target::service("orders").unwrap();
/// let (id, incident) = (PlanId::from_u128(1), IncidentId::from_u128(2));
/// let mut plan = Plan::new(id, incident, "mine", "restart orders", target.clone());
/// plan.steps.push(PlanStep::new("restart", "restart_process", target));
/// let now = Timestamp::from_secs(1_000);
/// let lease = Lease::new("orders", FencingToken::new(1), now);
/// let permit = permit_for(&plan, RunId::from_u128(3), lease, now);
/// assert_eq!(permit.plan_hash(), plan.hash());
/// ```
///
/// # Panics
/// If the gate refuses.
pub fn permit_for(plan: &Plan, run: RunId, lease: Lease, now: Timestamp) -> Permit {
    ask(plan, run, lease, now, Purpose::Execute)
}

/// As [`permit_for`], but to take `run` back.
///
/// # Panics
/// If the gate refuses.
pub fn permit_to_undo(plan: &Plan, run: RunId, lease: Lease, now: Timestamp) -> Permit {
    ask(plan, run, lease, now, Purpose::Undo)
}

fn ask(plan: &Plan, run: RunId, lease: Lease, now: Timestamp, purpose: Purpose) -> Permit {
    let approvals = ["ann", "bob", "cleo"].map(|by| Approval::new(plan.hash(), by, now));
    let policy = Policy {
        cost_benefit: None,
        ..Policy::default()
    };
    let tenant = TenantId::default();
    let tally = Tally {
        members: 1,
        ayes: 1,
        noes: 0,
    };
    let facts = GateFacts {
        environment: "",
        tenant: &tenant,
        category: None,
        authorization: Testimony::Yes,
        tenant_use: Some(TenantUse {
            policy: TenantPolicy::default(),
            heals: 0,
            runs_last_hour: 0,
        }),
        preconditions: Testimony::Yes,
        patch_use: None,
        tally: Some(tally),
        now,
        purpose,
        kill_switch: false,
        mode: &Mode::Auto,
        flags: &Flags::default(),
        policy: &policy,
        needs_people: None,
        severity: Severity::Sev2,
        incident_radius: BlastRadius {
            level: RadiusLevel::SingleInstance,
            instances: 1,
            services: 1,
            risk_score: 1.0,
        },
        is_cause_known: true,
        seen_before: Some(1),
        last_change: None,
        n_services: 3,
        peers: None,
        critical_service: false,
        breaker: Some(&BreakerState::default()),
        limits: Some(Vec::new()),
        last_run: None,
        same_action_runs: 0,
        approvals: &approvals,
    };
    let (record, clearance) = Gate::ask(plan, &facts);
    clearance
        .unwrap_or_else(|| panic!("the gate refuses the test's plan: {record}"))
        .with_lease(run, lease)
}
