mod access;
mod consent;
mod pace;
mod reach;

use std::time::Duration;

use super::*;
use crate::flags::{Flags, Mode};
use crate::id::{IncidentId, PlanId, TenantId};
use crate::policy::{
    Approval, BreakerState, FileUse, Limit, LimitScope, PatchUse, PermitError, Policy, PolicyRule,
    Requirement,
};
use crate::port::{FencingToken, Role, Tally, TenantPolicy};
use crate::record::{
    BlastRadius, Category, Inverse, PatchKind, PlanPatch, PlanStep, RadiusLevel, RiskLevel,
    Severity,
};
use crate::target::Target;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn plan() -> Plan {
    let target = Target::instance("orders", "0").unwrap();
    let mut plan = Plan::new(
        PlanId::from_u128(1),
        IncidentId::from_u128(2),
        "playbooks",
        "restart",
        target.clone(),
    );
    plan.radius = BlastRadius {
        level: RadiusLevel::SingleInstance,
        instances: 1,
        services: 1,
        risk_score: 10.0,
    };
    let mut step = PlanStep::new("restart", "restart_process", target);
    step.risk = RiskLevel::Medium;
    step.inverse = Inverse::Nothing;
    plan.steps.push(step);
    plan
}

struct Case {
    mode: Mode,
    flags: Flags,
    policy: Policy,
    breaker: BreakerState,
    tenant: TenantId,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            flags: Flags::default(),
            policy: Policy::default(),
            breaker: BreakerState::default(),
            tenant: TenantId::default(),
        }
    }
}

impl Case {
    fn facts(&self) -> GateFacts<'_> {
        GateFacts {
            now: NOW,
            purpose: Purpose::Execute,
            kill_switch: false,
            mode: &self.mode,
            flags: &self.flags,
            environment: "production",
            tenant: &self.tenant,
            category: Some(Category::ResourceExhaustion),
            authorization: Testimony::Yes,
            tenant_use: Some(TenantUse {
                policy: TenantPolicy::default(),
                heals: 0,
                runs_last_hour: 0,
            }),
            preconditions: Testimony::Yes,
            patch_use: Some(PatchUse::default()),
            tally: Some(Tally {
                members: 1,
                ayes: 1,
                noes: 0,
            }),
            policy: &self.policy,
            needs_people: None,
            severity: Severity::Sev2,
            incident_radius: plan().radius,
            is_cause_known: true,
            seen_before: Some(1),
            last_change: None,
            n_services: 3,
            peers: None,
            critical_service: false,
            breaker: Some(&self.breaker),
            limits: Some(Vec::new()),
            last_run: None,
            same_action_runs: 0,
            approvals: &[],
        }
    }
}

fn decide(plan: &Plan, facts: &GateFacts<'_>) -> GateDecision {
    let (record, clearance) = Gate::ask(plan, facts);
    assert_eq!(
        clearance.is_some(),
        record.decision == GateDecision::Permitted
    );
    record.decision
}

#[test]
fn a_small_reversible_plan_in_auto_mode_is_permitted() {
    assert_eq!(
        decide(&plan(), &Case::default().facts()),
        GateDecision::Permitted
    );
}

#[test]
fn the_kill_switch_stops_every_purpose() {
    let case = Case::default();
    for purpose in [Purpose::Execute, Purpose::Resume, Purpose::Undo] {
        let facts = GateFacts {
            kill_switch: true,
            purpose,
            ..case.facts()
        };
        assert_eq!(decide(&plan(), &facts), GateDecision::Escalated);
    }
}

#[test]
fn what_needs_people_goes_to_people_in_every_mode_and_with_every_consent() {
    let consents = ["ann", "bob", "cleo"].map(|by| Approval::new(plan().hash(), by, NOW));
    for mode in [Mode::Observe, Mode::Approve, Mode::Auto] {
        let case = Case {
            mode,
            ..Case::default()
        };
        let facts = |purpose| GateFacts {
            needs_people: Some("the backup is gone"),
            purpose,
            approvals: &consents,
            ..case.facts()
        };
        let (record, _) = Gate::ask(&plan(), &facts(Purpose::Execute));
        assert_eq!(record.decision, GateDecision::Escalated);
        assert_eq!(record.reason(), "people are needed: the backup is gone");
        // What was done may be taken back all the same.
        assert_eq!(
            decide(&plan(), &facts(Purpose::Undo)),
            GateDecision::Permitted
        );
    }
}

#[test]
fn modes_recommend_ask_or_wait() {
    let ask = |mode| {
        decide(
            &plan(),
            &Case {
                mode,
                ..Case::default()
            }
            .facts(),
        )
    };
    assert_eq!(ask(Mode::Observe), GateDecision::Recommended);
    assert!(matches!(
        ask(Mode::Approve),
        GateDecision::NeedsApproval { approvals: 1, .. }
    ));
    let until = NOW + Duration::from_secs(5);
    let paused = Mode::Paused {
        by: "ann".to_owned(),
        why: "release".to_owned(),
        until,
    };
    assert_eq!(ask(paused), GateDecision::Deferred { until });
}

#[test]
fn a_flag_turns_one_playbook_into_a_recommendation() {
    let flags = Flags::from_iter([("heal.playbooks.restart_process".to_owned(), false)]);
    assert_eq!(
        decide(
            &plan(),
            &Case {
                flags,
                ..Case::default()
            }
            .facts()
        ),
        GateDecision::Recommended
    );
}

