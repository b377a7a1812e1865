//! Why a trial came to no verdict.

use homeostasis_core::stage::PatchError;
use homeostasis_core::{ConfigError, ErrorKind};

use crate::FilePatchError;
use crate::sandbox::SandboxError;

/// Why a trial came to no verdict. A patch that fails its tests is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The plan has values out of range.
    #[error("the plan of the trial is bad")]
    Config(#[source] ConfigError),
    /// The sandbox refused or failed.
    #[error("the sandbox did not run {test}")]
    Sandbox {
        /// Which test, or `the copy`.
        test: String,
        /// Why.
        #[source]
        source: SandboxError,
    },
    /// The patch could not be applied to the copy.
    #[error("the patch does not apply to the copy of the project")]
    Patch(#[source] FilePatchError),
    /// A file of the plan could not be written into the copy.
    #[error("{path} of the plan could not be written into the copy")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The source of the triggers could not say them.
    #[error("the triggers of the trial are not known")]
    Trigger(#[source] PatchError),
    /// The project was changed while it was copied for the second time.
    #[error("the project changed during the trial")]
    ProjectChanged,
    /// The context was cancelled, or its deadline passed.
    #[error("the trial was cancelled or ran out of time")]
    Cancelled,
}

impl TrialError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) => ErrorKind::Permanent,
            Self::Sandbox { source, .. } => source.kind(),
            Self::Patch(source) => source.kind(),
            Self::Trigger(source) => source.kind(),
            Self::File { .. } => ErrorKind::Transient,
            Self::ProjectChanged => ErrorKind::Conflict,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    pub(super) fn sandbox(test: &str) -> impl FnOnce(SandboxError) -> Self {
        move |source| match source {
            SandboxError::NotStarted(_) => Self::Cancelled,
            source => Self::Sandbox {
                test: test.to_owned(),
                source,
            },
        }
    }
}
