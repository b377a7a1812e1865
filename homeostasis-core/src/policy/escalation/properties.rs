//! What holds for every policy and every story: levels, delays, acknowledgment, the end.

use std::time::Duration;

use proptest::prelude::*;

use crate::cycle::{Incident, Phase, transition};
use crate::id::{IncidentId, NodeId, RunId, TenantId};
use crate::policy::{
    EscalationCondition, EscalationLevel, EscalationPolicy, EscalationRepeat, EscalationRules,
    EscalationTrigger, TriggerCondition,
};
use crate::port::{NoRedaction, NotificationKind};
use crate::record::{
    Anomaly, BlastRadius, EventKind, HealEvent, Resolution, SCHEMA_VERSION, Severity, Subject,
};
use crate::target::Target;
use crate::time::Timestamp;
use crate::violation::Violations;

const MINUTE: Duration = Duration::from_secs(60);

fn event(incident: Option<&Incident>, at: Timestamp, kind: EventKind) -> HealEvent {
    HealEvent {
        schema_version: SCHEMA_VERSION,
        incident: IncidentId::from_u128(7),
        seq: incident.map_or(0, |it| it.n_events),
        at,
        node: NodeId::default(),
        kind,
    }
}

fn opened(service: &str, severity: Severity) -> Incident {
    let target = Target::service(service).unwrap();
    let subject = Subject::Health("h".to_owned());
    let kind = EventKind::Opened {
        tenant: TenantId::default(),
        anomaly: Box::new(Anomaly::new(
            "security_threat_not",
            target,
            subject,
            Timestamp::EPOCH,
        )),
        severity,
        radius: BlastRadius::UNKNOWN,
        score: None,
    };
    transition(None, &event(None, Timestamp::EPOCH, kind))
        .unwrap()
        .0
}

fn apply(incident: &mut Incident, at: Timestamp, kind: EventKind) -> HealEvent {
    let event = event(Some(incident), at, kind);
    incident.apply(&event).unwrap();
    event
}

/// Applies what is due and gives the calls: round, level.
fn turn(rules: &EscalationRules, incident: &mut Incident, at: Timestamp) -> Vec<(u32, u32)> {
    let mut called = Vec::new();
    for kind in rules.due(incident, 0, at) {
        if let EventKind::Notified { level, round, .. } = &kind {
            called.push((*round, *level));
        }
        apply(incident, at, kind);
    }
    assert_eq!(rules.due(incident, 0, at), [], "twice at one instant");
    called
}

fn level(minutes: u32, condition: EscalationCondition) -> EscalationLevel {
    EscalationLevel {
        delay: MINUTE * minutes,
        condition,
        notify: Vec::new(),
        channels: vec!["pager".to_owned()],
    }
}

fn rules(levels: Vec<EscalationLevel>, repeat: Option<EscalationRepeat>) -> EscalationRules {
    let policy = EscalationPolicy {
        name: "critical".to_owned(),
        levels,
        repeat,
        ..EscalationPolicy::default()
    };
    EscalationRules {
        at_once: [Severity::Sev0, Severity::Sev1].into(),
        policies: vec![policy],
        triggers: std::collections::BTreeMap::new(),
    }
}

/// C5.3, policy 1.
fn critical() -> EscalationRules {
    use EscalationCondition::{Always, NotAcknowledged, NotResolved};
    rules(
        vec![
            level(0, Always),
            level(5, NotAcknowledged),
            level(15, NotResolved),
            level(30, NotResolved),
        ],
        None,
    )
}

fn minute(minutes: u64) -> Timestamp {
    Timestamp::from_secs(0) + Duration::from_secs(minutes * 60)
}

