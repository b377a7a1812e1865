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
fn sev0_runs_only_what_is_pre_approved_and_never_across_regions() {
    let mut case = Case::default();
    let sev0 = |case: &Case| {
        decide(
            &plan(),
            &GateFacts {
                severity: Severity::Sev0,
                ..case.facts()
            },
        )
    };
    assert!(matches!(sev0(&case), GateDecision::NeedsApproval { .. }));
    case.policy
        .pre_approved
        .insert("restart_process".to_owned());
    assert_eq!(sev0(&case), GateDecision::Permitted);
    let facts = GateFacts {
        severity: Severity::Sev0,
        incident_radius: BlastRadius::UNKNOWN,
        ..case.facts()
    };
    assert_eq!(decide(&plan(), &facts), GateDecision::Escalated);
}

/// The most severe incidents asked one person where milder ones asked two.
#[test]
fn sev0_asks_no_fewer_people_than_the_radius_does() {
    let case = Case::default();
    let wide = Plan {
        radius: BlastRadius::UNKNOWN,
        ..plan()
    };
    for (plan, expected) in [(&wide, 2), (&plan(), 1)] {
        let facts = GateFacts {
            severity: Severity::Sev0,
            ..case.facts()
        };
        assert!(matches!(
            decide(plan, &facts),
            GateDecision::NeedsApproval { approvals, .. } if approvals == expected
        ));
    }
}

#[test]
fn one_instance_of_a_critical_service_needs_approval_unless_the_incident_is_grave() {
    let mut case = Case::default();
    let ask = |case: &Case, severity| {
        let facts = GateFacts {
            severity,
            critical_service: true,
            ..case.facts()
        };
        decide(&plan(), &facts)
    };
    for severity in [Severity::Sev2, Severity::Sev3] {
        assert!(matches!(
            ask(&case, severity),
            GateDecision::NeedsApproval { approvals: 1, .. }
        ));
    }
    assert_eq!(ask(&case, Severity::Sev1), GateDecision::Permitted);
    case.policy
        .pre_approved
        .insert("restart_process".to_owned());
    assert_eq!(ask(&case, Severity::Sev3), GateDecision::Permitted);
}

/// The name of a plan's first action vouched for all of them.
#[test]
fn pre_approval_covers_a_playbook_or_every_single_step() {
    let allows = |names: &[&str], plan: &Plan| {
        let policy = Policy {
            pre_approved: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Policy::default()
        };
        policy.is_pre_approved(plan)
    };
    let one = plan();
    let mut two = plan();
    let mut drop = two.steps[0].clone();
    drop.action = "drop_database".to_owned();
    two.steps.push(drop);
    for first in ["restart_process", "playbooks.restart_process"] {
        assert!(allows(&[first], &one));
        assert!(!allows(&[first], &two));
        assert!(allows(&[first, "drop_database"], &two));
        assert!(allows(&[first, "playbooks.drop_database"], &two));
        assert!(!allows(&[first, "others.drop_database"], &two));
    }
    let mut book = two.clone();
    book.playbook = Some(crate::record::PlaybookRef {
        id: "rebuild".to_owned(),
        version: "1".to_owned(),
        hash: Digest::of("text"),
    });
    assert!(allows(&["rebuild"], &book));
    assert!(!allows(&["rebuild"], &two));
    let empty = Plan {
        steps: Vec::new(),
        ..plan()
    };
    assert!(!allows(&["playbooks"], &empty));
}

#[test]
fn a_whole_service_needs_approval_unless_the_incident_is_grave() {
    let case = Case::default();
    let mut whole = plan();
    whole.radius = BlastRadius {
        level: RadiusLevel::SingleService,
        instances: 3,
        services: 1,
        risk_score: 30.0,
    };
    assert!(matches!(
        decide(&whole, &case.facts()),
        GateDecision::NeedsApproval { .. }
    ));
    let grave = GateFacts {
        severity: Severity::Sev1,
        ..case.facts()
    };
    assert_eq!(decide(&whole, &grave), GateDecision::Permitted);
    assert!(matches!(
        decide(
            &whole,
            &GateFacts {
                critical_service: true,
                ..grave.clone()
            }
        ),
        GateDecision::NeedsApproval { .. }
    ));
    whole.radius.instances = 11;
    assert!(matches!(
        decide(&whole, &grave),
        GateDecision::NeedsApproval { .. }
    ));
}

