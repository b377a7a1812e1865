//! The record of one change of the live tree: enough to finish it, undo it, or take it back.

use std::fs;
use std::path::Path;

use homeostasis_core::{Digest, IncidentId, Timestamp};
use serde::{Deserialize, Serialize};

use super::HandOverError;
use crate::project_file::write_whole;

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionState {
    /// The files are being exchanged.
    Applying,
    /// All files are the new version.
    Applied,
    /// The files are being put back.
    RollingBack,
    /// All files were put back to the old version.
    RolledBack,
    /// It was given up before it was through; all files are the old version.
    Withdrawn,
}

impl SessionState {
    /// Whether nothing is under way.
    pub fn is_settled(self) -> bool {
        !matches!(self, Self::Applying | Self::RollingBack)
    }
}

/// One file of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SessionFile {
    /// The file, relative to the root.
    pub path: String,
    /// The digest of the old version, under which it is kept.
    pub base: Digest,
    /// The digest of the new version.
    pub result: Digest,
}

/// Content that a forced roll-back replaced although it was neither version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Overwritten {
    /// The file.
    pub path: String,
    /// The digest of what was there, under which it is kept.
    pub found: Digest,
}

/// One change of the live tree, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Session {
    /// The version of this format: [`Session::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Its name: a number that grows, and the beginning of the hash.
    pub id: String,
    /// The incident it was made for.
    pub incident: IncidentId,
    /// When it was proposed.
    pub at: Timestamp,
    /// The hash of the proposal, which was approved.
    pub hash: Digest,
    /// Where it stands.
    pub state: SessionState,
    /// The files.
    pub files: Vec<SessionFile>,
    /// What a forced roll-back replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overwritten: Vec<Overwritten>,
    /// The processes that may have left temporary files behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) writers: Vec<u32>,
}

impl Session {
    /// The version of the serialized form that is written and read.
    pub const SCHEMA_VERSION: u32 = 1;

    pub(super) fn number(&self) -> u64 {
        let (number, _) = self.id.split_once('-').unwrap_or_default();
        number.parse().unwrap_or(0)
    }

    /// Says that this process writes from now on.
    pub(super) fn begin(&mut self, state: SessionState) {
        let own = std::process::id();
        if !self.writers.contains(&own) {
            self.writers.push(own);
        }
        self.state = state;
    }

    /// Says that nothing is under way any more.
    pub(super) fn settle(&mut self, state: SessionState) {
        self.writers.clear();
        self.state = state;
    }

    pub(super) fn file_name(&self) -> String {
        format!("{}.json", self.id)
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), HandOverError> {
        let at = folder.join(self.file_name());
        let save = || {
            let mut json = serde_json::to_vec_pretty(self)?;
            json.push(b'\n');
            write_whole(&at, &json)
        };
        save().map_err(|source| HandOverError::Io {
            path: at.display().to_string(),
            doing: "writing a session",
            source,
        })
    }

    fn read(at: &Path) -> Result<Self, HandOverError> {
        let bad = |reason: String| HandOverError::Session {
            session: at.display().to_string(),
            reason,
        };
        let json = fs::read(at).map_err(|error| bad(error.to_string()))?;
        let session: Self = serde_json::from_slice(&json).map_err(|e| bad(e.to_string()))?;
        if session.schema_version != Self::SCHEMA_VERSION {
            let (found, known) = (session.schema_version, Self::SCHEMA_VERSION);
            return Err(bad(format!("schema_version = {found}, expected {known}")));
        }
        // The name goes into paths.
        if at.file_name().and_then(|name| name.to_str()) != Some(&session.file_name()) {
            return Err(bad(format!("id = {:?}, expected its own name", session.id)));
        }
        Ok(session)
    }

    /// The sessions in `folder`, oldest first.
    pub(super) fn all(folder: &Path) -> Result<Vec<Self>, HandOverError> {
        let names = || {
            let entries = fs::read_dir(folder)?;
            entries
                .map(|entry| Ok(entry?.path()))
                .collect::<std::io::Result<Vec<_>>>()
        };
        let names = names().map_err(|source| HandOverError::Io {
            path: folder.display().to_string(),
            doing: "listing the sessions",
            source,
        })?;
        let sessions = names.iter().filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        });
        let mut all = sessions
            .map(|at| Self::read(at))
            .collect::<Result<Vec<_>, _>>()?;
        all.sort_by_key(Self::number);
        Ok(all)
    }
}
