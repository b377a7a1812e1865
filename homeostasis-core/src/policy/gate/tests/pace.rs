//! Limits, rest, breakers, windows, and what healing is worth.

use super::*;

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
