//! Follows a growing file line by line, through rotation and truncation.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How many bytes at the beginning of a file tell it from another one.
const HEAD_BYTES: u64 = 256;
/// How many bytes are read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many neighbours of a file are looked at to find where it was moved to.
const MAX_NEIGHBOURS: usize = 10_000;

/// Where a tail stands: store it and resume from it.
///
/// It points behind the last whole line that was handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TailPosition {
    /// The file that is followed.
    pub path: PathBuf,
    /// The file's number in its file system; 0 where there is none.
    pub inode: u64,
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// How many bytes of the beginning [`TailPosition::head`] covers.
    pub head_bytes: u64,
    /// A checksum (FNV-1a, 64 bit) of the beginning: a file written anew in the same place, or
    /// under a number that was used before, does not have it.
    pub head: u64,
}

/// What reading met since the reader was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_field_names, reason = "counts are called n_x")]
pub(super) struct ReaderStats {
    pub(super) n_truncated_lines: u64,
    pub(super) n_rotations: u64,
    pub(super) n_truncations: u64,
}

/// One line without its end; `whole` is false when its end was cut off.
pub(super) type OnLine<'a> = dyn FnMut(&[u8], bool) + 'a;

/// The follower.
#[derive(Debug)]
pub(super) struct LineReader {
    path: PathBuf,
    max_line: usize,
    open: Option<OpenFile>,
    /// Where to go on once the file is there.
    resume: Option<TailPosition>,
    /// Whether the file that is found first is read from its end.
    skip_existing: bool,
    /// The file has been looked for at least once.
    looked: bool,
    pub(super) stats: ReaderStats,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    inode: u64,
    /// Behind the last byte that was read.
    read: u64,
    /// The line that has no end yet, at most `max_line` bytes of it.
    partial: Vec<u8>,
    /// How many bytes of the present line were read, kept or not.
    line_bytes: u64,
    head: u64,
    head_bytes: u64,
}

impl LineReader {
    pub(super) fn new(path: PathBuf, max_line: usize, skip_existing: bool) -> Self {
        Self {
            path,
            max_line,
            open: None,
            resume: None,
            skip_existing,
            looked: false,
            stats: ReaderStats::default(),
        }
    }

    pub(super) fn resume(position: TailPosition, max_line: usize) -> Self {
        Self {
            resume: Some(position.clone()),
            ..Self::new(position.path, max_line, false)
        }
    }

    /// Where it stands; `None` before the file was first seen.
    pub(super) fn position(&self) -> Option<TailPosition> {
        let Some(open) = &self.open else {
            return self.resume.clone();
        };
        Some(TailPosition {
            path: self.path.clone(),
            inode: open.inode,
            offset: open.read - open.line_bytes,
            head_bytes: open.head_bytes,
            head: open.head,
        })
    }

    /// Reads at most about `max_bytes` and gives each line that ended.
    ///
    /// A file that is not there is nothing to read. Returns the number of bytes read.
    pub(super) fn read(&mut self, max_bytes: usize, on_line: &mut OnLine<'_>) -> io::Result<usize> {
        let mut total = 0;
        let mut chunk = vec![0; CHUNK_BYTES];
        // Each round reads a chunk or moves to the next file; a writer that rotates faster than
        // it is read must not hold the reader.
        for _ in 0..(max_bytes / CHUNK_BYTES).saturating_add(8) {
            if total >= max_bytes {
                break;
            }
            if self.open.is_none() && !self.open_file()? {
                break;
            }
            let Some(open) = &mut self.open else { break };
            if open.was_replaced_in_place()? {
                self.stats.n_truncations += 1;
                open.restart()?;
            }
            let room = chunk.len().min(max_bytes - total);
            let n = open.file.read(&mut chunk[..room])?;
            if n > 0 {
                total += n;
                self.stats.n_truncated_lines += open.take(&chunk[..n], self.max_line, on_line);
                continue;
            }
            if !self.was_rotated()? {
                break;
            }
            // The old file is at its end; what it holds without an end of line never gets one.
            self.stats.n_rotations += 1;
            if let Some(old) = self.open.take().filter(|old| !old.partial.is_empty()) {
                on_line(&old.partial, old.line_bytes <= old.partial.len() as u64);
            }
        }
        Ok(total)
    }

    /// Opens the file to go on with; false if there is none.
    fn open_file(&mut self) -> io::Result<bool> {
        let first_look = !std::mem::replace(&mut self.looked, true);
        if let Some(position) = self.resume.take() {
            match self.open_position(&position) {
                Ok(Some(open)) => {
                    self.open = Some(open);
                    return Ok(true);
                }
                Ok(None) => self.stats.n_rotations += 1,
                Err(error) => {
                    self.resume = Some(position);
                    return Err(error);
                }
            }
        }
        let Some(mut open) = OpenFile::at(&self.path)? else {
            return Ok(false);
        };
        if first_look && self.skip_existing {
            open.skip_to_last_line()?;
        }
        self.open = Some(open);
        Ok(true)
    }

