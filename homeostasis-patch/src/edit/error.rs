//! Why a configuration edit was refused.

use homeostasis_core::ErrorKind;
use thiserror::Error;

use super::Format;

/// A refused edit; the source is untouched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EditError {
    /// The text is not a configuration path.
    #[error("configuration path {text:?}, byte {at}: expected {expected}")]
    Path {
        /// The text as given.
        text: String,
        /// Byte offset of the problem.
        at: usize,
        /// What would have been accepted there.
        expected: &'static str,
    },
    /// The file is not a valid document of its format.
    #[error("line {line}, column {column}: not valid {format}: {message}")]
    Parse {
        /// The format it was read as.
        format: Format,
        /// 1-based line.
        line: usize,
        /// 1-based column, in characters.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// The path leads nowhere.
    #[error("{path}: not found{}", nearest_note(.nearest.as_deref()))]
    NotFound {
        /// The shortest prefix of the path that does not exist.
        path: String,
        /// The most similar existing sibling (or the valid index range), if there is one.
        nearest: Option<String>,
    },
    /// An insertion found the key already there.
    #[error("{path}: exists already, expected a new key")]
    Exists {
        /// The path of the insertion.
        path: String,
    },
    /// A step of the path enters something of another kind.
    #[error("{path}: found {found}, expected {expected}")]
    WrongKind {
        /// The place.
        path: String,
        /// What is there.
        found: &'static str,
        /// What the edit needs there.
        expected: &'static str,
    },
    /// The value there is not the one the edit was made for.
    #[error("{path}: found the value {found}, expected {expected}")]
    Unexpected {
        /// The place.
        path: String,
        /// The value in the file.
        found: String,
        /// The value named by the edit's precondition.
        expected: String,
    },
    /// A mapping names a key twice, so a path means two places.
    #[error("{path}: key is defined twice, expected one definition")]
    DuplicateKey {
        /// The path of the key.
        path: String,
    },
    /// The edit cannot be made here without risk to other bytes or other values.
    #[error("{path}: found {found}, expected {expected}")]
    Unsafe {
        /// The place.
        path: String,
        /// What makes it unsafe.
        found: String,
        /// What to do instead.
        expected: &'static str,
    },
    /// The value cannot be written in this format.
    #[error("{path}: value {value} cannot be written in {format}, expected {expected}")]
    Unrepresentable {
        /// The place.
        path: String,
        /// The value, as JSON.
        value: String,
        /// The format.
        format: Format,
        /// What it could hold.
        expected: &'static str,
    },
    /// The edited text did not read back as the original plus the requested change.
    #[error("{path}: the edited text would not read back as asked ({detail}), nothing was changed")]
    Postcondition {
        /// The place.
        path: String,
        /// What differed.
        detail: String,
    },
}

impl EditError {
    /// What may be done next: [`ErrorKind::Conflict`] if the value changed in between, else
    /// [`ErrorKind::Permanent`].
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unexpected { .. } => ErrorKind::Conflict,
            Self::Path { .. }
            | Self::Parse { .. }
            | Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::WrongKind { .. }
            | Self::DuplicateKey { .. }
            | Self::Unsafe { .. }
            | Self::Unrepresentable { .. }
            | Self::Postcondition { .. } => ErrorKind::Permanent,
        }
    }
}

fn nearest_note(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |n| format!(", nearest existing is {n}"))
}
