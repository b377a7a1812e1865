//! Putting a candidate into a real tree, and taking it back.

use std::path::{Path, PathBuf};

use homeostasis_core::record::PatchCandidate;
use serde::{Deserialize, Serialize};

use crate::project_file::ProjectFile;
use crate::{FilePatch, FilePatchError};

/// What was done to a tree, and how to take it back: data for the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AppliedPatch {
    /// The change that was made.
    pub patch: FilePatch,
    /// The change that restores the bytes from before; give it to [`revert`].
    pub inverse: FilePatch,
    /// The file that holds the content from before, named by its digest, if one was asked for.
    #[serde(default)]
    pub backup: Option<PathBuf>,
}

/// Makes the change of `candidate` in the tree at `root`.
///
/// **Warning**: this changes a live tree and asks nobody. Only an executor that holds a permit for
/// exactly this candidate (see [`PatchCandidate::hash`]) calls it.
///
/// The file is replaced by a rename: readers see the old text or the new one, and after a crash
/// one of the two is there (a temporary file `.homeostasis-*.tmp` may stay beside it).
/// Owner and permissions stay; access lists and extended attributes do not.
/// With `backups`, the old content is kept in that folder (made if missing) under its digest,
/// before anything is changed. Files are at most 4 MiB. It blocks on the file system.
///
/// Repeating it changes nothing: the second time the file has drifted from `candidate.base`.
///
/// # Errors
/// - [`FilePatchError::Drifted`]: the present text is not the one the candidate was made for.
/// - [`FilePatchError::Missing`]: there is no such file.
/// - [`FilePatchError::Refused`]: the path leaves `root` or leads over a symbolic link; the file is
///   not regular, read-only, hard-linked, too large or not UTF-8.
/// - [`FilePatchError::Diff`], [`FilePatchError::NoChange`]: see [`FilePatch::from_candidate`].
/// - [`FilePatchError::Io`]: nothing was changed, unless flushing the folder after the
///   replacement is what failed: then the new text is there, but may not survive a power cut.
///
/// # Examples
/// ```
/// use homeostasis::core::record::{PatchCandidate, PatchKind};
/// use homeostasis::patch::{ConfigEdit, FilePatch, apply_candidate, revert};
///
/// let root = tempfile::tempdir()?;
/// let file = root.path().join("app.toml");
/// std::fs::write(&file, "timeout_ms = 500\n")?;
/// let edit = ConfigEdit::set("timeout_ms".parse()?, 1_000);
/// let patch = FilePatch::from_edits("app.toml", "timeout_ms = 500\n", vec![edit])?;
/// let candidate = PatchCandidate::new(
///     "docs",
///     PatchKind::Configuration,
///     "app.toml",
///     patch.base_hash,
///     patch.diff.to_string(),
/// );
///
/// let applied = apply_candidate(&candidate, root.path(), None)?;
/// assert_eq!(std::fs::read_to_string(&file)?, "timeout_ms = 1000\n");
/// assert!(revert(&applied.inverse, root.path())?);
/// assert_eq!(std::fs::read_to_string(&file)?, "timeout_ms = 500\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn apply_candidate(
    candidate: &PatchCandidate,
    root: &Path,
    backups: Option<&Path>,
) -> Result<AppliedPatch, FilePatchError> {
    let file = ProjectFile::read(root, &candidate.path)?;
    let patch = FilePatch::from_candidate(candidate, file.text())?;
    let new = patch.apply(file.text())?;
    let backup = backups.map(|folder| file.back_up(folder)).transpose()?;
    file.replace(&new)?;
    Ok(AppliedPatch {
        inverse: patch.inverted(),
        patch,
        backup,
    })
}

/// Takes a change back: makes `inverse` in the tree at `root`, the same way and under the same
/// **warning** as [`apply_candidate`].
///
/// It gives whether the file was changed. `false` says that it already held the text from before:
/// the change was never made, or is taken back; so repeating this is harmless.
///
/// # Errors
/// - [`FilePatchError::Drifted`]: the file holds neither text; somebody changed it since, and
///   that change is kept.
/// - The others of [`apply_candidate`], and [`FilePatchError::Corrupt`].
pub fn revert(inverse: &FilePatch, root: &Path) -> Result<bool, FilePatchError> {
    let file = ProjectFile::read(root, &inverse.path)?;
    if file.digest() == inverse.result_hash {
        return Ok(false);
    }
    file.replace(&inverse.apply(file.text())?)?;
    Ok(true)
}
