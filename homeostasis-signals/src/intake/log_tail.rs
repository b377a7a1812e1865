//! Follows a JSON-lines log file.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, mem};

use homeostasis_core::signal::Signal;
use homeostasis_core::{Clock, ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::line_reader::{LineReader, TailPosition};
use super::log_line::{LogLines, LogLinesConfig};

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
    /// The file; it need not exist yet.
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
    /// time a poll takes and the signals it gives.
    #[serde(default = "LogTailConfig::default_max_poll")]
    pub max_poll_bytes: usize,
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
            lines: LogLinesConfig::default(),
        }
    }

    fn default_max_line() -> usize {
        64 * 1024
    }

    fn default_max_poll() -> usize {
        1024 * 1024
    }

    fn check(&self) -> Result<(), ConfigError> {
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
        wrong.into_result(())
    }
}

/// What a tail has met so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TailStats {
    /// Lines read, blank ones included.
    pub n_lines: u64,
    /// Lines that gave no signal: blank, or plain where plain lines are not kept.
    pub n_skipped: u64,
    /// Lines longer than allowed.
    pub n_truncated_lines: u64,
    /// Lines with bytes that are not UTF-8; those bytes were replaced by U+FFFD.
    pub n_invalid_utf8: u64,
    /// How often another file took the place of the one being read.
    pub n_rotations: u64,
    /// How often the file was emptied or written anew in place.
    pub n_truncations: u64,
}

/// Follows one JSON-lines file: each [`LogTail::poll`] gives what was appended since the last.
///
/// - A line counts once its end is written; a half line waits, and is given as it is when its
///   file is rotated away.
/// - *Rotation* (another file at the path): the old file is read to its end first, then the new
///   one from its beginning. After a restart the old file is found again beside the new one if its
///   name still begins with the stem of the path; files rotated twice in between are not.
/// - *Truncation* (copy-and-truncate): the file is read from its beginning again, also if it has
///   grown past the old place since, as long as its first 256 bytes differ.
/// - A file that is not there gives nothing and is no error.
///
/// [`LogTail::position`] points behind what was given: stored after the signals were handed on, it
/// makes delivery at-least-once across restarts.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use std::sync::Arc;
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::signals::{LogTail, LogTailConfig, StartAt};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("shop.jsonl");
/// std::fs::write(&path, "{\"level\":\"error\",\"msg\":\"no route\"}\n{\"half\":")?;
/// let config = LogTailConfig { start_at: StartAt::Beginning, ..LogTailConfig::new(&path) };
/// let tail = LogTail::new(config, Arc::new(ManualClock::new(Timestamp::EPOCH)))?;
/// assert_eq!(tail.poll().await?.len(), 1);
/// assert_eq!(tail.position().unwrap().offset, 35);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LogTail {
    shared: Arc<Mutex<Shared>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Shared {
    reader: LineReader,
    lines: LogLines,
    max_poll_bytes: usize,
    /// Read and not yet given: a poll that was dropped leaves them here.
    pending: Vec<Signal>,
    /// Behind what was given.
    given: Option<TailPosition>,
    stats: TailStats,
}

impl LogTail {
    /// A tail that has read nothing.
    ///
    /// # Errors
    /// - The path is empty.
    /// - A bound is out of its range.
    pub fn new(config: LogTailConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        config.check()?;
        let skip = config.start_at == StartAt::End;
        let reader = LineReader::new(config.path, config.max_line_bytes, skip);
        Ok(Self::over(
            reader,
            config.lines,
            config.max_poll_bytes,
            clock,
        ))
    }

    /// A tail that goes on at `position`, which a tail of the same path gave.
    ///
    /// If the file is not there any more, under this path or beside it, the one at the path is
    /// read from its beginning.
    ///
    /// # Errors
    /// - As [`LogTail::new`].
    /// - The position is one of another path.
    pub fn resume(
        config: LogTailConfig,
        position: TailPosition,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        if position.path != config.path {
            return Err(ConfigError::single(
                "position.path",
                position.path.display(),
                format!("{}", config.path.display()),
            ));
        }
        let reader = LineReader::resume(position, config.max_line_bytes);
        Ok(Self::over(
            reader,
            config.lines,
            config.max_poll_bytes,
            clock,
        ))
    }

