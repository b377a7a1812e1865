//! What is rolled out, where, and how careful.

use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{ConfigError, Target, Violation, Violations};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RolloutStrategy;
use crate::action::{LONGEST_WATCH, is_name};

/// A new version of a service that shall get its traffic.
///
/// ```
/// use homeostasis::remediate::rollout::{Rollout, RolloutStrategy};
/// let mut rollout = Rollout::new("orders", "blue", "green");
/// rollout.strategy = RolloutStrategy::Progressive;
/// rollout.check()?;
/// rollout.strategy = RolloutStrategy::Stepwise { initial: 0, step: 20 };
/// let error = rollout.check().unwrap_err().to_string();
/// assert!(error.contains("strategy.initial"), "{error}");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rollout {
    /// Whose traffic.
    pub service: String,
    /// The slot that has it: the old version.
    pub from: String,
    /// The slot that shall get it: the new version.
    pub to: String,
    /// In which stages. Default canary.
    #[serde(default)]
    pub strategy: RolloutStrategy,
    /// How it is taken back. Default at once.
    #[serde(default)]
    pub rollback: RollbackMode,
    /// What follows if a stage is not decided in time. Default it is taken back.
    #[serde(default)]
    pub on_uncertain: OnUncertain,
    /// How long one look spans, 1 s to 1 h. Default 1 min.
    #[serde(default = "Rollout::minute", with = "duration_text")]
    pub interval: Duration,
    /// How long a stage may take beyond the least it takes, 1 s to 22 h. Default 2 h.
    #[serde(default = "Rollout::two_hours", with = "duration_text")]
    pub decide_within: Duration,
    /// At once bad if the share that fails is proven to be more than this above that of the old
    /// version, `0..=1`. Default 0.05.
    #[serde(default = "Rollout::five_percent")]
    pub max_error_increase: f64,
    /// How many requests it takes at least where there is no old version to compare with. Default 100;
    /// the proof that `min_success` holds takes more.
    #[serde(default = "Rollout::hundred")]
    pub min_requests: u32,
    /// How many instances the service has, if its router gives traffic to whole instances only:
    /// stages are rounded up to them, at least one. Default any share is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// How long the new version is watched, before it gets any traffic, while the host sends it
    /// copies of requests, up to 22 h. Default not at all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "duration_text::option"
    )]
    pub shadow: Option<Duration>,
    /// What is done before: start the new version, warm it up, check it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<RolloutStep>,
    /// What is done when all is confirmed: drain and stop the old version. The stages are not taken
    /// back any more; of these steps, those that were done are if a later one fails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<RolloutStep>,
}

/// A step around the stages, of any registered action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutStep {
    /// Which action.
    pub action: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// How often it is tried in all, 1 to 100, a second apart and more. Default 1.
    #[serde(default = "RolloutStep::once")]
    pub attempts: u32,
}

impl RolloutStep {
    /// One attempt at `action` with `args`; what is not an object counts as no arguments.
    pub fn new(action: impl Into<String>, args: Value) -> Self {
        Self {
            action: action.into(),
            args: match args {
                Value::Object(args) => args,
                _ => Map::new(),
            },
            attempts: 1,
        }
    }

    const fn once() -> u32 {
        1
    }
}

/// How a rollout that failed is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum RollbackMode {
    /// All traffic goes back at once. The default.
    #[default]
    Immediate,
    /// Stage by stage backwards, with a pause after each.
    Gradual {
        /// Up to 1 h.
        #[serde(with = "duration_text")]
        pause: Duration,
    },
    /// To the last stage that was confirmed. The traffic stays shared, and the incident stays open
    /// and with people until they end it.
    Checkpoint,
}

/// What follows a stage that is not decided in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnUncertain {
    /// It is taken back. The default.
    #[default]
    RollBack,
    /// People are asked; the traffic stays as it is until they answer.
    Hold,
}

impl Rollout {
    /// A canary of `service` from slot `from` to slot `to`.
    pub fn new(service: impl Into<String>, from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            from: from.into(),
            to: to.into(),
            strategy: RolloutStrategy::default(),
            rollback: RollbackMode::default(),
            on_uncertain: OnUncertain::default(),
            interval: Self::minute(),
            decide_within: Self::two_hours(),
            max_error_increase: Self::five_percent(),
            min_requests: Self::hundred(),
            instances: None,
            shadow: None,
            before: Vec::new(),
            after: Vec::new(),
        }
    }

    const fn minute() -> Duration {
        Duration::from_secs(60)
    }

    const fn two_hours() -> Duration {
        Duration::from_secs(2 * 3600)
    }

    const fn five_percent() -> f64 {
        0.05
    }

    const fn hundred() -> u32 {
        100
    }

    /// Checks it.
    ///
    /// # Errors
    /// Everything that is wrong with it. What is wrong with arguments of other actions is told when
    /// it becomes a [plan](Self::plan).
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut found = Violations::new();
        if Target::service(self.service.clone()).is_err() || !is_name(&self.service) {
            found.push(Violation::new(
                "service",
                &self.service,
                "the name of a service",
            ));
        }
        for (place, slot) in [("from", &self.from), ("to", &self.to)] {
            if !is_name(slot) {
                let expected = "a word of letters, digits, `.`, `_` and `-`";
                found.push(Violation::new(place, slot, expected));
            }
        }
        if self.from == self.to {
            found.push(Violation::new("to", &self.to, "another slot than `from`"));
        }
        self.strategy.check(&mut found);
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let mut spans = vec![
            ("interval", self.interval, second..=hour),
            ("decide_within", self.decide_within, second..=LONGEST_WATCH),
            (
                "shadow",
                self.shadow.unwrap_or(second),
                second..=LONGEST_WATCH,
            ),
        ];
        if let RollbackMode::Gradual { pause } = self.rollback {
            spans.push(("rollback.pause", pause, Duration::ZERO..=hour));
        }
        for (place, span, range) in spans {
            if !range.contains(&span) {
                let expected = format!("{:?} to {:?}", range.start(), range.end());
                found.push(Violation::new(place, format!("{span:?}"), expected));
            }
        }
        if !(0.0..=1.0).contains(&self.max_error_increase) {
            let value = self.max_error_increase;
            found.push(Violation::new("max_error_increase", value, "0 to 1"));
        }
        if self.min_requests == 0 {
            found.push(Violation::new("min_requests", 0, "at least 1"));
        }
        if self.instances == Some(0) {
            found.push(Violation::new("instances", 0, "at least 1"));
        }
        let groups = [("before", &self.before), ("after", &self.after)];
        for (place, steps) in groups {
            for (idx, step) in steps.iter().enumerate() {
                if !(1..=100).contains(&step.attempts) {
                    let place = format!("{place}[{idx}].attempts");
                    found.push(Violation::new(place, step.attempts, "1 to 100"));
                }
            }
        }
        found.into_result(())
    }
}
