//! Why nothing was run, or nothing was copied.

use std::io;
use std::path::PathBuf;

use homeostasis_core::{ConfigError, ErrorKind};

use super::layer::NotInForce;

/// Why a sandbox did not run a program or could not copy a project.
///
/// A program that failed, or that was stopped at a bound, is no error: see [`Ending`](super::Ending).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A value of the configuration, or of what was to be run, is out of its range.
    #[error("the sandbox is configured badly")]
    Config(#[source] ConfigError),
    /// The machine lacks layers that the configured minimum asks for.
    #[error("refused to run unprotected: {}", join(.missing))]
    Unprotected {
        /// Each that is missing, with why.
        missing: Vec<NotInForce>,
    },
    /// The project is larger than a copy may be.
    #[error("project {root} is not copied: more than {limit} {unit}")]
    TooLarge {
        /// The project.
        root: String,
        /// What the configuration allows.
        limit: u64,
        /// `bytes`, `files` or `folders within each other`.
        unit: &'static str,
    },
    /// A file or folder could not be read or written.
    #[error("{what} {}", .path.display())]
    File {
        /// What was tried: `copy`, `read`, `create`, `digest`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The program could not be started, or not be watched.
    #[error("{what}")]
    Start {
        /// What was tried, and what came of it.
        what: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The context was cancelled, or its deadline passed, before the program was started.
    #[error("not started: {0}")]
    NotStarted(&'static str),
}

impl SandboxError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::TooLarge { .. } => ErrorKind::Permanent,
            Self::Unprotected { .. } => ErrorKind::Denied,
            Self::File { .. } | Self::Start { .. } => ErrorKind::Transient,
            Self::NotStarted(_) => ErrorKind::Cancelled,
        }
    }

    pub(super) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    pub(super) fn start(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Start { what, source }
    }
}

fn join(missing: &[NotInForce]) -> String {
    let all: Vec<String> = missing.iter().map(ToString::to_string).collect();
    all.join("; ")
}
