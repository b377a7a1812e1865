//! Why a diff could not be read, made or applied.

use std::fmt;

use homeostasis_core::ErrorKind;
use thiserror::Error;

/// A refused diff; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DiffError {
    /// The text is not a unified diff.
    #[error("diff line {line}: found {found:?}, expected {expected}")]
    Parse {
        /// 1-based line of the diff.
        line: usize,
        /// The text there.
        found: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// A path leaves the tree or cannot be written in a diff.
    #[error("diff path {path:?}: expected {expected}")]
    Path {
        /// The path.
        path: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// The source is not what the diff was made for.
    #[error("{0}")]
    Conflict(Box<Conflict>),
    /// The diff does not hold exactly one file, as the call needs.
    #[error("diff of {n_files} files, expected exactly one")]
    NotOneFile {
        /// How many it holds.
        n_files: usize,
    },
    /// A freshly made diff did not turn the old text into the new one.
    #[error("{path}: the diff made does not reproduce the new text")]
    Unsound {
        /// The file.
        path: String,
    },
}

impl DiffError {
    /// What may be done next: [`ErrorKind::Conflict`] if the source is not what the diff was made
    /// for, else [`ErrorKind::Permanent`].
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Parse { .. }
            | Self::Path { .. }
            | Self::NotOneFile { .. }
            | Self::Unsound { .. } => ErrorKind::Permanent,
        }
    }
}

/// Where and why a hunk does not fit the source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The file.
    pub path: String,
    /// 1-based number of the hunk; 0 when the file as a whole conflicts.
    pub hunk: usize,
    /// 1-based line of the source where the hunk belongs.
    pub line: usize,
    /// What does not fit.
    pub reason: ConflictReason,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictReason {
    /// The first line that differs at the stated place; the hunk fits nowhere else either.
    Mismatch {
        /// 1-based line of the source.
        line: usize,
        /// The line of the diff, line break included.
        expected: String,
        /// The line of the source; `None` beyond its end.
        found: Option<String>,
    },
    /// The hunk does not fit at the stated place and fits at several others.
    Ambiguous {
        /// 1-based lines of the source where it fits.
        lines: Vec<usize>,
    },
    /// The source holds the new text already.
    AlreadyApplied,
    /// The hunk would join two lines: one of them ends the file without a line break.
    JoinsLines,
    /// The file to create exists, with other content than nothing.
    Exists,
    /// The file to change or delete is missing.
    Missing,
    /// The diff deletes the file where its new text was asked for.
    Deletes,
    /// The file to delete holds more than the diff removes.
    NotEmptied,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.path, self.line)?;
        if self.hunk > 0 {
            write!(f, "hunk {} does not apply: ", self.hunk)?;
        }
        match &self.reason {
            ConflictReason::Mismatch {
                line,
                expected,
                found,
            } => {
                write!(f, "line {line} expected {expected:?}, found ")?;
                match found {
                    Some(found) => write!(f, "{found:?}"),
                    None => f.write_str("the end of the file"),
                }
            }
            ConflictReason::Ambiguous { lines } => {
                write!(f, "expected one place where it fits, found lines {lines:?}")
            }
            ConflictReason::AlreadyApplied => f.write_str("the change is there already"),
            ConflictReason::JoinsLines => {
                f.write_str("expected the line break that the change relies on, found none")
            }
            ConflictReason::Exists => f.write_str("expected no file, found one"),
            ConflictReason::Missing => f.write_str("expected a file, found none"),
            ConflictReason::Deletes => {
                f.write_str("expected a change of the content, found the file's deletion")
            }
            ConflictReason::NotEmptied => {
                f.write_str("expected all of the file to be removed, found more lines")
            }
        }
    }
}
