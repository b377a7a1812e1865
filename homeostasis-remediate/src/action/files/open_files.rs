//! Which files somebody writes to at this moment.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use homeostasis_core::ErrorKind;

use super::selection::Choice;
use crate::action::ActionError;

/// The files that processes had open for writing when `/proc` was read.
///
/// A process of another user shows its files to root only; such processes are counted. What is
/// only mapped into memory, or open on another machine, is not seen.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    written: HashSet<(u64, u64)>,
    pub(super) n_unseen_processes: usize,
}

impl OpenFiles {
    /// Whether anything of `choice` is being written; not asked when there is nothing to ask about.
    pub(super) fn for_choice(choice: &Choice) -> Result<Self, ActionError> {
        if choice.files.is_empty() {
            return Ok(Self::default());
        }
        Self::now().map_err(|error| {
            ActionError::not_begun("reading /proc for open files", ErrorKind::Permanent, error)
        })
    }

    /// Reads `/proc`: one step for each open file of the machine.
    pub(super) fn now() -> io::Result<Self> {
        let mut found = Self::default();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let is_process = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
            if is_process {
                found.process(&entry.path());
            }
        }
        Ok(found)
    }

    fn process(&mut self, process: &Path) {
        let files = match fs::read_dir(process.join("fd")) {
            Ok(files) => files,
            Err(error) => {
                // It may have ended meanwhile.
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.n_unseen_processes += 1;
                }
                return;
            }
        };
        for file in files.flatten() {
            let info = process.join("fdinfo").join(file.file_name());
            if fs::read_to_string(info).is_ok_and(|info| is_for_writing(&info))
                && let Ok(found) = fs::metadata(file.path())
                && found.is_file()
            {
                self.written.insert((found.dev(), found.ino()));
            }
        }
    }

    pub(super) fn has(&self, id: (u64, u64)) -> bool {
        self.written.contains(&id)
    }
}

/// The line `flags:` has the flags of `open` in octal; its last two bits say how it is accessed.
fn is_for_writing(info: &str) -> bool {
    info.lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & 0o3 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_for_writing_is_found_and_what_is_read_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let id = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            (found.dev(), found.ino())
        };
        let (written, read) = (dir.path().join("written"), dir.path().join("read"));
        let writer = fs::File::create(&written).unwrap();
        fs::write(&read, "").unwrap();
        let reader = fs::File::open(&read).unwrap();
        let found = OpenFiles::now().unwrap();
        assert!(found.has(id(&written)) && !found.has(id(&read)));
        drop((writer, reader));
        assert!(!OpenFiles::now().unwrap().has(id(&written)));
    }
}
