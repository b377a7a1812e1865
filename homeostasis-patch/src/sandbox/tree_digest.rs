//! The digest of what lies in a copy.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use homeostasis_core::Digest;

use super::error::SandboxError;
use super::project_copy::{CopyConfig, MAX_DEPTH};

/// What may be added to a copy for it to have a digest, in bytes.
const ADDED_BYTES: u64 = 64 * 1024 * 1024;

/// A digest on its way through a copy.
pub(super) struct Chaining<'a> {
    pub config: &'a CopyConfig,
    pub source: &'a Path,
    pub digest: Digest,
    pub bytes: u64,
}

impl Chaining<'_> {
    pub(super) fn folder(
        &mut self,
        folder: &Path,
        prefix: &str,
        levels: usize,
    ) -> Result<(), SandboxError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(SandboxError::file("read", folder))? {
            let entry = entry.map_err(SandboxError::file("read", folder))?;
            names.push(entry.file_name());
        }
        names.sort();
        let at_top = prefix.is_empty();
        for name in names {
            if name
                .to_str()
                .is_some_and(|name| self.config.leaves_out(name, at_top))
            {
                continue;
            }
            let path = folder.join(&name);
            let meta = fs::symlink_metadata(&path).map_err(SandboxError::file("read", &path))?;
            let kind = meta.file_type();
            let relative = format!("{prefix}/{}", name.display());
            if kind.is_dir() {
                self.entry(&relative, b'd', b"");
                let levels = levels
                    .checked_sub(1)
                    .ok_or_else(|| self.too_large(MAX_DEPTH as u64, "folders within each other"))?;
                self.folder(&path, &relative, levels)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(SandboxError::file("read", &path))?;
                self.entry(&relative, b'l', target.as_os_str().as_encoded_bytes());
            } else if kind.is_file() {
                let limit = self.config.max_bytes.saturating_add(ADDED_BYTES);
                self.bytes = self.bytes.saturating_add(meta.len());
                if self.bytes > limit {
                    return Err(self.too_large(limit, "bytes"));
                }
                let content = fs::read(&path).map_err(SandboxError::file("read", &path))?;
                let executable = meta.mode() & 0o100 != 0;
                self.entry(&relative, if executable { b'x' } else { b'f' }, &content);
            } else {
                self.entry(&relative, b'?', b"");
            }
        }
        Ok(())
    }

    fn entry(&mut self, relative: &str, kind: u8, content: &[u8]) {
        let named = self.digest.chain(relative.as_bytes()).chain(&[kind]);
        self.digest = named.chain(Digest::of_bytes(content).as_bytes());
    }

    fn too_large(&self, limit: u64, unit: &'static str) -> SandboxError {
        SandboxError::TooLarge {
            root: self.source.display().to_string(),
            limit,
            unit,
        }
    }
}
