//! Log records.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::signal::{ErrorEvent, Fields, LogTemplate};
use crate::target::Target;
use crate::time::Timestamp;

/// How loud a record is.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For developers.
    Trace,
    /// For debugging.
    Debug,
    /// Normal operation.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
    /// The process is going down.
    Fatal,
}

impl FromStr for Level {
    type Err = String;

    /// Reads the usual spellings in any case: `warning`, `ERR`, `critical`, `panic` …
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "trace" => Self::Trace,
            "debug" | "dbg" => Self::Debug,
            "info" | "information" | "notice" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" | "err" | "severe" => Self::Error,
            "fatal" | "critical" | "crit" | "alert" | "emerg" | "emergency" | "panic" => {
                Self::Fatal
            }
            _ => {
                return Err(format!(
                    "level {text:?}, expected trace, debug, info, warn, error or fatal"
                ));
            }
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        })
    }
}

/// One log record, enriched once at intake.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogRecord {
    /// When it was written.
    pub at: Timestamp,
    /// How loud.
    pub level: Level,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The module, logger or component.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub component: Cow<'static, str>,
    /// The text.
    pub message: String,
    /// Structured fields.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
    /// What ties records of one request together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// The error it carries, as structure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<ErrorEvent>>,
    /// What all messages like this one have in common, worked out at intake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<LogTemplate>,
    /// For how many records like it this one stands, itself included; 1 unless a flood was sampled.
    /// Who counts records adds weights.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_one(weight: &u32) -> bool {
    *weight == 1
}

impl LogRecord {
    /// A record without fields.
    pub fn new(at: Timestamp, level: Level, message: impl Into<String>) -> Self {
        Self {
            at,
            level,
            target: None,
            component: Cow::Borrowed(""),
            message: message.into(),
            fields: Fields::new(),
            correlation: None,
            error: None,
            template: None,
            weight: 1,
        }
    }

    /// The same, of `target`.
    pub fn of(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// The same with one field more.
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.fields.insert(name, value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_read_the_usual_spellings_and_name_the_rest() {
        assert_eq!("WARNING".parse(), Ok(Level::Warn));
        assert_eq!("crit".parse(), Ok(Level::Fatal));
        assert!("loud".parse::<Level>().unwrap_err().contains("\"loud\""));
        assert!(Level::Error > Level::Info);
    }
}
