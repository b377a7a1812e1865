//! Follows a log file: lines are read, joined to records, understood and enriched.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis_core::port::Enricher;
use homeostasis_core::signal::Signal;
use homeostasis_core::{Clock, ConfigError, Timestamp, Violation, Violations};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;

use super::line_reader::{Event, LineReader};
use super::log_line::{LogLines, LogLinesConfig};
use super::tail_position::{LineId, TailLoss, TailPosition};
use crate::errors::{Joined, TraceJoiner, TraceJoinerConfig};

/// Where a file that exists already is first read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// At its end: what happened before is past.
    #[default]
    End,
    /// At its beginning.
    Beginning,
}

/// What is followed, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogTailConfig {
    /// The file; it need not exist yet, its directory must.
    pub path: PathBuf,
    /// Where a file that exists at the first reading is begun; a file that appears later is read
    /// from its beginning. Default: at its end.
    #[serde(default)]
    pub start_at: StartAt,
    /// How many bytes of a line are kept, 256 to 16 MiB; default 64 KiB. The rest of a longer line
    /// is dropped, and its record has the field `truncated`.
    #[serde(default = "LogTailConfig::default_max_line")]
    pub max_line_bytes: usize,
    /// How many bytes are read in one poll, at least 4 KiB; default 1 MiB. It bounds both the
    /// time a poll takes and the signals it gives. A [`LogTailProbe`](crate::LogTailProbe) that is
    /// behind reads up to 8 times as much.
    #[serde(default = "LogTailConfig::default_max_poll")]
    pub max_poll_bytes: usize,
    /// How long a file that was renamed must not have grown before the one in its place is begun:
    /// writers need a moment to open the new one. Default 2 s; at 0 s what they write late into
    /// the old file may be lost.
    #[serde(
        default = "LogTailConfig::default_rotation_grace",
        with = "crate::duration_text"
    )]
    pub rotation_grace: Duration,
    /// How the lines of stack traces are joined to one record; default as
    /// [`TraceJoinerConfig::default`]. `null` makes every line a record.
    #[serde(default = "LogTailConfig::default_multiline")]
    pub multiline: Option<TraceJoinerConfig>,
    /// How lines become signals.
    #[serde(default)]
    pub lines: LogLinesConfig,
}

impl LogTailConfig {
    /// The defaults for `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            start_at: StartAt::default(),
            max_line_bytes: Self::default_max_line(),
            max_poll_bytes: Self::default_max_poll(),
            rotation_grace: Self::default_rotation_grace(),
            multiline: Self::default_multiline(),
            lines: LogLinesConfig::default(),
        }
    }

    fn default_max_line() -> usize {
        64 * 1024
    }

    fn default_max_poll() -> usize {
        1024 * 1024
    }

    fn default_rotation_grace() -> Duration {
        Duration::from_secs(2)
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "serde asks for the type of the field"
    )]
    fn default_multiline() -> Option<TraceJoinerConfig> {
        Some(TraceJoinerConfig::default())
    }

    fn check(&self) -> Violations {
        let mut wrong = Violations::new();
        if self.path.as_os_str().is_empty() {
            wrong.push(Violation::new("path", "\"\"", "the path of a file"));
        }
        if !(256..=16 * 1024 * 1024).contains(&self.max_line_bytes) {
            wrong.push(Violation::new(
                "max_line_bytes",
                self.max_line_bytes,
                "256 to 16777216",
            ));
        }
        if self.max_poll_bytes < 4096 {
            wrong.push(Violation::new(
                "max_poll_bytes",
                self.max_poll_bytes,
                "at least 4096",
            ));
        }
        wrong
    }
}

/// What a tail has met so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TailStats {
    /// Lines read, blank ones included.
    pub n_lines: u64,
    /// Records of more than one line.
    pub n_joined: u64,
    /// Records that gave no signal: blank, or not of the format where such lines are not kept.
    pub n_skipped: u64,
    /// Records that are not of the configured format, kept or not. Under
    /// [`LineFormat::Auto`](super::LineFormat::Auto) these are the ones of plain text.
    pub n_unmatched: u64,
    /// Lines longer than allowed.
    pub n_truncated_lines: u64,
    /// Lines with bytes that are not UTF-8; those bytes were replaced by U+FFFD.
    pub n_invalid_utf8: u64,
    /// NUL bytes before lines, left out: holes that a writer made which did not notice that its
    /// file was emptied.
    pub n_nul_bytes: u64,
    /// How often another file took the place of the one being read.
    pub n_rotations: u64,
    /// How often the file was emptied or written anew in place.
    pub n_truncations: u64,
    /// How many [`TailLoss`]es there were.
    pub n_losses: u64,
    /// How many bytes were written and not read when the last reading ended, in the file that is
    /// read and, if that was rotated away, in the one in its place; files in between are not
    /// counted. What stays above zero grows faster than it is read.
    pub n_bytes_behind: u64,
    /// How often an enricher panicked. The record is given as the panic left it.
    pub n_panics: u64,
}

