//! A change of one file, bound to the exact bytes it was made for.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ConfigEdit, DEFAULT_CONTEXT, DiffError, EditError, Format, UnifiedDiff, apply_edits};

/// Why a file patch was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
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
        found: String,
        /// Hash of the content the patch was made for.
        expected: String,
    },
    /// The diff gave another text than the one promised.
    #[error("{path}: the patch gives content with hash {found}, expected {expected}")]
    Corrupt {
        /// The file.
        path: String,
        /// Hash of the result.
        found: String,
        /// Hash of the promised result.
        expected: String,
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
}

/// A change of one existing file: what was asked, the diff it became, and the hashes of the bytes
/// before and after.
///
/// The hash function is the caller's (any that resists collisions, such as SHA-256 in hex) and
/// must be the same in every call.
///
/// ```
/// use homeostasis::patch::{ConfigEdit, FilePatch};
///
/// # fn sha256_hex(bytes: &[u8]) -> String { format!("{bytes:?}") }
/// let source = "[server]\ntimeout_ms = 500 # low\n";
/// let edit = ConfigEdit::set("server.timeout_ms".parse()?, 2_000);
/// let patch = FilePatch::from_edits("app.toml", source, vec![edit], sha256_hex)?;
/// let patched = patch.apply(source, sha256_hex)?;
/// assert_eq!(patched, "[server]\ntimeout_ms = 2000 # low\n");
/// assert_eq!(patch.inverted().apply(&patched, sha256_hex)?, source);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FilePatch {
    /// The file, relative to the root of the tree.
    pub path: String,
    /// Hash of the content the patch applies to.
    pub base_hash: String,
    /// Hash of the content it gives.
    pub result_hash: String,
    /// The edits asked for; empty when the patch was made from two texts.
    #[serde(default)]
    pub edits: Vec<ConfigEdit>,
    /// The change itself.
    pub diff: UnifiedDiff,
    /// The patch undoes the edits instead of making them.
    #[serde(default)]
    pub reverts: bool,
}

impl FilePatch {
    /// Makes the edits on `source` and keeps the difference. The format is told by the extension.
    ///
    /// # Errors
    /// - [`FilePatchError::Format`], [`FilePatchError::Edit`], [`FilePatchError::NoChange`].
    /// - [`FilePatchError::Diff`]: the path leaves the tree.
    pub fn from_edits(
        path: &str,
        source: &str,
        edits: Vec<ConfigEdit>,
        hash: impl Fn(&[u8]) -> String,
    ) -> Result<Self, FilePatchError> {
        let format = Format::from_path(Path::new(path)).ok_or_else(|| FilePatchError::Format {
            path: path.to_owned(),
        })?;
        let new = apply_edits(source, format, &edits).map_err(|source| FilePatchError::Edit {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            edits,
            ..Self::from_texts(path, source, &new, hash)?
        })
    }

