//! A branch with one commit, for people to review and merge.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use homeostasis_core::{Digest, ErrorKind};

use super::git::{Git, failed, line, on_the_path};
use super::{ChangeSet, HandOver, HandOverError, Receipt, check_approval, review};
use crate::FilePatchError;

/// Who the commits are by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Author {
    /// Their name. Default `Homeostasis`.
    pub name: String,
    /// Their address. Default `homeostasis@localhost`.
    pub email: String,
}

impl Author {
    /// This name and address. Git leaves out angle brackets and line breaks.
    pub fn new(name: impl Into<String>, email: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            email: email.into(),
        }
    }
}

impl Default for Author {
    fn default() -> Self {
        Self::new("Homeostasis", "homeostasis@localhost")
    }
}

/// Makes a branch `homeostasis/<incident>-<first 12 digits of the hash>` with one commit on `HEAD`,
/// whose message is what a reviewer reads.
///
/// The work tree, the index and the branch that is checked out are not touched: the commit is made
/// from objects with an index of its own. Git is started by its arguments, without its own or the
/// user's configuration, without hooks, signatures, prompts or network, 30 s at most for a command.
/// A killed hand-over leaves unreachable objects, which git collects, at most.
///
/// The patch must fit the files as they are on `HEAD`, byte for byte: a file that differs in the work
/// tree, or is converted on checkout (line ends, filters), is refused as drifted.
#[derive(Debug, Clone)]
pub struct PatchBranch {
    git: Git,
    author: Author,
}

/// What the branch is, if it is there.
#[derive(Debug)]
enum Tip {
    None,
    Ours(String),
    Other,
}

impl PatchBranch {
    /// Branches of the repository that the project at `root` is in; `root` may be a folder of it.
    ///
    /// # Errors
    /// [`HandOverError::Git`]: there is no `git` on the `PATH`, or no repository at `root`.
    pub fn new(root: impl Into<PathBuf>, author: Author) -> Result<Self, HandOverError> {
        let doing = "starting";
        let missing = || failed(doing, "not found on the PATH", ErrorKind::Permanent);
        let git = Git {
            program: on_the_path().ok_or_else(missing)?,
            folder: root.into(),
        };
        git.run(
            "looking for a repository",
            &["rev-parse", "--git-dir"],
            &[],
            &[],
        )?;
        Ok(Self { git, author })
    }

    fn name_of(proposal: &ChangeSet) -> String {
        let hash = proposal.hash().short();
        format!("homeostasis/{}-{hash}", proposal.incident)
    }