#[test]
fn limits_and_rest_defer_and_loops_escalate() {
    let case = Case::default();
    let limit = Limit {
        scope: LimitScope::Global,
        max: 2,
        window: Duration::from_secs(30),
    };
    let full = GateFacts {
        limits: Some(vec![LimitUse { limit, used: 2 }]),
        ..case.facts()
    };
    assert_eq!(
        decide(&plan(), &full),
        GateDecision::Deferred {
            until: NOW + Duration::from_secs(30)
        }
    );
    let room = GateFacts {
        limits: Some(vec![LimitUse { limit, used: 1 }]),
        ..case.facts()
    };
    assert_eq!(decide(&plan(), &room), GateDecision::Permitted);
    let tired = GateFacts {
        last_run: Some(NOW),
        ..case.facts()
    };
    assert_eq!(
        decide(&plan(), &tired),
        GateDecision::Deferred {
            until: NOW + case.policy.min_interval
        }
    );
    let circles = GateFacts {
        same_action_runs: 3,
        ..case.facts()
    };
    assert_eq!(decide(&plan(), &circles), GateDecision::Escalated);
}

#[test]
fn a_clock_that_was_set_back_lengthens_no_rest() {
    let case = Case::default();
    let future = GateFacts {
        last_run: Some(NOW + Duration::from_secs(3600)),
        ..case.facts()
    };
    let until = NOW + case.policy.min_interval;
    assert_eq!(decide(&plan(), &future), GateDecision::Deferred { until });
}

#[test]
fn an_open_breaker_refuses_the_plan_so_that_another_may_be_tried() {
    let mut case = Case::default();
    for _ in 0..3 {
        case.breaker.record(false, NOW, &case.policy.breaker);
    }
    assert_eq!(decide(&plan(), &case.facts()), GateDecision::Refused);
}

