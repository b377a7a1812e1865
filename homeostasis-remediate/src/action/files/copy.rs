//! Content from one open file to another, and whether two are the same.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use super::folder::{Folder, Look, dress, look_at};
use super::roots::Stop;

const CHUNK: usize = 64 * 1024;

/// Copies what is left of `from`.
pub(super) fn copy(from: &mut impl Read, to: &mut impl Write, stop: &Stop) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        stop.check()?;
        let n = fill(from, &mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..n])?;
    }
}

/// Whether two readers have the same left.
pub(super) fn is_same(one: &mut impl Read, other: &mut impl Read, stop: &Stop) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        stop.check()?;
        let (n_a, n_b) = (fill(one, &mut a)?, fill(other, &mut b)?);
        if a[..n_a] != b[..n_b] {
            return Ok(false);
        }
        if n_a == 0 {
            return Ok(true);
        }
    }
}

/// Reads until `chunk` is full or there is no more.
fn fill(from: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < chunk.len() {
        match from.read(&mut chunk[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}

/// Moves `name` to the folder `to`, on whatever file system; `false` if it was changed meanwhile.
///
/// Where renaming is impossible it is copied under a passing name, compared, dressed and synced
/// before it gets its name there, and only then removed here.
pub(super) fn move_file(
    (from, name, look): (&Folder, &str, &Look),
    to: &Folder,
    stop: &Stop,
) -> io::Result<bool> {
    match from.rename(name, to, name) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        // A crash came between copying and removing.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut there = to.open_file(name, false)?;
            let mut here = from.open_file(name, false)?;
            if look_at(&there)?.id == look.id || !is_same(&mut here, &mut there, stop)? {
                return Err(error);
            }
            return remove_unchanged(from, name, look);
        }
        renamed => return renamed.map(|()| true),
    }
    let mut source = from.open_file(name, false)?;
    let passing = passing_name(look);
    to.remove(&passing)?;
    let mut copied = to.create(&passing)?;
    let written = write_copy(&mut source, &mut copied, look, stop)
        .and_then(|()| Ok(from.look(name)? == Some(*look)))
        .and_then(|same| {
            if same {
                to.rename(&passing, to, name)?;
                to.sync()?;
            }
            Ok(same)
        });
    if !matches!(written, Ok(true)) {
        to.remove(&passing)?;
        return written;
    }
    let removed = remove_unchanged(from, name, look)?;
    if !removed {
        to.remove(name)?;
    }
    Ok(removed)
}

fn write_copy(source: &mut File, copied: &mut File, look: &Look, stop: &Stop) -> io::Result<()> {
    copy(source, copied, stop)?;
    source.rewind()?;
    copied.rewind()?;
    if !is_same(source, copied, stop)? {
        return Err(io::Error::other("the copy differs from what was copied"));
    }
    dress(copied, look)?;
    copied.sync_all()
}

/// Removes `name` if it is still what was looked at.
pub(super) fn remove_unchanged(folder: &Folder, name: &str, look: &Look) -> io::Result<bool> {
    if folder.look(name)? != Some(*look) {
        return Ok(false);
    }
    folder.remove(name)?;
    folder.sync()?;
    Ok(true)
}

/// The name of a copy that is not complete yet: the same one after a crash.
pub(super) fn passing_name(look: &Look) -> String {
    format!("{PASSING}{:x}-{:x}", look.id.0, look.id.1)
}

/// How the names of incomplete copies begin.
pub(super) const PASSING: &str = ".homeostasis-new-";
