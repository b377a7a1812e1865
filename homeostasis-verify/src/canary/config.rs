//! What the judge of canaries may be told.

use std::fmt::Debug;
use std::time::Duration;

use homeostasis_core::{ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};

/// How [`CanaryJudge`](super::CanaryJudge) decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CanaryConfig {
    /// The probability of rolling back a canary that is as good as the baseline, over the whole run
    /// and all metrics together; default 0.005, range 0 < alpha <= 0.5.
    pub alpha: f64,
    /// The probability of promoting a canary that is at the margin or beyond; default 0.02, range
    /// 0 < beta <= 0.5.
    pub beta: f64,
    /// How many times as many failures as the baseline are still no harm; default 1, range 1 to 100.
    pub allowed: f64,
    /// How many times as many failures a canary must be proven to stay below to be promoted;
    /// default 1.5, more than `allowed`, at most 100. **Warning:** the closer to `allowed`, the
    /// longer a promotion takes.
    pub margin: f64,
    /// A share of failures that is safe whatever the baseline does; default 0.001, range 0 to 0.5;
    /// 0 for none. Without it a service that never fails could never be promoted.
    pub negligible: f64,
    /// How much failure rates of a group as small as the canary are taken to vary by themselves
    /// from interval to interval: the standard deviation of their logarithm; default 0.3 (two
    /// thirds of all intervals within a factor of 1.35), range 0.01 to 1. Calibration replaces it by
    /// what is measured if that is less, or if it contradicts this; beyond 2.8 times as much, signs
    /// alone decide. **Warning:** without calibration, groups that differ by more cause false
    /// alarms.
    pub noise: f64,
    /// How long after the beginning intervals are left out because caches are cold; default 60 s,
    /// less than `horizon`.
    pub warm_up: Duration,
    /// After how long an open question is answered with "uncertain"; default 30 min, up to 30 days.
    pub horizon: Duration,
    /// How latencies are judged; `None`, the default, if they are not.
    pub latency: Option<LatencyRule>,
}

/// How latencies are judged: by the sign of the difference of a quantile in each interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatencyRule {
    /// The quantile that is compared; default 0.95, range 0.01 to 0.999.
    pub quantile: f64,
    /// How many times the baseline's quantile is still no harm; default 1.1, range 1 to 100.
    pub allowed: f64,
    /// How many times the baseline's quantile a canary must be proven to stay below to be promoted;
    /// default 1.2, more than `allowed`, at most 100. Latencies are known to a sixteenth.
    pub margin: f64,
    /// How many latencies each arm needs for an interval to count; default 20, at least 1.
    pub min_requests: u64,
}

impl Default for LatencyRule {
    fn default() -> Self {
        Self {
            quantile: 0.95,
            allowed: 1.1,
            margin: 1.2,
            min_requests: 20,
        }
    }
}

impl Default for CanaryConfig {
    fn default() -> Self {
        Self {
            alpha: 0.005,
            beta: 0.02,
            allowed: 1.0,
            margin: 1.5,
            negligible: 0.001,
            noise: 0.3,
            warm_up: Duration::from_secs(60),
            horizon: Duration::from_secs(1800),
            latency: None,
        }
    }
}

impl CanaryConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// All values out of range, with their paths under `verify.canary`.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut violations = Violations::new();
        let mut require = |good: bool, path: &str, value: &dyn Debug, expected: &str| {
            if !good {
                let path = format!("verify.canary.{path}");
                violations.push(Violation::new(path, format!("{value:?}"), expected));
            }
        };
        for (path, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            let good = value > 0.0 && value <= 0.5;
            require(good, path, &value, "more than 0, up to 0.5");
        }
        let good = (1.0..=100.0).contains(&self.allowed);
        require(good, "allowed", &self.allowed, "1 to 100");
        let good = self.margin > self.allowed && self.margin <= 100.0;
        require(good, "margin", &self.margin, "more than allowed, up to 100");
        let good = (0.0..=0.5).contains(&self.negligible);
        require(good, "negligible", &self.negligible, "0 to 0.5");
        let good = (0.01..=1.0).contains(&self.noise);
        require(good, "noise", &self.noise, "0.01 to 1");
        let longest = Duration::from_secs(30 * 86_400);
        let good = !self.horizon.is_zero() && self.horizon <= longest;
        require(
            good,
            "horizon",
            &self.horizon,
            "more than 0 s, up to 30 days",
        );
        let good = self.warm_up < self.horizon;
        require(good, "warm_up", &self.warm_up, "less than horizon");
        if let Some(latency) = &self.latency {
            let quantile = latency.quantile;
            let good = (0.01..=0.999).contains(&quantile);
            require(good, "latency.quantile", &quantile, "0.01 to 0.999");
            let (allowed, margin) = (latency.allowed, latency.margin);
            let good = (1.0..=100.0).contains(&allowed);
            require(good, "latency.allowed", &allowed, "1 to 100");
            let good = margin > allowed && margin <= 100.0;
            let expected = "more than latency.allowed, up to 100";
            require(good, "latency.margin", &margin, expected);
            let least = latency.min_requests;
            require(least > 0, "latency.min_requests", &least, "1 or more");
        }
        violations.into_result(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_out_of_range_is_named() {
        let config = CanaryConfig {
            alpha: 0.0,
            beta: f64::NAN,
            allowed: 2.0,
            margin: 2.0,
            negligible: -0.1,
            noise: 3.0,
            warm_up: Duration::from_secs(3600),
            latency: Some(LatencyRule {
                quantile: 1.0,
                allowed: 0.5,
                margin: 0.5,
                min_requests: 0,
            }),
            ..CanaryConfig::default()
        };
        let text = config.check().unwrap_err().to_string();
        for path in [
            "alpha",
            "beta",
            "margin",
            "negligible",
            "noise",
            "warm_up",
            "latency.quantile",
            "latency.allowed",
            "latency.margin",
            "latency.min_requests",
        ] {
            assert!(
                text.contains(&format!("verify.canary.{path} ")),
                "{path}: {text}"
            );
        }
        assert!(!text.contains("horizon ="), "{text}");
        assert!(CanaryConfig::default().check().is_ok());
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        let read = |text| serde_json::from_str::<CanaryConfig>(text);
        assert_eq!(read(r#"{"margin":2.0}"#).unwrap().margin, 2.0);
        assert!(
            read(r#"{"marign":2.0}"#)
                .unwrap_err()
                .to_string()
                .contains("marign")
        );
        assert_eq!(
            read(r#"{"latency":{}}"#).unwrap().latency,
            Some(LatencyRule::default())
        );
    }
}
