//! How a probe is asked, as configuration.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::format_duration;
use homeostasis_core::signal::HealthTier;
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::probing::{Missed, Probe};
use super::reading::Reading;

/// The most retries: more would be a load and no answer.
const MAX_RETRIES: u32 = 10;

/// How a probe is asked: its tier, how often, how long, how stubbornly.
///
/// With a tier, what is not said follows from the tier ([`HealthTier::plan`]), and what is said
/// must be within it. Without a tier, what is not said is what the probe itself says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbePlan {
    /// The tier; default that of the probe.
    pub tier: Option<HealthTier>,
    /// How often it is asked; above 0.
    #[serde(with = "crate::duration_text::option")]
    pub interval: Option<Duration>,
    /// How long one answer may take; above 0.
    #[serde(with = "crate::duration_text::option")]
    pub timeout: Option<Duration>,
    /// How often it is asked again before a failure is reported; 0 to 10.
    pub retries: Option<u32>,
}

impl ProbePlan {
    /// The plan of a tier.
    pub fn of(tier: HealthTier) -> Self {
        Self {
            tier: Some(tier),
            ..Self::default()
        }
    }
}

/// A probe that is asked as a [`ProbePlan`] says.
///
/// # Examples
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::core::signal::{HealthState, HealthTier};
/// use homeostasis::signals::{FnProbe, PlannedProbe, Probe, ProbePlan};
/// use std::time::Duration;
///
/// let probe = || FnProbe::of_state("signup", Target::service("shop").unwrap(), |_| async {
///     (HealthState::Healthy, String::new())
/// });
/// let signup = PlannedProbe::new(probe(), ProbePlan::of(HealthTier::Comprehensive))?;
/// assert_eq!((signup.timeout().as_secs(), signup.retries()), (30, 0));
///
/// let often = ProbePlan { interval: Some(Duration::from_secs(1)), ..ProbePlan::of(HealthTier::Deep) };
/// let error = PlannedProbe::new(probe(), often).unwrap_err();
/// assert!(error.to_string().contains("interval = 1s, expected 30s to 1m for a deep check"));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct PlannedProbe<P> {
    probe: P,
    tier: HealthTier,
    interval: Duration,
    timeout: Duration,
    retries: u32,
}

impl<P: Probe> PlannedProbe<P> {
    /// `probe`, asked as `plan` says.
    ///
    /// # Errors
    /// - A duration is zero, or outside the range of the tier that the plan names.
    /// - There are more than 10 retries.
    pub fn new(probe: P, plan: ProbePlan) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        let named = plan.tier.map(|tier| (tier, tier.plan()));
        for (path, said, range) in [
            (
                "interval",
                plan.interval,
                named.as_ref().map(|(_, plan)| &plan.intervals),
            ),
            (
                "timeout",
                plan.timeout,
                named.as_ref().map(|(_, plan)| &plan.timeouts),
            ),
        ] {
            let Some(said) = said else { continue };
            let expected = match (plan.tier, range) {
                (Some(tier), Some(range)) if !range.contains(&said) => {
                    let [low, high] = [range.start(), range.end()].map(|end| format_duration(*end));
                    format!("{low} to {high} for a {tier} check")
                }
                _ if said.is_zero() => "a duration above 0s".to_owned(),
                _ => continue,
            };
            wrong.push(Violation::new(path, format_duration(said), expected));
        }
        let retries = plan.retries.unwrap_or_else(|| match &named {
            Some((_, plan)) => plan.retries,
            None => probe.retries(),
        });
        if retries > MAX_RETRIES {
            let expected = format!("0 to {MAX_RETRIES} retries");
            wrong.push(Violation::new("retries", retries, expected));
        }
        let (interval, timeout) = match &named {
            Some((_, plan)) => (plan.interval, plan.timeout),
            None => (probe.interval(), probe.timeout()),
        };
        wrong.into_result(Self {
            tier: plan.tier.unwrap_or_else(|| probe.tier()),
            interval: plan.interval.unwrap_or(interval),
            timeout: plan.timeout.unwrap_or(timeout),
            retries,
            probe,
        })
    }
}

#[async_trait]
impl<P: Probe> Probe for PlannedProbe<P> {
    fn name(&self) -> &str {
        self.probe.name()
    }

    async fn probe(&self, cx: &Context) -> Reading {
        self.probe.probe(cx).await
    }

    fn target(&self) -> Option<&Target> {
        self.probe.target()
    }

    fn tier(&self) -> HealthTier {
        self.tier
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn retries(&self) -> u32 {
        self.retries
    }

    fn reports_health(&self) -> bool {
        self.probe.reports_health()
    }

    fn missed(&self, at: Timestamp, why: &Missed) -> Reading {
        self.probe.missed(at, why)
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::HealthState;

    use super::*;
    use crate::FnProbe;

    fn probe() -> FnProbe {
        let target = Target::service("shop").unwrap();
        FnProbe::of_state("up", target, |_| async {
            (HealthState::Healthy, String::new())
        })
    }

    fn plan(json: &str) -> ProbePlan {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_violation_is_told_at_once() {
        let wrong = plan(r#"{"tier":"shallow","interval":"1m","timeout":"0s","retries":11}"#);
        let error = PlannedProbe::new(probe(), wrong).unwrap_err().to_string();
        for told in [
            "interval = 1m, expected 5s to 10s for a shallow check",
            "timeout = 0s, expected 1ms to 100ms for a shallow check",
            "retries = 11, expected 0 to 10 retries",
        ] {
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn without_a_tier_the_probe_keeps_what_is_not_said_and_may_be_outside_of_it() {
        let own = probe().every(Duration::from_secs(3600));
        let planned = PlannedProbe::new(own, plan(r#"{"timeout":"3s"}"#)).unwrap();
        assert_eq!(planned.tier(), HealthTier::Shallow);
        assert_eq!(planned.interval().as_secs(), 3600);
        assert_eq!((planned.timeout().as_secs(), planned.retries()), (3, 3));
        let error = PlannedProbe::new(probe(), plan(r#"{"interval":"0s"}"#)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("interval = 0s, expected a duration above 0s")
        );
    }
}
