//! The folder of a copy, its lock, and what the dead left.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::SandboxError;
use super::remove_tree::remove_tree;

/// How the folder of a copy is called, before its number.
const PREFIX: &str = "homeostasis-sandbox-";

/// The home folder of programs in namespaces.
pub(super) const HOME: &str = "/home/sandbox";

/// Removes the copies below `place` that dead processes left, and gives their folders.
///
/// A copy whose owner lives, in whatever container, is locked and stays.
/// What cannot be removed is tried again next time.
///
/// # Errors
/// `place` cannot be read.
pub fn sweep(place: &Path) -> Result<Vec<PathBuf>, SandboxError> {
    let entries = fs::read_dir(place).map_err(SandboxError::file("read", place))?;
    let mut removed = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let Some(folder) = name.strip_suffix(".lock") else {
            continue;
        };
        let Ok(lock) = open_lock(&entry.path(), false) else {
            continue;
        };
        let folder = place.join(folder);
        if remove_dead(&lock, &entry.path(), &folder) {
            removed.push(folder);
        }
    }
    Ok(removed)
}

/// Removes `folder` and its lock if nobody holds the lock, which was opened at `lock_path`; says whether.
fn remove_dead(lock: &File, lock_path: &Path, folder: &Path) -> bool {
    // Another sweep may have removed it since it was opened, and a process of the same number have taken
    // its name: then this is the lock of nothing.
    let is_dead = lock.try_lock().is_ok() && still_names(lock_path, lock);
    // The lock goes last, and while it is held: what was not removed is found again.
    is_dead && remove_tree(folder).is_ok() && fs::remove_file(lock_path).is_ok()
}

/// Whether `path` is still the name of the open file.
fn still_names(path: &Path, file: &File) -> bool {
    let (ours, there) = (file.metadata(), fs::symlink_metadata(path));
    matches!((ours, there), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// The folder of one copy with its locked file beside it.
#[derive(Debug)]
pub(super) struct Folder {
    pub path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Folder {
    pub(super) fn new(place: &Path) -> Result<Self, SandboxError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{PREFIX}{}-{number}", std::process::id());
            let lock_path = place.join(format!("{name}.lock"));
            let lock = match open_lock(&lock_path, true) {
                Ok(lock) => lock,
                // One of a dead process of the same number, which a sweep will remove.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(SandboxError::file("create", lock_path)(error)),
            };
            lock.lock()
                .map_err(SandboxError::file("lock", &lock_path))?;
            // A sweep may have come between creation and lock, and removed the file.
            if !still_names(&lock_path, &lock) {
                continue;
            }
            let folder = Self {
                path: place.join(name),
                lock_path,
                _lock: lock,
            };
            for path in [folder.path.clone(), folder.tree()] {
                fs::DirBuilder::new()
                    .mode(0o700)
                    .create(&path)
                    .map_err(SandboxError::file("create", path))?;
            }
            folder.write_users()?;
            return Ok(folder);
        }
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }

    /// Who exists inside: the account we run as, under a name that tells nothing, and this machine.
    fn write_users(&self) -> Result<(), SandboxError> {
        let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
        let (user, group) = (user.as_raw(), group.as_raw());
        let files = [
            (
                "passwd",
                format!("sandbox:x:{user}:{group}::{HOME}:/bin/sh\n"),
            ),
            ("group", format!("sandbox:x:{group}:\n")),
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n".to_owned()),
        ];
        for (name, text) in files {
            let path = self.path.join(name);
            fs::write(&path, text).map_err(SandboxError::file("create", path))?;
        }
        let scratch = self.path.join("scratch");
        fs::create_dir(&scratch).map_err(SandboxError::file("create", scratch))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        match remove_tree(&self.path) {
            Ok(()) => drop(fs::remove_file(&self.lock_path)),
            Err(error) => tracing::warn!(
                folder = %self.path.display(),
                %error,
                "a copy of a project was not removed; the next sweep tries again"
            ),
        }
    }
}

fn open_lock(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(create)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In containers every process has the same number, and so have the names of its copies.
    #[test]
    fn a_sweep_that_was_overtaken_leaves_the_copy_of_who_took_the_name() {
        let outer = tempfile::tempdir().unwrap();
        let place = outer.path();
        let (folder, lock_path) = (place.join("copy"), place.join("copy.lock"));
        let make = || {
            fs::create_dir(&folder).unwrap();
            open_lock(&lock_path, true).unwrap()
        };
        drop(make());
        let opened = open_lock(&lock_path, false).unwrap();
        // Meanwhile another sweep, and a new owner.
        fs::remove_dir(&folder).unwrap();
        fs::remove_file(&lock_path).unwrap();
        let living = make();
        living.lock().unwrap();
        assert!(!remove_dead(&opened, &lock_path, &folder));
        assert!(folder.is_dir() && lock_path.is_file());
        drop(living);
        let opened = open_lock(&lock_path, false).unwrap();
        assert!(remove_dead(&opened, &lock_path, &folder));
        assert!(!folder.exists() && !lock_path.exists());
    }
}
