//! Through rotation, truncation and restarts, on real files.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use homeostasis_core::ManualClock;
use homeostasis_core::signal::{ErrorEvent, Level, LogRecord};

use super::*;

mod exactly_once;
mod lines;
mod rotation;
mod trouble;

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
