//! Approvals, votes and sign-offs.

use super::*;

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
