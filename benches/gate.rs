//! What one decision of the gate costs with few policies and with a thousand.
//!
//! A policy here is one rule of the operator's, one limit, one pre-approved action and one action that
//! waits for a window: all are looked at in each decision, none fits the plan, so that every check is
//! asked to the end.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use homeostasis::core::policy::{
    BreakerState, Gate, GateDecision, GateFacts, Limit, LimitScope, LimitUse, MaintenanceWindow,
    Policy, PolicyRule, Purpose, Requirement, TenantUse, Testimony,
};
use homeostasis::core::port::TenantPolicy;
use homeostasis::core::record::{
    BlastRadius, Inverse, Plan, PlanStep, RadiusLevel, RiskLevel, Severity,
};
use homeostasis::core::{Flags, IncidentId, Mode, PlanId, Target, TenantId, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn plan() -> Plan {
    let target = Target::instance("orders", "0").expect("a name");
    let (id, incident) = (PlanId::from_u128(1), IncidentId::from_u128(2));
    let mut plan = Plan::new(id, incident, "playbooks", "restart", target.clone());
    plan.radius = BlastRadius {
        level: RadiusLevel::SingleInstance,
        instances: 1,
        services: 1,
        risk_score: 10.0,
    };
    for name in ["drain", "restart", "wait until ready"] {
        let mut step = PlanStep::new(name, name, target.clone());
        (step.risk, step.inverse) = (RiskLevel::Low, Inverse::Nothing);
        plan.steps.push(step);
    }
    plan
}

/// `n` of each kind.
fn policy(n: usize) -> Policy {
    let mut policy = Policy::default();
    for i in 0..n {
        policy.rules.push(PolicyRule {
            name: format!("rule {i}"),
            services: [format!("service-{i}")].into(),
            actions: [format!("playbooks.action-{i}")].into(),
            require: Requirement::People,
            ..PolicyRule::default()
        });
        policy.pre_approved.insert(format!("approved-{i}"));
        policy.maintenance.only.insert(format!("waits-{i}"));
    }
    policy.maintenance.windows = vec![MaintenanceWindow {
        days: BTreeSet::new(),
        opens: Duration::ZERO,
        lasts: Duration::from_secs(3600),
    }];
    policy
}

fn decide(plan: &Plan, policy: &Policy, limits: &[LimitUse], tenant: &TenantId) -> GateDecision {
    let facts = GateFacts {
        now: NOW,
        purpose: Purpose::Execute,
        kill_switch: false,
        mode: &Mode::Auto,
        flags: &Flags::default(),
        environment: "production",
        tenant,
        category: None,
        authorization: Testimony::Yes,
        tenant_use: Some(TenantUse {
            policy: TenantPolicy::default(),
            heals: 0,
            runs_last_hour: 0,
        }),
        preconditions: Testimony::Yes,
        patch_use: None,
        tally: None,
        policy,
        needs_people: None,
        severity: Severity::Sev2,
        incident_radius: plan.radius,
        is_cause_known: true,
        seen_before: Some(1),
        last_change: None,
        n_services: 3,
        peers: None,
        critical_service: false,
        breaker: Some(&BreakerState::default()),
        limits: Some(limits.to_vec()),
        last_run: None,
        same_action_runs: 0,
        approvals: &[],
    };
    Gate::ask(plan, &facts).0.decision
}

fn limits(n: usize) -> Vec<LimitUse> {
    let limit = Limit {
        scope: LimitScope::Global,
        max: 10,
        window: Duration::from_secs(60),
    };
    vec![LimitUse { limit, used: 1 }; n]
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#[expect(clippy::print_stderr, reason = "people read it")]
fn gate(c: &mut Criterion) {
    let (plan, tenant) = (plan(), TenantId::default());
    let mut group = c.benchmark_group("gate");
    for n in [10, 1000] {
        let (policy, limits) = (policy(n), limits(n));
        let ask = || decide(black_box(&plan), &policy, &limits, &tenant);
        assert_eq!(ask(), GateDecision::Permitted);
        let mut times: Vec<_> = (0..20_000)
            .map(|_| {
                let begun = Instant::now();
                black_box(ask());
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        eprintln!(
            "gate decision with {n} policies: p50 {:?}, p99 {:?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
        group.bench_function(BenchmarkId::new("decide", n), |b| b.iter(ask));
    }
    group.finish();
}

criterion_group!(benches, gate);
criterion_main!(benches);
