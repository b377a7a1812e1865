//! Reads what a log file has grown by.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::signal::{Level, LogRecord, Signal};
use homeostasis_core::{Context, Timestamp};

use super::probing::{Missed, Probe};
use super::reading::Reading;
use crate::intake::LogTail;

/// How many polls' worth an asking reads of a log that grows faster than one poll a time.
const POLLS_AT_ONCE: usize = 8;

/// Polls a [`LogTail`] and gives its records and changes as they are.
///
/// A file that cannot be read is told in a log record (`warn`), once until the reason changes or it
/// can be read again, and so is every [`TailLoss`](crate::TailLoss); a file that is not there is
/// silence. If more is appended between two polls than one reads
/// ([`max_poll_bytes`](crate::LogTailConfig::max_poll_bytes)), up to 8 times as much is read at
/// once; the rest follows with the next, and
/// [`TailStats::n_bytes_behind`](crate::TailStats::n_bytes_behind) says how much that is.
#[derive(Debug)]
pub struct LogTailProbe {
    name: String,
    tail: LogTail,
    interval: Duration,
    /// Why the last reading failed.
    told: Mutex<Option<String>>,
}

impl LogTailProbe {
    /// A probe that polls `tail` every second; keep a clone of the tail to store its position.
    pub fn new(name: impl Into<String>, tail: LogTail) -> Self {
        Self {
            name: name.into(),
            tail,
            interval: Duration::from_secs(1),
            told: Mutex::new(None),
        }
    }

    /// The same, polled at another interval.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    fn complaint(&self, at: Timestamp, why: &str) -> Signal {
        let mut record = LogRecord::new(at, Level::Warn, format!("log cannot be read: {why}"));
        record.component = self.name.clone().into();
        Signal::Log(record)
    }

    /// Whether `why` is news.
    fn is_news(&self, why: Option<&str>) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = told.as_deref() != why;
        if is_news {
            *told = why.map(str::to_owned);
        }
        is_news
    }
}

#[async_trait]
impl Probe for LogTailProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn timeout(&self) -> Duration {
        // It is no health check: the disk may be slow.
        Duration::from_secs(5)
    }

    async fn probe(&self, cx: &Context) -> Reading {
        let signals = match self.tail.read_times(POLLS_AT_ONCE).await {
            Ok(batch) => {
                self.is_news(None);
                let losses = batch.losses.iter();
                losses
                    .map(|loss| self.complaint(cx.now(), &loss.to_string()))
                    .chain(batch.signals.into_iter().map(|tailed| tailed.signal))
                    .collect()
            }
            Err(error) => {
                let why = error.to_string();
                let news = self.is_news(Some(&why));
                news.then(|| self.complaint(cx.now(), &why))
                    .into_iter()
                    .collect()
            }
        };
        Reading {
            signals,
            ..Reading::default()
        }
    }

    fn missed(&self, at: Timestamp, why: &Missed) -> Reading {
        Reading {
            signals: vec![self.complaint(at, &why.to_string())],
            ..Reading::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homeostasis_core::ManualClock;

    use super::*;
    use crate::intake::LogTailConfig;

    #[tokio::test]
    async fn a_log_that_grows_fast_is_caught_up_with_and_the_rest_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let cx = Context::new(Arc::<ManualClock>::clone(&clock), 1);
        let path = directory.path().join("a.log");
        let config = LogTailConfig {
            max_poll_bytes: 4096,
            multiline: None,
            ..LogTailConfig::new(&path)
        };
        let tail = LogTail::new(config, clock).unwrap();
        let probe = LogTailProbe::new("shop log", tail.clone());
        assert!(probe.probe(&cx).await.is_empty());
        // Ten polls' worth in lines of 16 bytes.
        let n_lines = 10 * 4096 / 16;
        std::fs::write(&path, "a line of words\n".repeat(n_lines)).unwrap();
        assert_eq!(probe.probe(&cx).await.signals.len(), 8 * 4096 / 16);
        assert_eq!(tail.stats().n_bytes_behind, 2 * 4096);
        assert_eq!(probe.probe(&cx).await.signals.len(), 2 * 4096 / 16);
        assert_eq!(tail.stats().n_bytes_behind, 0);
    }

    #[tokio::test]
    async fn lines_come_through_and_an_unreadable_file_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let cx = Context::new(Arc::<ManualClock>::clone(&clock), 1);
        let path = directory.path().join("a.jsonl");
        let tail = LogTail::new(
            LogTailConfig::new(&path),
            Arc::<ManualClock>::clone(&clock) as _,
        )
        .unwrap();
        let probe = LogTailProbe::new("shop log", tail);
        assert!(probe.probe(&cx).await.is_empty());
        std::fs::write(&path, "{\"kind\":\"deploy\",\"service\":\"shop\"}\n").unwrap();
        let signals = probe.probe(&cx).await.signals;
        assert!(matches!(&signals[..], [Signal::Change(_)]));
        let tail = LogTail::new(LogTailConfig::new(directory.path()), clock).unwrap();
        let probe = LogTailProbe::new("bad", tail);
        let signals = probe.probe(&cx).await.signals;
        assert!(matches!(
            &signals[..],
            [Signal::Log(log)] if log.message.contains("not a regular file") && log.component == "bad"
        ));
        assert!(probe.probe(&cx).await.is_empty(), "it is told once");
    }
}
