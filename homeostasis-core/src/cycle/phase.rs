//! Phases: where an incident stands.

use crate::id::RunId;
use crate::record::Resolution;
use crate::time::Timestamp;

/// How often an uncertain verdict extends the watch before people are asked.
pub const MAX_WATCH_EXTENSIONS: u32 = 1;

/// Where an incident stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Phase {
    /// The root cause is sought.
    Diagnosing,
    /// Remedies are sought.
    Planning,
    /// The gate is asked about a plan.
    Gating {
        /// Its position in [`Incident::plans`](crate::cycle::Incident::plans).
        plan_idx: usize,
    },
    /// People are asked about a plan.
    AwaitingApproval {
        /// Its position.
        plan_idx: usize,
        /// When silence becomes a refusal.
        expires: Timestamp,
    },
    /// A plan waits for its time.
    Deferred {
        /// Its position.
        plan_idx: usize,
        /// When it is due.
        until: Timestamp,
    },
    /// A plan is being executed.
    Running {
        /// Its run.
        run: RunId,
    },
    /// The outcome is watched.
    Verifying {
        /// Of which run.
        run: RunId,
        /// How often the watch was extended.
        extensions: u32,
    },
    /// A run is being taken back.
    Undoing {
        /// Which run.
        run: RunId,
    },
    /// What was to be done is said; nothing is touched.
    Recommended,
    /// The remedy is proven.
    Resolved {
        /// By which run.
        run: RunId,
    },
    /// The healer cannot go on by itself.
    Stuck {
        /// Why.
        reason: String,
    },
    /// People were called.
    Escalated,
    /// It is over.
    Closed {
        /// How it ended.
        resolution: Resolution,
    },
}
