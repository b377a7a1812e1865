//! What is due: a pure function of the rules, the incident and the clock.

use std::borrow::Cow;
use std::time::Duration;

use crate::cycle::{Incident, Phase};
use crate::policy::{
    EscalationCondition, EscalationLevel, EscalationPolicy, EscalationRules, MaintenancePolicy,
};
use crate::record::{EventKind, Severity};
use crate::time::Timestamp;

impl EscalationRules {
    /// The events that escalation asks for now, in their order; none if nothing is due.
    ///
    /// Applied to `incident` they make a state that asks for none at the same instant. `recurred` is
    /// how many incidents of this kind were opened within the last day. O(rounds × levels + triggers).
    pub fn due(&self, incident: &Incident, recurred: u64, now: Timestamp) -> Vec<EventKind> {
        if incident.is_closed() {
            return Vec::new();
        }
        let mut events = Vec::new();
        let mut after = Cow::Borrowed(incident);
        for (name, trigger) in &self.triggers {
            if incident.escalation.triggers.contains_key(name) {
                continue;
            }
            if let Some(reason) = trigger.fires(incident, recurred, now) {
                let raise_to = trigger.raise_to;
                let after = after.to_mut();
                match raise_to {
                    Some(severity) => after.severity = after.severity.min(severity),
                    None => after.escalation.hurry(),
                }
                events.push(EventKind::TriggerFired {
                    trigger: name.clone(),
                    reason,
                    raise_to,
                });
            }
        }
        let is_first = after.escalation.begun_at.is_none();
        if is_first {
            let begins = incident.escalated
                || !events.is_empty()
                || !incident.escalation.triggers.is_empty()
                || self.at_once.contains(&after.severity);
            if !begins {
                return events;
            }
            events.extend(self.begin(&after));
        }
        let reason = match events.first() {
            Some(EventKind::TriggerFired {
                trigger, reason, ..
            }) => format!("{trigger}: {reason}"),
            _ if is_first => after.anomalies[0].explanation.clone(),
            _ => "nobody has solved it yet".to_owned(),
        };
        if let Some(policy) = self.policy_for(&after) {
            events.extend(Self::levels_due(policy, &after, &reason, now));
        }
        events
    }

    /// The events with which people are called for `reason`: the chain begins if it has not yet.
    pub fn hand_over(&self, incident: &Incident, reason: &str, now: Timestamp) -> Vec<EventKind> {
        if incident.escalation.begun_at.is_some() {
            // Those who were called hear of it through the event itself.
            return Vec::new();
        }
        let Some(policy) = self.policy_for(incident) else {
            return Vec::new();
        };
        let mut events: Vec<_> = self.begin(incident).into_iter().collect();
        events.extend(Self::levels_due(policy, incident, reason, now));
        events
    }

    /// The channels of a level that is not called any more, since somebody has acknowledged the
    /// incident; `None` if it is called all the same, or is none of the chain.
    pub fn spared(&self, incident: &Incident, level: u32, round: u32) -> Option<&[String]> {
        incident.escalation.acknowledged.as_ref()?;
        let idx = usize::try_from(level.checked_sub(1)?).ok()?;
        let level = self.policy_for(incident)?.levels.get(idx)?;
        let is_spared = round > 0 || level.condition == EscalationCondition::NotAcknowledged;
        is_spared.then_some(&level.channels)
    }

    fn begin(&self, incident: &Incident) -> Option<EventKind> {
        let policy = self.policy_for(incident)?.name.clone();
        Some(EventKind::EscalationBegun { policy })
    }

    fn levels_due(
        policy: &EscalationPolicy,
        incident: &Incident,
        reason: &str,
        now: Timestamp,
    ) -> Vec<EventKind> {
        let state = &incident.escalation;
        let begun = state.begun_at.unwrap_or(now);
        let mut events = Vec::new();
        for round in rounds(policy, begun, now) {
            let start = begun + policy.repeat.map_or(Duration::ZERO, |it| it.every * round);
            for (level, number) in policy.levels.iter().zip(1..) {
                let is_hurried = round == 0 && number <= state.hurried;
                let at = opening(policy, incident.severity, start + level.delay);
                if (is_hurried || at <= now)
                    && !state.is_notified(number, round)
                    && is_wanted(level, round, incident)
                {
                    events.push(EventKind::Notified {
                        level: number,
                        round,
                        channels: level.channels.clone(),
                        to: level.notify.clone(),
                        reason: reason.to_owned(),
                    });
                }
            }
        }
        events
    }
}

/// The first round, and of those that repeat it the one that runs at `now`: who was not reached
/// while nobody was there to call is called once, not as often as it was missed.
fn rounds(
    policy: &EscalationPolicy,
    begun: Timestamp,
    now: Timestamp,
) -> impl Iterator<Item = u32> {
    let last = policy.repeat.map_or(0, |repeat| {
        let passed = now.since(begun).as_nanos() / repeat.every.as_nanos().max(1);
        u32::try_from(passed).map_or(repeat.times, |passed| passed.min(repeat.times))
    });
    [Some(0), Some(last).filter(|last| *last > 0)]
        .into_iter()
        .flatten()
}

/// When what is due at `at` is called, by the hours of `policy`.
fn opening(policy: &EscalationPolicy, severity: Severity, at: Timestamp) -> Timestamp {
    if policy.hours.is_empty() || severity <= Severity::Sev1 {
        return at;
    }
    let hours = MaintenancePolicy {
        windows: policy.hours.clone(),
        ..MaintenancePolicy::default()
    };
    if hours.open_until(at).is_some() {
        at
    } else {
        hours.next_opening(at).unwrap_or(at)
    }
}

fn is_wanted(level: &EscalationLevel, round: u32, incident: &Incident) -> bool {
    let is_acknowledged = incident.escalation.acknowledged.is_some();
    let is_proven = matches!(incident.phase, Phase::Resolved { .. });
    if round > 0 && is_acknowledged {
        return false;
    }
    match level.condition {
        EscalationCondition::NotAcknowledged => !is_acknowledged && !is_proven,
        EscalationCondition::NotResolved => !is_proven,
        EscalationCondition::Always => true,
    }
}
