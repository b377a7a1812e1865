//! Follows a growing file line by line, through rotation and truncation.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use homeostasis_core::Timestamp;

use super::rotation::{
    Listing, Neighbor, Newer, directory_of, file_number, is_copy_of, modified_nanos, open_regular,
};
use super::tail_position::{ANCHOR_BYTES, LineId, TailLoss, TailPosition, checksum};

/// How many bytes are read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many bytes must agree for a file with another number to be taken for a copy, if its name
/// does not say that it was made since.
const MIN_ANCHOR: u64 = 16;
/// What the generation grows by when a file was lost: more than files can have come in between, so
/// that no id is given twice.
const LOSS_GENERATIONS: u64 = 1 << 20;

/// What reading met since the reader was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_field_names, reason = "counts are called n_x")]
pub(super) struct ReaderStats {
    pub(super) n_truncated_lines: u64,
    pub(super) n_rotations: u64,
    pub(super) n_truncations: u64,
    pub(super) n_nul_bytes: u64,
    pub(super) n_losses: u64,
}

/// What reading gives.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// One line without its end.
    Line {
        bytes: &'a [u8],
        /// False when its end was cut off.
        is_whole: bool,
        id: LineId,
    },
    /// The file was left for the next one, or was emptied.
    End,
}

type OnEvent<'a> = dyn FnMut(Event<'_>) + 'a;

/// The follower.
#[derive(Debug)]
pub(super) struct LineReader {
    path: PathBuf,
    max_line: usize,
    /// How long a file that was moved away must be silent before the next one is begun.
    grace: Duration,
    open: Option<OpenFile>,
    /// Where to go on once the file is there.
    resume: Option<TailPosition>,
    /// Whether the file that is found first is read from its end.
    skip_existing: bool,
    /// The file has been looked for at least once.
    looked: bool,
    /// Not yet told.
    pub(super) losses: Vec<TailLoss>,
    pub(super) stats: ReaderStats,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    number: u64,
    generation: u64,
    /// Behind the last byte that was read.
    read: u64,
    /// The last bytes that were read, or the first bytes of a file that is just begun: while they
    /// stand there, the file is the one that was read.
    anchor: Vec<u8>,
    /// Behind the anchor: `read`, unless nothing was read.
    anchor_end: u64,
    /// The line that has no end yet, at most `max_line` bytes of it.
    partial: Vec<u8>,
    is_cut: bool,
    /// How many bytes of the present line were read, kept or not.
    line_bytes: u64,
    /// When it had last been written to when it was last found unchanged, in nanoseconds since the
    /// epoch.
    modified: i64,
    /// When it was found at its end with another file in its place.
    quiet_since: Option<Timestamp>,
    /// As in [`TailPosition::previous`].
    previous: Option<u64>,
    /// A copy that was made before the original was emptied: it does not grow.
    is_copy: bool,
}

/// Which file comes after the open one.
enum Next {
    Rotated(Neighbor),
    Live,
}

impl LineReader {
    pub(super) fn new(
        path: PathBuf,
        max_line: usize,
        grace: Duration,
        skip_existing: bool,
    ) -> Self {
        Self {
            path,
            max_line,
            grace,
            open: None,
            resume: None,
            skip_existing,
            looked: false,
            losses: Vec::new(),
            stats: ReaderStats::default(),
        }
    }

    pub(super) fn resume(position: TailPosition, max_line: usize, grace: Duration) -> Self {
        Self {
            resume: Some(position.clone()),
            ..Self::new(position.path, max_line, grace, false)
        }
    }

    /// Where it stands, at the start of the line without an end or at `held`, where a line begins
    /// that was read and not given; `None` before the file was first seen.
    pub(super) fn position(&self, held: Option<LineId>) -> Option<TailPosition> {
        let Some(open) = &self.open else {
            return self.resume.clone();
        };
        Some(TailPosition {
            path: self.path.clone(),
            inode: open.number,
            generation: open.generation,
            // Lines are held of the open file only: the end of a file releases them.
            offset: held.map_or(open.read - open.line_bytes, |id| id.offset),
            anchor_end: open.anchor_end,
            anchor_bytes: open.anchor.len() as u64,
            anchor: checksum(&open.anchor),
            modified: Timestamp::from_nanos(open.modified),
            previous: open.previous,
        })
    }

