//! Copies that tests run on, each with the content it was made with.

use std::fs;
use std::io::{Error, ErrorKind, Write};
use std::path::{Component, Path};

use homeostasis_core::Digest;
use homeostasis_core::record::PatchCandidate;

use super::error::TrialError;
use super::plan::TrialFile;
use crate::apply_candidate;
use crate::sandbox::{CopyConfig, ProjectCopy, on_thread};

/// A copy, and whether programs changed it.
#[derive(Debug)]
pub(super) struct Tree {
    pub copy: ProjectCopy,
    /// The content it was made with.
    pub content: Digest,
    is_changed: bool,
}

impl Tree {
    /// Whether its content is still what it was made with; what cannot be read is not.
    ///
    /// To be asked when nothing runs on it.
    pub(super) async fn is_as_made(&mut self) -> bool {
        if !self.is_changed {
            let copy = self.copy.clone();
            let present = on_thread(move || copy.digest()).await;
            self.is_changed = !matches!(present, Ok(Ok(present)) if present == self.content);
        }
        !self.is_changed
    }
}

/// Makes copies of one project.
#[derive(Debug, Clone, Copy)]
pub(super) struct TreeMaker<'a> {
    pub project: &'a Path,
    /// Where copies stand.
    pub place: &'a Path,
    pub config: &'a CopyConfig,
    /// What is written into each.
    pub files: &'a [TrialFile],
}

impl TreeMaker<'_> {
    /// A copy with the files, and with the patch if the copy before it had the given content.
    pub(super) async fn make(
        self,
        patch: Option<(&PatchCandidate, Digest)>,
    ) -> Result<Tree, TrialError> {
        let (project, place) = (self.project.to_owned(), self.place.to_owned());
        let (config, files) = (self.config.clone(), self.files.to_owned());
        let patch = patch.map(|(candidate, before)| (candidate.clone(), before));
        let made = on_thread(move || {
            let failed = || TrialError::sandbox("the copy");
            let copy = ProjectCopy::make(&project, &place, &config).map_err(failed())?;
            for file in &files {
                write_new(&copy.path(), file).map_err(|source| TrialError::File {
                    path: file.path.clone(),
                    source,
                })?;
            }
            let mut content = copy.digest().map_err(failed())?;
            if let Some((candidate, before)) = patch {
                if content != before {
                    return Err(TrialError::ProjectChanged);
                }
                apply_candidate(&candidate, &copy.path(), None).map_err(TrialError::Patch)?;
                content = copy.digest().map_err(failed())?;
            }
            Ok(Tree {
                copy,
                content,
                is_changed: false,
            })
        });
        made.await.map_err(TrialError::sandbox("the copy"))?
    }

    /// `tree`, or another of the same content if programs changed it.
    pub(super) async fn renew(
        self,
        mut tree: Tree,
        patch: Option<(&PatchCandidate, Digest)>,
    ) -> Result<Tree, TrialError> {
        if tree.is_as_made().await {
            return Ok(tree);
        }
        tracing::debug!("a test changed the copy; what follows runs on another");
        let content = tree.content;
        // Before the next is made, so that there is room for it.
        drop(tree);
        let made = self.make(patch).await?;
        if made.content != content {
            return Err(TrialError::ProjectChanged);
        }
        Ok(made)
    }
}

/// Writes a file that is not there yet, below `root` and through no link; the copy is ours, and nothing ran
/// on it yet.
fn write_new(root: &Path, file: &TrialFile) -> std::io::Result<()> {
    let plain = |part| matches!(part, Component::Normal(_));
    if file.path.is_empty() || !Path::new(&file.path).components().all(plain) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "expected a path below the project",
        ));
    }
    let path = root.join(&file.path);
    let folder = path.parent().unwrap_or(root);
    fs::create_dir_all(folder)?;
    if !fs::canonicalize(folder)?.starts_with(fs::canonicalize(root)?) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "a link leads out of the project",
        ));
    }
    fs::File::create_new(path)?.write_all(file.text.as_bytes())
}
