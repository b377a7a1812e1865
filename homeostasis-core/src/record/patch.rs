//! Patch candidates: a change of text that would fix it, not yet applied anywhere.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::record::{RecoveryStrategy, RiskLevel};
use crate::unit::Confidence;

/// What a patch changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PatchKind {
    /// Settings.
    Configuration,
    /// Source code.
    Code,
}

impl fmt::Display for PatchKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "configuration",
            Self::Code => "code",
        })
    }
}

/// Whether a path is not one inside the project, or not its plainest spelling: two spellings of one
/// file would be counted apart.
pub(crate) fn leaves_project(path: &str) -> bool {
    let is_odd = |part: &str| matches!(part, "" | "." | "..");
    path.contains('\\') || path.split('/').any(is_odd)
}

/// One proposed change, as a unified diff bound to the text it was made for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PatchCandidate {
    /// Which patcher proposes it.
    pub patcher: String,
    /// What it changes.
    pub kind: PatchKind,
    /// The file, relative to the project.
    pub path: String,
    /// The digest of the text the diff was made for.
    pub base: Digest,
    /// The change, as a unified diff.
    pub diff: String,
    /// What it changes for which inputs, in words.
    pub explanation: String,
    /// How sure.
    pub confidence: Confidence,
    /// How dangerous.
    pub risk: RiskLevel,
    /// Which template it was made from; empty if from none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// What the program does after the change for which inputs, in words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub behaviour: String,
    /// How the program goes on where it failed before; `None` if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryStrategy>,
    /// Whether people must see it before it is applied, whatever the tests say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_review: bool,
}

impl PatchCandidate {
    /// A candidate of high risk and no confidence.
    pub fn new(
        patcher: impl Into<String>,
        kind: PatchKind,
        path: impl Into<String>,
        base: Digest,
        diff: impl Into<String>,
    ) -> Self {
        Self {
            patcher: patcher.into(),
            kind,
            path: path.into(),
            base,
            diff: diff.into(),
            explanation: String::new(),
            confidence: Confidence::ZERO,
            risk: RiskLevel::High,
            template: String::new(),
            behaviour: String::new(),
            recovery: None,
            requires_review: false,
        }
    }

    /// What an approval is bound to.
    pub fn hash(&self) -> Digest {
        Digest::of(self)
    }

    /// The post-conditions the engine checks of what a patcher returns, as a sentence if broken.
    pub fn violation(&self) -> Option<String> {
        if self.diff.trim().is_empty() {
            return Some(format!("a patch of {:?} that changes nothing", self.path));
        }
        leaves_project(&self.path)
            .then(|| format!("path {:?}, expected one inside the project", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_of_before_templates_are_still_read_and_hash_the_same() {
        let base = Digest::of_bytes(b"a");
        let made = PatchCandidate::new("p", PatchKind::Code, "a.py", base, "d");
        let text = serde_json::to_string(&made).unwrap();
        assert!(!text.contains("template") && !text.contains("requires_review"));
        let read: PatchCandidate = serde_json::from_str(&text).unwrap();
        assert_eq!((read.hash(), &read), (made.hash(), &made));
        assert!(!text.contains("recovery"));
        let reviewed = PatchCandidate {
            requires_review: true,
            ..made.clone()
        };
        assert_ne!(reviewed.hash(), made.hash());
    }
}