    /// The commit that `revision` names, if there is one.
    fn commit(&self, revision: &str) -> Result<Option<String>, HandOverError> {
        let revision = format!("{revision}^{{commit}}");
        let args = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &revision,
        ];
        let found = self.git.ask("looking up a commit", &args, &[], &[])?;
        Ok(found.ok().map(|output| line(&output)))
    }

    fn tree_of(&self, commit: &str) -> Result<String, HandOverError> {
        let revision = format!("{commit}^{{tree}}");
        let args = ["rev-parse", "--verify", &revision];
        Ok(line(&self.git.run("looking up a tree", &args, &[], &[])?))
    }

    /// The tree of `commit` with the patches made in it.
    fn patched_tree(&self, commit: &str, proposal: &ChangeSet) -> Result<String, HandOverError> {
        let args = ["rev-parse", "--show-prefix"];
        let prefix = line(&self.git.run("looking for the project", &args, &[], &[])?);
        let mut modes = Vec::new();
        let changes = proposal.bind(|path| {
            let (mode, text) = self.blob(commit, &format!("{prefix}{path}"), path)?;
            modes.push(mode);
            Ok(text)
        })?;
        // An index of its own in a folder of its own: git puts a lock beside it.
        let scratch = Scratch::new(&self.git_dir()?, proposal)?;
        let index = scratch.at.join("index");
        let env = [("GIT_INDEX_FILE", index.as_os_str())];
        let git = |doing, args: &[&str], input: &[u8]| self.git.run(doing, args, &env, input);
        git("reading a tree", &["read-tree", commit], &[])?;
        for (change, mode) in changes.iter().zip(&modes) {
            let args = ["hash-object", "-w", "--stdin"];
            let blob = line(&git("storing a file", &args, change.new.as_bytes())?);
            let entry = format!("{mode},{blob},{prefix}{}", change.patch.path);
            let args = ["update-index", "--cacheinfo", &entry];
            git("changing a tree", &args, &[])?;
        }
        Ok(line(&git("writing a tree", &["write-tree"], &[])?))
    }

    /// Mode and text of a regular file of `commit`.
    fn blob(
        &self,
        commit: &str,
        full: &str,
        path: &str,
    ) -> Result<(String, String), HandOverError> {
        let args = ["ls-tree", "-z", "--full-tree", commit, "--", full];
        // A path is a path, not a pattern.
        let env = [("GIT_LITERAL_PATHSPECS", OsStr::new("1"))];
        let listed = self.git.run("looking up a file", &args, &env, &[])?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let missing = || FilePatchError::Missing {
            path: path.to_owned(),
        };
        let refused = |found: &str, expected| FilePatchError::Refused {
            path: path.to_owned(),
            found: found.to_owned(),
            expected,
        };
        let (about, name) = listed.split_once('\t').ok_or_else(missing)?;
        if name != format!("{full}\0") {
            return Err(missing().into());
        }
        let fields: Vec<_> = about.split(' ').collect();
        let [mode @ ("100644" | "100755"), "blob", blob] = fields[..] else {
            return Err(refused(about, "a regular file on HEAD").into());
        };
        let args = ["cat-file", "blob", blob];
        let bytes = self.git.run("reading a file", &args, &[], &[])?;
        let text =
            String::from_utf8(bytes).map_err(|_| refused("no UTF-8 on HEAD", "a text in UTF-8"))?;
        Ok((mode.to_owned(), text))
    }

    fn git_dir(&self) -> Result<PathBuf, HandOverError> {
        let args = ["rev-parse", "--absolute-git-dir"];
        let output = self
            .git
            .run("looking for the repository", &args, &[], &[])?;
        Ok(PathBuf::from(line(&output)))
    }

    /// Whether the branch of `proposal` is there, and is one commit that makes just this change.
    fn tip(&self, proposal: &ChangeSet) -> Result<Tip, HandOverError> {
        let name = format!("refs/heads/{}", Self::name_of(proposal));
        let Some(tip) = self.commit(&name)? else {
            return Ok(Tip::None);
        };
        let Some(parent) = self.commit(&format!("{tip}^1"))? else {
            return Ok(Tip::Other);
        };
        let is_merge = self.commit(&format!("{tip}^2"))?.is_some();
        let wanted = match self.patched_tree(&parent, proposal) {
            Ok(tree) => tree,
            Err(HandOverError::Patch { .. }) => return Ok(Tip::Other),
            Err(error) => return Err(error),
        };
        Ok(if !is_merge && self.tree_of(&tip)? == wanted {
            Tip::Ours(tip)
        } else {
            Tip::Other
        })
    }

    fn receipt(&self, proposal: &ChangeSet) -> Receipt {
        Receipt {
            way: self.name().to_owned(),
            place: Self::name_of(proposal),
            hash: proposal.hash(),
        }
    }

    fn commit_tree(
        &self,
        tree: &str,
        parent: &str,
        proposal: &ChangeSet,
    ) -> Result<String, HandOverError> {
        let (name, revert) = (Self::name_of(proposal), "git revert <this commit>");
        let message = format!(
            "{}\n\n{}",
            review::subject(proposal),
            review::body(proposal, &format!("{revert}, or delete the branch {name}"))
        );
        let date = OsString::from(format!("@{} +0000", proposal.at.as_nanos() / 1_000_000_000));
        let env = [
            ("GIT_AUTHOR_NAME", OsStr::new(&self.author.name)),
            ("GIT_AUTHOR_EMAIL", OsStr::new(&self.author.email)),
            ("GIT_AUTHOR_DATE", &date),
            ("GIT_COMMITTER_NAME", OsStr::new(&self.author.name)),
            ("GIT_COMMITTER_EMAIL", OsStr::new(&self.author.email)),
            ("GIT_COMMITTER_DATE", &date),
        ];
        let args = ["commit-tree", tree, "-p", parent];
        let made = self
            .git
            .run("making a commit", &args, &env, message.as_bytes())?;
        Ok(line(&made))
    }
}

