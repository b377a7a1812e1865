//! A copy of a project: what a program may write on instead of the project.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use homeostasis_core::{Digest, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::copy_folder::Folder;
use super::error::SandboxError;
use super::tree_digest::Chaining;

/// How many folders may lie within each other in what is copied or digested.
pub(super) const MAX_DEPTH: usize = 128;

/// What of a project is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CopyConfig {
    /// Names of files and folders that are not copied, wherever they stand; one with a leading slash only
    /// at the top of the project. Default `.git`, `__pycache__` and `/target`.
    pub leave_out: Vec<String>,
    /// Folders at the top of the project that are not copied but shown read-only in their place, where
    /// they exist; default `node_modules`, `.venv` and `venv`. Needs namespaces: without them they are
    /// missing.
    pub read_only: Vec<String>,
    /// How many bytes are copied at most; default 512 MiB. A larger project is refused.
    pub max_bytes: u64,
    /// How many files, folders and links are copied at most; default 50 000. A larger project is refused.
    pub max_files: u64,
}

impl Default for CopyConfig {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            leave_out: names(&[".git", "__pycache__", "/target"]),
            read_only: names(&["node_modules", ".venv", "venv"]),
            max_bytes: 512 * 1024 * 1024,
            max_files: 50_000,
        }
    }
}

impl CopyConfig {
    fn violations(&self) -> Violations {
        let mut violations = Violations::new();
        let names = [
            ("leave_out", &self.leave_out),
            ("read_only", &self.read_only),
        ];
        for (list, names) in names {
            for (index, name) in names.iter().enumerate() {
                let bare = match list {
                    "leave_out" => name.strip_prefix('/').unwrap_or(name),
                    _ => name,
                };
                let mut parts = Path::new(bare).components();
                let single =
                    matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none();
                if !single || bare.contains('/') {
                    violations.push(Violation::new(
                        format!("copy.{list}[{index}]"),
                        name,
                        "the name of one file or folder",
                    ));
                }
            }
        }
        violations
    }

    pub(super) fn leaves_out(&self, name: &str, at_top: bool) -> bool {
        let anywhere = self.leave_out.iter().any(|out| out == name);
        let top = |out: &String| out.strip_prefix('/') == Some(name);
        anywhere
            || at_top
                && (self.leave_out.iter().any(top) || self.read_only.iter().any(|r| r == name))
    }
}

/// A deep copy of a project in a folder of its own, removed with the last clone of this value.
///
/// Files keep their permissions and times.
/// A symbolic link is copied as a link if it leads to a place inside the project; other links, sockets,
/// pipes and devices are left out and named.
/// Names that are not UTF-8 are refused, for no report could name them.
///
/// The folder is locked while this value lives, so [`sweep`](super::sweep) removes those of dead processes only.
#[derive(Debug, Clone)]
pub struct ProjectCopy {
    folder: Arc<Folder>,
    source: PathBuf,
    config: Arc<CopyConfig>,
    read_only: Vec<String>,
    left_out: Vec<String>,
    bytes: u64,
}

impl ProjectCopy {
    /// Copies the project at `source` into a new folder below `place`, which must exist.
    ///
    /// Takes as long as reading and writing the files; runs on the calling thread.
    ///
    /// # Errors
    /// - [`SandboxError::Config`]: a name of the configuration has several components, or `source` is `/`.
    /// - [`SandboxError::TooLarge`]: more bytes or files than allowed, or more than 128 folders within
    ///   each other.
    /// - [`SandboxError::File`]: something could not be read or written.
    ///
    /// Nothing is left behind on an error.
    pub fn make(source: &Path, place: &Path, config: &CopyConfig) -> Result<Self, SandboxError> {
        let mut violations = config.violations();
        let source =
            fs::canonicalize(source).map_err(SandboxError::file("find the project", source))?;
        let place =
            fs::canonicalize(place).map_err(SandboxError::file("find the folder", place))?;
        if source.parent().is_none() || place.starts_with(&source) {
            violations.push(Violation::new(
                "project",
                source.display(),
                format!("a folder below / that does not contain {}", place.display()),
            ));
        }
        violations.into_result(()).map_err(SandboxError::Config)?;
        let folder = Folder::new(&place)?;
        let mut copying = Copying {
            source: &source,
            config,
            left_out: Vec::new(),
            bytes: 0,
            files: 0,
        };
        copying.folder(&source, &folder.tree(), 0)?;
        let (left_out, bytes) = (copying.left_out, copying.bytes);
        let read_only = config
            .read_only
            .iter()
            .filter(|name| source.join(name).is_dir())
            .cloned()
            .collect();
        Ok(Self {
            folder: Arc::new(folder),
            source,
            config: Arc::new(config.clone()),
            read_only,
            left_out,
            bytes,
        })
    }

    /// The top of the copy.
    pub fn path(&self) -> PathBuf {
        self.folder.tree()
    }

