//! What is handed over: patches, and what a reviewer must know of them.

use homeostasis_core::record::{PatchCandidate, RiskLevel};
use homeostasis_core::{Digest, IncidentId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{HandOverError, review};
use crate::{FilePatch, FilePatchError};

/// Patches of one incident that belong together: a proposal that is handed over all or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ChangeSet {
    /// The incident that they are about.
    pub incident: IncidentId,
    /// When they were proposed.
    pub at: Timestamp,
    /// The changes, at most one of each file.
    pub patches: Vec<PatchCandidate>,
    /// Why it happened, as diagnosed; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What the diagnosis rests on, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// What the patches passed before, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<String>,
}

impl ChangeSet {
    /// A proposal that says nothing of why, of evidence and of tests.
    pub fn new(
        incident: IncidentId,
        at: Timestamp,
        patches: impl IntoIterator<Item = PatchCandidate>,
    ) -> Self {
        Self {
            incident,
            at,
            patches: patches.into_iter().collect(),
            why: String::new(),
            evidence: Vec::new(),
            tests: Vec::new(),
        }
    }

    /// What an approval is bound to: everything in the patches, and nothing else. Words about them
    /// may be added after it was given.
    pub fn hash(&self) -> Digest {
        Digest::of(&self.patches)
    }

    /// One line for people: the first file, and what is done to it.
    pub fn subject(&self) -> String {
        review::subject(self)
    }

    /// The worst risk of the patches; high if there is none.
    pub fn risk(&self) -> RiskLevel {
        let risks = self.patches.iter().map(|patch| patch.risk);
        risks.max().unwrap_or(RiskLevel::High)
    }

    /// What each patch becomes on the text that `read` gives for its path, with that text.
    pub(super) fn bind(
        &self,
        mut read: impl FnMut(&str) -> Result<String, HandOverError>,
    ) -> Result<Vec<Change>, HandOverError> {
        if self.patches.is_empty() {
            return Err(HandOverError::Empty);
        }
        let mut changes: Vec<Change> = Vec::with_capacity(self.patches.len());
        for candidate in &self.patches {
            if changes
                .iter()
                .any(|known| known.patch.path == candidate.path)
            {
                let path = candidate.path.clone();
                return Err(HandOverError::Twice { path });
            }
            let old = read(&candidate.path)?;
            let patch = FilePatch::from_candidate(candidate, &old)?;
            let new = patch.apply(&old)?;
            changes.push(Change { patch, old, new });
        }
        Ok(changes)
    }
}

/// One patch on the text it was made for.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) patch: FilePatch,
    pub(super) old: String,
    pub(super) new: String,
}

impl From<FilePatchError> for HandOverError {
    fn from(source: FilePatchError) -> Self {
        Self::Patch { source }
    }
}