/// A record of a log, and where it stands there.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TailedSignal {
    /// Where its first line begins.
    pub id: LineId,
    /// The record or change.
    pub signal: Signal,
}

/// What one reading gave.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct TailBatch {
    /// In the order of the log.
    pub signals: Vec<TailedSignal>,
    /// What could not be read, ever.
    pub losses: Vec<TailLoss>,
    /// Behind the last of the signals; `None` before the file was first seen.
    pub position: Option<TailPosition>,
}

/// Follows one log file: each [`LogTail::poll`] gives what was appended since the last.
///
/// - A line counts once its end is written; a half line waits, and is given as it is when its
///   file is rotated away. Lines of a stack trace are one record ([`TraceJoiner`]); the last
///   record waits until the next one begins or [`TraceJoinerConfig::idle`] has passed. A JSON
///   object in one line waits for nothing.
/// - *Rotation* (rename and create): the old file is read to its end, and until it has not grown
///   for [`rotation_grace`](LogTailConfig::rotation_grace); then come the files rotated in
///   between, oldest first, then the one at the path. Rotated files are known by their names:
///   `shop.log.1`, `shop.1.log`, `shop.log-20261122`, `shop-2026-11-22.log` and the like, in the
///   same directory, where `shop-1.log` is the log of somebody else.
/// - *Truncation* (copy and truncate): if the copy is beside the log, reading goes on in the copy
///   to its end, then at the beginning of the log. Lines written between the end of the copying
///   and the truncation are in neither file: that loss is the program's that copies, and cannot
///   be seen from here. Prefer renaming.
/// - A rotated file that is compressed before it was read, or that is gone, is a [`TailLoss`].
/// - A file that is not there gives nothing and is no error; a directory that is not there, a
///   file that may not be read and a path that is no regular file are errors that name the path.
///
/// Time is that of the clock alone. [`LogTail::position`] points behind what was given: stored
/// after the signals were handed on, it makes delivery at-least-once across restarts; a consumer
/// that remembers the last [`LineId`] makes it exactly-once, and so does
/// [`DurableTail`](super::DurableTail), which commits results and position together.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use std::sync::Arc;
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::signals::{LogTail, LogTailConfig, StartAt};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("shop.log");
/// std::fs::write(&path, "{\"level\":\"error\",\"msg\":\"no route\"}\nlevel=warn msg=slow\nhalf ")?;
/// let config = LogTailConfig { start_at: StartAt::Beginning, multiline: None, ..LogTailConfig::new(&path) };
/// let tail = LogTail::new(config, Arc::new(ManualClock::new(Timestamp::EPOCH)))?;
/// assert_eq!(tail.poll().await?.len(), 2);
/// assert_eq!(tail.position().unwrap().offset, 55);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LogTail {
    /// Held while the file is read, however long that takes; who waits for it holds no thread.
    reading: Arc<AsyncMutex<Reading>>,
    /// Never held while anything is waited for.
    shown: Arc<Mutex<Shown>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Reading {
    reader: LineReader,
    records: Records,
    max_poll_bytes: usize,
}

/// What can be seen and said from outside while a reading runs.
#[derive(Debug)]
struct Shown {
    /// Behind what was given.
    given: Option<TailPosition>,
    stats: TailStats,
    enrichers: Vec<Arc<dyn Enricher>>,
}

/// What becomes of the lines.
#[derive(Debug)]
struct Records {
    lines: LogLines,
    joiner: Option<TraceJoiner>,
    /// Whether what a record's first line is decides if more can follow.
    joins_by_looks: bool,
    /// The lines in the joiner.
    held: VecDeque<LineId>,
    enrichers: Vec<Arc<dyn Enricher>>,
    /// Understood and not yet given: a poll that was dropped leaves them here.
    pending: Vec<TailedSignal>,
    stats: TailStats,
}

