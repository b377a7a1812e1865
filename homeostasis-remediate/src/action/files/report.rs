//! One file after the other, and what became of each.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::folder::{Folder, Look};
use super::open_files::OpenFiles;
use super::roots::{Stop, kind};
use super::selection::{Choice, Found, MAX_LISTED, listed, split};
use crate::action::ActionError;

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was done; so many bytes less are in its folder.
    Done(u64),
    /// It is another file by now, or was changed.
    Changed,
    /// It is none that this is done to.
    Unfit,
}

/// What became of all.
#[derive(Debug, Default)]
pub(super) struct Report {
    done: Vec<String>,
    bytes: u64,
    n_gone: u64,
    n_changed: u64,
    n_open: u64,
    n_unfit: u64,
    n_unseen_processes: usize,
    failed: Vec<String>,
    first_error: Option<io::Error>,
    n_failed: u64,
}

/// Calls `act` with each file that is still what was looked at, in its open folder.
pub(super) fn each(
    root: &Folder,
    choice: &Choice,
    open: &OpenFiles,
    stop: &Stop,
    mut act: impl FnMut(&Folder, &Found, &Look) -> io::Result<Fate>,
) -> io::Result<Report> {
    let mut report = Report {
        n_unseen_processes: open.n_unseen_processes,
        ..Report::default()
    };
    for file in &choice.files {
        stop.check()?;
        let (folder, name) = split(&file.path);
        let mut one = || {
            let folder = match root.at(Path::new(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                folder => folder?,
            };
            let Some(look) = folder.look(name)? else {
                return Ok(None);
            };
            if !file.is(&look) {
                return Ok(Some(Fate::Changed));
            }
            act(&folder, file, &look).map(Some)
        };
        if open.has(file.id()) {
            report.n_open += 1;
            continue;
        }
        match one() {
            Ok(None) => report.n_gone += 1,
            Ok(Some(Fate::Changed)) => report.n_changed += 1,
            Ok(Some(Fate::Unfit)) => report.n_unfit += 1,
            Ok(Some(Fate::Done(bytes))) => {
                report.bytes = report.bytes.saturating_add(bytes);
                report.done.push(file.path.clone());
            }
            Err(error) => {
                report.n_failed += 1;
                if report.failed.len() < MAX_LISTED {
                    report.failed.push(format!("{}: {error}", file.path));
                }
                report.first_error.get_or_insert(error);
            }
        }
    }
    Ok(report)
}

impl Report {
    /// The answer of the step.
    ///
    /// # Errors
    /// If something failed and nothing was done.
    pub(super) fn finish(self, what: &str) -> Result<Value, ActionError> {
        if let (true, Some(error)) = (self.done.is_empty(), self.first_error) {
            return Err(ActionError::Failed {
                what: format!("{what} {}", self.failed.first().map_or("", |line| line)),
                kind: kind(&error),
                source: Some(error.into()),
            });
        }
        let failed: Vec<_> = listed(self.failed.iter().map(String::as_str));
        Ok(json!({
            "done": self.done.len(),
            "bytes": self.bytes,
            "first": listed(self.done.iter().map(String::as_str)),
            "gone": self.n_gone,
            "changed": self.n_changed,
            "open": self.n_open,
            "unfit": self.n_unfit,
            "failed": self.n_failed,
            "failures": failed,
            "unseen_processes": self.n_unseen_processes,
        }))
    }
}
