//! Who may do it, for whom, and in which mode.

use super::*;

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