    /// The project it was made from, without links.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// What was not copied, as paths below the project.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// How many bytes were copied.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// One digest of the paths, kinds, execute permissions and contents below the top, as they are now.
    ///
    /// What [`CopyConfig`] leaves out does not count, also where a program made it in the copy: what
    /// compilers and interpreters keep there is made of the rest.
    ///
    /// # Errors
    /// - Something could not be read.
    /// - [`SandboxError::TooLarge`]: more than 128 folders lie within each other, or there is 64 MiB more
    ///   than may be copied.
    pub fn digest(&self) -> Result<Digest, SandboxError> {
        let mut chaining = Chaining {
            config: &self.config,
            source: &self.source,
            digest: Digest::of_bytes(b"homeostasis tree 1"),
            bytes: 0,
        };
        chaining.folder(&self.path(), "", MAX_DEPTH)?;
        Ok(chaining.digest)
    }

    /// The folders of the project shown read-only in their place.
    pub(super) fn read_only(&self) -> &[String] {
        &self.read_only
    }

    /// A folder beside the copy for what the program needs besides.
    pub(super) fn beside(&self) -> &Path {
        &self.folder.path
    }
}

struct Copying<'a> {
    source: &'a Path,
    config: &'a CopyConfig,
    left_out: Vec<String>,
    bytes: u64,
    files: u64,
}

impl Copying<'_> {
    fn folder(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), SandboxError> {
        let at_top = depth == 0;
        if depth > MAX_DEPTH {
            return Err(SandboxError::TooLarge {
                root: self.source.display().to_string(),
                limit: u64::try_from(MAX_DEPTH).unwrap_or(u64::MAX),
                unit: "folders within each other",
            });
        }
        for entry in fs::read_dir(from).map_err(SandboxError::file("read", from))? {
            let entry = entry.map_err(SandboxError::file("read", from))?;
            let path = entry.path();
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let error = io::Error::new(io::ErrorKind::InvalidData, "the name is not UTF-8");
                return Err(SandboxError::file("copy", path)(error));
            };
            if self.config.leaves_out(name, at_top) {
                self.leave_out(&path);
                continue;
            }
            self.count(0)?;
            let meta = fs::symlink_metadata(&path).map_err(SandboxError::file("read", &path))?;
            let (kind, copy) = (meta.file_type(), to.join(name));
            if kind.is_dir() {
                fs::create_dir(&copy).map_err(SandboxError::file("create", &copy))?;
                self.folder(&path, &copy, depth + 1)?;
                fs::set_permissions(&copy, writable(&meta, 0o700))
                    .map_err(SandboxError::file("create", &copy))?;
            } else if kind.is_symlink() {
                match link_inside(self.source, &path) {
                    Some(target) => {
                        symlink(target, &copy).map_err(SandboxError::file("link", &copy))?;
                    }
                    None => self.leave_out(&path),
                }
            } else if kind.is_file() {
                self.count(meta.len())?;
                copy_file(&path, &copy, &meta).map_err(SandboxError::file("copy", &path))?;
            } else {
                debug_assert!(
                    kind.is_fifo()
                        || kind.is_socket()
                        || kind.is_block_device()
                        || kind.is_char_device()
                );
                self.leave_out(&path);
            }
        }
        Ok(())
    }

    /// Counts a file or folder (0) or the bytes of a file.
    fn count(&mut self, bytes: u64) -> Result<(), SandboxError> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.files += u64::from(bytes == 0);
        let (limit, unit) = if self.bytes > self.config.max_bytes {
            (self.config.max_bytes, "bytes")
        } else if self.files > self.config.max_files {
            (self.config.max_files, "files")
        } else {
            return Ok(());
        };
        Err(SandboxError::TooLarge {
            root: self.source.display().to_string(),
            limit,
            unit,
        })
    }

    fn leave_out(&mut self, path: &Path) {
        let relative = path.strip_prefix(self.source).unwrap_or(path);
        self.left_out.push(relative.display().to_string());
    }
}

/// The target of the link, if it is relative and what it leads to stands inside the project.
fn link_inside(project: &Path, link: &Path) -> Option<PathBuf> {
    let target = fs::read_link(link).ok()?;
    let leads_to = fs::canonicalize(link).ok()?;
    (target.is_relative() && leads_to.starts_with(project)).then_some(target)
}

fn copy_file(from: &Path, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
    let mut reader = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(from)?;
    let mut writer = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    // Not one byte more than was counted, should the file grow meanwhile.
    io::copy(&mut io::Read::take(&mut reader, meta.len()), &mut writer)?;
    writer.set_modified(meta.modified()?)?;
    writer.set_permissions(writable(meta, 0o600))
}

/// The permissions of the original without set-id bits, and `at_least` for the owner.
fn writable(meta: &fs::Metadata, at_least: u32) -> fs::Permissions {
    fs::Permissions::from_mode(meta.mode() & 0o777 | at_least)
}

#[cfg(test)]
mod tests {
    use super::super::copy_folder::sweep;
    use super::*;