    /// What is written and not read in the open file and in the one at the path.
    pub(super) fn n_bytes_behind(&self) -> u64 {
        let Some(open) = &self.open else {
            return 0;
        };
        let live = fs::metadata(&self.path).ok();
        let here = open.file.metadata().map_or(0, |metadata| metadata.len());
        let there = live.filter(|metadata| file_number(metadata) != open.number);
        here.saturating_sub(open.read) + there.map_or(0, |metadata| metadata.len())
    }

    /// Reads at most about `max_bytes` and gives each line that ended.
    ///
    /// A file that is not there is nothing to read; a directory that is not there is an error.
    pub(super) fn read(
        &mut self,
        max_bytes: usize,
        now: Timestamp,
        on_event: &mut OnEvent<'_>,
    ) -> io::Result<()> {
        self.try_read(max_bytes, now, on_event)
            .map_err(|error| io::Error::new(error.kind(), Named(self.path.clone(), error)))
    }

    fn try_read(
        &mut self,
        max_bytes: usize,
        now: Timestamp,
        on_event: &mut OnEvent<'_>,
    ) -> io::Result<()> {
        let mut total = 0;
        let mut chunk = vec![0; CHUNK_BYTES.min(max_bytes)];
        // Each round reads a chunk or moves to the next file; a writer that rotates faster than
        // it is read must not hold the reader.
        for _ in 0..(max_bytes / CHUNK_BYTES).saturating_add(8) {
            if total >= max_bytes || (self.open.is_none() && !self.open_first()?) {
                break;
            }
            let Some(open) = &mut self.open else { break };
            let room = chunk.len().min(max_bytes - total);
            open.file.seek(SeekFrom::Start(open.read))?;
            let n = open.file.read(&mut chunk[..room])?;
            // Only now: what was emptied before the reading shows here, so that nothing of the
            // new content is taken for a continuation of the old one.
            if !open.is_unchanged()? {
                if !self.after_truncation(on_event)? {
                    break;
                }
            } else if n > 0 {
                total += n;
                open.take(&chunk[..n], self.max_line, &mut self.stats, on_event);
            } else if !self.move_on(now, on_event)? {
                break;
            }
        }
        Ok(())
    }

    /// Opens the file to begin with; false if there is none.
    fn open_first(&mut self) -> io::Result<bool> {
        if let Some(position) = self.resume.clone() {
            return self.open_position(&position);
        }
        let Some(mut open) = OpenFile::at(&self.path)? else {
            self.looked = true;
            fs::metadata(directory_of(&self.path))?;
            return Ok(false);
        };
        if !self.looked && self.skip_existing {
            open.skip_to_last_line()?;
        }
        let Some(listing) = Listing::take(&self.path)? else {
            return Ok(false);
        };
        open.previous = listing.before(&[]);
        self.looked = true;
        self.open = Some(open);
        Ok(true)
    }

