//! Why a patch was not handed over or not taken back.

use std::io;

use homeostasis_core::{Digest, ErrorKind};
use thiserror::Error;

use crate::FilePatchError;

/// Why a patch was not handed over or not taken back; what was there is as it was, unless the
/// variant says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// It is not what was approved.
    #[error("the approval is for patches with hash {approved}, these have {shown}")]
    NotApproved {
        /// The hash of what was shown.
        shown: Digest,
        /// The hash that was approved.
        approved: Digest,
    },
    /// There is nothing to hand over.
    #[error("a proposal without patches, expected at least one")]
    Empty,
    /// Two patches of one file.
    #[error("{path}: patched twice in one proposal, expected once")]
    Twice {
        /// The file.
        path: String,
    },
    /// A patch was refused: its file has drifted, may not be touched, the diff does not fit.
    #[error(transparent)]
    Patch {
        /// Why.
        source: FilePatchError,
    },
    /// Something else has the name that this would get.
    #[error("{place} exists with other content, expected nothing or this very patch")]
    Taken {
        /// The file or the branch.
        place: String,
    },
    /// Somebody else is at work on the same sessions.
    #[error("{place} is in use by another process or thread")]
    Busy {
        /// The folder of the sessions.
        place: String,
    },
    /// A session that was interrupted could not be settled, because somebody changed its files.
    #[error(
        "session {session} was interrupted and its files were changed since ({}); roll it back by \
         force or restore them",
        paths.join(", ")
    )]
    Unsettled {
        /// The session.
        session: String,
        /// The files that are neither the old nor the new version.
        paths: Vec<String>,
    },
    /// There is no such session, or it holds no change any more.
    #[error("session {session:?}: {reason}")]
    Session {
        /// Which was asked for.
        session: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Git refused or failed.
    #[error("git {doing}: {detail}")]
    Git {
        /// What it was told to do.
        doing: String,
        /// What it said.
        detail: String,
        /// Whether trying again may help.
        kind: ErrorKind,
    },
    /// The file system failed.
    #[error("{path}: {doing} failed")]
    Io {
        /// The file or folder.
        path: String,
        /// What was tried.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl HandOverError {
    /// What may be done next: [`ErrorKind::Conflict`] if something changed in between,
    /// [`ErrorKind::Denied`] if it was not approved or may not be touched,
    /// [`ErrorKind::Transient`] if trying again may help, else [`ErrorKind::Permanent`].
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotApproved { .. } => ErrorKind::Denied,
            Self::Empty | Self::Twice { .. } | Self::Session { .. } => ErrorKind::Permanent,
            Self::Patch { source } => source.kind(),
            Self::Taken { .. } | Self::Unsettled { .. } => ErrorKind::Conflict,
            Self::Busy { .. } => ErrorKind::Transient,
            Self::Git { kind, .. } => *kind,
            Self::Io { source, .. } => FilePatchError::kind_of(source),
        }
    }
}
