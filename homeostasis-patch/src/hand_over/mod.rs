//! Handing a patch over: as a file for review, as a branch, or into the live tree.

mod branch;
mod change_set;
mod error;
mod git;
#[cfg(test)]
mod kill_tests;
mod live_tree;
mod patch_folder;
mod recovery;
mod review;
mod session;

use std::fmt;

use homeostasis_core::Digest;
use serde::{Deserialize, Serialize};

pub use branch::{Author, PatchBranch};
pub use change_set::ChangeSet;
pub use error::HandOverError;
#[cfg(test)]
pub(crate) use kill_tests::killable;
pub use live_tree::{LiveTree, RolledBack};
pub use patch_folder::PatchFolder;
pub use recovery::Settled;
pub use session::{Overwritten, Session, SessionFile, SessionState};

/// Where a patch was handed over to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Receipt {
    /// The way it went: [`HandOver::name`].
    pub way: String,
    /// Where it is: the name of the file, of the branch or of the session.
    pub place: String,
    /// [`ChangeSet::hash`] of what was handed over.
    pub hash: Digest,
}

/// A way to hand a patch over. All calls block on the file system.
///
/// **Warning**: an implementation asks nobody. Who calls it holds a permit of the gate for exactly
/// this proposal: the engine's action `apply_patch` does, whose step is bound to the hash of the
/// plan that was approved.
///
/// # Guarantees
/// The caller hands over what was approved only: `approved` is what the approval was given to.
///
/// # Assumptions
/// - `hand_over` refuses a proposal with another [hash](ChangeSet::hash) than `approved`, and
///   one whose base is not what is there; all of the proposal is handed over or nothing.
/// - Repeating `hand_over` or `take_back` changes nothing, also after a crash in the middle.
/// - `find` changes nothing that anybody reads.
pub trait HandOver: fmt::Debug + Send + Sync {
    /// Stable; used in plans and journals.
    fn name(&self) -> &str;

    /// Whether it changes what runs. What does not is a proposal for people, and is not taken back
    /// when the trouble stays.
    fn is_live(&self) -> bool;

    /// Hands over.
    ///
    /// # Errors
    /// See [`HandOverError`]; nothing was handed over.
    fn hand_over(&self, proposal: &ChangeSet, approved: Digest) -> Result<Receipt, HandOverError>;

    /// Whether this very proposal is handed over, and where.
    ///
    /// # Errors
    /// If it cannot be told.
    fn find(&self, proposal: &ChangeSet) -> Result<Option<Receipt>, HandOverError>;

    /// Settles what a kill interrupted, and gives a sentence for each thing that people must settle;
    /// called when the healer starts. By default there is nothing.
    ///
    /// # Errors
    /// If it cannot be told; every later call tries again.
    fn recover(&self) -> Result<Vec<String>, HandOverError> {
        Ok(Vec::new())
    }

    /// Takes the proposal back; `false` if there was nothing to take back.
    ///
    /// # Errors
    /// If somebody changed since what was handed over; that change is kept.
    fn take_back(&self, proposal: &ChangeSet) -> Result<bool, HandOverError>;
}

const _: fn(&dyn HandOver) = |_| {};

/// Refuses what was not approved.
fn check_approval(proposal: &ChangeSet, approved: Digest) -> Result<(), HandOverError> {
    let shown = proposal.hash();
    if shown == approved {
        return Ok(());
    }
    Err(HandOverError::NotApproved { shown, approved })
}
