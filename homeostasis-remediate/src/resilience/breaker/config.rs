//! When a breaker opens and closes.

use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{Ratio, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::super::part::{lasting, within};

/// Which outcomes ratios are taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum SlidingWindow {
    /// The last so many; 1 to 100,000, one byte each.
    Calls {
        /// How many.
        calls: u32,
    },
    /// Those of the last so long, in steps of a sixteenth of it; at least 16 ms.
    Time {
        /// How long.
        #[serde(with = "duration_text")]
        length: Duration,
    },
}

/// When a breaker opens because calls are slow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowCalls {
    /// A call that takes as long is slow.
    #[serde(with = "duration_text")]
    pub after: Duration,
    /// It opens when as large a share of calls is slow; above 0.
    pub ratio: Ratio,
}

/// When a breaker opens and closes.
///
/// It opens when *one* of its triggers fires: `consecutive_failures`, `failure_ratio`, `slow_calls`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitBreakerConfig {
    /// So many failures in a row open it; 0 turns this trigger off. Default 5.
    pub consecutive_failures: u32,
    /// As large a share of failures in the window opens it; above 0; `null` turns this trigger off.
    /// Default 0.5.
    pub failure_ratio: Option<Ratio>,
    /// When slow calls open it. Default never.
    pub slow_calls: Option<SlowCalls>,
    /// What ratios are taken over. Default the last 100 calls.
    pub window: SlidingWindow,
    /// With fewer calls in the window no ratio counts. Default 20; at least 1, and at most the calls
    /// of a window by calls.
    pub min_calls: u32,
    /// After this long it tries again. Default 30 s.
    #[serde(with = "duration_text")]
    pub cool_down: Duration,
    /// The cool-down doubles with each trial that fails, up to this. Default 5 min; at least `cool_down`.
    #[serde(with = "duration_text")]
    pub max_cool_down: Duration,
    /// So many calls must succeed in a row before it closes; as many may be under way at once.
    /// Default 3; 1 to 1000.
    pub trial_calls: u32,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_ratio: Some(Ratio::saturating(0.5)),
            slow_calls: None,
            window: SlidingWindow::Calls { calls: 100 },
            min_calls: 20,
            cool_down: Duration::from_secs(30),
            max_cool_down: Duration::from_secs(300),
            trial_calls: 3,
        }
    }
}

impl CircuitBreakerConfig {
    pub(super) fn validate(&self, wrong: &mut Violations) {
        let ratios = [
            ("failure_ratio", self.failure_ratio),
            (
                "slow_calls.ratio",
                self.slow_calls.as_ref().map(|slow| slow.ratio),
            ),
        ];
        for (path, ratio) in ratios {
            if ratio.is_some_and(|ratio| ratio.get() <= 0.0) {
                wrong.push(Violation::new(path, 0, "above 0"));
            }
        }
        if self.consecutive_failures == 0 && ratios.iter().all(|(_, ratio)| ratio.is_none()) {
            let expected = "above 0, or a failure_ratio, or slow_calls: it would never open";
            wrong.push(Violation::new("consecutive_failures", 0, expected));
        }
        if let Some(slow) = &self.slow_calls {
            lasting(wrong, "slow_calls.after", slow.after);
        }
        match self.window {
            SlidingWindow::Calls { calls } => {
                within(wrong, "window.calls", calls, 1..=100_000);
                within(wrong, "min_calls", self.min_calls, 1..=calls.max(1));
            }
            SlidingWindow::Time { length } => {
                if length < Duration::from_millis(16) {
                    let found = format!("{length:?}");
                    wrong.push(Violation::new("window.length", found, "at least 16ms"));
                }
                within(wrong, "min_calls", self.min_calls, 1..=u32::MAX);
            }
        }
        lasting(wrong, "cool_down", self.cool_down);
        if self.max_cool_down < self.cool_down {
            let found = format!("{:?}", self.max_cool_down);
            wrong.push(Violation::new("max_cool_down", found, "at least cool_down"));
        }
        within(wrong, "trial_calls", self.trial_calls, 1..=1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_people_write_it_and_unknown_fields_are_refused() {
        let text =
            r#"{"window": {"time": {"length": "10s"}}, "cool_down": "5s", "failure_ratio": null}"#;
        let config: CircuitBreakerConfig = serde_json::from_str(text).unwrap();
        assert_eq!(
            config.window,
            SlidingWindow::Time {
                length: Duration::from_secs(10)
            }
        );
        assert_eq!(config.failure_ratio, None);
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<CircuitBreakerConfig>(&written).unwrap(),
            config
        );
        assert!(serde_json::from_str::<CircuitBreakerConfig>(r#"{"cooldown": "5s"}"#).is_err());
    }
}
