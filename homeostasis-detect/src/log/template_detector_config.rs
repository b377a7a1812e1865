//! When kinds of messages are abnormal.

use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::record::Severity;
use homeostasis_core::signal::Level;
use homeostasis_core::{ConfigError, Target, Violations};
use serde::{Deserialize, Serialize};

use super::tally::Bar;
use crate::check;

/// When kinds of messages are abnormal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogTemplatesConfig {
    /// Whether kinds that were never seen before are; default yes.
    pub new: bool,
    /// Only those at least this loud; default warn.
    pub new_from: Level,
    /// And only of a target that was watched for this long; default 1h.
    #[serde(with = "crate::duration_text")]
    pub learning: Duration,
    /// And only while not more than this share of its records were the first of their kind; default 0.01, above 0 and
    /// below 1. A program whose every other message is new has no news.
    pub new_share: f64,
    /// Whether kinds that came regularly and do not any more are; default yes.
    pub vanished: bool,
    /// Whether kinds that come too often are; default yes.
    pub bursting: bool,
    /// The length of the windows in which records are counted; default 1m, 1s to 1h.
    #[serde(with = "crate::duration_text")]
    pub window: Duration,
    /// How many windows are remembered; default 720 (half a day), 10 to 100 000.
    pub history: u32,
    /// How many windows must have been seen before bursts and silence are judged; default 10, 1 to `history`.
    pub min_windows: u32,
    /// Fewer records in a window are no burst; default 10, at least 1.
    pub min_count: u32,
    /// A burst is at least this many times the mean; default 3, 1 to 1 000 000.
    pub factor: f64,
    /// How surprising bursts and silence must be, in nats; default 16 (one in nine million windows), above 0, at most
    /// 1000.
    pub surprise: f64,
    /// After how long an anomaly that lasts is raised again; default 60 s, above 0.
    #[serde(with = "crate::duration_text::option")]
    pub reraise: Option<Duration>,
    /// For how long a new kind is raised again when it comes, and a vanished one as long as it does not; default 15m.
    #[serde(with = "crate::duration_text")]
    pub lasting: Duration,
    /// Kinds that were silent for this long are forgotten; default 24h, above 0.
    #[serde(with = "crate::duration_text")]
    pub forget_after: Duration,
    /// How many kinds are followed at most, of all targets together; default 10 000, at least 1; about 2 kB each.
    pub max_templates: usize,
    /// Whose records without a target are; default nobody's: they are ignored.
    pub default_target: Option<Target>,
    /// A hint how severe it is; default none.
    pub severity_hint: Option<Severity>,
    /// The playbook that asks for it; default none.
    pub playbook_hint: Option<String>,
}

impl Default for LogTemplatesConfig {
    fn default() -> Self {
        Self {
            new: true,
            new_from: Level::Warn,
            learning: Duration::from_secs(3600),
            new_share: 0.01,
            vanished: true,
            bursting: true,
            window: Duration::from_secs(60),
            history: 720,
            min_windows: 10,
            min_count: 10,
            factor: 3.0,
            surprise: 16.0,
            reraise: Some(Duration::from_secs(60)),
            lasting: Duration::from_secs(900),
            forget_after: Duration::from_secs(24 * 3600),
            max_templates: 10_000,
            default_target: None,
            severity_hint: None,
            playbook_hint: None,
        }
    }
}

impl LogTemplatesConfig {
    pub(super) fn bar(&self) -> Bar {
        Bar {
            window: self.window,
            history: self.history,
            min_windows: self.min_windows,
            min_count: self.min_count,
            factor: self.factor,
            surprise: self.surprise,
            reraise: self.reraise,
        }
    }

    pub(super) fn check(&self, name: &str) -> Result<(), ConfigError> {
        let mut found = Violations::new();
        check::named(&mut found, "log_templates.name", name);
        self.bar().check(&mut found, "log_templates");
        check::that(
            &mut found,
            self.new_share > 0.0 && self.new_share < 1.0,
            "log_templates.new_share",
            self.new_share,
            "above 0 and below 1",
        );
        check::lasting(&mut found, "log_templates.forget_after", self.forget_after);
        check::that(
            &mut found,
            self.max_templates > 0,
            "log_templates.max_templates",
            self.max_templates,
            "at least 1 template",
        );
        found.into_result(())
    }
}

impl Bar {
    /// Names every field out of its range, below `path`.
    pub(super) fn check(&self, found: &mut Violations, path: &str) {
        let at = |field: &str| format!("{path}.{field}");
        check::that(
            found,
            (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.window),
            &at("window"),
            format_duration(self.window),
            "1s to 1h",
        );
        check::that(
            found,
            (10..=100_000).contains(&self.history),
            &at("history"),
            self.history,
            "10 to 100000 windows",
        );
        check::that(
            found,
            (1..=self.history).contains(&self.min_windows),
            &at("min_windows"),
            self.min_windows,
            &format!("1 to {}, the history", self.history),
        );
        check::that(
            found,
            self.min_count > 0,
            &at("min_count"),
            self.min_count,
            "at least 1 record",
        );
        check::that(
            found,
            (1.0..=1e6).contains(&self.factor),
            &at("factor"),
            self.factor,
            "1 to 1000000",
        );
        check::that(
            found,
            self.surprise > 0.0 && self.surprise <= 1000.0,
            &at("surprise"),
            self.surprise,
            "above 0 and at most 1000 nats",
        );
        if let Some(reraise) = self.reraise {
            check::lasting(found, &at("reraise"), reraise);
        }
    }
}
