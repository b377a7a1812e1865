//! What can be set.

use std::time::Duration;

use homeostasis_core::{ConfigError, Violations};
use serde::{Deserialize, Serialize};

use crate::check;
use crate::side::Side;

/// How an [`OnlineDetector`](super::OnlineDetector) alarms; what it learns cannot be set.
///
/// The dead time is that of [`OnlineJudgement::alert`](super::OnlineJudgement::alert) only. The score of
/// `update`, by which `PerSeries` alarms through `Alerting`, knows none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnlineConfig {
    /// By what the limits are divided; default 1, range 0.01 to 100. At 2 half as much alarms.
    pub sensitivity: f64,
    /// For how many samples after an alert of novelty nothing is told; default 100, at most 1 000 000.
    pub dead_samples: u32,
    /// For how long after an alert of novelty nothing is told; default 5m. The longer of both holds.
    #[serde(with = "crate::duration_text")]
    pub dead_time: Duration,
    /// The least difference that means anything, in the unit of the series; default 1e-6, above 0.
    /// A billionth of the value never does.
    pub resolution: f64,
    /// Which samples are judged: those on this side of the level of the series; default both.
    pub side: Side,
}

impl Default for OnlineConfig {
    fn default() -> Self {
        Self {
            sensitivity: 1.0,
            dead_samples: 100,
            dead_time: Duration::from_secs(300),
            resolution: 1e-6,
            side: Side::Both,
        }
    }
}

impl OnlineConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let mut found = Violations::new();
        check::that(
            &mut found,
            (0.01..=100.0).contains(&self.sensitivity),
            "online.sensitivity",
            self.sensitivity,
            "0.01 to 100",
        );
        check::that(
            &mut found,
            self.dead_samples <= 1_000_000,
            "online.dead_samples",
            self.dead_samples,
            "at most 1000000 samples",
        );
        check::positive(&mut found, "online.resolution", self.resolution);
        found.into_result(())
    }
}