#[test]
fn the_unknown_is_the_worst_case() {
    let case = Case::default();
    let unknown_radius = Plan {
        radius: BlastRadius::UNKNOWN,
        ..plan()
    };
    assert!(matches!(
        decide(&unknown_radius, &case.facts()),
        GateDecision::NeedsApproval { approvals: 2, .. }
    ));
    let mut no_inverse = plan();
    no_inverse.steps[0].inverse = Inverse::Irreversible("nobody said how".to_owned());
    assert!(matches!(
        decide(&no_inverse, &case.facts()),
        GateDecision::NeedsApproval { .. }
    ));
    assert_eq!(
        decide(
            &plan(),
            &GateFacts {
                breaker: None,
                ..case.facts()
            }
        ),
        GateDecision::Escalated
    );
    assert_eq!(
        decide(
            &plan(),
            &GateFacts {
                limits: None,
                ..case.facts()
            }
        ),
        GateDecision::Escalated
    );
}

#[test]
fn a_permit_covers_only_its_plan_run_and_time() {
    let case = Case::default();
    let run = RunId::from_u128(7);
    let permit = || {
        let (_, clearance) = Gate::ask(&plan(), &case.facts());
        clearance
            .unwrap()
            .with_lease(run, Lease::new("orders/0", FencingToken::new(1), NOW))
    };
    assert!(permit().redeem(run, plan().hash(), NOW).is_ok());
    let changed = Plan {
        title: "rm -rf".to_owned(),
        ..plan()
    };
    assert!(matches!(
        permit().redeem(run, changed.hash(), NOW),
        Err(PermitError::OtherPlan { .. })
    ));
    assert!(matches!(
        permit().redeem(RunId::from_u128(8), plan().hash(), NOW),
        Err(PermitError::OtherRun { .. })
    ));
    let late = NOW + case.policy.permit_ttl;
    assert!(matches!(
        permit().redeem(run, plan().hash(), late),
        Err(PermitError::Expired { .. })
    ));
}

pub(super) const ORDER: [Check; 21] = [
    Check::KillSwitch,
    Check::People,
    Check::FeatureFlag,
    Check::Mode,
    Check::Authorization,
    Check::TenantQuota,
    Check::Policy,
    Check::PatchRisk,
    Check::Risk,
    Check::Preconditions,
    Check::Reversible,
    Check::SafeMode,
    Check::CircuitBreaker,
    Check::RateLimit,
    Check::CoolDown,
    Check::NoProgress,
    Check::Storm,
    Check::MaintenanceWindow,
    Check::CostBenefit,
    Check::Quorum,
    Check::Approval,
];

#[test]
fn every_check_answers_once_and_in_this_order() {
    let (record, _) = Gate::ask(&plan(), &Case::default().facts());
    let asked: Vec<_> = record.answers.iter().map(|answer| answer.check).collect();
    assert_eq!(asked, ORDER);
}

#[test]
fn each_check_objects_alone_and_is_missed_if_it_is_gone() {
    for check in ORDER {
        let (mut plan, mut case) = (plan(), Case::default());
        match check {
            Check::FeatureFlag => case.flags = Flags::from_iter([("heal".to_owned(), false)]),
            Check::Mode => case.mode = Mode::Observe,
            Check::Risk => plan.require_approval = true,
            Check::Reversible => {
                plan.steps[0].inverse = Inverse::Irreversible("it is sent".to_owned());
            }
            Check::MaintenanceWindow => {
                case.policy.maintenance.only = ["restart_process".to_owned()].into();
            }
            Check::CostBenefit => plan.steps[0].timeout = Duration::from_secs(36_000),
            Check::PatchRisk => plan.patches = vec![patch("app.toml")],
            Check::Quorum => case.policy.quorum.from_risk = RiskLevel::Low,
            _ => {}
        }
        let mut facts = case.facts();
        match check {
            Check::KillSwitch => facts.kill_switch = true,
            Check::People => facts.needs_people = Some("the backup is gone"),
            Check::Authorization => facts.authorization = Testimony::No("it may not".to_owned()),
            Check::TenantQuota => facts.tenant_use = None,
            Check::PatchRisk => facts.patch_use = None,
            Check::Preconditions => {
                facts.preconditions = Testimony::No("disk_free > 10% is false".to_owned());
            }
            Check::Quorum => facts.tally = None,
            Check::Policy => facts.critical_service = true,
            Check::SafeMode => facts.is_cause_known = false,
            Check::CircuitBreaker => facts.breaker = None,
            Check::RateLimit => facts.limits = None,
            Check::CoolDown => facts.last_run = Some(NOW),
            Check::NoProgress => facts.same_action_runs = 3,
            Check::Storm => {
                facts.peers = Some(PeerHealth {
                    healthy: 1,
                    total: 4,
                });
            }
            _ => {}
        }
        let (record, clearance) = Gate::ask(&plan, &facts);
        let objecting: Vec<_> = record
            .answers
            .iter()
            .filter(|answer| answer.answer != Answer::Pass)
            .map(|answer| answer.check)
            .collect();
        match (check, &record.decision) {
            // Nobody was asked for.
            (Check::Approval, GateDecision::Permitted) => assert!(objecting.is_empty()),
            // Whoever asks for people is answered by the last check.
            (_, GateDecision::NeedsApproval { .. }) => {
                assert_eq!(objecting, [check, Check::Approval]);
            }
            _ => assert_eq!(objecting, [check], "{record}"),
        }
        assert_eq!(clearance.is_some(), check == Check::Approval);
    }
}

fn patch(path: &str) -> PlanPatch {
    PlanPatch {
        path: path.to_owned(),
        kind: PatchKind::Configuration,
        risk: RiskLevel::Low,
    }
}

fn answer_of(check: Check, plan: &Plan, facts: &GateFacts<'_>) -> (Answer, String) {
    let (record, _) = Gate::ask(plan, facts);
    let mut answers = record.answers.into_iter();
    let found = answers.find(|answer| answer.check == check).unwrap();
    (found.answer, found.detail)
}
