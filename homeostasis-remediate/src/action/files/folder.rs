//! An open folder: what is done in it is done by name, and no link is followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Statx, StatxFlags, Timespec,
    Timestamps, fchmod, fchown, fsync, futimens, mkdirat, openat, renameat_with, statx, unlinkat,
};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

/// Flags of every opening: no link at the last component, no waiting for a peer of a pipe, and
/// nothing for the programs we start.
const SAFELY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    mount: (u32, u32, u64),
}

/// What a name in a folder stands for at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Device and number: which file it is.
    pub(super) id: (u64, u64),
    pub(super) size: u64,
    /// When its content, name or rights last changed, nanoseconds since 1970. Nobody can set it.
    pub(super) changed: i64,
    modified: (i64, u32),
    mode: u16,
    owner: (u32, u32),
    pub(super) n_links: u32,
    kind: FileType,
}

impl Look {
    pub(super) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Whether it would run with the rights of its owner or group.
    pub(super) fn is_set_id(&self) -> bool {
        self.mode & 0o6000 != 0
    }
}

impl From<Statx> for Look {
    fn from(found: Statx) -> Self {
        let nanos = |seconds: i64, nanos: u32| {
            seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::from(nanos))
        };
        let changed = nanos(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec);
        let modified = nanos(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec);
        Self {
            id: (
                rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
                found.stx_ino,
            ),
            size: found.stx_size,
            changed: changed.max(modified),
            modified: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
            mode: found.stx_mode & 0o7777,
            owner: (found.stx_uid, found.stx_gid),
            n_links: found.stx_nlink,
            kind: FileType::from_raw_mode(found.stx_mode.into()),
        }
    }
}

fn stat(fd: impl AsFd, name: &OsStr, flags: AtFlags) -> io::Result<Statx> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    Ok(statx(
        fd,
        name,
        flags | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        wanted,
    )?)
}

/// What an open file is.
pub(super) fn look_at(file: &File) -> io::Result<Look> {
    Ok(stat(file, OsStr::new(""), AtFlags::EMPTY_PATH)?.into())
}

/// Gives `file` the rights, the owner and the time of last modification of `like`.
///
/// Only root may give files away: an owner that cannot be kept is an error, rights are never widened
/// to one who had none.
pub(super) fn dress(file: &File, like: &Look) -> io::Result<()> {
    if look_at(file)?.owner != like.owner {
        let (user, group) = like.owner;
        fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    }
    fchmod(file, Mode::from_raw_mode(like.mode.into()))?;
    let (tv_sec, nanos) = like.modified;
    let time = Timespec {
        tv_sec,
        tv_nsec: nanos.into(),
    };
    futimens(
        file,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )?;
    Ok(())
}

