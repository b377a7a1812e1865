//! How much a folder holds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Disk space and entries below a folder.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub bytes: u64,
    pub files: u64,
}

/// What a folder holds; links are not followed, and what vanishes meanwhile counts nothing.
pub(super) fn usage(folder: &Path) -> Usage {
    let mut usage = Usage::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).into_iter().flatten();
        for entry in entries.filter_map(Result::ok) {
            let Ok(meta) = entry.metadata() else { continue };
            usage.files += 1;
            usage.bytes += meta.blocks() * 512;
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    usage
}