    /// Opens the file of a stored position, wherever rotation has moved or copied it, or else what
    /// came after it; false if there is nothing.
    fn open_position(&mut self, position: &TailPosition) -> io::Result<bool> {
        let Some(listing) = Listing::take(&self.path)? else {
            return Ok(false);
        };
        let newer = listing.since(position.previous, position.modified.as_nanos());
        let same_number = listing
            .beside
            .iter()
            .filter(|found| found.number == position.inode)
            .map(|found| (&found.path, false));
        // The oldest that fits: later ones are of what was written later.
        let copies = newer
            .copies(position.anchor_bytes)
            .map(|found| (&found.path, true));
        let live = std::iter::once((&self.path, false));
        // A file that was written anew at the path, by an editor or from a backup. Once anything
        // was rotated it is none: logs begin alike, and what was rotated would be passed over.
        let replaced = std::iter::once((&self.path, false))
            .filter(|_| newer.files.is_empty() && position.anchor_bytes >= MIN_ANCHOR);
        let of_number = live.clone().chain(same_number).map(|place| (place, true));
        let of_content = copies.chain(replaced).map(|place| (place, false));
        for ((path, is_copy), by_number) in of_number.chain(of_content) {
            // One that cannot be read now may be the right one: better an error than a loss.
            let Some(mut open) = OpenFile::at(path)? else {
                continue;
            };
            if (!by_number || open.number == position.inode) && open.resume(position)? {
                open.is_copy = is_copy;
                self.open = Some(open);
                self.resume = None;
                return Ok(true);
            }
        }
        // It may have been renamed, or copied and emptied, since the listing.
        if !listing.is_still_so(&self.path)? {
            return Ok(false);
        }
        // It is not there any more: what was written to since then is unread.
        let mut losses = Vec::new();
        let mut previous = listing.before(&newer.files);
        let next = self.first_readable(&newer.files, &mut previous, &mut losses)?;
        let open = match &next {
            Next::Rotated(found) => OpenFile::at(&found.path)?,
            Next::Live => OpenFile::at(&self.path)?,
        };
        let Some(mut open) = open else {
            return Ok(false);
        };
        if listing.live == Some(position.inode) {
            self.stats.n_truncations += 1;
        } else {
            self.stats.n_rotations += 1;
        }
        if losses.is_empty() {
            losses.push(TailLoss::Gone {
                path: self.path.clone(),
                offset: position.offset,
            });
        }
        open.generation = position.generation.saturating_add(LOSS_GENERATIONS);
        open.previous = previous;
        self.lose(losses);
        self.open = Some(open);
        self.resume = None;
        Ok(true)
    }

    /// Goes on after the open file was emptied: with the copy of it, if one was made, and else at
    /// its beginning. False if that cannot be told yet.
    fn after_truncation(&mut self, on_event: &mut OnEvent<'_>) -> io::Result<bool> {
        let Some(listing) = Listing::take(&self.path)? else {
            return Ok(false);
        };
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        // The time it was emptied says nothing about the time of the copy.
        let newer = listing.since(open.previous, open.modified);
        for found in newer.copies(open.anchor.len() as u64) {
            let Some(mut copy) = OpenFile::at(&found.path)? else {
                continue;
            };
            if copy.number != open.number && copy.holds(open.anchor_end, &open.anchor)? {
                self.stats.n_truncations += 1;
                open.file = copy.file;
                open.number = copy.number;
                open.is_copy = true;
                return Ok(true);
            }
        }
        // The copy may have been renamed since the listing.
        if !listing.is_still_so(&self.path)? {
            return Ok(false);
        }
        self.stats.n_truncations += 1;
        open.finish(on_event);
        open.generation += 1;
        open.previous = listing.before(&[]);
        open.read = 0;
        open.learn_anchor()?;
        Ok(true)
    }