impl LogTail {
    /// A tail that has read nothing.
    ///
    /// # Errors
    /// - The path is empty.
    /// - A bound is out of its range.
    /// - The format or the joining of lines is wrong: as [`LogLines::new`], [`TraceJoiner::new`].
    pub fn new(config: LogTailConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        Self::over(config, None, clock)
    }

    /// A tail that goes on at `position`, which a tail of the same path gave.
    ///
    /// # Errors
    /// - As [`LogTail::new`].
    /// - The position is one of another path.
    pub fn resume(
        config: LogTailConfig,
        position: TailPosition,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        Self::over(config, Some(position), clock)
    }

    fn over(
        config: LogTailConfig,
        position: Option<TailPosition>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        let mut wrong = config.check();
        if let Some(position) = position.as_ref().filter(|found| found.path != config.path) {
            wrong.push(Violation::new(
                "position.path",
                position.path.display(),
                config.path.display().to_string(),
            ));
        }
        let joins_by_looks = config
            .multiline
            .as_ref()
            .is_some_and(|joining| joining.record_start.is_none());
        let joiner = config.multiline.map(TraceJoiner::new).transpose();
        let joiner = wrong.absorb(joiner.map_err(|error| error.under("multiline")));
        let lines = LogLines::new(config.lines).map_err(|error| error.under("lines"));
        let lines = wrong.absorb(lines);
        let (max_line, grace) = (config.max_line_bytes, config.rotation_grace);
        let reader = if let Some(position) = position {
            LineReader::resume(position, max_line, grace)
        } else {
            let skip = config.start_at == StartAt::End;
            LineReader::new(config.path, max_line, grace, skip)
        };
        let shown = Shown {
            given: reader.position(None),
            stats: TailStats::default(),
            enrichers: Vec::new(),
        };
        let reading = Reading {
            reader,
            records: Records {
                lines: lines.unwrap_or_default(),
                joiner: joiner.flatten(),
                joins_by_looks,
                held: VecDeque::new(),
                enrichers: Vec::new(),
                pending: Vec::new(),
                stats: TailStats::default(),
            },
            max_poll_bytes: config.max_poll_bytes,
        };
        wrong.into_result(Self {
            reading: Arc::new(AsyncMutex::new(reading)),
            shown: Arc::new(Mutex::new(shown)),
            clock,
        })
    }

    /// The same, which has each log record enriched by `enricher` too, after those it had.
    ///
    /// The enricher sees the whole record: of a stack trace all its lines. If it panics the record
    /// goes on as it is, and [`TailStats::n_panics`] counts it.
    pub fn with_enricher(self, enricher: Arc<dyn Enricher>) -> Self {
        lock(&self.shown).enrichers.push(enricher);
        self
    }

    /// What was appended since the last poll, in the order of the file, at most
    /// [`LogTailConfig::max_poll_bytes`] of it: the signals of [`LogTail::read`].
    ///
    /// # Errors
    /// As [`LogTail::read`].
    pub async fn poll(&self) -> io::Result<Vec<Signal>> {
        let batch = self.read().await?;
        Ok(batch
            .signals
            .into_iter()
            .map(|tailed| tailed.signal)
            .collect())
    }

    /// What was appended since the last poll, with the places of the records, what was lost, and
    /// the position behind it.
    ///
    /// The file is read on the runtime's threads for blocking work if the caller runs on tokio,
    /// and in place otherwise. There is one reading at a time: if a disk hangs, it costs one
    /// thread, and whoever polls meanwhile waits without one.
    ///
    /// # Errors
    /// The file cannot be read, or the path is not a regular file in a directory that exists. The
    /// place stays, and the next poll tries again.
    ///
    /// # Cancel safety
    /// A poll that is dropped loses nothing: the next one gives what it had read.
    pub async fn read(&self) -> io::Result<TailBatch> {
        self.read_times(1).await
    }

