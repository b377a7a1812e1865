//! Reading an archive: every incident once, whatever is damaged named and passed over.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use homeostasis_core::record::{EventKind, HealEvent};
use homeostasis_core::{BoxError, Digest, IncidentId};

use super::members::{Member, Members};

/// What is wrong at one place of an archive. What lies around it is read all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file system refused.
    #[error("reading {path} failed")]
    Io {
        /// The file or folder.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Bytes that cannot be unpacked.
    #[error("{path} is damaged at byte {offset}, {bytes} bytes long: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// Where the damage begins.
        offset: u64,
        /// How far it goes.
        bytes: u64,
        /// Whether the file ends there within an append that was cut short: nothing that was
        /// acknowledged is lost then.
        is_torn: bool,
        /// What the decoder found.
        reason: String,
    },
    /// A line that is no event, or an event that does not follow the one before it. The incident it
    /// belongs to is left out; one that was closed before it is not.
    #[error("{path}, line {line} of the member at byte {offset} is no event that fits there")]
    Malformed {
        /// The file.
        path: String,
        /// Where the member begins.
        offset: u64,
        /// The line, from 1.
        line: usize,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// An incident that stands in the archive twice with different events; the first is given.
    #[error(
        "{incident} stands again, with other events, in {path}, in the member at byte {offset}"
    )]
    Conflict {
        /// Which.
        incident: IncidentId,
        /// The file.
        path: String,
        /// Where the member begins.
        offset: u64,
    },
}

/// The incidents of an archive, file by file in the order of their months.
///
/// Each is given once, with all its events, however often it was archived. It holds one member of a
/// file at a time, and 48 bytes of each incident it gave.
pub struct ArchiveReader {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<(PathBuf, Members)>,
    ready: VecDeque<Result<Vec<HealEvent>, ArchiveError>>,
    seen: HashMap<IncidentId, Digest>,
}

impl ArchiveReader {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self {
            files: files.into_iter(),
            open: None,
            ready: VecDeque::new(),
            seen: HashMap::new(),
        }
    }

    /// Reads the next member, or opens the next file; says whether there was one.
    fn advance(&mut self) -> Result<bool, ArchiveError> {
        let Some((path, mut members)) = self.open.take() else {
            let Some(path) = self.files.next() else {
                return Ok(false);
            };
            let members = File::open(&path).and_then(Members::new);
            let members = members.map_err(|source| io_error(&path, source))?;
            self.open = Some((path, members));
            return Ok(true);
        };
        let name = path.display().to_string();
        match members.next().map_err(|source| io_error(&path, source))? {
            None => return Ok(true),
            Some(Member::Damaged {
                offset,
                bytes,
                is_torn,
                reason,
            }) => self.ready.push_back(Err(ArchiveError::Damaged {
                path: name,
                offset,
                bytes,
                is_torn,
                reason,
            })),
            Some(Member::Whole { offset, content }) => self.unpack(&name, offset, &content),
        }
        self.open = Some((path, members));
        Ok(true)
    }

    /// Puts the lines of one member together to incidents.
    fn unpack(&mut self, path: &str, offset: u64, content: &[u8]) {
        let mut incident: Vec<HealEvent> = Vec::new();
        let mut is_broken = false;
        // One that was closed where a line cannot be read: whole, unless it goes on behind it.
        let mut closed: Vec<HealEvent> = Vec::new();
        for (line, json) in (1..).zip(content.split(|byte| *byte == b'\n')) {
            if json.is_empty() {
                continue;
            }
            let event = HealEvent::from_json(json);
            if let Ok(event) = &event {
                let whole = std::mem::take(&mut closed);
                if whole
                    .last()
                    .is_some_and(|last| last.incident != event.incident)
                {
                    self.give(path, offset, whole);
                }
            }
            let begins = match (&event, incident.last()) {
                (Ok(event), Some(last)) => event.incident != last.incident,
                (Ok(event), None) => !is_broken || event.seq == 0,
                (Err(_), _) => false,
            };
            if begins {
                self.give(path, offset, std::mem::take(&mut incident));
                is_broken = false;
            }
            let source: BoxError = match event {
                _ if is_broken => continue,
                Ok(event) if event.seq == incident.len() as u64 => {
                    incident.push(event);
                    continue;
                }
                Ok(event) => format!(
                    "event {} of {}, expected {}",
                    event.seq,
                    event.incident,
                    incident.len()
                )
                .into(),
                Err(error) => {
                    let is_closed =
                        |last: &HealEvent| matches!(last.kind, EventKind::Closed { .. });
                    if incident.last().is_some_and(is_closed) {
                        closed = std::mem::take(&mut incident);
                    }
                    error.into()
                }
            };
            incident.clear();
            is_broken = true;
            self.ready.push_back(Err(ArchiveError::Malformed {
                path: path.to_owned(),
                offset,
                line,
                source,
            }));
        }
        self.give(path, offset, closed);
        self.give(path, offset, incident);
    }

    fn give(&mut self, path: &str, offset: u64, events: Vec<HealEvent>) {
        let Some(incident) = events.first().map(|event| event.incident) else {
            return;
        };
        let digest = Digest::of(&events);
        match self.seen.insert(incident, digest) {
            None => self.ready.push_back(Ok(events)),
            Some(known) if known == digest => {}
            Some(known) => {
                self.seen.insert(incident, known);
                self.ready.push_back(Err(ArchiveError::Conflict {
                    incident,
                    path: path.to_owned(),
                    offset,
                }));
            }
        }
    }
}

impl Iterator for ArchiveReader {
    type Item = Result<Vec<HealEvent>, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                // The file is given up; the next one follows.
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl std::fmt::Debug for ArchiveReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveReader")
            .field("files", &self.files)
            .field("n_seen", &self.seen.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn io_error(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Io {
        path: path.display().to_string(),
        source,
    }
}
