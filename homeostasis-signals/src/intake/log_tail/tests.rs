//! Through rotation, truncation and restarts, on real files.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use homeostasis_core::ManualClock;
use homeostasis_core::signal::{ErrorEvent, Level, LogRecord};
use proptest::prelude::*;

use super::*;

/// A log in a directory of its own, with a clock that stands still.
struct Log {
    directory: tempfile::TempDir,
    path: PathBuf,
    clock: Arc<ManualClock>,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.log");
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000_000)));
        Self {
            directory,
            path,
            clock,
        }
    }

    fn config(&self) -> LogTailConfig {
        LogTailConfig {
            start_at: StartAt::Beginning,
            multiline: None,
            ..LogTailConfig::new(&self.path)
        }
    }

    fn open(&self, config: LogTailConfig) -> LogTail {
        LogTail::new(config, self.clock()).unwrap()
    }

    fn tail(&self) -> LogTail {
        self.open(self.config())
    }

    fn resume(&self, position: &TailPosition) -> LogTail {
        // As a store keeps it.
        let stored = serde_json::to_string(position).unwrap();
        let position = serde_json::from_str(&stored).unwrap();
        LogTail::resume(self.config(), position, self.clock()).unwrap()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::<ManualClock>::clone(&self.clock)
    }

    fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, bytes: impl AsRef<[u8]>) {
        append(&self.path, bytes);
    }

    /// What logrotate does with `create`.
    fn rename_to(&self, name: &str) {
        fs::rename(&self.path, self.beside(name)).unwrap();
    }

    /// What logrotate does with `copytruncate`.
    fn copy_and_truncate_to(&self, name: &str) {
        fs::copy(&self.path, self.beside(name)).unwrap();
        self.truncate();
    }

    fn truncate(&self) {
        OpenOptions::new()
            .write(true)
            .open(&self.path)
            .unwrap()
            .set_len(0)
            .unwrap();
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

fn message(signal: Signal) -> String {
    match signal {
        Signal::Log(log) => log.message,
        other => panic!("{other:?}"),
    }
}

async fn poll(tail: &LogTail) -> Vec<String> {
    tail.poll()
        .await
        .unwrap()
        .into_iter()
        .map(message)
        .collect()
}

#[tokio::test]
async fn a_half_line_waits_for_its_end() {
    let log = Log::new();
    let tail = log.tail();
    assert!(poll(&tail).await.is_empty() && tail.position().is_none());
    log.append("{\"msg\":\"one\"}\n{\"msg\":");
    assert_eq!(poll(&tail).await, ["one"]);
    assert_eq!(tail.position().unwrap().offset, 14);
    log.append("\"two\"}\r\nthree\n");
    assert_eq!(poll(&tail).await, ["two", "three"]);
}

#[tokio::test]
async fn an_existing_file_is_begun_at_its_end_and_never_inside_a_line() {
    let log = Log::new();
    log.append("old\nha");
    let tail = log.open(LogTailConfig {
        start_at: StartAt::End,
        ..log.config()
    });
    assert!(poll(&tail).await.is_empty());
    log.append("lf\nnew\n");
    assert_eq!(poll(&tail).await, ["half", "new"]);
}

#[tokio::test]
async fn after_rotation_the_old_file_is_read_until_it_is_silent() {
    let log = Log::new();
    log.append("a\n");
    let tail = log.tail();
    assert_eq!(poll(&tail).await, ["a"]);
    log.rename_to("shop.log.1");
    append(&log.beside("shop.log.1"), "b\n");
    assert_eq!(poll(&tail).await, ["b"]);
    // One writer has opened the new file, another one has not.
    log.append("d\n");
    assert!(poll(&tail).await.is_empty());
    log.pass(1);
    append(&log.beside("shop.log.1"), "c\nno end");
    assert_eq!(poll(&tail).await, ["c"]);
    log.pass(1);
    assert!(poll(&tail).await.is_empty());
    log.pass(2);
    assert_eq!(poll(&tail).await, ["no end", "d"]);
    assert_eq!(tail.stats().n_rotations, 1);
    assert_eq!(tail.position().unwrap().line().to_string(), "1:2");
}

#[tokio::test]
async fn files_rotated_between_two_polls_are_read_in_order() {
    for names in [
        ["shop.log.2", "shop.log.1"],
        ["shop-20261121.log", "shop-20261122.log"],
    ] {
        let log = Log::new();
        log.append("the first file\n");
        let tail = log.tail();
        assert_eq!(poll(&tail).await, ["the first file"]);
        let stored = tail.position().unwrap();
        log.append("its end\n");
        log.rename_to(names[0]);
        log.append("the second file\n");
        log.rename_to(names[1]);
        log.append("the third file\n");
        for tail in [log.resume(&stored), tail] {
            let mut read = poll(&tail).await;
            log.pass(2);
            read.extend(poll(&tail).await);
            assert_eq!(read, ["its end", "the second file", "the third file"]);
            assert_eq!(tail.position().unwrap().generation, 2);
        }
    }
}

#[tokio::test]
async fn a_truncated_file_is_read_again_even_if_it_has_outgrown_the_old_place() {
    let log = Log::new();
    log.append("first\nsecond\n");
    let tail = log.tail();
    assert_eq!(poll(&tail).await.len(), 2);
    fs::write(&log.path, "x\n").unwrap();
    assert_eq!(poll(&tail).await, ["x"]);
    fs::write(&log.path, "longer than it was before\nand more\n").unwrap();
    assert_eq!(poll(&tail).await, ["longer than it was before", "and more"]);
    assert_eq!(tail.stats().n_truncations, 2);
}

#[tokio::test]
async fn what_was_unread_before_a_truncation_is_read_in_the_copy() {
    let log = Log::new();
    log.append("a line that was read\nhalf of");
    let tail = log.tail();
    assert_eq!(poll(&tail).await, ["a line that was read"]);
    let stored = tail.position().unwrap();
    log.append(" a line\n");
    log.copy_and_truncate_to("shop.log.1");
    assert_eq!(poll(&tail).await, ["half of a line"]);
    log.append("after\n");
    fs::rename(log.beside("shop.log.1"), log.beside("shop.log.2")).unwrap();
    log.copy_and_truncate_to("shop.log.1");
    log.append("at last\n");
    assert_eq!(poll(&tail).await, ["after"]);
    log.pass(2);
    assert_eq!(poll(&tail).await, ["at last"]);
    assert_eq!(tail.stats().n_losses, 0);
    let tail = log.resume(&stored);
    let mut read = poll(&tail).await;
    log.pass(2);
    read.extend(poll(&tail).await);
    assert_eq!(read, ["half of a line", "after", "at last"]);
}

#[tokio::test]
async fn a_copy_in_the_making_is_not_read_beside_its_original() {
    let log = Log::new();
    log.append("the first file\n");
    let tail = log.tail();
    assert_eq!(poll(&tail).await, ["the first file"]);
    log.copy_and_truncate_to("shop.log.2");
    log.append("the second file\nand more of it\n");
    append(&log.beside("shop.log.1"), "the second file\nand");
    assert_eq!(poll(&tail).await, ["the second file", "and more of it"]);
    append(&log.beside("shop.log.1"), " more of it\n");
    log.truncate();
    assert!(poll(&tail).await.is_empty());
    assert_eq!(tail.stats().n_lines, 3);
}

#[tokio::test]
async fn a_stored_position_resumes_without_loss_through_a_rotation() {
    let log = Log::new();
    log.append("a\nb\npar");
    let tail = log.tail();
    assert_eq!(poll(&tail).await, ["a", "b"]);
    let position = tail.position().unwrap();
    drop(tail);
    log.append("tial\n");
    log.rename_to("shop-2026.log");
    log.append("new\n");
    let tail = log.resume(&position);
    assert_eq!(poll(&tail).await, ["partial"]);
    log.pass(1);
    assert!(poll(&tail).await.is_empty());
    log.pass(1);
    assert_eq!(poll(&tail).await, ["new"]);
    // The number of the old file may be used again: the content tells.
    fs::remove_file(log.beside("shop-2026.log")).unwrap();
    fs::write(&log.path, "other\n").unwrap();
    let tail = log.resume(&position);
    let batch = tail.read().await.unwrap();
    assert_eq!(batch.signals.len(), 1);
    assert!(batch.signals[0].id > position.line());
    assert!(
        matches!(&batch.losses[..], [TailLoss::Gone { offset: 4, .. }]),
        "{:?}",
        batch.losses
    );
}

#[tokio::test]
async fn a_new_file_that_begins_like_the_old_one_is_not_taken_for_it() {
    let banner = "shop 4.2, built of the main branch\n";
    let log = Log::new();
    log.append(banner);
    let tail = log.tail();
    assert_eq!(poll(&tail).await.len(), 1);
    let position = tail.position().unwrap();
    drop(tail);
    log.append("unread\n");
    log.rename_to("shop.log.1");
    log.append(format!("{banner}new\n"));
    let tail = log.resume(&position);
    assert_eq!(poll(&tail).await, ["unread"]);
    log.pass(2);
    assert_eq!(poll(&tail).await, [banner.trim_end(), "new"]);
    // Nor if the old one was compressed meanwhile.
    fs::rename(log.beside("shop.log.1"), log.beside("shop.log.1.gz")).unwrap();
    fs::write(log.beside("new"), "\x1f\u{8b}").unwrap();
    fs::rename(log.beside("new"), log.beside("shop.log.1.gz")).unwrap();
    let batch = log.resume(&position).read().await.unwrap();
    assert!(
        matches!(&batch.losses[..], [TailLoss::Compressed { .. }]),
        "{:?}",
        batch.losses
    );
    assert_eq!(batch.signals.len(), 2);
}

#[tokio::test]
async fn a_log_that_was_put_back_under_another_number_is_gone_on_with() {
    let log = Log::new();
    log.append("a line that is long enough\n");
    let tail = log.tail();
    assert_eq!(poll(&tail).await.len(), 1);
    let position = tail.position().unwrap();
    fs::copy(&log.path, log.beside("put back")).unwrap();
    fs::rename(log.beside("put back"), &log.path).unwrap();
    log.append("next\n");
    let batch = log.resume(&position).read().await.unwrap();
    assert_eq!((batch.signals.len(), batch.losses.len()), (1, 0));
}

#[tokio::test]
async fn a_file_that_was_compressed_unread_is_a_loss_by_name() {
    let log = Log::new();
    log.append("read\n");
    let tail = log.tail();
    assert_eq!(poll(&tail).await, ["read"]);
    let position = tail.position().unwrap();
    drop(tail);
    log.append("never read\n");
    log.rename_to("shop.log.2");
    fs::remove_file(log.beside("shop.log.2")).unwrap();
    fs::write(log.beside("shop.log.2.gz"), "\x1f\u{8b}").unwrap();
    fs::write(log.beside("shop.log.1"), "still there\n").unwrap();
    log.append("now\n");
    let tail = log.resume(&position);
    let batch = tail.read().await.unwrap();
    assert_eq!(batch.signals.len(), 1);
    let said: Vec<_> = batch.losses.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1);
    assert!(
        said[0].contains("shop.log.2.gz: compressed before"),
        "{said:?}"
    );
    assert_eq!(tail.stats().n_losses, 1);
    log.pass(2);
    assert_eq!(poll(&tail).await, ["now"]);
}

