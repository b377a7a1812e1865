//! Why a patch of a file was not made, applied or taken back.

use std::io;

use homeostasis_core::{Digest, ErrorKind};
use thiserror::Error;

use crate::{DiffError, EditError};

/// Why a file patch was refused; the file is then as it was, save for one case of [`FilePatchError::Io`]
/// that [`apply_candidate`](crate::apply_candidate) names.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilePatchError {
    /// The file's extension names no format that can be edited.
    #[error("{path}: unknown format, expected one of toml, yaml, yml, json, jsonc")]
    Format {
        /// The file.
        path: String,
    },
    /// The edits change nothing.
    #[error("{path}: the edits change nothing, expected a change")]
    NoChange {
        /// The file.
        path: String,
    },
    /// The file is not the one the patch was made for.
    #[error("{path}: found content with hash {found}, expected {expected}")]
    Drifted {
        /// The file.
        path: String,
        /// Hash of the content given.
        found: Digest,
        /// Hash of the content the patch was made for.
        expected: Digest,
    },
    /// The diff gave another text than the one promised.
    #[error("{path}: the patch gives content with hash {found}, expected {expected}")]
    Corrupt {
        /// The file.
        path: String,
        /// Hash of the result.
        found: Digest,
        /// Hash of the promised result.
        expected: Digest,
    },
    /// The patch has no edits that could be made anew on other content.
    #[error("{path}: made from a diff or reverting one, expected a patch made from edits")]
    NoEdits {
        /// The file.
        path: String,
    },
    /// An edit was refused.
    #[error("{path}: edit refused")]
    Edit {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: EditError,
    },
    /// The diff does not apply.
    #[error("{path}: diff refused")]
    Diff {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: DiffError,
    },
    /// There is no such file.
    #[error("{path}: no such file, expected one below the root")]
    Missing {
        /// The file.
        path: String,
    },
    /// The file is not one that may be read or replaced.
    #[error("{path}: found {found}, expected {expected}")]
    Refused {
        /// The file.
        path: String,
        /// What was found.
        found: String,
        /// What would have been accepted.
        expected: &'static str,
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

impl FilePatchError {
    /// What may be done next: [`ErrorKind::Conflict`] if the content changed in between,
    /// [`ErrorKind::Denied`] if the file may not be touched, [`ErrorKind::Transient`] for a file
    /// system that is busy or full, else [`ErrorKind::Permanent`].
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Drifted { .. } => ErrorKind::Conflict,
            Self::Edit { source, .. } => source.kind(),
            Self::Diff { source, .. } => source.kind(),
            Self::Refused { .. } => ErrorKind::Denied,
            Self::Io { source, .. } => Self::kind_of(source),
            Self::Format { .. }
            | Self::NoChange { .. }
            | Self::Corrupt { .. }
            | Self::NoEdits { .. }
            | Self::Missing { .. } => ErrorKind::Permanent,
        }
    }

    /// What may be done about a file system that failed so.
    pub(crate) fn kind_of(error: &io::Error) -> ErrorKind {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::Denied
            }
            io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::ResourceBusy
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::StorageFull => ErrorKind::Transient,
            _ => ErrorKind::Permanent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_tells_a_full_disk_from_a_forbidden_file_and_a_changed_one() {
        let io = |kind| FilePatchError::Io {
            path: "a".to_owned(),
            doing: "writing",
            source: io::Error::from(kind),
        };
        let cases = [
            (io(io::ErrorKind::StorageFull), ErrorKind::Transient),
            (io(io::ErrorKind::PermissionDenied), ErrorKind::Denied),
            (io(io::ErrorKind::InvalidData), ErrorKind::Permanent),
        ];
        for (error, kind) in cases {
            assert_eq!(error.kind(), kind, "{error:?}");
        }
        let drifted = FilePatchError::Edit {
            path: "a".to_owned(),
            source: EditError::Unexpected {
                path: "b".to_owned(),
                found: "1".to_owned(),
                expected: "2".to_owned(),
            },
        };
        assert_eq!(drifted.kind(), ErrorKind::Conflict);
    }
}
