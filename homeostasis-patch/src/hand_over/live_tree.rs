//! The live tree: files exchanged in place, and kept so that they can be put back.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use homeostasis_core::Digest;
use homeostasis_core::record::PatchCandidate;

use super::change_set::Change;
use super::session::{Overwritten, Session, SessionFile, SessionState};
use super::{ChangeSet, HandOver, HandOverError, Receipt, check_approval};
use crate::project_file::{ProjectFile, keep, killable};
use crate::{FilePatchError, UnifiedDiff};

/// How many sessions are kept unless told otherwise.
const SESSIONS: usize = 5;

/// A lock that is given up when it is dropped. Closing the file is not enough: a program that is being
/// started meanwhile has it open, too, for a moment.
struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // It is released when the file is closed everywhere, at the latest.
        let _ = self.0.unlock();
    }
}

/// What a roll-back did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RolledBack {
    /// The session.
    pub session: String,
    /// The files that were put back; none if it had been done before.
    pub restored: Vec<String>,
    /// What was replaced by force, and is kept.
    pub overwritten: Vec<Overwritten>,
}

/// Exchanges files of a running project, and keeps what it takes to put them back.
///
/// Each file is replaced by a rename: who opens it reads the old version or the new one.
/// Several files are exchanged one after the other, so that a reader may see the first new and the
/// second old for a moment; a kill in between is put right by [`recover`](Self::recover): the tree
/// is then the old or the new version, byte for byte.
///
/// Each change is a session in the folder `store`: a record that is durable before the first file
/// is touched, and the old versions under their digests. The last five are kept, or as many as
/// [`keeping`](Self::keeping) says. The store is for one tree, and best beside it, not in it; whoever may write
/// to it decides what is put back. Only one process or thread works on it at a time, the others get
/// [`HandOverError::Busy`].
///
/// # Examples
/// ```
/// use homeostasis::core::record::{PatchCandidate, PatchKind};
/// use homeostasis::core::{IncidentId, Timestamp};
/// use homeostasis::patch::{FilePatch, HandOver, LiveTree, ChangeSet};
///
/// let (project, store) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// let file = project.path().join("app.py");
/// std::fs::write(&file, "limit = 5\n")?;
/// let made = FilePatch::from_texts("app.py", "limit = 5\n", "limit = 50\n")?;
/// let kind = PatchKind::Code;
/// let patch = PatchCandidate::new("docs", kind, "app.py", made.base_hash, made.diff.to_string());
/// let proposal = ChangeSet::new(IncidentId::from_u128(1), Timestamp::EPOCH, [patch]);
///
/// let tree = LiveTree::new(project.path(), store.path());
/// let receipt = tree.hand_over(&proposal, proposal.hash())?;
/// assert_eq!(std::fs::read_to_string(&file)?, "limit = 50\n");
/// let rolled_back = tree.roll_back(&receipt.place, false)?;
/// assert_eq!(rolled_back.restored, ["app.py"]);
/// assert_eq!(std::fs::read_to_string(&file)?, "limit = 5\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LiveTree {
    pub(super) root: PathBuf,
    store: PathBuf,
    keep: usize,
}

/// What a file of a session holds.
#[derive(Debug)]
pub(super) enum Found {
    Old,
    New(ProjectFile),
    /// Neither; `None` if it is gone.
    Other(Option<ProjectFile>),
}

