//! One file below a root: opened without following links, replaced as a whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use homeostasis_core::Digest;

use crate::FilePatchError;
use crate::diff::check_path;

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// How many names are tried for a temporary file, should those of a crashed process be in the way.
const MAX_NAMES: usize = 64;

/// A text file below a root as it was when it was read.
///
/// No step below the root may be a symbolic link.
/// The way is checked before and after opening, and the opened file must be the one that was
/// checked; somebody who may write below the root and exchanges folders in between and back is
/// not held off.
#[derive(Debug)]
pub(crate) struct ProjectFile {
    root: PathBuf,
    path: String,
    at: PathBuf,
    metadata: Metadata,
    text: String,
}

impl ProjectFile {
    /// Reads `path` below `root`. The root itself may be reached through links: it is trusted.
    ///
    /// # Errors
    /// - [`FilePatchError::Missing`]: no such file.
    /// - [`FilePatchError::Refused`]: the path leaves the root or leads over a link; or it is no
    ///   regular file, over 4 MiB, or not UTF-8.
    /// - [`FilePatchError::Io`].
    pub(crate) fn read(root: &Path, path: &str) -> Result<Self, FilePatchError> {
        let io = |doing| {
            move |source| FilePatchError::Io {
                path: path.to_owned(),
                doing,
                source,
            }
        };
        let root = fs::canonicalize(root).map_err(|source| FilePatchError::Io {
            path: root.display().to_string(),
            doing: "opening the root",
            source,
        })?;
        let (at, checked) = walk(&root, path)?;
        let file = File::open(&at).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => missing(path),
            _ => io("opening")(source),
        })?;
        let metadata = file.metadata().map_err(io("opening"))?;
        let (_, again) = walk(&root, path)?;
        if !same_file(&checked, &metadata) || !same_file(&again, &metadata) {
            return Err(refused(
                path,
                "a file that was exchanged while it was opened",
                "a file at rest",
            ));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(io("reading"))?;
        if u64::try_from(bytes.len()).is_ok_and(|n_bytes| n_bytes > MAX_FILE_BYTES) {
            return Err(refused(path, "a larger file", "at most 4 MiB"));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            refused(path, format!("no UTF-8 at byte {at}"), "a text in UTF-8")
        })?;
        Ok(Self {
            root,
            path: path.to_owned(),
            at,
            metadata,
            text,
        })
    }

    /// The content.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The digest of the content.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of_bytes(self.text.as_bytes())
    }

    /// Puts `new` in its place: a temporary file beside it is written, flushed, given the owner
    /// and the permissions of the present one, and renamed over it, after the present one was
    /// read once more and found unchanged.
    ///
    /// # Errors
    /// - [`FilePatchError::Drifted`]: the content changed since it was read.
    /// - [`FilePatchError::Refused`]: read-only, or with several names (hard links), of which
    ///   a replacement would change one; or as in [`ProjectFile::read`].
    /// - [`FilePatchError::Io`]: nothing was changed, unless flushing the folder failed.
    pub(crate) fn replace(&self, new: &str) -> Result<(), FilePatchError> {
        self.check_replaceable()?;
        let permissions = self.metadata.permissions();
        let folder = self.at.parent().unwrap_or(&self.root);
        let io = |doing| {
            move |source| FilePatchError::Io {
                path: self.path.clone(),
                doing,
                source,
            }
        };
        let temporary = Temporary::write(folder, new.as_bytes(), |file| {
            keep_owner(file, &self.metadata)?;
            file.set_permissions(permissions.clone())
        })
        .map_err(io("writing a temporary file beside it"))?;
        let present = Self::read(&self.root, &self.path)?;
        if present.text != self.text {
            return Err(FilePatchError::Drifted {
                path: self.path.clone(),
                found: present.digest(),
                expected: self.digest(),
            });
        }
        temporary.rename(&self.at).map_err(io("replacing"))?;
        flush_folder(folder).map_err(io("flushing the folder after replacing"))
    }

    /// Whether [`replace`](Self::replace) would be refused for what the file is.
    pub(crate) fn check_replaceable(&self) -> Result<(), FilePatchError> {
        if self.metadata.permissions().readonly() {
            return Err(refused(&self.path, "a read-only file", "a writable file"));
        }
        if n_names(&self.metadata) > 1 {
            return Err(refused(
                &self.path,
                "a file with several names (hard links)",
                "a file with one name",
            ));
        }
        Ok(())
    }

    /// Keeps the content in `folder` under its digest, readable by the owner only, and gives the
    /// file. One that is there already with this content is kept.
    pub(crate) fn back_up(&self, folder: &Path) -> Result<PathBuf, FilePatchError> {
        keep(folder, &self.text)
    }
}

/// Keeps `text` in `folder` under its digest, as [`ProjectFile::back_up`].
pub(crate) fn keep(folder: &Path, text: &str) -> Result<PathBuf, FilePatchError> {
    let at = folder.join(Digest::of_bytes(text.as_bytes()).to_string());
    let keep = || {
        fs::create_dir_all(folder)?;
        let is_file = fs::symlink_metadata(&at).is_ok_and(|found| found.is_file());
        if is_file && fs::read(&at).is_ok_and(|bytes| bytes == text.as_bytes()) {
            return Ok(());
        }
        Temporary::write(folder, text.as_bytes(), |_| Ok(()))?.rename(&at)?;
        flush_folder(folder)
    };
    keep().map_err(|source| FilePatchError::Io {
        path: at.display().to_string(),
        doing: "keeping a copy",
        source,
    })?;
    Ok(at)
}