impl HandOver for PatchBranch {
    fn name(&self) -> &'static str {
        "branch"
    }

    fn is_live(&self) -> bool {
        false
    }

    /// # Errors
    /// - [`HandOverError::Patch`]: the file on `HEAD` is not the text the patch was made for.
    /// - [`HandOverError::Taken`]: the branch is there with another change.
    /// - [`HandOverError::Git`].
    fn hand_over(&self, proposal: &ChangeSet, approved: Digest) -> Result<Receipt, HandOverError> {
        check_approval(proposal, approved)?;
        let receipt = self.receipt(proposal);
        match self.tip(proposal)? {
            Tip::Ours(_) => return Ok(receipt),
            Tip::Other => {
                let place = receipt.place;
                return Err(HandOverError::Taken { place });
            }
            Tip::None => {}
        }
        let no_head = || failed("looking up HEAD", "no commit yet", ErrorKind::Permanent);
        let head = self.commit("HEAD")?.ok_or_else(no_head)?;
        let tree = self.patched_tree(&head, proposal)?;
        let commit = self.commit_tree(&tree, &head, proposal)?;
        let name = format!("refs/heads/{}", receipt.place);
        // The empty old value: only if nobody made it meanwhile.
        let args = ["update-ref", "--create-reflog", &name, &commit, ""];
        let made = self.git.ask("making a branch", &args, &[], &[])?;
        match made {
            Ok(_) => Ok(receipt),
            Err(detail) => match self.tip(proposal)? {
                Tip::Ours(_) => Ok(receipt),
                Tip::Other => Err(HandOverError::Taken {
                    place: receipt.place,
                }),
                Tip::None => Err(failed("making a branch", &detail, ErrorKind::Permanent)),
            },
        }
    }

    fn find(&self, proposal: &ChangeSet) -> Result<Option<Receipt>, HandOverError> {
        let is_there = matches!(self.tip(proposal)?, Tip::Ours(_));
        Ok(is_there.then(|| self.receipt(proposal)))
    }

    /// Deletes the branch, if nobody added to it.
    fn take_back(&self, proposal: &ChangeSet) -> Result<bool, HandOverError> {
        let place = Self::name_of(proposal);
        match self.tip(proposal)? {
            Tip::None => Ok(false),
            Tip::Other => Err(HandOverError::Taken { place }),
            Tip::Ours(tip) => {
                let name = format!("refs/heads/{place}");
                let args = ["update-ref", "-d", &name, &tip];
                self.git.run("deleting a branch", &args, &[], &[])?;
                Ok(true)
            }
        }
    }
}

/// A folder below the repository's own, removed with everything in it.
#[derive(Debug)]
struct Scratch {
    at: PathBuf,
}

impl Scratch {
    fn new(git_dir: &Path, proposal: &ChangeSet) -> Result<Self, HandOverError> {
        let hash = proposal.hash().short();
        // The same name for every attempt: what a killed one left is removed by the next.
        let at = git_dir.join(format!("homeostasis-{hash}"));
        let make = || {
            if at.exists() {
                fs::remove_dir_all(&at)?;
            }
            fs::create_dir(&at)
        };
        make().map_err(|source| HandOverError::Io {
            path: at.display().to_string(),
            doing: "making a folder for an index",
            source,
        })?;
        Ok(Self { at })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is a small folder that the next attempt removes.
        let _ = fs::remove_dir_all(&self.at);
    }
}
