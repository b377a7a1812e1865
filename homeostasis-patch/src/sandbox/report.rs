//! How a program in a sandbox ended.

use std::fmt;
use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::port::Redactor;
use serde::{Deserialize, Serialize};

use super::layer::Layers;

/// A bound a program went beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Bound {
    /// It ran longer than it might.
    Time,
    /// Its processes held more memory.
    Memory,
    /// It wrote more to its output.
    Output,
    /// The copy grew by more.
    Disk,
    /// It had more processes and threads.
    Tasks,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// By itself, with this status; in namespaces, a death by signal `n` is status `128 + n`.
    Exited(i32),
    /// By this signal, which we did not send.
    Signaled(i32),
    /// We killed it at a bound.
    Stopped(Bound),
    /// We killed it because the context was cancelled.
    Cancelled,
}

impl Ending {
    /// Whether it ended by itself with status 0.
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Signaled(signal) => write!(f, "died of signal {signal}"),
            Self::Stopped(Bound::Time) => f.write_str("stopped: out of time"),
            Self::Stopped(Bound::Memory) => f.write_str("stopped: too much memory"),
            Self::Stopped(Bound::Output) => f.write_str("stopped: too much output"),
            Self::Stopped(Bound::Disk) => f.write_str("stopped: too much disk space"),
            Self::Stopped(Bound::Tasks) => f.write_str("stopped: too many processes and threads"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// What came of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxReport {
    /// How it ended.
    pub ending: Ending,
    /// How long it ran.
    #[serde(with = "duration_text")]
    pub took: Duration,
    /// The CPU time of all its processes, user and system, with what the sandbox itself needed to start
    /// it (some milliseconds). A process that nobody waited for does not count.
    #[serde(default, with = "duration_text")]
    pub cpu: Duration,
    /// The end of what it wrote to standard output and error, in the order written; at most 64 KiB.
    ///
    /// Bytes that are no UTF-8 became U+FFFD.
    pub output: String,
    /// How many bytes it wrote in all.
    pub output_bytes: u64,
    /// What held it, and what did not.
    pub layers: Layers,
}

impl SandboxReport {
    /// Takes secrets out of the output.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        self.output = redactor.text(&self.output).into_owned();
    }
}
