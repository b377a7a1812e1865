//! Removes a folder with all below it, however deep and whatever its owner made of its permissions.
//!
//! Who removes a tree by its paths stops where a path is too long, and who descends holds a descriptor and
//! a piece of the stack for each level; a program in a sandbox can make a hundred thousand levels within a
//! second. So folders are moved up, next to the top, and emptied there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, chmodat, fchmod, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

/// How often a folder is read anew; one of the chain of folders below it goes each time, or many.
const ROUNDS: usize = 10_000_000;

/// Removes the folder `path` with all below it; follows no link. One that is not there is removed already.
///
/// Takes three descriptors and no memory that grows with the tree; each folder is moved once at most.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open_folder(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let mut next_name = 0;
    for _ in 0..ROUNDS {
        let n_removed = empty(&top, &top, &mut next_name)?;
        match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if n_removed > 0 => {}
            removed => return Ok(removed?),
        }
    }
    Err(io::Error::other("the folder is filled while it is emptied"))
}

/// Removes what `folder` holds. What it cannot, because it is a folder that is not empty, is moved into
/// `top`, or emptied in turn if it is there already. Gives how much went.
fn empty(folder: &OwnedFd, top: &OwnedFd, next_name: &mut u64) -> io::Result<u64> {
    let mut n_gone = 0;
    let is_top = std::ptr::eq(folder, top);
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        n_gone += 1;
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            // Linux says the first of a folder, others the second.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        match unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
        let inner = open_folder(folder, name)?;
        if !is_top {
            lift(folder, name, top, next_name)?;
            continue;
        }
        empty(&inner, top, next_name)?;
        match unlinkat(folder, name, AtFlags::REMOVEDIR) {
            // What was added or overlooked meanwhile is seen in the next round.
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(n_gone)
}

/// Moves a folder into `top`, under a name that is free there.
fn lift(
    folder: &OwnedFd,
    name: &std::ffi::CStr,
    top: &OwnedFd,
    next_name: &mut u64,
) -> io::Result<()> {
    loop {
        let free = format!(".removed-{next_name}");
        *next_name += 1;
        match renameat_with(folder, name, top, &free, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            moved => return Ok(moved?),
        }
    }
}

/// Opens a folder, no link, and lets its owner read, enter and change it.
fn open_folder(parent: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(&parent, name, flags, Mode::empty());
    let folder = match open() {
        Err(Errno::ACCESS) => {
            chmodat(&parent, name, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        opened => opened?,
    };
    fchmod(&folder, Mode::RWXU)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::mkdirat;

    use super::*;

    /// `n` folders within each other, the innermost with a file.
    fn deep(path: &Path, n: usize) {
        fs::create_dir(path).unwrap();
        let mut here = open_folder(CWD, path).unwrap();
        let name = "d".repeat(200);
        for _ in 0..n {
            mkdirat(&here, &*name, Mode::RWXU).unwrap();
            here = open_folder(&here, &*name).unwrap();
        }
        let file = openat(&here, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
        drop(file.unwrap());
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed_with_few_descriptors_and_little_stack() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("tree");
        deep(&path, 5000);
        let small = std::thread::Builder::new().stack_size(128 * 1024);
        let remove = path.clone();
        let removed = small.spawn(move || remove_tree(&remove)).unwrap().join();
        removed.unwrap().unwrap();
        assert!(!path.exists());
        remove_tree(&path).unwrap();
    }

    #[test]
    fn wide_locked_and_ill_named_folders_are_removed_and_links_are_not_followed() {
        let outer = tempfile::tempdir().unwrap();
        let (path, victim) = (outer.path().join("tree"), outer.path().join("victim"));
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("secret"), "x").unwrap();
        for folder in 0..50 {
            let folder = path.join(format!(".removed-{folder}/inner/.removed-{folder}"));
            fs::create_dir_all(&folder).unwrap();
            for file in 0..50 {
                fs::write(folder.join(format!("{file}")), "x").unwrap();
            }
            symlink(&victim, folder.join("link")).unwrap();
        }
        symlink(&victim, path.join("link")).unwrap();
        let locked = path.join(".removed-7/inner");
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read_to_string(victim.join("secret")).unwrap(), "x");
    }
}
