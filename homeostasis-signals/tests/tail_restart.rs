//! A real child process follows a log into a journal on disk and is killed with SIGKILL, again and
//! again, while the log is written and rotated; at the end the journal must hold every line exactly
//! once and in order.
//!
//! Lines are joined to records as by default, and some records are stack traces.
//!
//! Renaming is sound at any moment. Copying and truncating is not, by its nature: a line written
//! between the end of the copy and the truncation is in neither file. So the one writer here does
//! not write while it copies and truncates; the reader and the kills are not held back.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis::core::port::{Commit, Store, Version};
use homeostasis::core::signal::Signal;
use homeostasis::core::{Clock, Rng};
use homeostasis::signals::{DurableTail, LogTailConfig, StartAt, TraceJoinerConfig};
use homeostasis::store::RedbStore;
use serde_json::json;

const FOLDER: &str = "HOMEOSTASIS_TAIL_RESTART_FOLDER";
/// How many lines are in one document of the consumer.
const LINES_PER_PAGE: usize = 200;
const N_KILLS: usize = 24;
/// After how many signs of life the reader must have caught up; an idle one gives one each
/// millisecond.
const PATIENCE: usize = 20_000;

#[derive(Debug, Clone, Copy)]
enum Rotation {
    Rename,
    CopyTruncate,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

fn page(n: usize) -> String {
    format!("consumer/{n}")
}

/// What the consumer has made durable: the text of every line, in the order it took them.
async fn taken(store: &RedbStore) -> (Vec<String>, Version) {
    let mut lines: Vec<String> = Vec::new();
    for n in 0.. {
        let Some(document) = store.document(&page(n)).await.unwrap() else {
            return (lines, Version::NONE);
        };
        let found: Vec<String> = serde_json::from_value(document.value).unwrap();
        let is_last = found.len() < LINES_PER_PAGE;
        lines.extend(found);
        if is_last {
            return (lines, document.version);
        }
    }
    unreachable!("a page that is not full is the last one")
}

/// The child: takes lines and makes them durable together with the position, for ever.
#[test]
fn child_that_follows_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return; // This is the parent's test run.
    };
    runtime().block_on(async {
        let store = Arc::new(RedbStore::open(folder.join("journal.redb")).unwrap());
        let clock = Arc::new(SystemClock);
        let config = LogTailConfig {
            start_at: StartAt::Beginning,
            max_poll_bytes: 4096,
            rotation_grace: Duration::from_millis(30),
            multiline: Some(TraceJoinerConfig {
                // The writer may be held up in the middle of a trace for longer than the default.
                idle: Duration::from_secs(3),
                ..TraceJoinerConfig::default()
            }),
            ..LogTailConfig::new(folder.join("shop.log"))
        };
        let (lines, mut version) = taken(&store).await;
        let mut n_lines = lines.len();
        let mut last = lines[n_lines - n_lines % LINES_PER_PAGE..].to_vec();
        let durable = Arc::<RedbStore>::clone(&store);
        let tail = DurableTail::open("shop", config, durable, Arc::<SystemClock>::clone(&clock))
            .await
            .unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "\ntaken {n_lines}").unwrap();
        loop {
            let batch = tail.read().await.unwrap();
            assert!(batch.losses.is_empty(), "{:?}", batch.losses);
            let mut commit = Commit::default();
            for tailed in &batch.signals {
                let Signal::Log(record) = &tailed.signal else {
                    panic!("{tailed:?}")
                };
                last.push(record.message.clone());
                n_lines += 1;
                if last.len() == LINES_PER_PAGE {
                    let n = n_lines / LINES_PER_PAGE - 1;
                    commit = commit.put(page(n), version, json!(last));
                    (last, version) = (Vec::new(), Version::NONE);
                }
            }
            if !batch.signals.is_empty() && !last.is_empty() {
                commit = commit.put(page(n_lines / LINES_PER_PAGE), version, json!(last));
                version = Version(version.0 + 1);
            }
            let is_idle = batch.signals.is_empty();
            tail.commit(&batch, commit).await.unwrap();
            writeln!(out, "taken {n_lines}").unwrap();
            if is_idle {
                clock.sleep(Duration::from_millis(1)).await;
            }
        }
    });
}

#[allow(
    clippy::disallowed_methods,
    reason = "the process to kill is the subject of the test"
)]
fn spawn(folder: &Path) -> (Reader, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_that_follows_until_it_is_killed",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (Reader(child), out)
}

/// The child; it does not outlive a test that fails.
struct Reader(Child);

