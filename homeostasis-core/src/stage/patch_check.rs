//! Checks of patches: what a patch must pass before it touches anything that runs.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::record::{PatchCandidate, RiskLevel};
use crate::stage::PatchError;

/// What a check says of patches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PatchReport {
    /// Why they must not be applied, if they must not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What was seen, a sentence each: what ran, what it rests on, what could not be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl PatchReport {
    /// They passed.
    pub fn passed(notes: impl IntoIterator<Item = String>) -> Self {
        Self {
            refused: None,
            notes: notes.into_iter().collect(),
        }
    }

    /// They did not, because of `reason`.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self {
            refused: Some(reason.into()),
            notes: Vec::new(),
        }
    }
}

/// What it means that a patch passed a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PatchProof {
    /// Its text was judged: it brings no new danger and takes no protection away.
    Validated,
    /// It ran: the fault shows without it and not with it, and the tests of the service pass.
    Tested,
}

impl fmt::Display for PatchProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validated => "validated",
            Self::Tested => "tested",
        })
    }
}

/// Looks at patches before they are applied: a validator, tests on a copy in a sandbox.
///
/// # Guarantees
/// Everything that is handed over has passed all checks, in the order they were given, after the
/// gate let the plan pass. A check that failed to come to an answer counts as a refusal.
///
/// # Assumptions
/// It changes nothing below `root`, and leaves nothing behind when its future is dropped. The same
/// patches on the same tree get the same answer, but for tests that are flaky, which it says.
#[async_trait]
#[diagnostic::on_unimplemented(note = "implement `PatchCheck` with `#[async_trait]`")]
pub trait PatchCheck: fmt::Debug + Send + Sync {
    /// Stable; used in journals and messages.
    fn name(&self) -> &str;

    /// Checks `patches`, which are applied together, against the project at `root`.
    ///
    /// # Errors
    /// If it cannot be told; what is worth another attempt has such a
    /// [kind](crate::ErrorKind::is_retryable).
    async fn check(
        &self,
        cx: &Context,
        patches: &[PatchCandidate],
        root: &Path,
    ) -> Result<PatchReport, PatchError>;

    /// How risky it takes `patch` to be, if it judges that; asked before the plan is made. The gate
    /// decides by the highest of the answers and what the patcher said.
    ///
    /// # Errors
    /// If it should know and cannot tell: the patch is then passed over.
    async fn risk(
        &self,
        cx: &Context,
        patch: &PatchCandidate,
        root: &Path,
    ) -> Result<Option<RiskLevel>, PatchError> {
        let _ = (cx, patch, root);
        Ok(None)
    }

    /// What passing it proves. What is not proven of a patch of what runs, people must approve; so a
    /// check that claims too much lets patches through that nobody looked at. Default nothing.
    fn proves(&self) -> BTreeSet<PatchProof> {
        BTreeSet::new()
    }

    /// Removes what a killed life of this program left behind; called once when the engine starts, before
    /// anything is checked. It touches nothing of a process that lives. Default: there is nothing.
    ///
    /// # Errors
    /// If something may still be there; the engine says so and starts all the same.
    async fn recover(&self) -> Result<(), PatchError> {
        Ok(())
    }
}

const _: fn(&dyn PatchCheck) = |_| {};

#[async_trait]
impl<T: PatchCheck + ?Sized> PatchCheck for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    async fn check(
        &self,
        cx: &Context,
        patches: &[PatchCandidate],
        root: &Path,
    ) -> Result<PatchReport, PatchError> {
        (**self).check(cx, patches, root).await
    }

    async fn risk(
        &self,
        cx: &Context,
        patch: &PatchCandidate,
        root: &Path,
    ) -> Result<Option<RiskLevel>, PatchError> {
        (**self).risk(cx, patch, root).await
    }

    fn proves(&self) -> BTreeSet<PatchProof> {
        (**self).proves()
    }

    async fn recover(&self) -> Result<(), PatchError> {
        (**self).recover().await
    }
}