#[test]
fn the_chain_of_the_seed_is_called_at_its_times_and_an_acknowledgment_spares_the_second_level() {
    for (acknowledged, expected) in [
        (
            None,
            vec![(0, vec![1]), (5, vec![2]), (15, vec![3]), (30, vec![4])],
        ),
        (Some(3), vec![(0, vec![1]), (15, vec![3]), (30, vec![4])]),
    ] {
        let (rules, mut incident) = (critical(), opened("db", Severity::Sev0));
        let mut found = Vec::new();
        for at in 0..120 {
            if acknowledged == Some(at) {
                let kind = EventKind::Acknowledged {
                    by: "ada".to_owned(),
                    note: String::new(),
                };
                apply(&mut incident, minute(at), kind);
            }
            let called = turn(&rules, &mut incident, minute(at));
            if !called.is_empty() {
                found.push((at, called.into_iter().map(|(_, level)| level).collect()));
            }
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn what_became_due_while_nobody_was_there_is_called_once_when_somebody_is() {
    use EscalationCondition::{Always, NotAcknowledged};
    let repeat = EscalationRepeat {
        times: 9,
        every: MINUTE * 10,
    };
    let rules = rules(
        vec![level(0, Always), level(5, NotAcknowledged)],
        Some(repeat),
    );
    let mut incident = opened("db", Severity::Sev0);
    assert_eq!(turn(&rules, &mut incident, minute(0)), [(0, 1)]);
    // The sixth round runs; level 2 of the first was missed, four rounds are not made up for.
    assert_eq!(
        turn(&rules, &mut incident, minute(57)),
        [(0, 2), (5, 1), (5, 2)]
    );
}

#[test]
fn a_mild_incident_begins_when_the_healer_gives_up_and_a_trigger_calls_the_next_level_at_once() {
    let mut rules = critical();
    let when = TriggerCondition::Unresolved(MINUTE * 60);
    rules.triggers = [("late".to_owned(), EscalationTrigger::one_level(when))].into();
    let mut incident = opened("db", Severity::Sev2);
    assert_eq!(turn(&rules, &mut incident, minute(58)), []);
    for kind in rules.hand_over(&incident, "stuck", minute(58)) {
        apply(&mut incident, minute(58), kind);
    }
    incident.escalated = true;
    assert_eq!(turn(&rules, &mut incident, minute(59)), []);
    assert_eq!(turn(&rules, &mut incident, minute(60)), [(0, 2)]);
    assert_eq!(turn(&rules, &mut incident, minute(61)), []);
}

#[test]
fn every_trigger_of_the_seed_fires_at_its_bound_and_not_below() {
    let incident = || opened("db", Severity::Sev2);
    let fires = |name: &str, incident: &Incident, at: u64| {
        EscalationTrigger::defaults()[name]
            .fires(incident, 0, minute(at))
            .is_some()
    };
    assert!(!fires("prolonged_degradation", &incident(), 59));
    assert!(fires("prolonged_degradation", &incident(), 60));
    let with = |detectors: &[(&str, &str)]| {
        let mut incident = incident();
        for (detector, service) in detectors {
            let (target, subject) = (
                Target::service(*service).unwrap(),
                Subject::Health("h".into()),
            );
            let found = Anomaly::new(*detector, target, subject, Timestamp::EPOCH);
            incident.anomalies.push(found);
        }
        incident
    };
    assert!(!fires(
        "blast_radius_expanding",
        &with(&[("d", "a"), ("e", "a")]),
        0
    ));
    assert!(fires(
        "blast_radius_expanding",
        &with(&[("d", "a"), ("d", "b")]),
        0
    ));
    for name in ["customer_impact", "data_integrity_risk", "security_threat"] {
        assert!(!fires(name, &with(&[("other", "db")]), 0), "{name}");
        assert!(fires(name, &with(&[(name, "db")]), 0), "{name}");
    }
    let run = |n: u128| {
        crate::record::RunState::new(
            RunId::from_u128(n),
            crate::id::PlanId::from_u128(n),
            crate::digest::Digest::of(&n.to_string()),
            0,
            crate::port::FencingToken::default(),
            Timestamp::EPOCH,
        )
    };
    let mut tried = incident();
    tried.runs = vec![run(1), run(2)];
    assert!(!fires("remediation_failed", &tried, 0));
    tried.runs.push(run(3));
    // The third may heal it yet.
    let third = RunId::from_u128(3);
    for phase in [
        Phase::Running { run: third },
        Phase::Verifying {
            run: third,
            extensions: 0,
        },
    ] {
        tried.phase = phase;
        assert!(!fires("remediation_failed", &tried, 0));
    }
    tried.phase = Phase::Diagnosing;
    assert!(fires("remediation_failed", &tried, 0));
    tried.phase = Phase::Resolved {
        run: RunId::from_u128(3),
    };
    assert!(!fires("remediation_failed", &tried, 0));
    let recurred = EscalationTrigger::one_level(TriggerCondition::Recurred(3));
    assert!(recurred.fires(&incident(), 2, minute(0)).is_none());
    assert!(recurred.fires(&incident(), 3, minute(0)).is_some());
    let unknown = EscalationTrigger::one_level(TriggerCondition::UnknownCause(MINUTE * 10));
    assert!(unknown.fires(&incident(), 0, minute(9)).is_none());
    assert!(unknown.fires(&incident(), 0, minute(10)).is_some());
}

#[test]
fn a_channel_that_is_named_twice_gets_one_message_and_is_told_at_the_start() {
    let mut twice = critical();
    twice.policies[0].levels[1].channels = vec!["pager".to_owned(), "pager".to_owned()];
    let mut violations = Violations::default();
    twice.check(&mut violations);
    let found: Vec<_> = violations.iter().map(|it| it.path.clone()).collect();
    assert_eq!(found, ["escalation.policies[0].levels[1].channels[1]"]);

    let mut incident = opened("db", Severity::Sev0);
    let policy = "critical".to_owned();
    apply(
        &mut incident,
        minute(0),
        EventKind::EscalationBegun { policy },
    );
    let kind = EventKind::Notified {
        level: 1,
        round: 0,
        channels: vec!["pager".to_owned(), "mail".to_owned(), "pager".to_owned()],
        to: Vec::new(),
        reason: "down".to_owned(),
    };
    let event = apply(&mut incident, minute(0), kind);
    let messages = super::escalation_messages(&event, &incident, &NoRedaction);
    let channels: Vec<_> = messages.iter().map(|(channel, _)| &channel[..]).collect();
    assert_eq!(channels, ["mail", "pager"]);
}

#[test]
fn a_trigger_raises_the_severity_once_and_the_raise_stays() {
    let mut rules = critical();
    rules.triggers = EscalationTrigger::defaults();
    let mut incident = opened("db", Severity::Sev3);
    let target = Target::service("db").unwrap();
    let threat = Anomaly::new(
        "security_threat",
        target,
        Subject::Health("h".into()),
        minute(0),
    );
    incident.anomalies.push(threat.clone());
    assert_eq!(turn(&rules, &mut incident, minute(1)), [(0, 1)]);
    assert_eq!(incident.severity, Severity::Sev0);
    let kind = EventKind::AnomalyJoined {
        anomaly: Box::new(threat),
        severity: Severity::Sev3,
        radius: BlastRadius::UNKNOWN,
        score: None,
    };
    apply(&mut incident, minute(2), kind);
    assert_eq!(incident.severity, Severity::Sev0);
    assert_eq!(turn(&rules, &mut incident, minute(2)), []);
}

#[test]
fn outside_of_hours_the_mild_waits_and_the_grave_does_not() {
    use crate::policy::{MaintenanceWindow, Weekday};
    let mut rules = critical();
    // The epoch was a Thursday: the next opening is Monday at 08:00.
    rules.policies[0].hours = vec![MaintenanceWindow {
        days: [Weekday::Monday].into(),
        opens: MINUTE * 60 * 8,
        lasts: MINUTE * 60 * 9,
    }];
    let monday = 4 * 24 * 60 + 8 * 60;
    let mut mild = opened("db", Severity::Sev3);
    mild.escalated = true;
    assert_eq!(turn(&rules, &mut mild, minute(0)), []);
    assert_eq!(turn(&rules, &mut mild, minute(monday - 1)), []);
    assert_eq!(turn(&rules, &mut mild, minute(monday)).len(), 4);
    assert_eq!(
        turn(&rules, &mut opened("db", Severity::Sev1), minute(0)),
        [(0, 1)]
    );
}

#[test]
fn policies_are_chosen_by_service_and_severity_and_kept() {
    let named = |name: &str, applies_to: &str, severity| EscalationPolicy {
        name: name.to_owned(),
        applies_to: vec![applies_to.to_owned()],
        severities: [severity].into(),
        levels: vec![level(0, EscalationCondition::Always)],
        ..EscalationPolicy::default()
    };
    let rules = EscalationRules {
        policies: vec![
            named("grave", "db*", Severity::Sev0),
            named("mild", "db-main", Severity::Sev2),
        ],
        ..EscalationRules::default()
    }
    .falling_back_on(vec!["log".to_owned()]);
    let of = |incident: &Incident| rules.policy_for(incident).unwrap().name.clone();
    assert_eq!(of(&opened("db-main", Severity::Sev0)), "grave");
    assert_eq!(of(&opened("db-main", Severity::Sev2)), "mild");
    assert_eq!(of(&opened("db-other", Severity::Sev2)), "default");
    let mut incident = opened("db-main", Severity::Sev2);
    apply(
        &mut incident,
        minute(0),
        EventKind::EscalationBegun {
            policy: "mild".to_owned(),
        },
    );
    incident.severity = Severity::Sev0;
    assert_eq!(of(&incident), "mild");
}

#[test]
fn every_mistake_of_the_rules_is_named_at_its_place() {
    let mut rules = rules(
        vec![
            level(5, EscalationCondition::Always),
            level(1, EscalationCondition::Always),
        ],
        Some(EscalationRepeat {
            times: 0,
            every: MINUTE,
        }),
    );
    rules.policies[0].levels[0].channels.clear();
    rules.policies.push(EscalationPolicy {
        name: "critical".to_owned(),
        ..EscalationPolicy::default()
    });
    let never = TriggerCondition::Attempts(0);
    rules
        .triggers
        .insert("never".to_owned(), EscalationTrigger::one_level(never));
    let mut violations = Violations::new();
    rules.check(&mut violations);
    rules.unknown_channels(&["mail"], &mut violations);
    let error = violations.into_result(()).unwrap_err();
    let paths: Vec<_> = error
        .violations()
        .iter()
        .map(|it| it.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "escalation.policies[0].levels[0].channels",
            "escalation.policies[0].levels[1].delay",
            "escalation.policies[0].repeat.times",
            "escalation.policies[0].repeat.every",
            "escalation.policies[1].name",
            "escalation.policies[1].levels",
            "escalation.triggers.never.when",
            "escalation.policies[0].levels[1].channels[0]",
        ]
    );
}

#[test]
fn who_was_called_hears_of_the_end_and_the_keys_are_the_same_in_every_life() {
    let (rules, mut incident) = (critical(), opened("db", Severity::Sev0));
    let mut sent = Vec::new();
    let mut kinds = rules.due(&incident, 0, minute(0));
    kinds.push(EventKind::Acknowledged {
        by: "ada".to_owned(),
        note: String::new(),
    });
    kinds.push(EventKind::Closed {
        resolution: Resolution::Recovered,
    });
    for kind in kinds {
        let event = apply(&mut incident, minute(0), kind);
        let told = super::escalation_messages(&event, &incident, &NoRedaction);
        assert_eq!(
            told,
            super::escalation_messages(&event, &incident, &NoRedaction)
        );
        sent.extend(
            told.into_iter()
                .map(|(channel, it)| (channel, it.key, it.kind)),
        );
    }
    let id = incident.id;
    let expected = [
        ("level1.0", NotificationKind::Call),
        ("acknowledged", NotificationKind::Acknowledged),
        ("closed", NotificationKind::Resolved),
    ]
    .map(|(what, kind)| ("pager".to_owned(), format!("{id}/{what}"), kind));
    assert_eq!(sent, expected);
}

#[test]
fn what_is_handed_over_again_after_an_answer_is_another_message() {
    let (rules, mut incident) = (critical(), opened("db", Severity::Sev0));
    for kind in rules.due(&incident, 0, minute(0)) {
        apply(&mut incident, minute(0), kind);
    }
    let key = |incident: &Incident| {
        let reason = "nobody can tell".to_owned();
        let event = event(Some(incident), minute(1), EventKind::Escalated { reason });
        let messages = super::escalation_messages(&event, incident, &NoRedaction);
        assert_eq!(messages.len(), 1);
        messages[0].1.key.clone()
    };
    let mut run = crate::record::RunState::new(
        RunId::from_u128(1),
        crate::id::PlanId::from_u128(1),
        crate::digest::Digest::of("plan"),
        1,
        crate::port::FencingToken::default(),
        Timestamp::EPOCH,
    );
    incident.runs = vec![run.clone()];
    let first = key(&incident);
    // What joins it meanwhile makes no other message of it.
    incident.n_events += 1;
    assert_eq!(first, key(&incident));
    let answer = crate::record::HandOverAnswer::MarkDone;
    run.answers = vec![crate::record::AnsweredHandOver::new(0, answer, "ada", "")];
    incident.runs = vec![run];
    assert_ne!(first, key(&incident));
}

fn any_level() -> impl Strategy<Value = (u32, EscalationCondition)> {
    use EscalationCondition::{Always, NotAcknowledged, NotResolved};
    (
        0_u32..30,
        prop::sample::select(vec![NotAcknowledged, NotResolved, Always]),
    )
}

#[derive(Debug, Clone, Copy)]
enum Happens {
    Time(u64),
    Acknowledged,
    Proven,
    Unproven,
    Closed,
}

fn any_story() -> impl Strategy<Value = Vec<Happens>> {
    let one = prop_oneof![
        6 => (0_u64..20).prop_map(Happens::Time),
        1 => Just(Happens::Acknowledged),
        1 => Just(Happens::Proven),
        1 => Just(Happens::Unproven),
        1 => Just(Happens::Closed),
    ];
    prop::collection::vec(one, 1..40)
}

proptest! {
    #[test]
    fn no_level_is_called_twice_or_early_and_what_is_over_or_taken_on_calls_nobody_it_should_not(
        levels in prop::collection::vec(any_level(), 1..6),
        repeat in prop::option::of((1_u32..4, 1_u32..30)),
        unresolved in prop::option::of(1_u32..120),
        story in any_story(),
    ) {
        let mut delay = 0;
        let levels: Vec<_> = levels
            .into_iter()
            .map(|(more, condition)| {
                delay += more;
                level(delay, condition)
            })
            .collect();
        let repeat = repeat.map(|(times, more)| EscalationRepeat { times, every: MINUTE * (delay + more) });
        let mut rules = rules(levels.clone(), repeat);
        if let Some(minutes) = unresolved {
            let late = EscalationTrigger::one_level(TriggerCondition::Unresolved(MINUTE * minutes));
            rules.triggers.insert("late".to_owned(), late);
        }
        let mut violations = Violations::new();
        rules.check(&mut violations);
        prop_assert!(violations.into_result(()).is_ok());
        let mut incident = opened("db", Severity::Sev1);
        let (mut now, mut called) = (minute(0), std::collections::BTreeSet::new());
        let mut acknowledged = false;
        for happens in story {
            match happens {
                Happens::Time(minutes) => now = now + Duration::from_secs(minutes * 60),
                Happens::Acknowledged if !acknowledged && !incident.is_closed() => {
                    acknowledged = true;
                    let kind = EventKind::Acknowledged { by: "ada".to_owned(), note: String::new() };
                    apply(&mut incident, now, kind);
                }
                Happens::Proven if !incident.is_closed() => {
                    incident.phase = Phase::Resolved { run: RunId::from_u128(1) };
                }
                Happens::Unproven if !incident.is_closed() => incident.phase = Phase::Escalated,
                Happens::Closed if !incident.is_closed() => {
                    let kind = EventKind::Closed { resolution: Resolution::Recovered };
                    apply(&mut incident, now, kind);
                }
                _ => {}
            }
            let is_proven = matches!(incident.phase, Phase::Resolved { .. });
            let over = incident.is_closed();
            // `apply` refuses a level that was called before.
            for (round, number) in turn(&rules, &mut incident, now) {
                prop_assert!(!over, "called although it is over");
                prop_assert!(called.insert((round, number)), "called twice");
                let level = &levels[number as usize - 1];
                let start = repeat.map_or(Duration::ZERO, |repeat| repeat.every * round);
                let hurried = round == 0 && number <= incident.escalation.hurried;
                let since = now.since(incident.escalation.begun_at.unwrap());
                prop_assert!(hurried || since >= start + level.delay, "called early");
                let spared = acknowledged
                    && (round > 0 || level.condition == EscalationCondition::NotAcknowledged);
                prop_assert!(!spared, "called although it was acknowledged");
                let proven = is_proven && level.condition != EscalationCondition::Always;
                prop_assert!(!proven, "called although the remedy is proven");
            }
            // Nothing that is due and wanted is left out.
            if !over && !acknowledged && !is_proven {
                let since = now.since(incident.escalation.begun_at.unwrap());
                for (level, number) in levels.iter().zip(1..) {
                    prop_assert!(since < level.delay || called.contains(&(0, number)), "not called");
                }
            }
        }
    }
}