impl Folder {
    /// The folder at an absolute path, opened component by component.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let root = openat(CWD, "/", OFlags::DIRECTORY | SAFELY, Mode::empty())?;
        let below = path.strip_prefix("/").map_err(|_| Errno::INVAL)?;
        let mut folder = Self::of(root)?;
        for component in components(below)? {
            folder = folder.enter(component)?;
        }
        Ok(folder)
    }

    fn of(fd: OwnedFd) -> io::Result<Self> {
        let found = stat(&fd, OsStr::new(""), AtFlags::EMPTY_PATH)?;
        // The id of the mount tells bind mounts of one device apart, from Linux 5.8 on.
        let mount = (found.stx_dev_major, found.stx_dev_minor, found.stx_mnt_id);
        Ok(Self { fd, mount })
    }

    fn enter(&self, name: &OsStr) -> io::Result<Self> {
        Self::of(openat(
            &self.fd,
            name,
            OFlags::DIRECTORY | SAFELY,
            Mode::empty(),
        )?)
    }

    /// The folder `name` in this one, on the same mount.
    pub(super) fn sub(&self, name: &OsStr) -> io::Result<Self> {
        let sub = self.enter(name)?;
        if sub.mount == self.mount {
            Ok(sub)
        } else {
            Err(Errno::XDEV.into())
        }
    }

    /// The folder at a path below this one, on the same mount.
    pub(super) fn at(&self, below: &Path) -> io::Result<Self> {
        let mut folder = self.sub(OsStr::new("."))?;
        for component in components(below)? {
            folder = folder.sub(component)?;
        }
        Ok(folder)
    }

    /// The same; what is missing is made, for the owner only.
    pub(super) fn make(&self, below: &Path) -> io::Result<Self> {
        let mut folder = self.sub(OsStr::new("."))?;
        for component in components(below)? {
            match mkdirat(&folder.fd, component, Mode::from_raw_mode(0o700)) {
                Ok(()) => folder.sync()?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            folder = folder.sub(component)?;
        }
        Ok(folder)
    }

    /// Calls `visit` with each name that is text; stops at its first error.
    pub(super) fn each(&self, mut visit: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => visit(name)?,
            }
        }
        Ok(())
    }

    /// What `name` stands for, a link for itself; `None` if there is nothing.
    pub(super) fn look(&self, name: &str) -> io::Result<Option<Look>> {
        match stat(&self.fd, OsStr::new(name), AtFlags::empty()) {
            Ok(found) => Ok(Some(found.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The regular file `name`, to be read; with `write` also to be written.
    pub(super) fn open_file(&self, name: &str, write: bool) -> io::Result<File> {
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        let file = File::from(openat(&self.fd, name, access | SAFELY, Mode::empty())?);
        if !look_at(&file)?.is_file() {
            let message = format!("{name:?} is no regular file");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(file)
    }

    /// A new file `name`, readable for its owner only; an error if there is one.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let how = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | SAFELY;
        Ok(openat(&self.fd, name, how, Mode::from_raw_mode(0o600))?.into())
    }

    /// Renames `name` to `new_name` in `to`; an error if something has that name.
    pub(super) fn rename(&self, name: &str, to: &Self, new_name: &str) -> io::Result<()> {
        Ok(renameat_with(
            &self.fd,
            name,
            &to.fd,
            new_name,
            RenameFlags::NOREPLACE,
        )?)
    }

    /// Exchanges what two names stand for, at one moment.
    pub(super) fn exchange(&self, one: &str, other: &str) -> io::Result<()> {
        Ok(renameat_with(
            &self.fd,
            one,
            &self.fd,
            other,
            RenameFlags::EXCHANGE,
        )?)
    }

    /// Removes the name of a file, or a link itself; `false` if there is none.
    pub(super) fn remove(&self, name: &str) -> io::Result<bool> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the folder `name` if it is empty; `false` if it is not, or there is none.
    pub(super) fn remove_empty(&self, name: &str) -> io::Result<bool> {
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes names that were made, changed or removed in it survive a power failure.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.fd)?)
    }
}

/// The names a relative path consists of; nothing that leads up or anywhere else.
fn components(below: &Path) -> io::Result<Vec<&OsStr>> {
    let names = below.components().map(|component| match component {
        Component::Normal(name) => Ok(name),
        _ => Err(Errno::INVAL.into()),
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_component_is_a_link_and_none_leads_up() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("a/b")).unwrap();
        fs::write(base.join("a/b/file"), "x").unwrap();
        symlink(base.join("a"), base.join("link")).unwrap();
        symlink("b/file", base.join("a/alias")).unwrap();
        assert!(Folder::open(&base.join("link")).is_err());
        assert!(Folder::open(&base.join("link/b")).is_err());
        let folder = Folder::open(&base).unwrap();
        assert!(folder.at(Path::new("a/b")).is_ok());
        for path in ["link/b", "a/../a", "/", "a/alias"] {
            assert!(folder.at(Path::new(path)).is_err(), "{path}");
            assert!(folder.make(Path::new(path)).is_err(), "{path}");
        }
        let a = folder.at(Path::new("a")).unwrap();
        assert!(a.open_file("alias", false).is_err());
        assert!(!a.look("alias").unwrap().unwrap().is_file());
        assert!(a.open_file("b", false).is_err());
        assert!(a.remove("alias").unwrap() && !a.remove("alias").unwrap());
        assert_eq!(fs::read_to_string(base.join("a/b/file")).unwrap(), "x");
    }

    #[test]
    fn a_pipe_does_not_hold_us_up_and_a_mount_is_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        let folder = Folder::open(&dir.path().canonicalize().unwrap()).unwrap();
        assert!(folder.open_file("pipe", false).is_err());
        let root = Folder::open(Path::new("/")).unwrap();
        let refusal = root.sub(OsStr::new("proc")).unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::CrossesDevices);
    }
}
