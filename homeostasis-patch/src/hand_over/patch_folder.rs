//! A patch file for people to apply.

use std::fs;
use std::io;
use std::path::PathBuf;

use homeostasis_core::Digest;

use super::{ChangeSet, HandOver, HandOverError, Receipt, check_approval, review};
use crate::project_file::{ProjectFile, write_whole};
use crate::{DiffError, FilePatchError, UnifiedDiff};

/// Writes each proposal to a file that a reviewer reads and `git apply` takes.
///
/// The file is `<incident>-<first 12 digits of the hash>.patch`. It begins with lines of `#`: what
/// changes for which inputs, why, on what that rests, what was tested, the risk, how to take it
/// back, the hash. It is written as a whole or not at all, and nothing else is touched.
///
/// # Examples
/// ```
/// use homeostasis::core::record::{PatchCandidate, PatchKind};
/// use homeostasis::core::{Digest, IncidentId, Timestamp};
/// use homeostasis::patch::{FilePatch, HandOver, PatchFolder, ChangeSet};
///
/// let (project, folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// std::fs::write(project.path().join("app.py"), "limit = 5\n")?;
/// let made = FilePatch::from_texts("app.py", "limit = 5\n", "limit = 50\n")?;
/// let kind = PatchKind::Code;
/// let patch = PatchCandidate::new("docs", kind, "app.py", made.base_hash, made.diff.to_string());
/// let proposal = ChangeSet::new(IncidentId::from_u128(1), Timestamp::EPOCH, [patch]);
///
/// let folder = PatchFolder::new(project.path(), folder.path());
/// let receipt = folder.hand_over(&proposal, proposal.hash())?;
/// let text = std::fs::read_to_string(&receipt.place)?;
/// assert!(text.starts_with("# app.py: "));
/// assert!(text.ends_with("-limit = 5\n+limit = 50\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PatchFolder {
    root: PathBuf,
    folder: PathBuf,
}

impl PatchFolder {
    /// Patches of the project at `root` as files in `folder`, which is made if missing.
    pub fn new(root: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            folder: folder.into(),
        }
    }

    fn at(&self, proposal: &ChangeSet) -> PathBuf {
        let (incident, hash) = (proposal.incident, proposal.hash().short());
        self.folder.join(format!("{incident}-{hash}.patch"))
    }

    fn receipt(&self, proposal: &ChangeSet) -> Receipt {
        Receipt {
            way: self.name().to_owned(),
            place: self.at(proposal).display().to_string(),
            hash: proposal.hash(),
        }
    }

    /// What is there under the name of the proposal.
    fn present(&self, proposal: &ChangeSet) -> Result<Option<String>, HandOverError> {
        let at = self.at(proposal);
        match fs::read_to_string(&at) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HandOverError::Io {
                path: at.display().to_string(),
                doing: "reading a patch file",
                source,
            }),
        }
    }
}

impl HandOver for PatchFolder {
    fn name(&self) -> &'static str {
        "patch_file"
    }

    fn is_live(&self) -> bool {
        false
    }

    fn hand_over(&self, proposal: &ChangeSet, approved: Digest) -> Result<Receipt, HandOverError> {
        check_approval(proposal, approved)?;
        proposal.bind(|path| Ok(ProjectFile::read(&self.root, path)?.text().to_owned()))?;
        let receipt = self.receipt(proposal);
        if let Some(present) = self.present(proposal)? {
            let is_same = change_of(&present) == diff(proposal)?.to_string();
            let place = receipt.place.clone();
            return is_same
                .then_some(receipt)
                .ok_or(HandOverError::Taken { place });
        }
        let text = text(proposal)?;
        let write = || {
            fs::create_dir_all(&self.folder)?;
            write_whole(&self.at(proposal), text.as_bytes())
        };
        write().map_err(|source| HandOverError::Io {
            path: receipt.place.clone(),
            doing: "writing a patch file",
            source,
        })?;
        Ok(receipt)
    }

    fn find(&self, proposal: &ChangeSet) -> Result<Option<Receipt>, HandOverError> {
        let wanted = diff(proposal)?.to_string();
        let present = self.present(proposal)?;
        let is_there = present.is_some_and(|present| change_of(&present) == wanted);
        Ok(is_there.then(|| self.receipt(proposal)))
    }

    fn take_back(&self, proposal: &ChangeSet) -> Result<bool, HandOverError> {
        let Some(present) = self.present(proposal)? else {
            return Ok(false);
        };
        let at = self.at(proposal);
        if change_of(&present) != diff(proposal)?.to_string() {
            let place = at.display().to_string();
            return Err(HandOverError::Taken { place });
        }
        fs::remove_file(&at).map_err(|source| HandOverError::Io {
            path: at.display().to_string(),
            doing: "removing a patch file",
            source,
        })?;
        Ok(true)
    }
}

/// All patches as one diff, as printed by us.
fn diff(proposal: &ChangeSet) -> Result<UnifiedDiff, HandOverError> {
    let mut all = UnifiedDiff::default();
    for patch in &proposal.patches {
        let refused = |source: DiffError| FilePatchError::Diff {
            path: patch.path.clone(),
            source,
        };
        let one: UnifiedDiff = patch.diff.parse().map_err(refused)?;
        all = all.join(one).map_err(refused)?;
    }
    Ok(all)
}

/// The part of a patch file that is applied: what was said of it may differ.
fn change_of(text: &str) -> &str {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if !line.starts_with('#') {
            break;
        }
        at += line.len();
    }
    &text[at..]
}

fn text(proposal: &ChangeSet) -> Result<String, HandOverError> {
    let mut text = format!("# {}\n#\n", review::subject(proposal));
    let revert = "git apply -R <this file>, in the root of the project";
    for line in review::body(proposal, revert).lines() {
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
    Ok(text + &diff(proposal)?.to_string())
}
