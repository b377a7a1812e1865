//! How much a folder holds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many folders may lie within each other, more than any copy has.
const MAX_DEPTH: usize = 256;

/// The longest path below the folder that is followed, in bytes; the kernel takes 4096.
const MAX_PATH: usize = 2048;

/// Disk space and entries below a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub bytes: u64,
    pub files: u64,
    /// Whether there are folders so deep that they were not looked into.
    pub too_deep: bool,
}

/// What a folder holds; links are not followed, and what vanishes meanwhile counts nothing.
pub(super) fn usage(folder: &Path) -> Usage {
    let mut usage = Usage::default();
    let top = folder.as_os_str().len();
    let mut folders: Vec<(PathBuf, usize)> = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if depth > MAX_DEPTH || folder.as_os_str().len() - top > MAX_PATH {
            usage.too_deep = true;
            continue;
        }
        let entries = fs::read_dir(folder).into_iter().flatten();
        for entry in entries.filter_map(Result::ok) {
            let Ok(meta) = entry.metadata() else { continue };
            usage.files += 1;
            usage.bytes += meta.blocks() * 512;
            if meta.is_dir() {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_too_deep_to_be_looked_into_are_said() {
        let outer = tempfile::tempdir().unwrap();
        let deep = |n: usize, name: &str| {
            let path = outer.path().join(format!("{n}-{name}"));
            fs::create_dir_all((0..n).fold(path.clone(), |path, _| path.join(name))).unwrap();
            usage(&path)
        };
        assert!(!deep(256, "d").too_deep);
        assert!(deep(257, "d").too_deep);
        let long = "x".repeat(200);
        assert!(!deep(10, &long).too_deep);
        assert!(deep(11, &long).too_deep);
    }
}
