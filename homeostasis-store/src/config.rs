//! How the journal file is opened and written.

use std::time::Duration;

use homeostasis_core::port::StoreError;

/// Settings of a [`RedbStore`](crate::RedbStore).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedbConfig {
    /// How long the writer waits for company before it syncs a batch; 0 by default, at most 1 s.
    ///
    /// With 0, whatever came while the last batch was being synced forms the next one, which is
    /// right for nearly everyone: a longer wait delays every intent and so every heal.
    pub linger: Duration,
    /// How many commits share one sync at most; 256 by default, at least 1. 1 turns group commit off.
    pub max_batch: usize,
    /// How many commits may wait for the writer before callers wait to be let in; 1024 by default,
    /// at least 1.
    pub queue: usize,
    /// How many bytes of the file are cached in memory at most; 16 MiB by default, at least 1 MiB.
    pub cache_bytes: usize,
    /// Whether the checksum of every page is verified when the file is opened; on by default.
    ///
    /// It reads the whole file once. **Warning:** without it, damage done to the file from outside
    /// is found only when the damaged page is read, or not at all.
    pub check_on_open: bool,
}

impl Default for RedbConfig {
    fn default() -> Self {
        Self {
            linger: Duration::ZERO,
            max_batch: 256,
            queue: 1024,
            cache_bytes: 16 << 20,
            check_on_open: true,
        }
    }
}

impl RedbConfig {
    /// All values out of range at once.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let mut wrong = Vec::new();
        if self.linger > Duration::from_secs(1) {
            wrong.push(format!(
                "store.linger = {:?}, expected 0 s..=1 s",
                self.linger
            ));
        }
        for (name, value, least) in [
            ("max_batch", self.max_batch, 1),
            ("queue", self.queue, 1),
            ("cache_bytes", self.cache_bytes, 1 << 20),
        ] {
            if value < least {
                wrong.push(format!("store.{name} = {value}, expected at least {least}"));
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(StoreError::Invalid {
                reason: wrong.join("; "),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_out_of_range_are_named_at_once() {
        RedbConfig::default().check().unwrap();
        let wrong = RedbConfig {
            linger: Duration::from_secs(2),
            max_batch: 0,
            queue: 0,
            cache_bytes: 7,
            ..RedbConfig::default()
        };
        let message = wrong.check().unwrap_err().to_string();
        assert_eq!(
            message,
            "refused: store.linger = 2s, expected 0 s..=1 s; \
             store.max_batch = 0, expected at least 1; store.queue = 0, expected at least 1; \
             store.cache_bytes = 7, expected at least 1048576"
        );
    }
}