impl LiveTree {
    /// The tree at `root`, with its sessions in the folder `store`, which is made when it is needed.
    pub fn new(root: impl Into<PathBuf>, store: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            store: store.into(),
            keep: SESSIONS,
        }
    }

    /// The same keeping so many sessions; at least one.
    pub fn keeping(mut self, n_sessions: usize) -> Self {
        self.keep = n_sessions.max(1);
        self
    }

    /// The sessions that are kept, newest first.
    ///
    /// # Errors
    /// If the store cannot be read, or somebody is at work on it.
    pub fn sessions(&self) -> Result<Vec<Session>, HandOverError> {
        self.locked(|| {
            let mut sessions = Session::all(&self.folder("sessions"))?;
            sessions.reverse();
            Ok(sessions)
        })
    }

    /// Puts the files of a session back to the old version. Repeating it changes nothing.
    ///
    /// A file that is neither version was changed by somebody, or by a later session. Without
    /// `by_force` nothing is touched then; with it that content is replaced, kept in the store and
    /// recorded in the session.
    ///
    /// # Errors
    /// - [`HandOverError::Session`]: no such session is kept.
    /// - [`FilePatchError::Drifted`] in [`HandOverError::Patch`]: a file is neither version.
    /// - [`FilePatchError::Missing`]: a file is gone; force does not help.
    /// - [`HandOverError::Busy`], [`HandOverError::Io`].
    pub fn roll_back(&self, session: &str, by_force: bool) -> Result<RolledBack, HandOverError> {
        self.locked(|| {
            let sessions = Session::all(&self.folder("sessions"))?;
            let found = sessions.into_iter().find(|known| known.id == session);
            let found = found.ok_or_else(|| HandOverError::Session {
                session: session.to_owned(),
                reason: "no such session is kept".to_owned(),
            })?;
            self.put_back(found, by_force)
        })
    }

    fn put_back(&self, mut session: Session, by_force: bool) -> Result<RolledBack, HandOverError> {
        let mut done = RolledBack {
            session: session.id.clone(),
            restored: Vec::new(),
            overwritten: Vec::new(),
        };
        if matches!(
            session.state,
            SessionState::RolledBack | SessionState::Withdrawn
        ) {
            return Ok(done);
        }
        for file in &session.files {
            match self.look(file, &session.overwritten)? {
                Found::Old | Found::New(_) => {}
                Found::Other(None) => {
                    let path = file.path.clone();
                    return Err(FilePatchError::Missing { path }.into());
                }
                Found::Other(Some(other)) if by_force => {
                    other.check_replaceable()?;
                    other.back_up(&self.folder("copies"))?;
                    done.overwritten.push(Overwritten {
                        path: file.path.clone(),
                        found: other.digest(),
                    });
                }
                Found::Other(Some(other)) => {
                    let drifted = FilePatchError::Drifted {
                        path: file.path.clone(),
                        found: other.digest(),
                        expected: file.result,
                    };
                    return Err(drifted.into());
                }
            }
        }
        session.overwritten.extend(done.overwritten.iter().cloned());
        session.begin(SessionState::RollingBack);
        session.save(&self.folder("sessions"))?;
        let others = self.restore(&session, &mut done.restored)?;
        if !others.is_empty() {
            return Err(HandOverError::Unsettled {
                session: session.id,
                paths: others,
            });
        }
        session.settle(SessionState::RolledBack);
        session.save(&self.folder("sessions"))?;
        Ok(done)
    }

    /// Puts every file of `session` that is the new version back, last first, and gives the paths
    /// of those that are neither.
    pub(super) fn restore(
        &self,
        session: &Session,
        restored: &mut Vec<String>,
    ) -> Result<Vec<String>, HandOverError> {
        let mut others = Vec::new();
        for file in session.files.iter().rev() {
            killable();
            match self.look(file, &session.overwritten)? {
                Found::Old => {}
                Found::New(present) => {
                    present.replace(&self.copy(file.base)?)?;
                    restored.push(file.path.clone());
                }
                Found::Other(_) => others.push(file.path.clone()),
            }
        }
        killable();
        Ok(others)
    }

    /// Which version a file is; what may be replaced by force counts as new.
    pub(super) fn look(
        &self,
        file: &SessionFile,
        forced: &[Overwritten],
    ) -> Result<Found, HandOverError> {
        let present = match ProjectFile::read(&self.root, &file.path) {
            Ok(present) => present,
            Err(FilePatchError::Missing { .. }) => return Ok(Found::Other(None)),
            Err(error) => return Err(error.into()),
        };
        let found = present.digest();
        let is_forced = forced
            .iter()
            .any(|known| known.path == file.path && known.found == found);
        Ok(if found == file.base {
            Found::Old
        } else if found == file.result || is_forced {
            Found::New(present)
        } else {
            Found::Other(Some(present))
        })
    }

    /// The content that is kept under `digest`.
    fn copy(&self, digest: Digest) -> Result<String, HandOverError> {
        let at = self.folder("copies").join(digest.to_string());
        let bad = |source| HandOverError::Io {
            path: at.display().to_string(),
            doing: "reading a kept version",
            source,
        };
        let text = fs::read_to_string(&at).map_err(bad)?;
        if Digest::of_bytes(text.as_bytes()) != digest {
            let other = "its content has another digest than its name";
            return Err(bad(io::Error::new(io::ErrorKind::InvalidData, other)));
        }
        Ok(text)
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.store.join(name)
    }

    /// Does `work` while nobody else works on the store.
    pub(super) fn locked<T>(
        &self,
        work: impl FnOnce() -> Result<T, HandOverError>,
    ) -> Result<T, HandOverError> {
        let io = |at: &Path, doing| {
            let path = at.display().to_string();
            move |source| HandOverError::Io {
                path,
                doing,
                source,
            }
        };
        for folder in ["sessions", "copies"] {
            let at = self.folder(folder);
            fs::create_dir_all(&at).map_err(io(&at, "making a folder"))?;
        }
        let at = self.folder("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&at);
        let lock = lock.map_err(io(&at, "opening the lock"))?;
        match lock.try_lock() {
            Ok(()) => {
                let _held = Held(lock);
                work()
            }
            Err(TryLockError::WouldBlock) => Err(HandOverError::Busy {
                place: self.store.display().to_string(),
            }),
            Err(TryLockError::Error(source)) => Err(io(&at, "locking")(source)),
        }
    }

    /// The newest session of this very proposal.
    fn session_of(&self, proposal: &ChangeSet) -> Result<Option<Session>, HandOverError> {
        let hash = proposal.hash();
        let sessions = Session::all(&self.folder("sessions"))?;
        Ok(sessions
            .into_iter()
            .rfind(|known| known.hash == hash && known.incident == proposal.incident))
    }

    fn is_new(&self, session: &Session) -> Result<bool, HandOverError> {
        for file in &session.files {
            if !matches!(self.look(file, &[])?, Found::New(_)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn receipt(&self, session: &Session) -> Receipt {
        Receipt {
            way: self.name().to_owned(),
            place: session.id.clone(),
            hash: session.hash,
        }
    }

    /// Makes the changes, or none of them.
    fn exchange(&self, proposal: &ChangeSet) -> Result<Session, HandOverError> {
        let read = |path: &str| {
            let file = ProjectFile::read(&self.root, path)?;
            file.check_replaceable()?;
            Ok(file.text().to_owned())
        };
        let changes = proposal.bind(read)?;
        for change in &changes {
            keep(&self.folder("copies"), &change.old)?;
        }
        let last = Session::all(&self.folder("sessions"))?;
        let number = last.last().map_or(0, Session::number) + 1;
        let file = |change: &Change| SessionFile {
            path: change.patch.path.clone(),
            base: change.patch.base_hash,
            result: change.patch.result_hash,
        };
        let mut session = Session {
            schema_version: Session::SCHEMA_VERSION,
            id: format!("{number:08}-{}", proposal.hash().short()),
            incident: proposal.incident,
            at: proposal.at,
            hash: proposal.hash(),
            state: SessionState::Applying,
            files: changes.iter().map(file).collect(),
            overwritten: Vec::new(),
            writers: Vec::new(),
        };
        session.begin(SessionState::Applying);
        session.save(&self.folder("sessions"))?;
        for change in &changes {
            killable();
            if let Err(error) = self.exchange_one(change) {
                // What cannot be put back now is left to recovery.
                if let Err(stuck) = self.put_back(session, false) {
                    tracing::error!(%stuck, "a change of the live tree was not withdrawn");
                }
                return Err(error.into());
            }
        }
        killable();
        session.settle(SessionState::Applied);
        session.save(&self.folder("sessions"))?;
        Ok(session)
    }

    fn exchange_one(&self, change: &Change) -> Result<(), FilePatchError> {
        let file = ProjectFile::read(&self.root, &change.patch.path)?;
        file.replace(&change.patch.apply(file.text())?)
    }

    /// Removes sessions that are too many, and content that no session needs.
    /// Whether the file is what this patch makes of its base: taken back by its own diff, it is the base.
    fn holds(&self, patch: &PatchCandidate) -> bool {
        let base = || -> Option<Digest> {
            let file = ProjectFile::read(&self.root, &patch.path).ok()?;
            let diff: UnifiedDiff = patch.diff.parse().ok()?;
            let old = diff.inverted().apply(file.text()).ok()?;
            Some(Digest::of_bytes(old.as_bytes()))
        };
        base() == Some(patch.base)
    }

    fn prune(&self) -> Result<(), HandOverError> {
        let folder = self.folder("sessions");
        let mut n_kept = 0;
        for session in Session::all(&folder)?.iter().rev() {
            if !session.state.is_settled() {
                continue;
            }
            if session.state != SessionState::Withdrawn && n_kept < self.keep {
                n_kept += 1;
                continue;
            }
            let at = folder.join(session.file_name());
            fs::remove_file(&at).map_err(|source| HandOverError::Io {
                path: at.display().to_string(),
                doing: "removing an old session",
                source,
            })?;
            killable();
        }
        self.sweep_copies()
    }
}

impl HandOver for LiveTree {
    fn name(&self) -> &'static str {
        "live_tree"
    }

    fn is_live(&self) -> bool {
        true
    }

    /// # Errors
    /// Besides those of the trait [`HandOverError::Unsettled`]: an earlier session was interrupted and
    /// cannot be settled.
    fn hand_over(&self, proposal: &ChangeSet, approved: Digest) -> Result<Receipt, HandOverError> {
        check_approval(proposal, approved)?;
        self.locked(|| {
            let settled = self.settle_all()?;
            if let Some(stuck) = settled.into_iter().find(|one| !one.changed.is_empty()) {
                return Err(HandOverError::Unsettled {
                    session: stuck.session,
                    paths: stuck.changed,
                });
            }
            if let Some(known) = self.session_of(proposal)?
                && known.state == SessionState::Applied
                && self.is_new(&known)?
            {
                return Ok(self.receipt(&known));
            }
            let session = self.exchange(proposal)?;
            if let Err(error) = self.prune() {
                // It is done; too much is kept, which the next one removes.
                tracing::warn!(%error, "old sessions were not removed");
            }
            Ok(self.receipt(&session))
        })
    }

    /// An interrupted session is settled first: it counts as handed over only if it was through.
    fn find(&self, proposal: &ChangeSet) -> Result<Option<Receipt>, HandOverError> {
        self.locked(|| {
            self.settle_all()?;
            match self.session_of(proposal)? {
                Some(known) if known.state == SessionState::Applied && self.is_new(&known)? => {
                    Ok(Some(self.receipt(&known)))
                }
                _ => Ok(None),
            }
        })
    }

    fn recover(&self) -> Result<Vec<String>, HandOverError> {
        let settled = Self::recover(self)?.into_iter();
        let open = settled.filter(|one| !one.changed.is_empty());
        let errors = open.map(|one| HandOverError::Unsettled {
            session: one.session,
            paths: one.changed,
        });
        Ok(errors.map(|error| error.to_string()).collect())
    }

    fn take_back(&self, proposal: &ChangeSet) -> Result<bool, HandOverError> {
        self.locked(|| {
            self.settle_all()?;
            let Some(session) = self.session_of(proposal)? else {
                // Nothing is left to restore from; whether something should be is seen in the files.
                let patches = proposal.patches.iter();
                let there = patches.filter(|patch| self.holds(patch));
                let paths: Vec<_> = there.map(|patch| patch.path.clone()).collect();
                if paths.is_empty() {
                    return Ok(false);
                }
                let reason = format!(
                    "it is not kept any more, and its patch is in {}; restore it by hand",
                    paths.join(", ")
                );
                let session = proposal.hash().short();
                return Err(HandOverError::Session { session, reason });
            };
            Ok(!self.put_back(session, false)?.restored.is_empty())
        })
    }
}