    fn over(
        reader: LineReader,
        lines: LogLinesConfig,
        max_poll_bytes: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                given: reader.position(),
                reader,
                lines: LogLines::new(lines),
                max_poll_bytes,
                pending: Vec::new(),
                stats: TailStats::default(),
            })),
            clock,
        }
    }

    /// What was appended since the last poll, in the order of the file, at most
    /// [`LogTailConfig::max_poll_bytes`] of it.
    ///
    /// The file is read on the runtime's threads for blocking work if the caller runs on tokio,
    /// and in place otherwise.
    ///
    /// # Errors
    /// The file cannot be read, or the path is not a regular file. The place stays, and the next
    /// poll tries again.
    ///
    /// # Cancel safety
    /// A poll that is dropped loses nothing: the next one gives what it had read.
    pub async fn poll(&self) -> io::Result<Vec<Signal>> {
        let shared = Arc::clone(&self.shared);
        let clock = Arc::clone(&self.clock);
        let read = move || lock(&shared).read(&*clock);
        let outcome = if tokio::runtime::Handle::try_current().is_ok() {
            tokio::task::spawn_blocking(read)
                .await
                .map_err(io::Error::other)?
        } else {
            read()
        };
        let mut shared = lock(&self.shared);
        // Lines before an error are good; the error comes again with the next poll.
        if shared.pending.is_empty() {
            outcome?;
        }
        shared.given = shared.reader.position();
        Ok(mem::take(&mut shared.pending))
    }

    /// Behind the last line that was given; `None` before the file was first seen.
    pub fn position(&self) -> Option<TailPosition> {
        lock(&self.shared).given.clone()
    }

    /// What it has met so far.
    pub fn stats(&self) -> TailStats {
        let shared = lock(&self.shared);
        let reader = shared.reader.stats;
        TailStats {
            n_truncated_lines: reader.n_truncated_lines,
            n_rotations: reader.n_rotations,
            n_truncations: reader.n_truncations,
            ..shared.stats
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn read(&mut self, clock: &dyn Clock) -> io::Result<()> {
        // Dropped polls must not pile up.
        if !self.pending.is_empty() {
            return Ok(());
        }
        let now = clock.now();
        let Self {
            reader,
            lines,
            pending,
            stats,
            max_poll_bytes,
            ..
        } = self;
        reader.read(*max_poll_bytes, &mut |bytes, whole| {
            let line = String::from_utf8_lossy(bytes);
            stats.n_lines += 1;
            stats.n_invalid_utf8 += u64::from(matches!(line, std::borrow::Cow::Owned(_)));
            let signal = if whole {
                lines.read(&line, now)
            } else {
                lines.read(&line, now)
            };
            stats.n_skipped += u64::from(signal.is_none());
            pending.extend(signal);
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::Path;

    use homeostasis_core::{ManualClock, Timestamp};

    use super::*;

    fn clock() -> Arc<dyn Clock> {
        Arc::new(ManualClock::new(Timestamp::EPOCH))
    }

    fn config(path: &Path) -> LogTailConfig {
        LogTailConfig {
            start_at: StartAt::Beginning,
            ..LogTailConfig::new(path)
        }
    }

    fn append(path: &Path, bytes: impl AsRef<[u8]>) {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
            .write_all(bytes.as_ref())
            .unwrap();
    }

    async fn poll(tail: &LogTail) -> Vec<String> {
        tail.poll()
            .await
            .unwrap()
            .into_iter()
            .map(|signal| match signal {
                Signal::Log(log) => log.message,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.jsonl");
        (directory, path)
    }

    #[tokio::test]
    async fn a_half_line_waits_for_its_end() {
        let (_directory, path) = file();
        let tail = LogTail::new(config(&path), clock()).unwrap();
        assert!(poll(&tail).await.is_empty() && tail.position().is_none());
        append(&path, "{\"msg\":\"one\"}\n{\"msg\":");
        assert_eq!(poll(&tail).await, ["one"]);
        assert_eq!(tail.position().unwrap().offset, 14);
        append(&path, "\"two\"}\r\nthree\n");
        assert_eq!(poll(&tail).await, ["two", "three"]);
    }

    #[tokio::test]
    async fn an_existing_file_is_begun_at_its_end_and_never_inside_a_line() {
        let (_directory, path) = file();
        append(&path, "old\nha");
        let tail = LogTail::new(LogTailConfig::new(&path), clock()).unwrap();
        assert!(poll(&tail).await.is_empty());
        append(&path, "lf\nnew\n");
        assert_eq!(poll(&tail).await, ["half", "new"]);
    }

    #[tokio::test]
    async fn after_rotation_the_old_file_is_finished_before_the_new_one() {
        let (directory, path) = file();
        append(&path, "a\n");
        let tail = LogTail::new(config(&path), clock()).unwrap();
        assert_eq!(poll(&tail).await, ["a"]);
        fs::rename(&path, directory.path().join("shop.jsonl.1")).unwrap();
        append(&directory.path().join("shop.jsonl.1"), "b\nno end");
        assert_eq!(poll(&tail).await, ["b"]);
        append(&path, "c\n");
        assert_eq!(poll(&tail).await, ["no end", "c"]);
        assert_eq!(tail.stats().n_rotations, 1);
    }

    #[tokio::test]
    async fn a_truncated_file_is_read_again_even_if_it_has_outgrown_the_old_place() {
        let (_directory, path) = file();
        append(&path, "first\nsecond\n");
        let tail = LogTail::new(config(&path), clock()).unwrap();
        assert_eq!(poll(&tail).await.len(), 2);
        fs::write(&path, "x\n").unwrap();
        assert_eq!(poll(&tail).await, ["x"]);
        fs::write(&path, "longer than it was before\nand more\n").unwrap();
        assert_eq!(poll(&tail).await, ["longer than it was before", "and more"]);
        assert_eq!(tail.stats().n_truncations, 2);
    }

    #[tokio::test]
    async fn a_stored_position_resumes_without_loss_through_a_rotation() {
        let (directory, path) = file();
        append(&path, "a\nb\npar");
        let tail = LogTail::new(config(&path), clock()).unwrap();
        assert_eq!(poll(&tail).await, ["a", "b"]);
        let stored = serde_json::to_string(&tail.position().unwrap()).unwrap();
        drop(tail);
        append(&path, "tial\n");
        fs::rename(&path, directory.path().join("shop-2026.jsonl")).unwrap();
        append(&path, "new\n");
        let position: TailPosition = serde_json::from_str(&stored).unwrap();
        let tail = LogTail::resume(config(&path), position.clone(), clock()).unwrap();
        assert_eq!(poll(&tail).await, ["partial", "new"]);
        // The number of the old file may be used again: the content tells.
        fs::remove_file(directory.path().join("shop-2026.jsonl")).unwrap();
        fs::write(&path, "other\n").unwrap();
        let tail = LogTail::resume(config(&path), position, clock()).unwrap();
        assert_eq!(poll(&tail).await, ["other"]);
    }

    #[tokio::test]
    async fn long_lines_are_cut_and_bytes_that_are_no_text_replaced() {
        let (_directory, path) = file();
        let mut long = vec![b'x'; 500_000];
        long.extend(b"\n\xff\xfe bad\n{\"msg\":\"after\"}\n");
        append(&path, long);
        let tail = LogTail::new(
            LogTailConfig {
                max_line_bytes: 1000,
                max_poll_bytes: 100_000,
                ..config(&path)
            },
            clock(),
        )
        .unwrap();
        let mut lines = Vec::new();
        for n_polls in 1.. {
            lines.extend(poll(&tail).await);
            if lines.len() == 3 {
                assert_eq!(n_polls, 6);
                break;
            }
            assert!(n_polls < 20, "{lines:?}");
        }
        assert_eq!(lines[0].len(), 1000);
        assert_eq!(lines[1..], ["\u{fffd}\u{fffd} bad", "after"]);
        let stats = tail.stats();
        assert_eq!((stats.n_truncated_lines, stats.n_invalid_utf8), (1, 1));
    }

    #[tokio::test]
    async fn a_dropped_poll_loses_nothing() {
        let (_directory, path) = file();
        append(&path, "a\n");
        let tail = LogTail::new(config(&path), clock()).unwrap();
        {
            let mut polled = Box::pin(tail.poll());
            std::future::poll_fn(|cx| {
                let _ = polled.as_mut().poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
        }
        assert_eq!(poll(&tail).await, ["a"]);
        assert!(poll(&tail).await.is_empty());
    }

    #[tokio::test]
    async fn a_directory_is_refused_by_name() {
        let (directory, _) = file();
        let tail = LogTail::new(config(directory.path()), clock()).unwrap();
        let error = tail.poll().await.unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
        let wrong = LogTailConfig {
            max_line_bytes: 1,
            max_poll_bytes: 1,
            ..LogTailConfig::new("")
        };
        let error = LogTail::new(wrong, clock()).unwrap_err();
        assert_eq!(error.violations().len(), 3);
    }
}
