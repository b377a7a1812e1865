//! Runs: steps between durable intents and durable outcomes, forward and back.
//!
//! [`execute`] and [`undo`] work for every plan whose actions are in the registry, whoever made it:
//! a remediator of one's own needs to plan only.
//!
//! | effect class | an attempt without a recorded outcome is … |
//! |---|---|
//! | read, idempotent, keyed | repeated with the same key |
//! | probeable | probed: recorded if it happened, repeated if it did not, handed to people if nobody can tell |
//! | opaque | never repeated: handed to people |
//!
//! An attempt is without a recorded outcome after a crash, and also when its time ran out.

mod attempt;
mod back;
#[cfg(test)]
mod capture_tests;
mod forward;
#[cfg(test)]
#[cfg(all(feature = "files", feature = "process", target_os = "linux"))]
mod injection_tests;
#[cfg(test)]
mod law_tests;
mod parallel;
#[cfg(test)]
mod parallel_tests;
#[cfg(test)]
mod plan_tests;
mod remediator;
mod score;
mod select;

use homeostasis_core::record::Outcome;
use homeostasis_core::stage::{ExecuteError, RunLogError};

pub use back::undo;
pub use forward::execute;
pub use remediator::PlaybookRemediator;

/// How often an attempt may vanish without a recorded outcome beyond the step's attempts before
/// the step is taken to be what kills the process.
pub const MAX_RESUMES: u32 = 3;

/// Undo is tried at least this often: leaving the world half changed is worse than trying again.
pub const MIN_UNDO_ATTEMPTS: u32 = 3;

/// Undo of what a person ordered is tried at least this often where it may be repeated.
pub const ORDERED_UNDO_ATTEMPTS: u32 = 200;

/// The outcome of a run that the log refused to go on with, or why there is none.
fn refused(error: RunLogError) -> Result<Outcome, ExecuteError> {
    match error {
        RunLogError::Expired { .. } | RunLogError::Stopped => Ok(error.halted()),
        RunLogError::NotPermitted { .. } | RunLogError::Permit(_) => {
            let cause = std::error::Error::source(&error)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            Err(ExecuteError::Denied {
                reason: format!("{error}{cause}"),
            })
        }
        error => Err(unwritten(error)),
    }
}

/// The journal did not take a record: what happened is not known to it, recovery must look.
fn unwritten(error: RunLogError) -> ExecuteError {
    ExecuteError::Failed {
        what: "writing the run's log".to_owned(),
        kind: error.kind(),
        source: Some(error.into()),
    }
}
