//! What a program writes: counted whole, kept at its end.

use std::collections::VecDeque;
use std::io::{PipeReader, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How much of the end is kept, in bytes.
const TAIL: usize = 64 * 1024;

/// Reads a pipe to its end on a thread of its own, whatever the program does.
#[derive(Debug)]
pub(super) struct Output {
    seen: Arc<Mutex<Seen>>,
    ended: Receiver<()>,
}

#[derive(Debug, Default)]
struct Seen {
    tail: VecDeque<u8>,
    total: u64,
}

impl Output {
    pub(super) fn of(mut pipe: PipeReader) -> std::io::Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let theirs = Arc::clone(&seen);
        let (end, ended) = sync_channel(1);
        thread::Builder::new()
            .name("sandbox-output".to_owned())
            .spawn(move || {
                let mut buffer = vec![0; 32 * 1024];
                while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                    let mut seen = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.add(&buffer[..read]);
                }
                let _ = end.send(());
            })?;
        Ok(Self { seen, ended })
    }

    /// How many bytes came.
    pub(super) fn total(&self) -> u64 {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .total
    }

    /// The end of it and its length, once everybody closed the pipe or after `patience`.
    pub(super) fn finish(&self, patience: Duration) -> (String, u64) {
        let _ = self.ended.recv_timeout(patience);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(seen.tail.make_contiguous()).into_owned();
        (text, seen.total)
    }
}

impl Seen {
    fn add(&mut self, bytes: &[u8]) {
        self.total = self
            .total
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.tail.extend(bytes);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept_and_all_is_counted() {
        let mut seen = Seen::default();
        seen.add(&vec![b'a'; TAIL]);
        seen.add(b"the end");
        assert_eq!(seen.total, TAIL as u64 + 7);
        assert_eq!(seen.tail.len(), TAIL);
        assert!(seen.tail.make_contiguous().ends_with(b"athe end"));
    }
}