impl Reader {
    fn kill(&mut self) -> std::process::ExitStatus {
        self.0.kill().unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The one who writes and rotates the log.
struct Writer {
    folder: PathBuf,
    rotation: Rotation,
    rng: Rng,
    n_written: usize,
    n_rotated: usize,
    file: File,
    /// The file before the last renaming: a writer that has not opened the new one yet.
    old: Option<File>,
}

impl Writer {
    fn new(folder: &Path, rotation: Rotation, seed: u64) -> Self {
        let mut writer = Self {
            folder: folder.to_owned(),
            rotation,
            rng: Rng::from_seed(seed),
            n_written: 0,
            n_rotated: 0,
            file: Self::open(folder),
            old: None,
        };
        writer.lines(3);
        writer
    }

    fn open(folder: &Path) -> File {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("shop.log"))
            .unwrap()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    fn lines(&mut self, n: u64) {
        for _ in 0..n {
            let text = format!("{}\n", line(self.n_written));
            // In two pieces, so that the reader meets halves.
            let (first, second) = text.split_at(text.len() / 2);
            let file = self.old.as_mut().unwrap_or(&mut self.file);
            file.write_all(first.as_bytes()).unwrap();
            file.write_all(second.as_bytes()).unwrap();
            self.n_written += 1;
        }
    }

    fn rotate(&mut self) {
        self.n_rotated += 1;
        let at = |n: usize| self.folder.join(format!("shop.log.{n}"));
        for n in (1..self.n_rotated).rev() {
            fs::rename(at(n), at(n + 1)).unwrap();
        }
        let log = self.folder.join("shop.log");
        match self.rotation {
            Rotation::Rename => {
                fs::rename(&log, at(1)).unwrap();
                let file = std::mem::replace(&mut self.file, Self::open(&self.folder));
                // Some lines still go into the old file.
                self.old = Some(file);
                let n_late = self.below(5);
                self.lines(n_late);
                self.old = None;
            }
            Rotation::CopyTruncate => {
                fs::copy(&log, at(1)).unwrap();
                self.file.set_len(0).unwrap();
            }
        }
    }

    fn anything(&mut self) {
        let n = 1 + self.below(60);
        self.lines(n);
        if self.below(4) == 0 {
            self.rotate();
            let n = 1 + self.below(20);
            self.lines(n);
        }
    }
}

/// A record: one line, or a stack trace of several.
///
/// It begins with a time, as logs do whose records are told apart by it; and half of it tells it
/// from every other one, since files that begin alike cannot be told apart.
fn line(n: usize) -> String {
    let time = 1_795_000_000 + n;
    if n % 7 != 5 {
        return format!("{time} INFO {}.", "x".repeat(20 + n * 31 % 160));
    }
    let frame = |i| format!("\n\tat shop.Orders.book{i}(Orders.java:{n})");
    let frames: String = (0..=n % 4).map(frame).collect();
    format!("{time} ERROR cannot book\njava.lang.IllegalStateException: no price{frames}")
}

fn check(rotation: Rotation, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(folder.path(), rotation, seed);
    for round in 0..N_KILLS {
        let (mut child, out) = spawn(folder.path());
        let n_steps = writer.below(12);
        let mut told = out.lines().map_while(Result::ok);
        if round == 0 {
            // What was rotated away before anybody looked is nobody's loss.
            told.find(|said| said == "taken 3").unwrap();
        } else if writer.below(4) > 0 {
            // Or it may be killed before it has opened anything.
            told.find(|said| said.starts_with("taken ")).unwrap();
        }
        for _ in 0..n_steps {
            writer.anything();
            if writer.below(2) == 0 {
                // Wait for a sign of life, so that the child gets somewhere in between.
                told.next().unwrap();
            }
        }
        let status = child.kill();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9),
            "the child ended by itself: {status}"
        );
        // What happens while nobody looks.
        for _ in 0..writer.below(3) {
            writer.anything();
        }
    }
    let (mut child, out) = spawn(folder.path());
    writer.lines(1);
    let n_written = writer.n_written;
    let mut last = 0;
    let is_done = out
        .lines()
        .map_while(Result::ok)
        .filter_map(|said| said.strip_prefix("taken ")?.parse::<usize>().ok())
        .take(PATIENCE)
        .inspect(|n_taken| last = *n_taken)
        .any(|n_taken| n_taken >= n_written);
    child.kill();
    runtime().block_on(async {
        let store = RedbStore::open(folder.path().join("journal.redb")).unwrap();
        let (lines, _) = taken(&store).await;
        let expected: Vec<_> = (0..n_written).map(line).collect();
        for (n, (found, expected)) in lines.iter().zip(&expected).enumerate() {
            assert_eq!(found, expected, "{rotation:?}: line {n} of {n_written}");
        }
    });
    assert!(is_done, "{rotation:?}: {last} of {n_written} lines taken");
    assert!(
        writer.n_rotated > 10 && n_written > 1000,
        "{} rotations, {n_written} lines: too little to say anything",
        writer.n_rotated
    );
}

#[test]
fn no_line_is_lost_or_seen_twice_through_renaming_and_kills() {
    check(Rotation::Rename, 11);
}

#[test]
fn no_line_is_lost_or_seen_twice_through_copying_with_truncation_and_kills() {
    check(Rotation::CopyTruncate, 12);
}
