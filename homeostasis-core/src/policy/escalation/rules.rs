//! The rules of escalation, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cycle::Incident;
use crate::policy::{EscalationTrigger, MaintenanceWindow};
use crate::record::Severity;
use crate::violation::{Violation, Violations};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The name of the policy that applies where no other does.
pub(super) const FALLBACK: &str = "default";

/// On what a level depends when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EscalationCondition {
    /// Nobody has acknowledged the incident.
    #[default]
    NotAcknowledged,
    /// No remedy is proven, acknowledged or not.
    NotResolved,
    /// None: it is called as long as the incident is open.
    Always,
}

/// Whom to call next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EscalationLevel {
    /// How long after the chain began; at most 7 d, not less than that of the level before.
    pub delay: Duration,
    /// On what it depends. Default: that nobody has acknowledged.
    pub condition: EscalationCondition,
    /// People or roles, for channels that know how to reach them. May be empty.
    pub notify: Vec<String>,
    /// The channels, at least one, each once.
    pub channels: Vec<String>,
}

/// The whole chain again, for as long as nobody acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EscalationRepeat {
    /// How often, 1 to 100.
    pub times: u32,
    /// How long after the beginning of the round before: longer than the last delay, at most 7 d.
    pub every: Duration,
}

/// A chain of levels, and which incidents it is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EscalationPolicy {
    /// Its name: unique, and kept in the journal.
    pub name: String,
    /// Services, by name or by the beginning of one (`database*`); none is all.
    pub applies_to: Vec<String>,
    /// Severities; none is all.
    pub severities: BTreeSet<Severity>,
    /// Levels of severities without hurry are called only while one of these is open; none is
    /// always. `SEV0` and `SEV1` never wait.
    pub hours: Vec<MaintenanceWindow>,
    /// The chain, at least one level.
    pub levels: Vec<EscalationLevel>,
    /// Whether the chain is repeated.
    pub repeat: Option<EscalationRepeat>,
}

impl EscalationPolicy {
    /// Whether it is for `incident`: one of its services, and its severity.
    pub fn applies(&self, incident: &Incident) -> bool {
        let is_named = |service: &str| {
            self.applies_to
                .iter()
                .any(|name| match name.strip_suffix('*') {
                    Some(beginning) => service.starts_with(beginning),
                    None => service == name,
                })
        };
        (self.severities.is_empty() || self.severities.contains(&incident.severity))
            && (self.applies_to.is_empty()
                || incident
                    .anomalies
                    .iter()
                    .any(|anomaly| is_named(anomaly.target.service_name())))
    }

    fn check(&self, at: &str, violations: &mut Violations) {
        let mut wrong = |field: String, value: String, expected: &str| {
            violations.push(Violation::new(format!("{at}.{field}"), value, expected));
        };
        if self.levels.is_empty() {
            wrong("levels".to_owned(), "[]".to_owned(), "at least one level");
        }
        let mut before = Duration::ZERO;
        for (i, level) in self.levels.iter().enumerate() {
            if level.delay < before || level.delay > 7 * DAY {
                let expected = "at most 7d, and not before the level before it";
                let value = format!("{:?}", level.delay);
                wrong(format!("levels[{i}].delay"), value, expected);
            }
            before = before.max(level.delay);
            if level.channels.is_empty() {
                let expected = "at least one channel";
                wrong(format!("levels[{i}].channels"), "[]".to_owned(), expected);
            }
            let mut channels = BTreeSet::new();
            for (j, channel) in level.channels.iter().enumerate() {
                if !channels.insert(channel) {
                    let at = format!("levels[{i}].channels[{j}]");
                    wrong(at, channel.clone(), "each channel of a level once");
                }
            }
        }
        if let Some(repeat) = self.repeat {
            if !(1..=100).contains(&repeat.times) {
                wrong(
                    "repeat.times".to_owned(),
                    repeat.times.to_string(),
                    "1 to 100",
                );
            }
            if repeat.every <= before || repeat.every > 7 * DAY {
                let value = format!("{:?}", repeat.every);
                wrong(
                    "repeat.every".to_owned(),
                    value,
                    "longer than the last delay, at most 7d",
                );
            }
        }
        for (i, window) in self.hours.iter().enumerate() {
            if let Some((field, value, expected)) = window.violation() {
                wrong(
                    format!("hours[{i}].{field}"),
                    format!("{value:?}"),
                    expected,
                );
            }
        }
    }
}

/// Who is called about which incident, and what makes an incident graver.
///
/// The chain of an incident begins when the healer hands it to people, when a trigger fires, or at
/// once if its severity is one of `at_once`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EscalationRules {
    /// Severities of which people hear when the incident opens. Default none: what the healer can
    /// heal wakes nobody.
    pub at_once: BTreeSet<Severity>,
    /// The first that applies is followed for the whole incident. Where none does, every channel is
    /// told once.
    pub policies: Vec<EscalationPolicy>,
    /// What escalates by itself, by name.
    pub triggers: BTreeMap<String, EscalationTrigger>,
}

impl Default for EscalationRules {
    /// No policy, and [the triggers](EscalationTrigger::defaults) that need no settings.
    fn default() -> Self {
        Self {
            at_once: BTreeSet::new(),
            policies: Vec::new(),
            triggers: EscalationTrigger::defaults(),
        }
    }
}

impl EscalationRules {
    /// What is wrong in itself, each with its path below `escalation`.
    pub fn check(&self, violations: &mut Violations) {
        let mut names = BTreeSet::from([FALLBACK]);
        for (i, policy) in self.policies.iter().enumerate() {
            let at = format!("escalation.policies[{i}]");
            if policy.name.is_empty() || !names.insert(&policy.name) {
                let expected = "a name no other policy has; `default` is taken";
                let violation = Violation::new(format!("{at}.name"), &*policy.name, expected);
                violations.push(violation);
            }
            policy.check(&at, violations);
        }
        for (name, trigger) in &self.triggers {
            trigger.check(&format!("escalation.triggers.{name}"), violations);
        }
    }

    /// The channels that are named and not among `known`, each with its path.
    pub fn unknown_channels(&self, known: &[&str], violations: &mut Violations) {
        for (i, policy) in self.policies.iter().enumerate() {
            for (j, level) in policy.levels.iter().enumerate() {
                for (k, channel) in level.channels.iter().enumerate() {
                    if !known.contains(&channel.as_str()) {
                        violations.push(Violation::new(
                            format!("escalation.policies[{i}].levels[{j}].channels[{k}]"),
                            channel.as_str(),
                            format!("a channel that is registered ({})", known.join(", ")),
                        ));
                    }
                }
            }
        }
    }

    /// The same with a last policy that tells `channels` once about whatever no other applies to.
    pub fn falling_back_on(mut self, channels: Vec<String>) -> Self {
        self.policies.push(EscalationPolicy {
            name: FALLBACK.to_owned(),
            levels: vec![EscalationLevel {
                condition: EscalationCondition::Always,
                channels,
                ..EscalationLevel::default()
            }],
            ..EscalationPolicy::default()
        });
        self
    }

    /// The policy that `incident` follows: the one it began with if that still exists, else the
    /// first that applies.
    pub fn policy_for(&self, incident: &Incident) -> Option<&EscalationPolicy> {
        let begun = incident.escalation.policy.as_deref();
        let policies = &self.policies;
        let named = policies.iter().find(|it| Some(it.name.as_str()) == begun);
        named.or_else(|| policies.iter().find(|policy| policy.applies(incident)))
    }
}