    /// As [`LogTail::read`], but up to `n` times [`LogTailConfig::max_poll_bytes`].
    pub(crate) async fn read_times(&self, n: usize) -> io::Result<TailBatch> {
        let mut reading = Arc::clone(&self.reading).lock_owned().await;
        let (shown, clock) = (Arc::clone(&self.shown), Arc::clone(&self.clock));
        let read = move || {
            reading
                .records
                .enrichers
                .clone_from(&lock(&shown).enrichers);
            let max_bytes = reading.max_poll_bytes.saturating_mul(n);
            let outcome = reading.read(max_bytes, clock.now());
            lock(&shown).stats = reading.stats();
            (reading, outcome)
        };
        let (mut reading, outcome) = if tokio::runtime::Handle::try_current().is_ok() {
            tokio::task::spawn_blocking(read)
                .await
                .map_err(io::Error::other)?
        } else {
            read()
        };
        // Lines before an error are good; the error comes again with the next poll.
        if reading.records.pending.is_empty() && reading.reader.losses.is_empty() {
            outcome?;
        }
        let position = reading.position();
        lock(&self.shown).given.clone_from(&position);
        Ok(TailBatch {
            signals: mem::take(&mut reading.records.pending),
            losses: mem::take(&mut reading.reader.losses),
            position,
        })
    }

    /// Behind the last record that was given; `None` before the file was first seen.
    ///
    /// It waits for no reading.
    pub fn position(&self) -> Option<TailPosition> {
        lock(&self.shown).given.clone()
    }

    /// What it had met when the last reading ended. It waits for no reading.
    pub fn stats(&self) -> TailStats {
        lock(&self.shown).stats
    }
}

fn lock(shown: &Mutex<Shown>) -> std::sync::MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reading {
    fn read(&mut self, max_bytes: usize, now: Timestamp) -> io::Result<()> {
        // Dropped polls must not pile up.
        if !self.records.pending.is_empty() {
            return Ok(());
        }
        let records = &mut self.records;
        let outcome = self.reader.read(max_bytes, now, &mut |event| match event {
            Event::Line {
                bytes,
                is_whole,
                id,
            } => records.line(bytes, is_whole, id, now),
            Event::End => records.release(now, |joiner| joiner.flush().collect()),
        });
        records.release(now, |joiner| joiner.flush_due(now).collect());
        outcome
    }

    fn position(&self) -> Option<TailPosition> {
        self.reader.position(self.records.held.front().copied())
    }

    fn stats(&self) -> TailStats {
        let reader = self.reader.stats;
        TailStats {
            n_truncated_lines: reader.n_truncated_lines,
            n_nul_bytes: reader.n_nul_bytes,
            n_rotations: reader.n_rotations,
            n_truncations: reader.n_truncations,
            n_losses: reader.n_losses,
            n_bytes_behind: self.reader.n_bytes_behind(),
            ..self.records.stats
        }
    }
}

impl Records {
    fn line(&mut self, bytes: &[u8], is_whole: bool, id: LineId, now: Timestamp) {
        let line = String::from_utf8_lossy(bytes);
        self.stats.n_lines += 1;
        self.stats.n_invalid_utf8 += u64::from(matches!(line, std::borrow::Cow::Owned(_)));
        let is_alone = !is_whole || (self.joins_by_looks && self.lines.is_alone(&line));
        if self.joiner.is_none() || is_alone {
            self.release(now, |joiner| joiner.flush().collect());
            self.record(&line, is_whole, id, now);
        } else {
            self.held.push_back(id);
            self.release(now, |joiner| joiner.push(&line, now).collect());
        }
    }

    /// Takes over the records that the joiner gives back.
    fn release(&mut self, now: Timestamp, from: impl FnOnce(&mut TraceJoiner) -> Vec<Joined>) {
        let joined = self.joiner.as_mut().map(from).unwrap_or_default();
        for record in joined {
            let Some(id) = self.held.front().copied() else {
                debug_assert!(false, "the joiner gives back the lines it was given");
                break;
            };
            self.held.drain(..record.n_lines.min(self.held.len()));
            self.stats.n_joined += u64::from(record.n_lines > 1);
            self.record(&record.text, true, id, now);
        }
    }

    fn record(&mut self, text: &str, is_whole: bool, id: LineId, now: Timestamp) {
        let parsed = self.lines.parse(text, now);
        self.stats.n_unmatched += u64::from(!parsed.is_of_format);
        self.stats.n_skipped += u64::from(parsed.signal.is_none());
        let Some(mut signal) = parsed.signal else {
            return;
        };
        if let Signal::Log(record) = &mut signal {
            if !is_whole {
                record.fields.insert("truncated", "true");
            }
            for enricher in &self.enrichers {
                // One it panics at goes on as it is.
                let done = catch_unwind(AssertUnwindSafe(|| enricher.enrich(record)));
                self.stats.n_panics += u64::from(done.is_err());
            }
        }
        self.pending.push(TailedSignal { id, signal });
    }
}

#[cfg(test)]
mod tests;
