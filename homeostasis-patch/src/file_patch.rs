//! A change of one file, bound to the exact bytes it was made for.

use std::path::Path;

use homeostasis_core::Digest;
use homeostasis_core::record::PatchCandidate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    ConfigEdit, DEFAULT_CONTEXT, DiffError, FilePatchError, Format, UnifiedDiff, apply_edits,
};

/// A change of one existing file: what was asked, the diff it became, and the hashes of the bytes
/// before and after.
///
/// It is data: serialized with a `schema_version`, and one of another version is refused.
///
/// ```
/// use homeostasis::patch::{ConfigEdit, FilePatch};
///
/// let source = "[server]\ntimeout_ms = 500 # low\n";
/// let edit = ConfigEdit::set("server.timeout_ms".parse()?, 2_000);
/// let patch = FilePatch::from_edits("app.toml", source, vec![edit])?;
/// let patched = patch.apply(source)?;
/// assert_eq!(patched, "[server]\ntimeout_ms = 2000 # low\n");
/// assert_eq!(patch.inverted().apply(&patched)?, source);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FilePatch {
    /// The version of this format: [`FilePatch::SCHEMA_VERSION`].
    #[serde(deserialize_with = "known_version")]
    pub schema_version: u32,
    /// The file, relative to the root of the tree.
    pub path: String,
    /// Hash of the content the patch applies to.
    pub base_hash: Digest,
    /// Hash of the content it gives.
    pub result_hash: Digest,
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
    /// The version of the serialized form that is written and read.
    pub const SCHEMA_VERSION: u32 = 1;

    /// Makes the edits on `source` and keeps the difference. The format is told by the extension.
    ///
    /// # Errors
    /// - [`FilePatchError::Format`], [`FilePatchError::Edit`], [`FilePatchError::NoChange`].
    /// - [`FilePatchError::Diff`]: the path leaves the tree.
    pub fn from_edits(
        path: &str,
        source: &str,
        edits: Vec<ConfigEdit>,
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
            ..Self::from_texts(path, source, &new)?
        })
    }

    /// The patch that turns `old` into `new`.
    ///
    /// # Errors
    /// - [`FilePatchError::NoChange`]: the texts are equal.
    /// - [`FilePatchError::Diff`]: the path leaves the tree.
    pub fn from_texts(path: &str, old: &str, new: &str) -> Result<Self, FilePatchError> {
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
            schema_version: Self::SCHEMA_VERSION,
            path: path.to_owned(),
            base_hash: Digest::of_bytes(old.as_bytes()),
            result_hash: Digest::of_bytes(new.as_bytes()),
            edits: Vec::new(),
            diff,
            reverts: false,
        })
    }

    /// The patch a candidate stands for, on the text it was made for.
    ///
    /// # Errors
    /// - [`FilePatchError::Drifted`]: `source` does not have the digest `candidate.base`.
    /// - [`FilePatchError::Diff`]: the diff cannot be read, does not change exactly the file
    ///   `candidate.path`, creates or deletes it, or does not fit `source`.
    /// - [`FilePatchError::NoChange`].
    pub fn from_candidate(
        candidate: &PatchCandidate,
        source: &str,
    ) -> Result<Self, FilePatchError> {
        let path = candidate.path.as_str();
        let found = Digest::of_bytes(source.as_bytes());
        if found != candidate.base {
            return Err(FilePatchError::Drifted {
                path: path.to_owned(),
                found,
                expected: candidate.base,
            });
        }
        let refused = |source| FilePatchError::Diff {
            path: path.to_owned(),
            source,
        };
        let diff: UnifiedDiff = candidate.diff.parse().map_err(refused)?;
        let [file] = diff.files() else {
            let n_files = diff.files().len();
            return Err(refused(DiffError::NotOneFile { n_files }));
        };
        if file.path() != path {
            return Err(refused(DiffError::Path {
                path: file.path().to_owned(),
                expected: "the path of the candidate",
            }));
        }
        let new = diff.apply(source).map_err(refused)?;
        Self::from_texts(path, source, &new)
    }

    /// The patched text. The content must be the very bytes the patch was made for, and the result
    /// the very bytes it promised.
    ///
    /// # Errors
    /// - [`FilePatchError::Drifted`]: the file has changed since; see [`FilePatch::rebased`].
    /// - [`FilePatchError::Diff`], [`FilePatchError::Corrupt`]: the patch was altered.
    pub fn apply(&self, source: &str) -> Result<String, FilePatchError> {
        let found = Digest::of_bytes(source.as_bytes());
        if found != self.base_hash {
            let (path, expected) = (self.path.clone(), self.base_hash);
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
        let found = Digest::of_bytes(new.as_bytes());
        if found != self.result_hash {
            let (path, expected) = (self.path.clone(), self.result_hash);
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
    pub fn rebased(&self, source: &str) -> Result<Self, FilePatchError> {
        if self.edits.is_empty() || self.reverts {
            return Err(FilePatchError::NoEdits {
                path: self.path.clone(),
            });
        }
        Self::from_edits(&self.path, source, self.edits.clone())
    }

    /// The patch that restores the exact bytes from before.
    pub fn inverted(&self) -> Self {
        Self {
            schema_version: self.schema_version,
            path: self.path.clone(),
            base_hash: self.result_hash,
            result_hash: self.base_hash,
            edits: self.edits.clone(),
            diff: self.diff.inverted(),
            reverts: !self.reverts,
        }
    }
}

fn known_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let version = u32::deserialize(deserializer)?;
    if version == FilePatch::SCHEMA_VERSION {
        return Ok(version);
    }
    Err(D::Error::custom(format_args!(
        "schema_version = {version}, expected {}",
        FilePatch::SCHEMA_VERSION
    )))
}

#[cfg(test)]
mod tests {
    use homeostasis_core::record::PatchKind;

    use super::*;
    use crate::EditError;

    const SOURCE: &str = "# service\r\nserver:\r\n  timeout_ms: 500 # low\r\n  hosts: [a, b]";

    fn patch() -> FilePatch {
        let edits = vec![
            ConfigEdit::set("server.timeout_ms".parse().unwrap(), 2000).expecting(500),
            ConfigEdit::insert("server.hosts[2]".parse().unwrap(), "c"),
        ];
        FilePatch::from_edits("conf/app.yaml", SOURCE, edits).unwrap()
    }

    #[test]
    fn patch_and_its_inverse_restore_the_bytes() {
        let patched = patch().apply(SOURCE).unwrap();
        assert_eq!(
            patched,
            "# service\r\nserver:\r\n  timeout_ms: 2000 # low\r\n  hosts: [a, b, \"c\"]"
        );
        assert_eq!(patch().inverted().apply(&patched).unwrap(), SOURCE);
        assert_eq!(patch().inverted().inverted(), patch());
    }

    #[test]
    fn patch_survives_serialization() {
        let text = serde_json::to_string(&patch()).unwrap();
        assert_eq!(serde_json::from_str::<FilePatch>(&text).unwrap(), patch());
    }

    #[test]
    fn patch_of_another_schema_version_is_refused() {
        let mut value = serde_json::to_value(patch()).unwrap();
        value["schema_version"] = 2.into();
        let error = serde_json::from_value::<FilePatch>(value).unwrap_err();
        assert_eq!(error.to_string(), "schema_version = 2, expected 1");
    }

    #[test]
    fn candidate_whose_diff_names_another_file_is_refused() {
        let made = patch();
        let candidate = |path: &str| {
            let base = made.base_hash;
            let kind = PatchKind::Configuration;
            PatchCandidate::new("test", kind, path, base, made.diff.to_string())
        };
        let read = FilePatch::from_candidate(&candidate("conf/app.yaml"), SOURCE).unwrap();
        assert_eq!(read.result_hash, made.result_hash);
        assert!(matches!(
            FilePatch::from_candidate(&candidate("conf/other.yaml"), SOURCE),
            Err(FilePatchError::Diff {
                source: DiffError::Path { .. },
                ..
            })
        ));
        assert!(matches!(
            FilePatch::from_candidate(&candidate("conf/app.yaml"), "other"),
            Err(FilePatchError::Drifted { .. })
        ));
    }

    #[test]
    fn drifted_file_is_refused_and_edits_can_be_made_anew() {
        let drifted = format!("# moved\r\n{SOURCE}");
        assert!(matches!(
            patch().apply(&drifted),
            Err(FilePatchError::Drifted { .. })
        ));
        let rebased = patch().rebased(&drifted).unwrap();
        assert!(
            rebased
                .apply(&drifted)
                .unwrap()
                .contains("timeout_ms: 2000 # low")
        );
        let healed_by_hand = SOURCE.replace("500", "900");
        assert!(matches!(
            patch().rebased(&healed_by_hand),
            Err(FilePatchError::Edit {
                source: EditError::Unexpected { .. },
                ..
            })
        ));
        assert!(matches!(
            patch().inverted().rebased(SOURCE),
            Err(FilePatchError::NoEdits { .. })
        ));
    }

    #[test]
    fn altered_diff_is_caught_by_the_result_hash() {
        let mut altered = patch();
        let text = altered.diff.to_string().replace("2000", "9000");
        altered.diff = text.parse().unwrap();
        assert!(matches!(
            altered.apply(SOURCE),
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