/// Puts `bytes` at `at` as a whole: a reader sees what was there before or all of it, and it is
/// durable when this returns.
pub(crate) fn write_whole(at: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = at.parent().unwrap_or(Path::new("."));
    Temporary::write(folder, bytes, |_| Ok(()))?.rename(at)?;
    flush_folder(folder)
}

/// Whether `name` is that of a temporary file that a process with one of these ids left behind;
/// any process if none is given.
pub(crate) fn is_leftover(name: &str, writers: &[u32]) -> bool {
    let number = name
        .strip_prefix(".homeostasis-")
        .and_then(|rest| rest.strip_suffix(".tmp"));
    let Some((id, _)) = number.and_then(|number| number.split_once('-')) else {
        return false;
    };
    writers.is_empty() || id.parse().is_ok_and(|id| writers.contains(&id))
}

/// Why `path` is not a way to a file below a root, as what was expected instead.
pub(crate) fn path_problem(path: &str) -> Option<&'static str> {
    if let Err(error) = check_path(path) {
        return Some(match error {
            crate::DiffError::Path { expected, .. } => expected,
            _ => "a relative path that stays inside the root",
        });
    }
    // A back slash or a drive letter on systems that split there.
    let is_one_step = |part| Path::new(part).components().count() == 1;
    (!path.split('/').all(is_one_step)).then_some("steps separated by `/`")
}

/// The file and what is known of it; every step is looked at and none may be a link.
fn walk(root: &Path, path: &str) -> Result<(PathBuf, Metadata), FilePatchError> {
    if let Some(expected) = path_problem(path) {
        return Err(refused(path, "this path", expected));
    }
    let mut at = root.to_owned();
    let mut steps = path.split('/').peekable();
    while let Some(step) = steps.next() {
        at.push(step);
        let found = fs::symlink_metadata(&at).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => missing(path),
            _ => FilePatchError::Io {
                path: path.to_owned(),
                doing: "looking up",
                source,
            },
        })?;
        let is_last = steps.peek().is_none();
        if found.is_symlink() {
            let link = format!("a symbolic link at {step:?}");
            return Err(refused(path, link, "a path without links"));
        }
        if is_last && !found.is_file() {
            return Err(refused(path, "no regular file", "a regular file"));
        }
        if !is_last && !found.is_dir() {
            return Err(missing(path));
        }
        if is_last {
            return Ok((at, found));
        }
    }
    Err(missing(path))
}

fn missing(path: &str) -> FilePatchError {
    FilePatchError::Missing {
        path: path.to_owned(),
    }
}

fn refused(path: &str, found: impl Into<String>, expected: &'static str) -> FilePatchError {
    FilePatchError::Refused {
        path: path.to_owned(),
        found: found.into(),
        expected,
    }
}

/// A new file that is removed again unless it is renamed; a crash leaves it behind.
#[derive(Debug)]
struct Temporary {
    at: Option<PathBuf>,
}

impl Temporary {
    /// Writes and flushes `bytes` to a new file in `folder` that nobody else may read until
    /// `prepare` has set its permissions.
    fn write(
        folder: &Path,
        bytes: &[u8],
        prepare: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<Self> {
        let (mut file, temporary) = Self::create(folder)?;
        killable();
        file.write_all(bytes)?;
        killable();
        prepare(&file)?;
        file.sync_all()?;
        killable();
        Ok(temporary)
    }

    fn create(folder: &Path) -> io::Result<(File, Self)> {
        static N_MADE: AtomicU64 = AtomicU64::new(0);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        owner_only(&mut options);
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..MAX_NAMES {
            let number = N_MADE.fetch_add(1, Ordering::Relaxed);
            let at = folder.join(format!(".homeostasis-{}-{number}.tmp", std::process::id()));
            match options.open(&at) {
                Ok(file) => return Ok((file, Self { at: Some(at) })),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn rename(mut self, to: &Path) -> io::Result<()> {
        if let Some(at) = &self.at {
            fs::rename(at, to)?;
            killable();
        }
        self.at = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(at) = &self.at {
            // Best effort: what went wrong before this is what the caller hears of.
            let _ = fs::remove_file(at);
        }
    }
}

#[cfg(unix)]
fn same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    a.dev() == b.dev() && a.ino() == b.ino()
}

#[cfg(not(unix))]
fn same_file(a: &Metadata, b: &Metadata) -> bool {
    a.file_type() == b.file_type() && a.len() == b.len() && a.created().ok() == b.created().ok()
}

#[cfg(unix)]
fn n_names(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn n_names(_: &Metadata) -> u64 {
    1
}

/// Gives `file` the owner and group of `like`; fails if it may not.
#[cfg(unix)]
fn keep_owner(file: &File, like: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let present = file.metadata()?;
    if (present.uid(), present.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    fchown(file, Some(like.uid()), Some(like.gid()))
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn owner_only(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

#[cfg(not(unix))]
fn owner_only(_: &mut OpenOptions) {}

/// A place at which the kill tests stop the process; nothing otherwise.
#[cfg(not(test))]
pub(crate) fn killable() {}
#[cfg(test)]
pub(crate) use crate::hand_over::killable;

/// Makes a rename in `folder` durable.
#[cfg(unix)]
pub(crate) fn flush_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn flush_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
