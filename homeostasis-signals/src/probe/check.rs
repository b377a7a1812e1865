//! What every probe that checks one target has in common: who it is, how often it asks, and how a
//! finding becomes a reading.

use std::fmt::Debug;
use std::time::Duration;

use homeostasis_core::signal::{HealthReport, HealthState};
use homeostasis_core::{Target, Timestamp, Violation, Violations};

use super::probing::Missed;
use super::reading::Reading;
use crate::measurement::Measurement;

/// The name, the target and the times of a check, as its settings give them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check<'a> {
    pub(crate) name: &'a str,
    pub(crate) target: &'a Target,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) state: HealthState,
    pub(crate) detail: String,
}

impl Finding {
    pub(crate) fn healthy(detail: impl Into<String>) -> Self {
        Self::new(HealthState::Healthy, detail)
    }

    pub(crate) fn degraded(detail: impl Into<String>) -> Self {
        Self::new(HealthState::Degraded, detail)
    }

    pub(crate) fn unhealthy(detail: impl Into<String>) -> Self {
        Self::new(HealthState::Unhealthy, detail)
    }

    pub(crate) fn new(state: HealthState, detail: impl Into<String>) -> Self {
        Self {
            state,
            detail: detail.into(),
        }
    }
}

impl Check<'_> {
    /// Refuses an empty name and times of zero.
    pub(crate) fn validate(self, wrong: &mut Violations) {
        named(wrong, self.name);
        lasting(wrong, "interval", self.interval);
        lasting(wrong, "timeout", self.timeout);
    }

    /// A value of one of the check's own series.
    pub(crate) fn measure(self, metric: &str, at: Timestamp, value: f64) -> Measurement {
        Measurement::of(self.target, metric, at, value).with("check", self.name)
    }

    /// `up` and the report, for an asking that began at `started` and ended at `at` without any
    /// answer to measure.
    pub(crate) fn silent(self, started: Timestamp, at: Timestamp, finding: Finding) -> Reading {
        let report = HealthReport::new(at, self.target.clone(), self.name, finding.state)
            .took(at.since(started))
            .saying(finding.detail);
        let up = if report.is_up() { 1.0 } else { 0.0 };
        Reading::default()
            .measured(self.measure("up", at, up))
            .reporting(report)
    }

    /// The same for an asking that was answered, however badly: with `probe_latency_seconds`.
    pub(crate) fn answered(self, started: Timestamp, at: Timestamp, finding: Finding) -> Reading {
        let latency = at.since(started).as_secs_f64();
        self.silent(started, at, finding).measured(self.measure(
            "probe_latency_seconds",
            at,
            latency,
        ))
    }

    /// No answer in time, or a panic: unhealthy.
    pub(crate) fn missed(self, at: Timestamp, why: &Missed) -> Reading {
        let mut reading = self.silent(at, at, Finding::unhealthy(why.to_string()));
        for signal in &mut reading.signals {
            if let homeostasis_core::signal::Signal::Health(report) = signal {
                report.latency = self.timeout;
            }
        }
        reading
    }
}

/// Refuses an empty name.
pub(crate) fn named(wrong: &mut Violations, name: &str) {
    if name.is_empty() {
        wrong.push(Violation::new("name", "\"\"", "a name"));
    }
}

/// Refuses a duration of zero.
pub(crate) fn lasting(wrong: &mut Violations, path: &str, duration: Duration) {
    if duration.is_zero() {
        wrong.push(Violation::new(path, "0s", "more than 0s"));
    }
}

/// Refuses what is not `host:port`; brackets around an IPv6 address are part of the host.
#[cfg(feature = "net")]
pub(crate) fn host_and_port(wrong: &mut Violations, path: &str, address: &str) {
    let port = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty());
    if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        wrong.push(Violation::new(path, format!("{address:?}"), "host:port"));
    }
}

/// Refuses a URL that is not absolute.
pub(crate) fn absolute_url(wrong: &mut Violations, path: &str, url: &str) {
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        let expected = "an absolute URL such as http://127.0.0.1:8080/healthz";
        wrong.push(Violation::new(path, format!("{url:?}"), expected));
    }
}

/// The answers of [`Probe`](super::Probe) that every checking probe takes from its settings, and
/// its tier.
macro_rules! checks {
    ($tier:ident) => {
        fn tier(&self) -> homeostasis_core::signal::HealthTier {
            homeostasis_core::signal::HealthTier::$tier
        }

        fn name(&self) -> &str {
            &self.config.name
        }

        fn target(&self) -> Option<&homeostasis_core::Target> {
            Some(&self.config.target)
        }

        fn interval(&self) -> std::time::Duration {
            self.config.interval
        }

        fn timeout(&self) -> std::time::Duration {
            self.config.timeout
        }

        fn missed(
            &self,
            at: homeostasis_core::Timestamp,
            why: &$crate::probe::Missed,
        ) -> $crate::probe::Reading {
            self.config.check().missed(at, why)
        }
    };
}

pub(crate) use checks;
