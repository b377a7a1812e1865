//! The audit log: who did what, in a chain of hashes that shows if a record was changed or removed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::error::stage_error;
use crate::id::TenantId;
use crate::time::Timestamp;

stage_error!(
    /// Why something could not be audited; what cannot be audited must not be done.
    AuditError
);

/// What somebody did. Secrets must be redacted before it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Whose data it concerned.
    pub tenant: TenantId,
    /// Who did it.
    pub principal: String,
    /// What: `approve`, `execute`, `engage_kill_switch` …
    pub action: String,
    /// To what.
    pub subject: String,
    /// Whether it was allowed and done.
    pub allowed: bool,
    /// Everything else.
    pub detail: Value,
}

/// An entry in its place in the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its place, from 0.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// The hash of the record before it.
    pub previous: Digest,
    /// The hash of `previous`, `seq` and the entry.
    pub hash: Digest,
}

/// The end of a chain: where the next record goes. Kept elsewhere it also shows a cut-off end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// The place of the next record.
    pub seq: u64,
    /// The hash of the last record.
    pub hash: Digest,
}

impl ChainHead {
    /// The head of the empty chain.
    pub fn genesis() -> Self {
        Self {
            seq: 0,
            hash: Digest::of_bytes(b"homeostasis audit 1"),
        }
    }

    /// The record of `entry` at this head, and the head after it.
    pub fn append(self, entry: AuditEntry) -> (AuditRecord, Self) {
        let link = Digest::of(&(self.seq, &entry));
        let hash = self.hash.chain(link.as_bytes());
        let record = AuditRecord {
            seq: self.seq,
            entry,
            previous: self.hash,
            hash,
        };
        let seq = self.seq.saturating_add(1);
        (record, Self { seq, hash })
    }
}

/// Where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit chain breaks at record {seq}: {reason}")]
pub struct ChainBreak {
    /// The first record that does not fit.
    pub seq: u64,
    /// Why.
    pub reason: &'static str,
}

/// Checks that `records` continue the chain from `head` without a gap; returns the head after them.
///
/// Compare it with a head kept elsewhere: a chain cut off at its end is a valid, shorter chain.
pub fn verify_chain(head: ChainHead, records: &[AuditRecord]) -> Result<ChainHead, ChainBreak> {
    let mut head = head;
    for record in records {
        let fail = |reason| {
            let seq = head.seq;
            Err(ChainBreak { seq, reason })
        };
        if record.seq != head.seq {
            return fail("a record is missing, repeated or out of order");
        }
        if record.previous != head.hash {
            return fail("it does not continue the record before it");
        }
        let (expected, next) = head.append(record.entry.clone());
        if record.hash != expected.hash {
            return fail("its content was changed");
        }
        head = next;
    }
    Ok(head)
}

/// Keeps audit entries. An entry is kept when the call returns.
#[async_trait]
pub trait AuditSink: fmt::Debug + Send + Sync {
    /// Appends to the chain.
    async fn append(&self, entry: AuditEntry) -> Result<AuditRecord, AuditError>;

    /// Records from place `from`, oldest first, at most `limit`.
    async fn records(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, AuditError>;

    /// The present end of the chain.
    async fn head(&self) -> Result<ChainHead, AuditError>;
}

const _: fn(&dyn AuditSink) = |_| {};

/// The last 16384 records in memory; the chain goes on when the oldest are dropped.
#[derive(Debug)]
pub struct MemoryAudit {
    state: Mutex<(ChainHead, VecDeque<AuditRecord>)>,
}

impl MemoryAudit {
    const LIMIT: usize = 16_384;

    fn state(&self) -> std::sync::MutexGuard<'_, (ChainHead, VecDeque<AuditRecord>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryAudit {
    fn default() -> Self {
        Self {
            state: Mutex::new((ChainHead::genesis(), VecDeque::new())),
        }
    }
}

#[async_trait]
impl AuditSink for MemoryAudit {
    async fn append(&self, entry: AuditEntry) -> Result<AuditRecord, AuditError> {
        let mut state = self.state();
        let (record, head) = state.0.append(entry);
        if state.1.len() == Self::LIMIT {
            state.1.pop_front();
        }
        state.1.push_back(record.clone());
        state.0 = head;
        Ok(record)
    }

    async fn records(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, AuditError> {
        let state = self.state();
        let due = state.1.iter().skip_while(|record| record.seq < from);
        Ok(due.take(limit).cloned().collect())
    }

    async fn head(&self) -> Result<ChainHead, AuditError> {
        Ok(self.state().0)
    }
}

#[cfg(test)]
mod tests;
