//! What the writer did so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the store was opened; they start at 0 with each open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RedbStats {
    /// Writes that became durable: commits, tokens, and what was forgotten.
    pub written: u64,
    /// Writes that were refused: conflicts, stale leases, contradictions.
    pub refused: u64,
    /// Writes that failed because the medium did.
    pub failed: u64,
    /// Transactions that were synced; fewer than `written` when writes came together.
    pub transactions: u64,
    /// The most writes that shared one transaction.
    pub largest_batch: u64,
    /// How often the file was opened anew after the medium had failed.
    pub reopened: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    written: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    transactions: AtomicU64,
    largest_batch: AtomicU64,
    pub(crate) reopened: AtomicU64,
}

impl Counters {
    /// One batch ended; `synced` says whether it took a transaction.
    pub(crate) fn batch_ended(&self, written: u64, refused: u64, synced: bool) {
        self.written.fetch_add(written, Ordering::Relaxed);
        self.refused.fetch_add(refused, Ordering::Relaxed);
        if synced {
            self.transactions.fetch_add(1, Ordering::Relaxed);
            self.largest_batch.fetch_max(written, Ordering::Relaxed);
        }
    }

    pub(crate) fn batch_failed(&self, n_jobs: u64) {
        self.failed.fetch_add(n_jobs, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> RedbStats {
        RedbStats {
            written: self.written.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            largest_batch: self.largest_batch.load(Ordering::Relaxed),
            reopened: self.reopened.load(Ordering::Relaxed),
        }
    }
}
