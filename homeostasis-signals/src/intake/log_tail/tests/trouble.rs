//! Polls that are dropped, enrichers that fail, files that cannot be read.

use super::*;

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