    fn project() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        let (project, place) = (outer.path().join("project"), outer.path().join("place"));
        fs::create_dir_all(project.join("src/target")).unwrap();
        fs::create_dir_all(project.join("target/debug")).unwrap();
        fs::create_dir_all(project.join("node_modules/left-pad")).unwrap();
        fs::create_dir(&place).unwrap();
        fs::write(project.join("src/target/mod.rs"), "// kept").unwrap();
        fs::write(project.join("run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(project.join("run.sh"), fs::Permissions::from_mode(0o4555)).unwrap();
        symlink("src/target/mod.rs", project.join("inside")).unwrap();
        symlink("../../etc", project.join("outside")).unwrap();
        symlink("/etc/passwd", project.join("absolute")).unwrap();
        (outer, project, place)
    }

    #[test]
    fn what_leads_out_is_left_out_and_named() {
        let (_outer, project, place) = project();
        let copy = ProjectCopy::make(&project, &place, &CopyConfig::default()).unwrap();
        let mut left_out = copy.left_out().to_vec();
        left_out.sort();
        assert_eq!(left_out, ["absolute", "node_modules", "outside", "target"]);
        assert_eq!(copy.read_only(), ["node_modules"]);
        let read = |name: &str| fs::read_to_string(copy.path().join(name)).unwrap();
        assert_eq!(read("inside"), "// kept");
        let mode = |root: &Path| fs::metadata(root.join("run.sh")).unwrap();
        let (ours, theirs) = (mode(&copy.path()), mode(&project));
        assert_eq!(
            ours.mode() & 0o7777,
            0o755,
            "set-id bits go, the owner may write"
        );
        assert_eq!(ours.modified().unwrap(), theirs.modified().unwrap());
    }

    #[test]
    fn the_copy_goes_with_its_last_owner_also_when_made_unreadable() {
        let (_outer, project, place) = project();
        let copy = ProjectCopy::make(&project, &place, &CopyConfig::default()).unwrap();
        let second = copy.clone();
        drop(copy);
        let inner = second.path().join("src");
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o000)).unwrap();
        drop(second);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }

    #[test]
    fn a_sweep_removes_what_the_dead_left_and_nothing_else() {
        let (_outer, project, place) = project();
        let living = ProjectCopy::make(&project, &place, &CopyConfig::default()).unwrap();
        let dead = place.join("homeostasis-sandbox-7-7");
        fs::create_dir_all(dead.join("tree/deep")).unwrap();
        fs::write(place.join("homeostasis-sandbox-7-7.lock"), "").unwrap();
        fs::create_dir(place.join("homeostasis-sandbox-of-somebody")).unwrap();
        fs::write(place.join("notes.lock"), "").unwrap();
        assert_eq!(sweep(&place).unwrap(), [dead]);
        assert!(living.path().join("run.sh").is_file());
        assert_eq!(sweep(&place).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fs::read_dir(&place).unwrap().count(), 4);
    }

    #[test]
    fn a_project_beyond_the_bounds_is_refused_and_leaves_nothing() {
        let (_outer, project, place) = project();
        for (config, unit) in [
            (
                CopyConfig {
                    max_bytes: 3,
                    ..CopyConfig::default()
                },
                "bytes",
            ),
            (
                CopyConfig {
                    max_files: 2,
                    ..CopyConfig::default()
                },
                "files",
            ),
        ] {
            let error = ProjectCopy::make(&project, &place, &config).unwrap_err();
            assert!(error.to_string().contains(unit), "{error}");
            assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        }
        let config = CopyConfig {
            leave_out: vec!["a/b".into(), "/target".into()],
            read_only: vec!["/node_modules".into(), "..".into()],
            ..CopyConfig::default()
        };
        let SandboxError::Config(error) = ProjectCopy::make(&project, &place, &config).unwrap_err()
        else {
            panic!("expected violations");
        };
        assert_eq!(error.violations().len(), 3, "{error}");
    }

    #[test]
    fn the_digest_changes_with_content_name_and_permission_only() {
        let (_outer, project, place) = project();
        let make = || ProjectCopy::make(&project, &place, &CopyConfig::default()).unwrap();
        let (one, two) = (make(), make());
        let before = one.digest().unwrap();
        assert_eq!(before, two.digest().unwrap());
        let script = two.path().join("run.sh");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
        let changed = two.digest().unwrap();
        assert_ne!(changed, before);
        fs::write(&script, "#!/bin/sh\nexit").unwrap();
        assert_ne!(two.digest().unwrap(), changed);
        for made in ["__pycache__", "src/__pycache__", "target", "node_modules"] {
            fs::create_dir(one.path().join(made)).unwrap();
            fs::write(one.path().join(made).join("cache"), "made").unwrap();
        }
        assert_eq!(one.digest().unwrap(), before, "what is left out");
        fs::rename(one.path().join("run.sh"), one.path().join("ran.sh")).unwrap();
        assert_ne!(one.digest().unwrap(), before);
        let huge = fs::File::create(one.path().join("huge")).unwrap();
        huge.set_len(1 << 40).unwrap();
        let error = one.digest().unwrap_err();
        assert!(error.to_string().contains("bytes"), "{error}");
    }
}
