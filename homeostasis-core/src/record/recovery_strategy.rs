//! How a program goes on where it failed before a patch.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a patched program does with the inputs on which it failed before.
///
/// In the order of how much a reader has to know to agree: a right answer needs nothing, a value that stands
/// in may be wrong and travels on unseen.
///
/// Sources: skipping and replacement in B. Cornu, T. Durieux, L. Seinturier, M. Monperrus, "`NPEFix`: automatic
/// runtime repair of null pointer exceptions in Java" (2015), sections 2 and 3; manufactured values in
/// M. Rinard et al., "Enhancing server availability and security through failure-oblivious computing"
/// (OSDI 2004), section 1.
///
/// ```
/// use homeostasis::core::record::RecoveryStrategy;
///
/// assert_eq!(RecoveryStrategy::Propagate.to_string(), "propagate");
/// assert!(RecoveryStrategy::Correct < RecoveryStrategy::Substitute);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecoveryStrategy {
    /// It does there what was meant: nothing is left to recover from.
    Correct,
    /// It tells its caller that it failed: by an error, an exception, or the `None` of an option.
    Propagate,
    /// It leaves the function early, with nothing or with a value that does not say that it failed.
    Return,
    /// It leaves out what it cannot do, and goes on behind it.
    Skip,
    /// It goes on with a value that stands in for the one it could not have.
    Substitute,
}

impl fmt::Display for RecoveryStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Correct => "correct",
            Self::Propagate => "propagate",
            Self::Return => "return",
            Self::Skip => "skip",
            Self::Substitute => "substitute",
        })
    }
}
