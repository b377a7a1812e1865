//! Small files that are replaced as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// Replaces `path` by `bytes`: written beside it, synced, renamed over it, and the folder synced.
/// The file beside is a hidden one, so that what reads all files of a folder (`*`) does not take it up.
///
/// A reader sees the old content or the new one. A link at `path` is replaced, not followed.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a folder"))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let beside = folder.join(name);
    // What a process with this id left behind when it was killed.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(folder)?.sync_all()
}

/// Reads a regular file of at most `limit` bytes as text; `None` if it does not exist. Links are
/// refused.
pub(crate) fn read_small(path: &Path, limit: u64) -> io::Result<Option<String>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(found) if !found.is_file() => {
            let message = format!("{} is no regular file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(_) => {}
    }
    let mut text = String::new();
    let read = File::open(path)?
        .take(limit + 1)
        .read_to_string(&mut text)?;
    if read as u64 > limit {
        let message = format!("{} is longer than {limit} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("current"), dir.path().join("other"));
        fs::write(&other, "untouched").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(read_small(&path, 100).is_err());
        write_atomically(&path, b"v2\n").unwrap();
        assert_eq!(read_small(&path, 100).unwrap().unwrap(), "v2\n");
        assert_eq!(fs::read_to_string(&other).unwrap(), "untouched");
        assert!(read_small(&path, 2).is_err());
        assert_eq!(read_small(&dir.path().join("none"), 2).unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