    /// Goes on with the next file if the open one is at its end for good.
    fn move_on(&mut self, now: Timestamp, on_event: &mut OnEvent<'_>) -> io::Result<bool> {
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        match fs::metadata(&self.path) {
            Ok(metadata) if file_number(&metadata) == open.number => return Ok(false),
            Ok(_) => {}
            // Moved away and not yet written anew: the open file may still grow.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::metadata(directory_of(&self.path))?;
            }
            Err(error) => return Err(error),
        }
        let Some(listing) = Listing::take(&self.path)? else {
            return Ok(false);
        };
        if listing.live == Some(open.number) {
            return Ok(false);
        }
        let number = open.number;
        let after = if let Some(after) = listing.find(number).and_then(|idx| listing.after(idx)) {
            after.to_vec()
        } else {
            // Unlinked, or under a name that says nothing.
            let modified = open.modified;
            let mut files = listing.since(open.previous, modified).files;
            // The same file, compressed, has its time.
            files.retain(|found| {
                found.number != number && !(found.is_compressed && found.modified == modified)
            });
            files
        };
        let mut losses = Vec::new();
        let mut previous = listing.before(&after);
        let next = self.first_readable(&after, &mut previous, &mut losses)?;
        let (path, expected) = match &next {
            Next::Rotated(found) => (&found.path, Some(found.number)),
            Next::Live => (&self.path, listing.live),
        };
        let Some(mut file) = OpenFile::at(path)? else {
            return Ok(false);
        };
        // An empty file is not begun: its position could not be told from that of the next one.
        if Some(file.number) != expected || file.anchor.is_empty() {
            return Ok(false);
        }
        if matches!(next, Next::Live) {
            // What was passed over as a copy in the making still is one: the log was not emptied
            // before its beginning was learned.
            let again = self.first_readable(&after, &mut previous.clone(), &mut Vec::new())?;
            if matches!(again, Next::Rotated(_)) {
                return Ok(false);
            }
        }
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        if matches!(next, Next::Live) && !open.is_copy {
            let since = *open.quiet_since.get_or_insert(now);
            if now.since(since) < self.grace {
                return Ok(false);
            }
        }
        // What the old file holds without an end of line never gets one.
        open.finish(on_event);
        self.stats.n_rotations += u64::from(!open.is_copy);
        let step = if losses.is_empty() {
            1
        } else {
            LOSS_GENERATIONS
        };
        file.generation = open.generation.saturating_add(step);
        file.previous = previous;
        self.open = Some(file);
        self.lose(losses);
        Ok(true)
    }

    /// The first of the rotated files that can be read; what is passed over is lost, and is then
    /// the `previous` one.
    fn first_readable(
        &self,
        rotated: &[Neighbor],
        previous: &mut Option<u64>,
        losses: &mut Vec<TailLoss>,
    ) -> io::Result<Next> {
        for found in rotated {
            if found.is_compressed {
                *previous = Some(found.number);
                losses.push(TailLoss::Compressed {
                    path: found.path.clone(),
                });
                continue;
            }
            // What is being copied before the log is emptied will be read in the log, and of an
            // empty file nothing is lost.
            match is_copy_of(&found.path, &self.path) {
                Ok(true) => {}
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ if fs::metadata(&found.path).is_ok_and(|metadata| metadata.len() == 0) => {}
                _ => return Ok(Next::Rotated(found.clone())),
            }
        }
        Ok(Next::Live)
    }

    fn lose(&mut self, losses: Vec<TailLoss>) {
        self.stats.n_losses += losses.len() as u64;
        self.losses.extend(losses);
    }
}

impl Newer {
    /// Those that may be copies of a file of which the last `n_bytes` are known.
    fn copies(&self, n_bytes: u64) -> impl Iterator<Item = &Neighbor> {
        let min_bytes = if self.is_certain { 1 } else { MIN_ANCHOR };
        self.files
            .iter()
            .filter(move |found| n_bytes >= min_bytes && !found.is_compressed)
    }
}

impl OpenFile {
    fn at(path: &Path) -> io::Result<Option<Self>> {
        let file = match open_regular(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let mut open = Self {
            file,
            number: file_number(&metadata),
            generation: 0,
            read: 0,
            anchor: Vec::new(),
            anchor_end: 0,
            partial: Vec::new(),
            is_cut: false,
            line_bytes: 0,
            modified: modified_nanos(&metadata),
            quiet_since: None,
            previous: None,
            is_copy: false,
        };
        open.learn_anchor()?;
        Ok(Some(open))
    }

    /// Goes to a stored position if the file still holds what was read before it.
    fn resume(&mut self, position: &TailPosition) -> io::Result<bool> {
        let bytes = position.anchor_bytes.min(ANCHOR_BYTES as u64);
        let Some(from) = position.anchor_end.checked_sub(bytes) else {
            return Ok(false);
        };
        if checksum(&self.bytes(from, bytes)?) != position.anchor
            || self.file.metadata()?.len() < position.offset
        {
            return Ok(false);
        }
        self.generation = position.generation;
        self.previous = position.previous;
        self.read = position.offset;
        self.learn_anchor()?;
        Ok(true)
    }

    fn is_unchanged(&mut self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        if metadata.len() < self.read {
            return Ok(false);
        }
        let anchor = std::mem::take(&mut self.anchor);
        let held = self.holds(self.anchor_end, &anchor);
        self.anchor = anchor;
        if matches!(held, Ok(true)) {
            self.modified = modified_nanos(&metadata);
        }
        held
    }

    /// Whether `anchor` stands right before `end`.
    fn holds(&mut self, end: u64, anchor: &[u8]) -> io::Result<bool> {
        let len = anchor.len() as u64;
        Ok(self.bytes(end - len, len)? == anchor)
    }

    /// Remembers what stands before the place of reading, or at the beginning.
    fn learn_anchor(&mut self) -> io::Result<()> {
        let end = match self.read {
            0 => ANCHOR_BYTES as u64,
            read => read,
        };
        let from = end.saturating_sub(ANCHOR_BYTES as u64);
        self.anchor = self.bytes(from, end - from)?;
        self.anchor_end = from + self.anchor.len() as u64;
        Ok(())
    }

    /// Up to `n` bytes from `from`.
    fn bytes(&mut self, from: u64, n: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(from))?;
        self.file.by_ref().take(n).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Moves to the end, but back behind the last end of line so that no half line is read.
    fn skip_to_last_line(&mut self) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let from = end.saturating_sub(CHUNK_BYTES as u64);
        let tail = self.bytes(from, CHUNK_BYTES as u64)?;
        let rest = tail.iter().rev().take_while(|byte| **byte != b'\n').count();
        self.read = from + (tail.len() - rest) as u64;
        self.learn_anchor()
    }