#[tokio::test]
async fn long_lines_are_cut_and_bytes_that_are_no_text_replaced() {
    let log = Log::new();
    let mut long = vec![b'x'; 500_000];
    long.extend(b"\n\xff\xfe bad\n{\"msg\":\"after\"}\n");
    log.append(long);
    let tail = log.open(LogTailConfig {
        max_line_bytes: 1000,
        max_poll_bytes: 100_000,
        ..log.config()
    });
    let mut lines = Vec::new();
    for n_polls in 1.. {
        lines.extend(tail.poll().await.unwrap());
        if lines.len() == 3 {
            assert_eq!(n_polls, 6);
            break;
        }
        assert!(n_polls < 20, "{lines:?}");
    }
    let Signal::Log(cut) = lines.remove(0) else {
        panic!()
    };
    assert_eq!(
        (cut.message.len(), &*cut.fields["truncated"]),
        (1000, "true")
    );
    let rest: Vec<_> = lines.into_iter().map(message).collect();
    assert_eq!(rest, ["\u{fffd}\u{fffd} bad", "after"]);
    let stats = tail.stats();
    assert_eq!((stats.n_truncated_lines, stats.n_invalid_utf8), (1, 1));
}

#[tokio::test]
async fn the_hole_of_a_writer_that_missed_the_truncation_is_passed_over() {
    let log = Log::new();
    let mut writer = fs::File::create(&log.path).unwrap();
    writer.write_all(&vec![b'x'; 70_000]).unwrap();
    writer.write_all(b"\n").unwrap();
    let tail = log.tail();
    assert_eq!(poll(&tail).await.len(), 1);
    log.truncate();
    writer.write_all(b"after the hole\nand more\n").unwrap();
    assert_eq!(poll(&tail).await, ["after the hole", "and more"]);
    let stats = tail.stats();
    assert_eq!((stats.n_nul_bytes, stats.n_truncations), (70_001, 1));
    let position = tail.position().unwrap();
    writer.write_all(b"next\n").unwrap();
    assert_eq!(poll(&log.resume(&position)).await, ["next"]);
}

