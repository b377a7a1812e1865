//! The section `escalation` of a configuration.

use std::collections::BTreeMap;

use homeostasis_core::document::{
    Fields, any_duration, integer, list, map_of, nested, non_empty_string, one_of,
};
use homeostasis_core::policy::{
    EscalationCondition, EscalationLevel, EscalationPolicy, EscalationRepeat, EscalationRules,
    EscalationTrigger, TriggerCondition,
};

use super::decode::SEVERITIES;
use super::policy::{RADII, window};

const CONDITIONS: &[(&str, EscalationCondition)] = &[
    ("not_acknowledged", EscalationCondition::NotAcknowledged),
    ("not_resolved", EscalationCondition::NotResolved),
    ("always", EscalationCondition::Always),
];

pub(super) fn escalation_fields(d: &mut Fields<'_>) -> Option<EscalationRules> {
    let at_once = d.default("at_once", list(one_of(SEVERITIES)), Vec::new());
    let policies = d.default("policies", list(nested(policy)), Vec::new());
    let triggers = d.optional("triggers", map_of(nested(trigger)));
    let named = |triggers: Option<_>| match triggers {
        Some(triggers) => Vec::from_iter(triggers)
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        None => EscalationTrigger::defaults(),
    };
    Some(EscalationRules {
        at_once: at_once?.into_iter().collect(),
        policies: policies?,
        triggers: named(triggers?),
    })
}

fn policy(d: &mut Fields<'_>) -> Option<EscalationPolicy> {
    let name = d.required("name", non_empty_string());
    let applies_to = d.default("applies_to", list(non_empty_string()), Vec::new());
    let severities = d.default("severities", list(one_of(SEVERITIES)), Vec::new());
    let hours = d.default("hours", list(nested(window)), Vec::new());
    let levels = d.required("levels", list(nested(level)).at_least(1));
    let repeat = d.optional("repeat", nested(repeat));
    Some(EscalationPolicy {
        name: name?,
        applies_to: applies_to?,
        severities: severities?.into_iter().collect(),
        hours: hours?,
        levels: levels?,
        repeat: repeat?,
    })
}

fn level(d: &mut Fields<'_>) -> Option<EscalationLevel> {
    let base = EscalationLevel::default();
    let delay = d.default("delay", any_duration(), base.delay);
    let condition = d.default("condition", one_of(CONDITIONS), base.condition);
    let notify = d.default("notify", list(non_empty_string()), Vec::new());
    let channels = d.required("channels", list(non_empty_string()).at_least(1));
    Some(EscalationLevel {
        delay: delay?,
        condition: condition?,
        notify: notify?,
        channels: channels?,
    })
}

fn repeat(d: &mut Fields<'_>) -> Option<EscalationRepeat> {
    let times = d.required("times", integer(0..=u32::MAX));
    let every = d.required("every", any_duration());
    Some(EscalationRepeat {
        times: times?,
        every: every?,
    })
}

fn trigger(d: &mut Fields<'_>) -> Option<EscalationTrigger> {
    let when = d.required("when", nested(when));
    let raise_to = d.optional("raise_to", one_of(SEVERITIES));
    Some(EscalationTrigger {
        when: when?,
        raise_to: raise_to?,
    })
}

/// Exactly one of the conditions.
fn when(d: &mut Fields<'_>) -> Option<TriggerCondition> {
    let attempts = d.optional("attempts", integer(0..=u32::MAX));
    let spread = d.optional("spread", integer(0..=u32::MAX));
    let radius = d.optional("radius", one_of(RADII));
    let unresolved = d.optional("unresolved", any_duration());
    let unknown_cause = d.optional("unknown_cause", any_duration());
    let recurred = d.optional("recurred", integer(0..=u64::MAX));
    let detected = d.optional("detected", list(non_empty_string()));
    let found = [
        attempts?.map(TriggerCondition::Attempts),
        spread?.map(TriggerCondition::Spread),
        radius?.map(TriggerCondition::Radius),
        unresolved?.map(TriggerCondition::Unresolved),
        unknown_cause?.map(TriggerCondition::UnknownCause),
        recurred?.map(TriggerCondition::Recurred),
        detected?.map(|names| TriggerCondition::Detected(names.into_iter().collect())),
    ];
    let mut found = found.into_iter().flatten();
    if let (Some(condition), None) = (found.next(), found.next()) {
        return Some(condition);
    }
    d.reject_all("exactly one condition, such as attempts: 3");
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use homeostasis_core::policy::{EscalationCondition, TriggerCondition};
    use homeostasis_core::record::Severity;

    use crate::Config;

    /// The two policies of the seed (C5.3), with the channels that are its methods.
    const SEED: &str = r"
escalation:
  at_once: [sev0, sev1]
  policies:
    - name: Critical Infrastructure
      applies_to: [kubernetes*, database*, load_balancer]
      levels:
        - { notify: [on_call_sre], channels: [phone] }
        - { delay: 5m, notify: [sre_team_lead], channels: [phone] }
        - { delay: 15m, condition: not_resolved, notify: [engineering_manager], channels: [phone, sms] }
        - { delay: 30m, condition: not_resolved, notify: [cto], channels: [phone] }
      repeat: { times: 2, every: 1h }
    - name: Application Services
      severities: [sev2, sev3]
      hours: [{ days: [monday, friday], opens: '08:00', lasts: 9h }]
      levels:
        - { channels: [pagerduty] }
        - { delay: 2h, condition: always, channels: [email, slack] }
  triggers:
    remediation_failed: { when: { attempts: 5 } }
    security_threat: { when: { detected: [intrusion] }, raise_to: sev0 }
";

    #[test]
    fn the_policies_of_the_seed_are_read() {
        let rules = Config::parse(SEED).unwrap().escalation;
        assert_eq!(rules.at_once, [Severity::Sev0, Severity::Sev1].into());
        let [critical, services] = &rules.policies[..] else {
            panic!("{rules:?}");
        };
        let third = &critical.levels[2];
        assert_eq!(third.delay, Duration::from_secs(900));
        assert_eq!(third.condition, EscalationCondition::NotResolved);
        assert_eq!(
            (&third.notify[0][..], third.channels.len()),
            ("engineering_manager", 2)
        );
        assert_eq!(
            critical.levels[0].condition,
            EscalationCondition::NotAcknowledged
        );
        assert_eq!((services.hours.len(), services.levels.len()), (1, 2));
        assert_eq!(rules.triggers.len(), 2);
        let failed = &rules.triggers["remediation_failed"];
        assert_eq!(
            (&failed.when, failed.raise_to),
            (&TriggerCondition::Attempts(5), None)
        );
        let silent = Config::parse("mode: auto").unwrap().escalation;
        assert_eq!(silent.triggers.len(), 6);
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_lines() {
        let wrong = SEED
            .replace("delay: 15m", "delay: 1m")
            .replace("every: 1h", "every: 2m")
            .replace("{ attempts: 5 }", "{ attempts: 5, spread: 2 }");
        let error = Config::parse(&wrong).unwrap_err().to_string();
        assert!(error.contains("20:"), "{error}");
        assert!(error.contains("exactly one condition"), "{error}");
        let wrong = wrong.replace(", spread: 2", "");
        let error = Config::parse(&wrong).unwrap_err();
        let paths: Vec<_> = error
            .violations()
            .iter()
            .map(|it| (it.line, &it.path[..]))
            .collect();
        assert_eq!(
            paths,
            [
                (Some(10), "escalation.policies[0].levels[2].delay"),
                (Some(12), "escalation.policies[0].repeat.every"),
            ]
        );
    }
}