    /// Splits what was read into lines.
    fn take(
        &mut self,
        chunk: &[u8],
        max_line: usize,
        stats: &mut ReaderStats,
        on_event: &mut OnEvent<'_>,
    ) {
        let mut bytes = chunk;
        self.quiet_since = None;
        if self.read == 0 {
            self.anchor.clear();
        }
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            self.read += end as u64 + 1;
            self.keep(line, max_line, stats);
            self.line_bytes += 1;
            stats.n_truncated_lines += u64::from(self.is_cut);
            self.give(on_event);
        }
        self.read += bytes.len() as u64;
        self.keep(bytes, max_line, stats);
        if chunk.len() >= ANCHOR_BYTES {
            self.anchor.clear();
            self.anchor.extend(&chunk[chunk.len() - ANCHOR_BYTES..]);
        } else {
            let excess = (self.anchor.len() + chunk.len()).saturating_sub(ANCHOR_BYTES);
            self.anchor.drain(..excess);
            self.anchor.extend(chunk);
        }
        self.anchor_end = self.read;
    }

    fn keep(&mut self, mut bytes: &[u8], max_line: usize, stats: &mut ReaderStats) {
        self.line_bytes += bytes.len() as u64;
        if self.partial.is_empty() {
            // A writer that goes on at its old place after its file was emptied leaves a hole.
            let n_nul = bytes.iter().take_while(|byte| **byte == 0).count();
            stats.n_nul_bytes += n_nul as u64;
            bytes = &bytes[n_nul..];
        }
        let room = max_line - self.partial.len().min(max_line);
        self.is_cut |= bytes.len() > room;
        self.partial
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Gives the line that was kept, and forgets it first: whoever takes it may panic.
    fn give(&mut self, on_event: &mut OnEvent<'_>) {
        let mut line = std::mem::take(&mut self.partial);
        let is_whole = !std::mem::take(&mut self.is_cut);
        let id = LineId {
            generation: self.generation,
            offset: self.read - std::mem::take(&mut self.line_bytes),
        };
        on_event(Event::Line {
            bytes: line.strip_suffix(b"\r").unwrap_or(&line),
            is_whole,
            id,
        });
        // Its room serves the next one.
        line.clear();
        self.partial = line;
    }

    /// Gives a line that has no end, and ends the file.
    fn finish(&mut self, on_event: &mut OnEvent<'_>) {
        if !self.partial.is_empty() {
            self.give(on_event);
        }
        self.line_bytes = 0;
        on_event(Event::End);
    }
}

/// What went wrong, with the file it went wrong with.
#[derive(Debug)]
struct Named(PathBuf, io::Error);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.display(), self.1)
    }
}

impl std::error::Error for Named {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.1)
    }
}
