//! After a kill: interrupted sessions are settled, and what was left behind is removed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::HandOverError;
use super::live_tree::{Found, LiveTree};
use super::session::{Session, SessionState};
use crate::project_file::{is_leftover, killable};

/// How an interrupted session was settled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// The session.
    pub session: String,
    /// Where it stands now.
    pub state: SessionState,
    /// Files that somebody changed since: they were left alone, and the session is not settled.
    pub changed: Vec<String>,
}

impl LiveTree {
    /// Settles what a kill interrupted, and removes temporary files; call it at the start.
    ///
    /// A change of which all files are the new version counts as made; any other is put back to the
    /// old version. A roll-back is finished. Files that are neither version are left alone and
    /// named. Repeating it, or being killed in it, changes nothing of that.
    ///
    /// # Errors
    /// - [`HandOverError::Busy`]: somebody is at work on the store.
    /// - [`HandOverError::Session`]: a record cannot be read; nothing was touched.
    /// - [`HandOverError::Patch`], [`HandOverError::Io`]: the file system; calling it again goes on.
    pub fn recover(&self) -> Result<Vec<Settled>, HandOverError> {
        self.locked(|| {
            let settled = self.settle_all()?;
            self.sweep_copies()?;
            Ok(settled)
        })
    }

    pub(super) fn settle_all(&self) -> Result<Vec<Settled>, HandOverError> {
        for folder in ["sessions", "copies"] {
            // Nobody else writes here while the lock is held.
            sweep(&self.folder(folder), &[])?;
        }
        let sessions = Session::all(&self.folder("sessions"))?;
        let open = sessions.into_iter().filter(|it| !it.state.is_settled());
        open.map(|session| self.settle(session)).collect()
    }

    pub(super) fn settle(&self, mut session: Session) -> Result<Settled, HandOverError> {
        let sessions = self.folder("sessions");
        let folders: BTreeSet<_> = session
            .files
            .iter()
            .map(|file| Path::new(&file.path).parent().unwrap_or(Path::new("")))
            .collect();
        for folder in folders {
            if session.writers.is_empty() {
                break;
            }
            sweep(&self.root.join(folder), &session.writers)?;
        }
        let mut is_new = session.state == SessionState::Applying;
        for file in &session.files {
            is_new &= matches!(self.look(file, &[])?, Found::New(_));
        }
        let mut changed = Vec::new();
        let end = if is_new {
            SessionState::Applied
        } else {
            session.begin(session.state);
            session.save(&sessions)?;
            changed = self.restore(&session, &mut Vec::new())?;
            match session.state {
                SessionState::Applying => SessionState::Withdrawn,
                _ => SessionState::RolledBack,
            }
        };
        if changed.is_empty() {
            session.settle(end);
            session.save(&sessions)?;
        }
        Ok(Settled {
            session: session.id,
            state: session.state,
            changed,
        })
    }

    /// Removes content that no session needs.
    pub(super) fn sweep_copies(&self) -> Result<(), HandOverError> {
        let sessions = Session::all(&self.folder("sessions"))?;
        let needed: BTreeSet<String> = sessions
            .iter()
            .flat_map(|session| {
                let files = session.files.iter().map(|file| file.base);
                files.chain(session.overwritten.iter().map(|it| it.found))
            })
            .map(|digest| digest.to_string())
            .collect();
        remove_where(&self.folder("copies"), |name| !needed.contains(name))
    }
}

/// Removes temporary files of these writers in `folder`.
fn sweep(folder: &Path, writers: &[u32]) -> Result<(), HandOverError> {
    remove_where(folder, |name| is_leftover(name, writers))
}

fn remove_where(folder: &Path, is_such: impl Fn(&str) -> bool) -> Result<(), HandOverError> {
    let remove = || -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(&is_such) {
                fs::remove_file(entry.path())?;
                killable();
            }
        }
        Ok(())
    };
    remove().map_err(|source| HandOverError::Io {
        path: folder.display().to_string(),
        doing: "removing what was left behind",
        source,
    })
}
