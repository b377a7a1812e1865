//! How bad it is against how far it reaches.

use super::*;

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
