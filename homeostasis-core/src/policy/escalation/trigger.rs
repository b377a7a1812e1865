//! Triggers: what escalates an incident by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cycle::{Incident, Phase};
use crate::record::{RadiusLevel, Severity};
use crate::time::Timestamp;
use crate::violation::{Violation, Violations};

const MINUTE: Duration = Duration::from_secs(60);

/// What must be so of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TriggerCondition {
    /// So many runs came to nothing: the one that runs or is watched does not count.
    Attempts(u32),
    /// More than so many times as many services are hit as by the first anomaly.
    Spread(u32),
    /// It reaches at least so far.
    Radius(RadiusLevel),
    /// It has been open for so long and no remedy is proven.
    Unresolved(Duration),
    /// It has been open for so long and no cause is known.
    UnknownCause(Duration),
    /// Its like was opened so many times within the last day, itself included.
    Recurred(u64),
    /// One of these detectors (a condition is one under its own name) found an anomaly.
    Detected(BTreeSet<String>),
}

/// What escalates an incident by itself, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EscalationTrigger {
    /// What must be so.
    pub when: TriggerCondition,
    /// The incident becomes at least so severe; without it, the next level is called at once.
    #[serde(default)]
    pub raise_to: Option<Severity>,
}

impl EscalationTrigger {
    /// Calls the next level at once when `when` is so.
    pub fn one_level(when: TriggerCondition) -> Self {
        let raise_to = None;
        Self { when, raise_to }
    }

    /// Makes the incident at least as severe as `severity` when `when` is so.
    pub fn raise(when: TriggerCondition, severity: Severity) -> Self {
        let raise_to = Some(severity);
        Self { when, raise_to }
    }

    /// The six of the seed (C5.4) under their names.
    ///
    /// Its numbers: 3 attempts, twice the services, 1 h. What only the host can see (customers,
    /// data, security) is an anomaly of the detector or condition with the trigger's name.
    pub fn defaults() -> BTreeMap<String, Self> {
        let detected = |name: &str| TriggerCondition::Detected([name.to_owned()].into());
        [
            (
                "remediation_failed",
                Self::one_level(TriggerCondition::Attempts(3)),
            ),
            (
                "blast_radius_expanding",
                Self::raise(TriggerCondition::Spread(2), Severity::Sev1),
            ),
            (
                "prolonged_degradation",
                Self::one_level(TriggerCondition::Unresolved(60 * MINUTE)),
            ),
            (
                "customer_impact",
                Self::raise(detected("customer_impact"), Severity::Sev1),
            ),
            (
                "data_integrity_risk",
                Self::raise(detected("data_integrity_risk"), Severity::Sev0),
            ),
            (
                "security_threat",
                Self::raise(detected("security_threat"), Severity::Sev0),
            ),
        ]
        .map(|(name, trigger)| (name.to_owned(), trigger))
        .into()
    }

    pub(super) fn check(&self, at: &str, violations: &mut Violations) {
        let wrong = match &self.when {
            TriggerCondition::Attempts(n) | TriggerCondition::Spread(n) if *n == 0 => {
                Some((n.to_string(), "1 or more"))
            }
            TriggerCondition::Recurred(n) if *n < 2 => Some((n.to_string(), "2 or more")),
            TriggerCondition::Unresolved(time) | TriggerCondition::UnknownCause(time)
                if !(MINUTE..=MINUTE * 60 * 24 * 7).contains(time) =>
            {
                Some((format!("{time:?}"), "1m to 7d"))
            }
            TriggerCondition::Detected(names) if names.is_empty() => {
                Some(("[]".to_owned(), "at least one detector"))
            }
            _ => None,
        };
        if let Some((value, expected)) = wrong {
            violations.push(Violation::new(format!("{at}.when"), value, expected));
        }
    }

    /// Why it fires on `incident` at `now`, of which `recurred` were opened within the last day;
    /// `None` if it does not.
    pub fn fires(&self, incident: &Incident, recurred: u64, now: Timestamp) -> Option<String> {
        let is_proven = matches!(
            incident.phase,
            Phase::Resolved { .. } | Phase::Closed { .. }
        );
        let age = incident.age(now);
        match &self.when {
            TriggerCondition::Attempts(n) => {
                // The last one may heal it yet.
                let is_open = matches!(
                    incident.phase,
                    Phase::Running { .. } | Phase::Verifying { .. }
                );
                let attempts = incident.runs.len().saturating_sub(usize::from(is_open));
                let reached = usize::try_from(*n).is_ok_and(|n| attempts >= n);
                (reached && !is_proven).then(|| format!("{attempts} attempts did not heal it"))
            }
            TriggerCondition::Spread(factor) => {
                let services: BTreeSet<_> = incident
                    .anomalies
                    .iter()
                    .map(|anomaly| anomaly.target.service_name())
                    .collect();
                // The first anomaly is about one service.
                let spread = usize::try_from(*factor).is_ok_and(|n| services.len() > n);
                spread.then(|| format!("it spread from 1 to {} services", services.len()))
            }
            TriggerCondition::Radius(level) => {
                let reach = incident.radius.level;
                (reach >= *level).then(|| format!("it reaches {reach}"))
            }
            TriggerCondition::Unresolved(time) => (age >= *time && !is_proven).then(|| {
                format!(
                    "not resolved after {}",
                    crate::document::format_duration(*time)
                )
            }),
            TriggerCondition::UnknownCause(time) => {
                let diagnosis = incident.diagnosis.as_ref();
                let is_known = diagnosis.is_some_and(|it| it.root_cause().is_some());
                (age >= *time && !is_known).then(|| {
                    format!(
                        "no cause known after {}",
                        crate::document::format_duration(*time)
                    )
                })
            }
            TriggerCondition::Recurred(n) => {
                (recurred >= *n).then(|| format!("it came {recurred} times within a day"))
            }
            TriggerCondition::Detected(names) => {
                let found = incident
                    .anomalies
                    .iter()
                    .find(|it| names.contains(&it.detector));
                found.map(|anomaly| anomaly.explanation.clone())
            }
        }
    }
}