    /// The patch that turns `old` into `new`.
    ///
    /// # Errors
    /// - [`FilePatchError::NoChange`]: the texts are equal.
    /// - [`FilePatchError::Diff`]: the path leaves the tree.
    pub fn from_texts(
        path: &str,
        old: &str,
        new: &str,
        hash: impl Fn(&[u8]) -> String,
    ) -> Result<Self, FilePatchError> {
        let diff = UnifiedDiff::between(path, Some(old), Some(new), DEFAULT_CONTEXT).map_err(
            |source| FilePatchError::Diff {
                path: path.to_owned(),
                source,
            },
        )?;
        if diff.is_empty() {
            return Err(FilePatchError::NoChange {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            base_hash: hash(old.as_bytes()),
            result_hash: hash(new.as_bytes()),
            edits: Vec::new(),
            diff,
            reverts: false,
        })
    }

    /// The patched text. The content must be the very bytes the patch was made for, and the result
    /// the very bytes it promised.
    ///
    /// # Errors
    /// - [`FilePatchError::Drifted`]: the file has changed since; see [`FilePatch::rebased`].
    /// - [`FilePatchError::Diff`], [`FilePatchError::Corrupt`]: the patch was altered.
    pub fn apply(
        &self,
        source: &str,
        hash: impl Fn(&[u8]) -> String,
    ) -> Result<String, FilePatchError> {
        let found = hash(source.as_bytes());
        if found != self.base_hash {
            let (path, expected) = (self.path.clone(), self.base_hash.clone());
            return Err(FilePatchError::Drifted {
                path,
                found,
                expected,
            });
        }
        let new = self
            .diff
            .apply(source)
            .map_err(|source| FilePatchError::Diff {
                path: self.path.clone(),
                source,
            })?;
        let found = hash(new.as_bytes());
        if found != self.result_hash {
            let (path, expected) = (self.path.clone(), self.result_hash.clone());
            return Err(FilePatchError::Corrupt {
                path,
                found,
                expected,
            });
        }
        Ok(new)
    }

    /// The same edits made anew on content that has drifted: found by path, not by line, and held
    /// to their preconditions. It is another patch, with other hashes: approvals do not carry over.
    ///
    /// # Errors
    /// - [`FilePatchError::NoEdits`]: the patch was made from texts, or is inverted.
    /// - Those of [`FilePatch::from_edits`].
    pub fn rebased(
        &self,
        source: &str,
        hash: impl Fn(&[u8]) -> String,
    ) -> Result<Self, FilePatchError> {
        if self.edits.is_empty() || self.reverts {
            return Err(FilePatchError::NoEdits {
                path: self.path.clone(),
            });
        }
        Self::from_edits(&self.path, source, self.edits.clone(), hash)
    }

    /// The patch that restores the exact bytes from before.
    pub fn inverted(&self) -> Self {
        Self {
            path: self.path.clone(),
            base_hash: self.result_hash.clone(),
            result_hash: self.base_hash.clone(),
            edits: self.edits.clone(),
            diff: self.diff.inverted(),
            reverts: !self.reverts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collision-free, which is all these tests need of a hash.
    fn identity(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    const SOURCE: &str = "# service\r\nserver:\r\n  timeout_ms: 500 # low\r\n  hosts: [a, b]";

    fn patch() -> FilePatch {
        let edits = vec![
            ConfigEdit::set("server.timeout_ms".parse().unwrap(), 2000).expecting(500),
            ConfigEdit::insert("server.hosts[2]".parse().unwrap(), "c"),
        ];
        FilePatch::from_edits("conf/app.yaml", SOURCE, edits, identity).unwrap()
    }

    #[test]
    fn patch_and_its_inverse_restore_the_bytes() {
        let patched = patch().apply(SOURCE, identity).unwrap();
        assert_eq!(
            patched,
            "# service\r\nserver:\r\n  timeout_ms: 2000 # low\r\n  hosts: [a, b, \"c\"]"
        );
        assert_eq!(
            patch().inverted().apply(&patched, identity).unwrap(),
            SOURCE
        );
        assert_eq!(patch().inverted().inverted(), patch());
    }

    #[test]
    fn patch_survives_serialization() {
        let text = serde_json::to_string(&patch()).unwrap();
        assert_eq!(serde_json::from_str::<FilePatch>(&text).unwrap(), patch());
    }

    #[test]
    fn drifted_file_is_refused_and_edits_can_be_made_anew() {
        let drifted = format!("# moved\r\n{SOURCE}");
        assert!(matches!(
            patch().apply(&drifted, identity),
            Err(FilePatchError::Drifted { .. })
        ));
        let rebased = patch().rebased(&drifted, identity).unwrap();
        assert!(
            rebased
                .apply(&drifted, identity)
                .unwrap()
                .contains("timeout_ms: 2000 # low")
        );
        let healed_by_hand = SOURCE.replace("500", "900");
        assert!(matches!(
            patch().rebased(&healed_by_hand, identity),
            Err(FilePatchError::Edit {
                source: EditError::Unexpected { .. },
                ..
            })
        ));
        assert!(matches!(
            patch().inverted().rebased(SOURCE, identity),
            Err(FilePatchError::NoEdits { .. })
        ));
    }

    #[test]
    fn altered_diff_is_caught_by_the_result_hash() {
        let mut altered = patch();
        let text = altered.diff.to_string().replace("2000", "9000");
        altered.diff = text.parse().unwrap();
        assert!(matches!(
            altered.apply(SOURCE, identity),
            Err(FilePatchError::Corrupt { .. })
        ));
    }

    #[test]
    fn public_types_are_send_and_sync() {
        fn check<T: Send + Sync + 'static>() {}
        check::<FilePatch>();
        check::<FilePatchError>();
        check::<EditError>();
        check::<DiffError>();
    }
}
