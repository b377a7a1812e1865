//! What the watch may be told.

use std::time::Duration;

use homeostasis_core::condition::Unit;
use homeostasis_core::{ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};

/// Differences too small to matter, by unit: a comparison needs a relative *and* such an absolute
/// difference to fail, so that 0.0001 after 0 is no failure.
///
/// Every value is finite and 0 or more; 0 leaves only the relative difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// Of shares such as `error_ratio`, 1 being all; default 0.001.
    pub ratio: f64,
    /// Of times, in seconds; default 0.005.
    pub seconds: f64,
    /// Of rates (`…_rate`), per second; default 0.1.
    pub per_second: f64,
    /// Of sizes, in bytes; default 1 MiB.
    pub bytes: f64,
    /// Of everything else, in the unit of the metric; default 0.
    pub other: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            ratio: 0.001,
            seconds: 0.005,
            per_second: 0.1,
            bytes: 1_048_576.0,
            other: 0.0,
        }
    }
}

impl Tolerance {
    /// The difference that does not matter for `metric`, in the unit its name tells.
    pub fn of(&self, metric: &str) -> f64 {
        let unit = Unit::from_metric_name(metric);
        let families = [
            (self.ratio, Unit::Ratio),
            (self.seconds, Unit::Second),
            (self.bytes, Unit::Byte),
        ];
        families
            .into_iter()
            .find_map(|(value, family)| family.convert(value, unit))
            .unwrap_or(if metric.ends_with("_rate") {
                self.per_second
            } else {
                self.other
            })
    }
}

/// How [`SequentialWatch`](crate::SequentialWatch) watches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// The probability of calling a harmless remedy harmful, over the whole watch and all series
    /// together; default 0.01, range 0 < alpha <= 0.5.
    pub alpha: f64,
    /// How many times as high as before something must be to count as worse; default 1.25, at
    /// least 1.
    pub harm_ratio: f64,
    /// How long after the remedy the test for harm ignores what it sees, because caches are cold
    /// and connections are new; default 30 s, and never more than a quarter of the watch.
    pub warm_up: Duration,
    /// How much of the time before the incident latencies are compared with; default 10 min.
    pub baseline: Duration,
    /// The metric with the requests per second that belongs to `error_ratio`; default
    /// `http_requests_rate`.
    pub requests_metric: String,
    /// How many values in a row must be normal where a plan has no criteria; default 3, at least 1.
    pub recovery_looks: u32,
    /// How old the newest value may be there; default 60 s.
    pub freshness: Duration,
    /// How far back one looks for earlier trouble of the same kind that passed by itself; default
    /// 15 min. 0 looks at the present trouble only.
    pub history: Duration,
    /// Differences too small to matter.
    pub tolerance: Tolerance,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            harm_ratio: 1.25,
            warm_up: Duration::from_secs(30),
            baseline: Duration::from_secs(600),
            requests_metric: "http_requests_rate".to_owned(),
            recovery_looks: 3,
            freshness: Duration::from_secs(60),
            history: Duration::from_secs(900),
            tolerance: Tolerance::default(),
        }
    }
}

impl WatchConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// All values out of range, with their paths under `verify.watch`.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut violations = Violations::new();
        let mut require = |good: bool, path: &str, value: &dyn std::fmt::Debug, expected: &str| {
            if !good {
                violations.push(Violation::new(
                    format!("verify.watch.{path}"),
                    format!("{value:?}"),
                    expected,
                ));
            }
        };
        require(
            self.alpha > 0.0 && self.alpha <= 0.5,
            "alpha",
            &self.alpha,
            "0 < alpha <= 0.5",
        );
        require(
            self.harm_ratio >= 1.0 && self.harm_ratio.is_finite(),
            "harm_ratio",
            &self.harm_ratio,
            "a finite number, 1 or more",
        );
        require(
            self.recovery_looks > 0,
            "recovery_looks",
            &self.recovery_looks,
            "1 or more",
        );
        for (path, duration) in [("baseline", self.baseline), ("freshness", self.freshness)] {
            require(!duration.is_zero(), path, &duration, "more than 0 s");
        }
        let tolerance = &self.tolerance;
        for (path, value) in [
            ("tolerance.ratio", tolerance.ratio),
            ("tolerance.seconds", tolerance.seconds),
            ("tolerance.per_second", tolerance.per_second),
            ("tolerance.bytes", tolerance.bytes),
            ("tolerance.other", tolerance.other),
        ] {
            require(
                value >= 0.0 && value.is_finite(),
                path,
                &value,
                "a finite number, 0 or more",
            );
        }
        violations.into_result(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_out_of_range_is_named() {
        let config = WatchConfig {
            alpha: f64::NAN,
            harm_ratio: 0.5,
            recovery_looks: 0,
            baseline: Duration::ZERO,
            tolerance: Tolerance {
                seconds: -1.0,
                ..Tolerance::default()
            },
            ..WatchConfig::default()
        };
        let text = config.check().unwrap_err().to_string();
        for path in [
            "alpha",
            "harm_ratio",
            "recovery_looks",
            "baseline",
            "tolerance.seconds",
        ] {
            assert!(
                text.contains(&format!("verify.watch.{path}")),
                "{path}: {text}"
            );
        }
        assert!(!text.contains("freshness"), "{text}");
        assert!(WatchConfig::default().check().is_ok());
    }

    #[test]
    fn tolerances_follow_the_unit_in_the_name() {
        let tolerance = Tolerance::default();
        for (metric, expected) in [
            ("error_ratio", 0.001),
            ("disk_usage_percent", 0.1),
            ("probe_latency_seconds", 0.005),
            ("latency_ms", 5.0),
            ("http_requests_rate", 0.1),
            ("process_resident_memory_bytes", 1_048_576.0),
            ("process_threads", 0.0),
        ] {
            let found = tolerance.of(metric);
            assert!((found - expected).abs() < 1e-9, "{metric}: {found}");
        }
    }
}