    /// The file of a stored position: in its place, or where rotation has moved it.
    fn open_position(&self, position: &TailPosition) -> io::Result<Option<OpenFile>> {
        let mut candidates = vec![self.path.clone()];
        candidates.extend(neighbours(&self.path));
        for path in candidates {
            let Ok(Some(mut open)) = OpenFile::at(&path) else {
                continue;
            };
            if open.inode == position.inode && open.begins_like(position)? {
                open.file.seek(SeekFrom::Start(position.offset))?;
                open.read = position.offset;
                open.head = position.head;
                open.head_bytes = position.head_bytes;
                return Ok(Some(open));
            }
        }
        Ok(None)
    }

    /// Whether another file has taken the place of the open one.
    fn was_rotated(&self) -> io::Result<bool> {
        let Some(open) = &self.open else {
            return Ok(false);
        };
        match fs::metadata(&self.path) {
            Ok(metadata) if cfg!(unix) => Ok(file_number(&metadata) != open.inode),
            // Without numbers: a place that holds fewer bytes than were read is another file.
            Ok(metadata) => Ok(metadata.len() < open.read),
            // Moved away and not yet written anew: the open file may still grow.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl OpenFile {
    fn at(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} is not a regular file", path.display()),
            ));
        }
        let mut open = Self {
            file,
            inode: file_number(&metadata),
            read: 0,
            partial: Vec::new(),
            line_bytes: 0,
            head: 0,
            head_bytes: 0,
        };
        open.learn_head()?;
        Ok(Some(open))
    }

    fn begins_like(&mut self, position: &TailPosition) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() >= position.offset
            && self.head_of(position.head_bytes)? == position.head)
    }

    /// Whether the file was emptied and written again since the last reading.
    fn was_replaced_in_place(&mut self) -> io::Result<bool> {
        if self.file.metadata()?.len() < self.read || self.head_of(self.head_bytes)? != self.head {
            return Ok(true);
        }
        if self.head_bytes < HEAD_BYTES {
            self.learn_head()?;
        }
        Ok(false)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.read = 0;
        self.partial.clear();
        self.line_bytes = 0;
        self.learn_head()
    }

    fn learn_head(&mut self) -> io::Result<()> {
        self.head_bytes = self.file.metadata()?.len().min(HEAD_BYTES);
        self.head = self.head_of(self.head_bytes)?;
        Ok(())
    }

    /// The checksum of the first `n` bytes; the place of reading stays.
    fn head_of(&mut self, n: u64) -> io::Result<u64> {
        let mut head = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file
            .by_ref()
            .take(n.min(HEAD_BYTES))
            .read_to_end(&mut head)?;
        self.file.seek(SeekFrom::Start(self.read))?;
        Ok(head.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    /// Moves to the end, but back behind the last end of line so that no half line is read.
    fn skip_to_last_line(&mut self) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let from = end.saturating_sub(CHUNK_BYTES as u64);
        let mut tail = Vec::new();
        self.file.seek(SeekFrom::Start(from))?;
        self.file
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut tail)?;
        let rest = tail.iter().rev().take_while(|byte| **byte != b'\n').count();
        self.read = from + (tail.len() - rest) as u64;
        self.file.seek(SeekFrom::Start(self.read))?;
        Ok(())
    }

    /// Splits what was read into lines; returns how many were cut.
    fn take(&mut self, mut bytes: &[u8], max_line: usize, on_line: &mut OnLine<'_>) -> u64 {
        self.read += bytes.len() as u64;
        let mut n_cut = 0;
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            self.keep(line, max_line);
            let whole = self.line_bytes <= self.partial.len() as u64;
            n_cut += u64::from(!whole);
            on_line(&self.partial, whole);
            self.partial.clear();
            self.line_bytes = 0;
        }
        self.keep(bytes, max_line);
        n_cut
    }

    fn keep(&mut self, bytes: &[u8], max_line: usize) {
        let room = max_line - self.partial.len().min(max_line);
        self.partial
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.line_bytes += bytes.len() as u64;
    }
}

/// Files beside `path` whose names begin with its name, as rotation leaves them.
fn neighbours(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Vec::new();
    };
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or(name);
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .take(MAX_NEIGHBOURS)
        .filter_map(Result::ok)
        .filter(|entry| {
            let found = entry.file_name();
            found
                .to_str()
                .is_some_and(|found| found != name && found.starts_with(stem))
        })
        .map(|entry| entry.path())
        .collect()
}

#[cfg(unix)]
fn file_number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn file_number(_: &Metadata) -> u64 {
    0
}