#[tokio::test]
async fn a_dropped_poll_loses_nothing() {
    let log = Log::new();
    log.append("a\n");
    let tail = log.tail();
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

/// Panics at one message.
#[derive(Debug)]
struct Fragile;

impl Enricher for Fragile {
    fn enrich(&self, record: &mut LogRecord) {
        assert!(record.message != "bad", "a bug of the host");
        record.fields.insert("seen", "yes");
    }
}

#[tokio::test]
async fn an_enricher_that_panics_loses_no_line() {
    let log = Log::new();
    let tail = log.tail().with_enricher(Arc::new(Fragile));
    log.append("one\nbad\ntwo\n");
    let mut given = tail.poll().await.unwrap();
    log.append("three\n");
    given.extend(tail.poll().await.unwrap());
    let seen: Vec<_> = given
        .into_iter()
        .map(|signal| match signal {
            Signal::Log(log) => (log.message, log.fields.get("seen").is_some()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("one", true),
        ("bad", false),
        ("two", true),
        ("three", true),
    ];
    assert_eq!(seen, expected.map(|(line, is)| (line.to_owned(), is)));
    assert_eq!(tail.stats().n_panics, 1);
    assert_eq!(tail.position().unwrap().offset, 18);
}

/// Hangs at its first record until it is let go.
#[derive(Debug)]
struct Hanging {
    reached: std::sync::mpsc::Sender<()>,
    release: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Enricher for Hanging {
    fn enrich(&self, _: &mut LogRecord) {
        let _ = self.reached.send(());
        let _ = self.release.lock().unwrap().recv();
    }
}

#[test]
fn a_reading_that_hangs_holds_one_thread_and_nobody_else() {
    // Without the fix this would wait for ever, not fail.
    const PATIENCE: Duration = Duration::from_secs(20);
    let log = Log::new();
    log.append("one\n");
    let (reached, at_it) = std::sync::mpsc::channel();
    let (let_go, release) = std::sync::mpsc::channel();
    let release = Mutex::new(release);
    let tail = log
        .tail()
        .with_enricher(Arc::new(Hanging { reached, release }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(2)
        .build()
        .unwrap();
    let (outcome, told) = std::sync::mpsc::channel();
    let watched = tail.clone();
    std::thread::spawn(move || {
        at_it.recv().unwrap();
        let _ = outcome.send((watched.position(), watched.stats().n_lines));
    });
    let is_free = runtime.block_on(async {
        for _ in 0..3 {
            let mut polled = Box::pin(tail.read());
            std::future::poll_fn(|cx| {
                assert!(polled.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        let other = tokio::task::spawn_blocking(|| ());
        tokio::time::timeout(PATIENCE, other).await.is_ok()
    });
    let shown = told.recv_timeout(PATIENCE);
    drop(let_go);
    assert!(is_free, "every blocking thread is held");
    assert_eq!(shown.unwrap(), (None, 0));
    assert_eq!(runtime.block_on(poll(&tail)), ["one"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_fifo_at_the_path_is_an_error_and_is_not_waited_for() {
    let log = Log::new();
    #[expect(clippy::disallowed_methods, reason = "std cannot make a FIFO")]
    let made = std::process::Command::new("mkfifo").arg(&log.path).status();
    assert!(made.unwrap().success());
    let tail = log.tail();
    let outcome = tokio::time::timeout(Duration::from_secs(20), tail.poll()).await;
    // Whoever waits in it is let go.
    let _both = OpenOptions::new().read(true).write(true).open(&log.path);
    let error = outcome.expect("the FIFO is waited for").unwrap_err();
    assert!(error.to_string().ends_with("not a regular file"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_with_its_path() {
    let log = Log::new();
    let said = async |path: &Path| {
        let tail = log.open(LogTailConfig::new(path));
        tail.poll().await.unwrap_err().to_string()
    };
    let error = said(log.directory.path()).await;
    assert!(error.ends_with(": not a regular file"), "{error}");
    let missing = log.beside("no-such-directory/shop.log");
    let error = said(&missing).await;
    assert!(error.starts_with(&missing.display().to_string()), "{error}");
    // A directory that goes away while its file is followed.
    fs::create_dir(log.beside("gone")).unwrap();
    let path = log.beside("gone/shop.log");
    append(&path, "a\n");
    let tail = log.open(LogTailConfig {
        path: path.clone(),
        ..log.config()
    });
    assert_eq!(poll(&tail).await, ["a"]);
    fs::remove_dir_all(log.beside("gone")).unwrap();
    assert_eq!(
        tail.poll().await.unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    fs::create_dir(log.beside("gone")).unwrap();
    append(&path, "b\n");
    assert!(poll(&tail).await.is_empty());
    log.pass(2);
    assert_eq!(poll(&tail).await, ["b"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_may_not_be_read_is_an_error_until_it_may() {
    use std::os::unix::fs::PermissionsExt;

    let log = Log::new();
    log.append("secret\n");
    fs::set_permissions(&log.path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&log.path).is_ok() {
        eprintln!("skipped: this user may read every file");
        return;
    }
    let tail = log.tail();
    let error = tail.poll().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("shop.log"), "{error}");
    fs::set_permissions(&log.path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(poll(&tail).await, ["secret"]);
}

#[test]
fn everything_wrong_with_a_configuration_is_named_at_once() {
    let wrong: LogTailConfig = serde_json::from_str(
        r#"{"path": "", "max_line_bytes": 1, "max_poll_bytes": 1, "rotation_grace": "5s",
            "multiline": {"record_start": "("}, "lines": {"format": {"pattern": {"regex": "x"}}}}"#,
    )
    .unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let error = LogTail::new(wrong, clock).unwrap_err();
    let places: Vec<_> = error.violations().iter().map(|v| v.path.as_str()).collect();
    assert_eq!(
        places,
        [
            "path",
            "max_line_bytes",
            "max_poll_bytes",
            "multiline.record_start",
            "lines.format.pattern.regex"
        ]
    );
}

/// Says that every multi-line record carries an error.
#[derive(Debug)]
struct Marker;

impl Enricher for Marker {
    fn enrich(&self, record: &mut LogRecord) {
        if record.message.contains('\n') {
            record.error = Some(Box::new(ErrorEvent::new(
                "java",
                "Marked",
                record.message.clone(),
            )));
        }
    }
}

#[tokio::test]
async fn a_stack_trace_is_one_record_and_is_not_passed_before_it_is_whole() {
    let log = Log::new();
    let joining = LogTailConfig {
        multiline: LogTailConfig::default_multiline(),
        ..log.config()
    };
    let tail = log.open(joining.clone()).with_enricher(Arc::new(Marker));
    log.append("{\"msg\":\"json waits for nothing\"}\n2026-11-22 01:00:00 ERROR cannot book\n");
    assert_eq!(poll(&tail).await, ["json waits for nothing"]);
    assert_eq!(tail.position().unwrap().offset, 33);
    log.append("java.lang.IllegalStateException: no price\n\tat shop.Orders.book(Orders.java:7)\n");
    assert!(poll(&tail).await.is_empty());
    let held = tail.position().unwrap();
    assert_eq!(held.offset, 33);
    log.pass(1);
    let batch = tail.read().await.unwrap();
    assert_eq!(batch.signals[0].id.offset, 33);
    let Signal::Log(record) = &batch.signals[0].signal else {
        panic!()
    };
    assert_eq!(
        (record.level, record.message.lines().count()),
        (Level::Error, 3)
    );
    assert!(
        record
            .error
            .as_ref()
            .unwrap()
            .message
            .contains("Orders.java:7")
    );
    assert_eq!((tail.stats().n_joined, batch.signals.len()), (1, 1));
    assert_eq!(
        batch.position.unwrap().offset,
        fs::metadata(&log.path).unwrap().len()
    );
    // After a crash while it was held it comes again, whole.
    let tail = LogTail::resume(joining, held, log.clock()).unwrap();
    assert!(poll(&tail).await.is_empty());
    log.append("{\"msg\":\"next\"}\n");
    let read = poll(&tail).await;
    assert_eq!((read.len(), read[0].lines().count()), (2, 3));
}

#[tokio::test]
async fn lines_that_are_not_of_the_format_are_counted() {
    let log = Log::new();
    let mut config = log.config();
    config.lines.format = crate::intake::LineFormat::Logfmt;
    config.lines.keep_plain_lines = false;
    let tail = log.open(config);
    log.append("level=info msg=one\n\nnot logfmt\nmsg=two\n");
    assert_eq!(poll(&tail).await, ["one", "two"]);
    let stats = tail.stats();
    assert_eq!(
        (stats.n_lines, stats.n_unmatched, stats.n_skipped),
        (4, 1, 2)
    );
}

/// What happens to a log and to the one who reads it.
#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    /// Without the end of the line, which the next one brings.
    AppendHalf,
    Rename,
    CopyTruncate,
    Poll,
    PollAndCommit,
    Crash,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..6_u8).prop_map(Step::Append),
        1 => Just(Step::AppendHalf),
        2 => Just(Step::Rename),
        2 => Just(Step::CopyTruncate),
        3 => Just(Step::Poll),
        4 => Just(Step::PollAndCommit),
        2 => Just(Step::Crash),
        2 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_line_counts_exactly_once_whatever_rotates_and_crashes(
        steps in steps(),
        is_dated in any::<bool>(),
        max_poll_bytes in prop_oneof![Just(4096_usize), Just(1 << 20)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(exactly_once(steps, is_dated, max_poll_bytes));
    }
}

async fn exactly_once(steps: Vec<Step>, is_dated: bool, max_poll_bytes: usize) {
    let log = Log::new();
    let config = || LogTailConfig {
        max_poll_bytes,
        ..log.config()
    };
    let (mut n_written, mut n_rotated, mut is_half) = (0_u32, 0_u32, false);
    // The first poll is what makes a position: a log that nobody looked at has no past.
    log.append(format!("{}\n", line(0)));
    n_written += 1;
    let mut tail = log.open(config());
    let (mut counted, mut taken) = (Vec::new(), Vec::new());
    let mut committed: Option<TailPosition> = None;
    let mut last_id = None;
    let drain = [
        Step::Wait,
        Step::Poll,
        Step::Wait,
        Step::Poll,
        Step::Wait,
        Step::PollAndCommit,
    ];
    let steps = std::iter::once(Step::PollAndCommit)
        .chain(steps)
        .chain([Step::Append(1)])
        .chain(drain.into_iter().cycle().take(120));
    for step in steps {
        match step {
            Step::Append(n) => {
                for _ in 0..n {
                    let text = line(n_written);
                    let start = if is_half { text.len() / 2 } else { 0 };
                    log.append(format!("{}\n", &text[start..]));
                    is_half = false;
                    n_written += 1;
                }
            }
            Step::AppendHalf if !is_half => {
                let text = line(n_written);
                log.append(&text[..text.len() / 2]);
                is_half = true;
            }
            // A line over two files is two lines.
            Step::Rename | Step::CopyTruncate
                if !is_half && fs::metadata(&log.path).is_ok_and(|m| m.len() > 0) =>
            {
                n_rotated += 1;
                let name = if is_dated {
                    format!("shop-2026-11-22-{n_rotated}.log")
                } else {
                    for n in (1..n_rotated).rev() {
                        let from = log.beside(&format!("shop.log.{n}"));
                        fs::rename(from, log.beside(&format!("shop.log.{}", n + 1))).unwrap();
                    }
                    "shop.log.1".to_owned()
                };
                if matches!(step, Step::Rename) {
                    log.rename_to(&name);
                    log.append("");
                } else {
                    log.copy_and_truncate_to(&name);
                }
            }
            Step::Poll | Step::PollAndCommit => {
                let batch = tail.read().await.unwrap();
                assert!(batch.losses.is_empty(), "{:?}", batch.losses);
                for tailed in batch.signals {
                    assert!(last_id.is_none_or(|last| last < tailed.id));
                    last_id = Some(tailed.id);
                    taken.push(message(tailed.signal));
                }
                if matches!(step, Step::PollAndCommit) {
                    counted.append(&mut taken);
                    committed = batch.position;
                }
            }
            Step::Crash => {
                taken.clear();
                let position = committed.clone().unwrap();
                last_id = None;
                let next = LogTail::resume(config(), position, log.clock()).unwrap();
                assert!(next.position().unwrap() == *committed.as_ref().unwrap());
                tail = next;
            }
            Step::Wait => log.pass(3),
            Step::AppendHalf | Step::Rename | Step::CopyTruncate => {}
        }
    }
    let expected: Vec<_> = (0..n_written).map(line).collect();
    assert_eq!(counted, expected);
}

fn line(n: u32) -> String {
    let rest = "x".repeat(usize::try_from(n * 7 % 90).unwrap());
    // Half a line tells it from every other one: what begins alike cannot be told apart.
    format!("{n:05} is the number of this line {rest}.")
}
