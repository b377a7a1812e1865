//! When series are called correlated.

use std::time::Duration;

use homeostasis_core::Violations;
use homeostasis_core::record::Severity;
use serde::{Deserialize, Serialize};

use crate::check;

/// What a [`CorrelatedFailures`](super::CorrelatedFailures) calls together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorrelatedFailuresConfig {
    /// Onsets this close in time are neighbors; default 2m, above 0. A chain of neighbors may last longer.
    #[serde(with = "crate::duration_text")]
    pub window: Duration,
    /// Services with at most this many calls between them are neighbors; default 2, range 0 to 16.
    pub max_hops: u32,
    /// So are series that go together at least this strongly, wherever they are; default 0.8, range 0.1 to 1.
    pub min_correlation: f64,
    /// How many series must deviate together; default 3, at least 2.
    pub min_series: usize,
    /// Of how many services; default 2, at least 1.
    pub min_services: usize,
    /// The limit of surprise in nats; default 9.2, one in 10 000 windows; range 1 to 100.
    pub limit: f64,
    /// At least so many onsets are expected in a window; default 0.05, range 1e-6 to 1000.
    pub min_rate: f64,
    /// For how long the usual rate of onsets is remembered; default 1d, above 0.
    #[serde(with = "crate::duration_text")]
    pub history: Duration,
    /// After how long an anomaly that lasts is raised again; default 60 s, above 0.
    #[serde(with = "crate::duration_text::option")]
    pub reraise: Option<Duration>,
    /// How many series are followed at once; default 256, range 2 to 4096.
    pub max_series: usize,
    /// A hint how severe it is; default none.
    pub severity_hint: Option<Severity>,
}

impl Default for CorrelatedFailuresConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(120),
            max_hops: 2,
            min_correlation: 0.8,
            min_series: 3,
            min_services: 2,
            limit: 9.2,
            min_rate: 0.05,
            history: Duration::from_secs(86_400),
            reraise: Some(Duration::from_secs(60)),
            max_series: 256,
            severity_hint: None,
        }
    }
}

impl CorrelatedFailuresConfig {
    /// Pushes what is out of its range.
    pub(super) fn check(&self, found: &mut Violations) {
        let lasting = [
            ("window", Some(self.window)),
            ("history", Some(self.history)),
            ("reraise", self.reraise),
        ];
        for (name, duration) in lasting {
            if let Some(duration) = duration {
                check::lasting(found, &format!("correlated_failures.{name}"), duration);
            }
        }
        for (name, value, low, high) in [
            ("max_hops", f64::from(self.max_hops), 0.0, 16.0),
            ("min_correlation", self.min_correlation, 0.1, 1.0),
            ("min_series", self.min_series as f64, 2.0, 4096.0),
            ("min_services", self.min_services as f64, 1.0, 4096.0),
            ("limit", self.limit, 1.0, 100.0),
            ("min_rate", self.min_rate, 1e-6, 1000.0),
            ("max_series", self.max_series as f64, 2.0, 4096.0),
        ] {
            let path = format!("correlated_failures.{name}");
            let expected = format!("{low} to {high}");
            check::that(
                found,
                (low..=high).contains(&value),
                &path,
                value,
                &expected,
            );
        }
    }
}