#[test]
fn an_approval_counts_for_the_plan_it_was_given_for_and_each_person_once() {
    let case = Case::default();
    let wide = Plan {
        radius: BlastRadius::UNKNOWN,
        ..plan()
    };
    let by = |name: &str, plan: &Plan| Approval::new(plan.hash(), name, NOW);
    let ask = |approvals: &[Approval]| {
        decide(
            &wide,
            &GateFacts {
                approvals,
                ..case.facts()
            },
        )
    };
    assert!(matches!(
        ask(&[by("ann", &wide)]),
        GateDecision::NeedsApproval { approvals: 2, .. }
    ));
    assert!(matches!(
        ask(&[by("ann", &wide), by("ann", &wide)]),
        GateDecision::NeedsApproval { .. }
    ));
    assert!(matches!(
        ask(&[by("ann", &wide), by("bob", &plan())]),
        GateDecision::NeedsApproval { .. }
    ));
    assert_eq!(
        ask(&[by("ann", &wide), by("bob", &wide)]),
        GateDecision::Permitted
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

#[test]
fn safe_mode_asks_people_and_refuses_what_reaches_further_than_one_instance() {
    let mut case = Case::default();
    case.policy.safe_mode.new_kind = true;
    case.policy.safe_mode.after_change = Duration::from_secs(600);
    case.policy.max_instances = 100;
    let mut wide = plan();
    wide.radius.level = RadiusLevel::SingleService;
    let ask = |case: &Case, plan: &Plan, change: fn(&mut GateFacts<'_>)| {
        let mut facts = GateFacts {
            severity: Severity::Sev1,
            ..case.facts()
        };
        change(&mut facts);
        let (record, _) = Gate::ask(plan, &facts);
        (record.decision.clone(), record.reason())
    };
    for (change, expected) in [
        (
            (|facts| facts.is_cause_known = false) as fn(&mut GateFacts<'_>),
            "safe mode: no cause is known",
        ),
        (
            |facts| facts.seen_before = Some(0),
            "safe mode: an incident of this kind was never seen before",
        ),
        (
            |facts| facts.seen_before = None,
            "safe mode: an incident of this kind was never seen before",
        ),
        (
            |facts| facts.last_change = Some(NOW - Duration::from_secs(599)),
            "safe mode: it was changed 599s ago",
        ),
    ] {
        let (decision, reason) = ask(&case, &plan(), change);
        assert!(
            matches!(decision, GateDecision::NeedsApproval { approvals: 1, .. }),
            "{reason}"
        );
        assert!(reason.starts_with(expected), "{reason}");
        assert_eq!(ask(&case, &wide, change).0, GateDecision::Refused);
        let mut trusted = Case {
            policy: case.policy.clone(),
            ..Case::default()
        };
        trusted
            .policy
            .pre_approved
            .insert("restart_process".to_owned());
        assert_eq!(ask(&trusted, &wide, change).0, GateDecision::Permitted);
    }
    let calm = |facts: &mut GateFacts<'_>| {
        facts.last_change = Some(NOW - Duration::from_secs(600));
    };
    assert_eq!(ask(&case, &wide, calm).0, GateDecision::Permitted);
}

#[test]
fn with_too_few_peers_left_people_are_called() {
    let case = Case::default();
    let ask = |healthy, total| {
        let peers = Some(PeerHealth { healthy, total });
        decide(
            &plan(),
            &GateFacts {
                peers,
                ..case.facts()
            },
        )
    };
    assert_eq!(ask(2, 4), GateDecision::Permitted);
    assert_eq!(ask(1, 4), GateDecision::Escalated);
    // Two instances say nothing of a storm.
    assert_eq!(ask(0, 2), GateDecision::Permitted);
}

#[test]
fn what_waits_for_a_window_is_deferred_until_it_opens_if_that_is_soon() {
    let mut case = Case::default();
    let hour = Duration::from_secs(3600);
    case.policy.maintenance.only = ["playbooks.restart_process".to_owned()].into();
    assert_eq!(decide(&plan(), &case.facts()), GateDecision::Refused);
    // 1970-01-12, a Monday, 13:46:40 UTC.
    let midnight = Timestamp::from_secs(11 * 24 * 3600);
    let window = |opens: Duration| crate::policy::MaintenanceWindow {
        days: [crate::policy::Weekday::Monday].into(),
        opens,
        lasts: hour,
    };
    case.policy.maintenance.windows = vec![window(15 * hour)];
    assert_eq!(decide(&plan(), &case.facts()), GateDecision::Refused);
    case.policy.maintenance.windows = vec![window(14 * hour)];
    let until = midnight + 14 * hour;
    let deferred = GateDecision::Deferred { until };
    for purpose in [Purpose::Execute, Purpose::Resume] {
        let facts = GateFacts {
            purpose,
            ..case.facts()
        };
        assert_eq!(decide(&plan(), &facts), deferred);
    }
    let undo = GateFacts {
        purpose: Purpose::Undo,
        ..case.facts()
    };
    assert_eq!(decide(&plan(), &undo), GateDecision::Permitted);
    // A permit does not outlive the window; of what waits for none it does.
    case.policy.maintenance.windows.push(window(13 * hour));
    case.policy.permit_ttl = hour;
    let run = RunId::from_u128(7);
    let redeemed = |case: &Case, at| {
        let (_, clearance) = Gate::ask(&plan(), &case.facts());
        let lease = Lease::new("orders/0", FencingToken::new(1), NOW);
        let permit = clearance.unwrap().with_lease(run, lease);
        permit.redeem(run, plan().hash(), at).is_ok()
    };
    assert!(redeemed(&case, until - Duration::from_secs(1)));
    assert!(!redeemed(&case, until));
    case.policy.maintenance.only.clear();
    assert!(redeemed(&case, until));
}

#[test]
fn what_an_operator_vouches_for_is_not_asked_what_it_is_worth() {
    let mut case = Case::default();
    let mut slow = plan();
    slow.steps[0].timeout = Duration::from_secs(36_000);
    let ask = |case: &Case| {
        let facts = GateFacts {
            severity: Severity::Sev1,
            ..case.facts()
        };
        let (record, _) = Gate::ask(&slow, &facts);
        let worth = |answer: &&GateAnswer| answer.check == Check::CostBenefit;
        let said = record.answers.iter().find(worth).unwrap().detail.clone();
        (record.decision, said)
    };
    let (decision, said) = ask(&case);
    assert!(matches!(decision, GateDecision::NeedsApproval { .. }));
    case.policy
        .pre_approved
        .insert("restart_process".to_owned());
    let (decision, trusted) = ask(&case);
    assert_eq!(decision, GateDecision::Permitted);
    assert_eq!(trusted, format!("{said}; but it is pre-approved"));
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

#[test]
fn flags_turn_healing_off_by_environment_cause_and_tenant() {
    for (flag, off) in [
        ("heal.environment.production", true),
        ("heal.environment.staging", false),
        ("heal.cause.resource_exhaustion", true),
        ("heal.cause.network", false),
        ("heal.tenant.default", true),
        ("heal.tenant.other", false),
    ] {
        let flags = Flags::from_iter([(flag.to_owned(), false)]);
        let case = Case {
            flags,
            ..Case::default()
        };
        let expected = if off {
            GateDecision::Recommended
        } else {
            GateDecision::Permitted
        };
        assert_eq!(decide(&plan(), &case.facts()), expected, "{flag}");
        let nowhere = GateFacts {
            environment: "",
            ..case.facts()
        };
        let off = off || flag.starts_with("heal.environment.");
        assert_eq!(
            decide(&plan(), &nowhere) == GateDecision::Recommended,
            off,
            "{flag}"
        );
    }
}

#[test]
fn a_run_of_an_unknown_tenant_does_not_go_on_but_is_taken_back() {
    let case = Case::default();
    let ask = |purpose| {
        let facts = GateFacts {
            tenant_use: None,
            purpose,
            ..case.facts()
        };
        decide(&plan(), &facts)
    };
    assert_eq!(ask(Purpose::Resume), GateDecision::Escalated);
    assert_eq!(ask(Purpose::Undo), GateDecision::Permitted);
}

#[test]
fn what_the_healer_may_not_do_is_refused_and_what_nobody_can_tell_goes_to_people() {
    let case = Case::default();
    let ask = |authorization| {
        let facts = GateFacts {
            authorization,
            ..case.facts()
        };
        decide(&plan(), &facts)
    };
    let no = Testimony::No("none of its roles allows it".to_owned());
    assert_eq!(ask(no), GateDecision::Refused);
    let unknown = Testimony::Unknown("no answer within 5s".to_owned());
    assert_eq!(ask(unknown), GateDecision::Escalated);
}

#[test]
fn a_tenant_waits_for_room_and_one_that_is_stopped_is_only_told() {
    let case = Case::default();
    let ask = |policy: TenantPolicy, heals, runs_last_hour| {
        let facts = GateFacts {
            tenant_use: Some(TenantUse {
                policy,
                heals,
                runs_last_hour,
            }),
            ..case.facts()
        };
        decide(&plan(), &facts)
    };
    let policy = TenantPolicy::default;
    assert_eq!(ask(policy(), 3, 59), GateDecision::Permitted);
    let deferred = |secs| GateDecision::Deferred {
        until: NOW + Duration::from_secs(secs),
    };
    assert_eq!(ask(policy(), 4, 0), deferred(10));
    assert_eq!(ask(policy(), 0, 60), deferred(60));
    for stopped in [
        TenantPolicy {
            max_concurrent_heals: 0,
            ..policy()
        },
        TenantPolicy {
            max_runs_per_hour: 0,
            ..policy()
        },
    ] {
        assert_eq!(ask(stopped, 0, 0), GateDecision::Recommended);
    }
}

#[test]
fn a_cell_of_the_matrix_and_a_rule_decide_and_a_rule_never_makes_it_milder() {
    let mut case = Case::default();
    let ask = |case: &Case| decide(&plan(), &case.facts());
    let cell = |requirement| {
        let matrix = crate::policy::PolicyMatrix::default();
        matrix.with(Severity::Sev2, RadiusLevel::SingleInstance, requirement)
    };
    case.policy.matrix = cell(Requirement::Refused);
    assert_eq!(ask(&case), GateDecision::Refused);
    case.policy.matrix = cell(Requirement::Approvals(3));
    assert!(matches!(
        ask(&case),
        GateDecision::NeedsApproval { approvals: 3, .. }
    ));
    let rule = |require, service: &str| PolicyRule {
        name: "freeze".to_owned(),
        services: [service.to_owned()].into(),
        actions: ["playbooks.restart_process".to_owned()].into(),
        severities: [Severity::Sev2].into(),
        environments: ["production".to_owned()].into(),
        require,
    };
    case.policy.rules = vec![
        rule(Requirement::Auto, "orders"),
        rule(Requirement::People, "payments"),
    ];
    assert!(matches!(
        ask(&case),
        GateDecision::NeedsApproval { approvals: 3, .. }
    ));
    case.policy.rules.push(rule(Requirement::People, "orders"));
    let (answer, detail) = answer_of(Check::Policy, &plan(), &case.facts());
    assert_eq!(answer, Answer::Escalate);
    assert!(detail.ends_with("rule \"freeze\" asks for it"), "{detail}");
    let nowhere = GateFacts {
        environment: "",
        ..case.facts()
    };
    assert_eq!(decide(&plan(), &nowhere), GateDecision::Escalated);
    let elsewhere = GateFacts {
        environment: "staging",
        ..case.facts()
    };
    assert!(matches!(
        decide(&plan(), &elsewhere),
        GateDecision::NeedsApproval { approvals: 3, .. }
    ));
}

#[test]
fn patches_are_bounded_by_kind_file_day_failure_and_risk() {
    let mut case = Case::default();
    case.policy.patches.critical_files = ["auth/".to_owned()].into();
    let ask = |change: &dyn Fn(&mut Plan, &mut PatchUse)| {
        let mut plan = plan();
        plan.patches = vec![patch("app.toml"), patch("log.toml")];
        let mut used = PatchUse {
            today: 0,
            files: vec![FileUse::default(); 2],
        };
        change(&mut plan, &mut used);
        let facts = GateFacts {
            patch_use: Some(used),
            ..case.facts()
        };
        answer_of(Check::PatchRisk, &plan, &facts).0
    };
    assert_eq!(ask(&|_, _| {}), Answer::Pass);
    assert_eq!(ask(&|_, used| used.today = 8), Answer::Pass);
    assert_eq!(ask(&|_, used| used.today = 9), Answer::Refuse);
    assert_eq!(ask(&|_, used| used.files[1].today = 1), Answer::Pass);
    assert_eq!(ask(&|_, used| used.files[1].today = 2), Answer::Refuse);
    let failed =
        |ago| move |_: &mut Plan, used: &mut PatchUse| used.files[1].failed_at = Some(NOW - ago);
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(
        ask(&failed(day.checked_sub(Duration::from_secs(1)).unwrap())),
        Answer::Refuse
    );
    assert_eq!(ask(&failed(day)), Answer::Pass);
    assert_eq!(
        ask(&|plan, _| plan.patches[1].kind = PatchKind::Code),
        Answer::Refuse
    );
    assert_eq!(
        ask(&|plan, _| plan.patches[1].risk = RiskLevel::Medium),
        Answer::NeedsApproval(1)
    );
    let critical =
        |plan: &mut Plan, _: &mut PatchUse| plan.patches[1].path = "auth/k.toml".to_owned();
    assert_eq!(ask(&critical), Answer::NeedsApproval(2));
    // What is known of another plan's files says nothing.
    assert_eq!(ask(&|_, used| used.files.truncate(1)), Answer::Escalate);
}

#[test]
fn votes_are_asked_of_risky_plans_only_and_silence_is_no_vote() {
    let case = Case::default();
    let mut risky = plan();
    risky.steps[0].risk = RiskLevel::Critical;
    let ask = |plan: &Plan, ayes, noes| {
        let facts = GateFacts {
            tally: Some(Tally {
                members: 5,
                ayes,
                noes,
            }),
            ..case.facts()
        };
        answer_of(Check::Quorum, plan, &facts).0
    };
    assert_eq!(ask(&plan(), 0, 5), Answer::Pass);
    assert_eq!(ask(&risky, 3, 2), Answer::Pass);
    let later = NOW + Duration::from_secs(30);
    assert_eq!(ask(&risky, 2, 2), Answer::Defer(later));
    assert_eq!(ask(&risky, 2, 3), Answer::Refuse);
}

/// An old consent, one that was used, and the author's own counted like any other.
#[test]
fn a_consent_counts_while_it_is_fresh_unused_and_not_the_authors_own() {
    let case = Case::default();
    let mut wide = Plan {
        radius: BlastRadius::UNKNOWN,
        ..plan()
    };
    wide.author = Some("ann".to_owned());
    let by = |name: &str, ago: u64| {
        let at = NOW - Duration::from_secs(ago);
        Approval::new(wide.hash(), name, at)
    };
    let mut used = by("bob", 10);
    used.is_consumed = true;
    for (second, counts, said) in [
        (by("bob", 3599), true, "2 of 2"),
        (
            by("bob", 3600),
            false,
            "that of bob does not count: it is of",
        ),
        (
            by("ann", 10),
            false,
            "that of ann does not count: the plan is their own",
        ),
        (
            used,
            false,
            "that of bob does not count: a run was opened with it",
        ),
        (by("cleo", 10), false, "1 of 2"),
    ] {
        let approvals = [by("cleo", 20), second];
        let facts = GateFacts {
            approvals: &approvals,
            ..case.facts()
        };
        assert_eq!(
            decide(&wide, &facts) == GateDecision::Permitted,
            counts,
            "{said}"
        );
        let (_, detail) = answer_of(Check::Approval, &wide, &facts);
        assert!(detail.contains(said), "{detail}");
    }
}

#[test]
fn asking_for_the_second_consent_does_not_prolong_the_time() {
    let case = Case::default();
    let wide = Plan {
        radius: BlastRadius::UNKNOWN,
        ..plan()
    };
    let approvals = [Approval::new(
        wide.hash(),
        "bob",
        NOW - Duration::from_secs(1000),
    )];
    let facts = GateFacts {
        approvals: &approvals,
        ..case.facts()
    };
    let expires = NOW + Duration::from_secs(2600);
    let expected = GateDecision::NeedsApproval {
        approvals: 2,
        expires,
    };
    assert_eq!(decide(&wide, &facts), expected);
}

#[test]
fn a_sign_off_asks_for_a_role_among_those_who_agree() {
    let mut case = Case::default();
    let wide = Plan {
        radius: BlastRadius::UNKNOWN,
        ..plan()
    };
    let lead = Role::named("team_lead");
    case.policy
        .sign_off
        .0
        .insert(RadiusLevel::ClusterWide, [lead.clone()].into());
    let by = |name: &str| Approval::new(wide.hash(), name, NOW);
    let ask = |approvals: &[Approval]| {
        let facts = GateFacts {
            approvals,
            ..case.facts()
        };
        decide(&wide, &facts)
    };
    assert!(matches!(
        ask(&[by("ann"), by("bob").with_roles([Role::Admin])]),
        GateDecision::NeedsApproval { .. }
    ));
    assert_eq!(
        ask(&[by("ann"), by("bob").with_roles([lead])]),
        GateDecision::Permitted
    );
    // Nobody is asked for what needs no approval.
    assert_eq!(decide(&plan(), &case.facts()), GateDecision::Permitted);
}
