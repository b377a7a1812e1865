//! Effects: what the interpreter must do next.

use crate::cycle::{Incident, Phase};
use crate::id::RunId;
use crate::record::Resolution;
use crate::time::Timestamp;

/// What the interpreter must do next.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Run the analyzers; answer with [`EventKind::Diagnosed`](crate::record::EventKind::Diagnosed).
    Diagnose,
    /// Run the remediators' planning; answer with [`EventKind::Planned`](crate::record::EventKind::Planned).
    Plan,
    /// Ask the gate; answer with [`EventKind::Gated`](crate::record::EventKind::Gated), and with [`EventKind::RunOpened`](crate::record::EventKind::RunOpened) in the
    /// same commit if it permits.
    AskGate {
        /// About which plan.
        plan_idx: usize,
    },
    /// Ask people; answer with [`EventKind::ApprovalDecided`](crate::record::EventKind::ApprovalDecided).
    AwaitApproval {
        /// About which plan.
        plan_idx: usize,
        /// When silence becomes a refusal.
        expires: Timestamp,
    },
    /// Wait; answer with [`EventKind::Woken`](crate::record::EventKind::Woken).
    WakeAt {
        /// For which plan.
        plan_idx: usize,
        /// Until when.
        until: Timestamp,
    },
    /// Execute or resume the run; answer with [`EventKind::RunEnded`](crate::record::EventKind::RunEnded).
    Execute {
        /// Which run.
        run: RunId,
    },
    /// Watch the outcome; answer with [`EventKind::Verified`](crate::record::EventKind::Verified).
    Verify {
        /// Of which run.
        run: RunId,
    },
    /// Take the run back; answer with [`EventKind::UndoEnded`](crate::record::EventKind::UndoEnded).
    Undo {
        /// Which run.
        run: RunId,
    },
    /// Call people; answer with [`EventKind::Escalated`](crate::record::EventKind::Escalated).
    Escalate {
        /// Why.
        reason: String,
    },
    /// Wait until the symptoms are gone; answer with [`EventKind::Closed`](crate::record::EventKind::Closed).
    WatchRecovery,
    /// Close; answer with [`EventKind::Closed`](crate::record::EventKind::Closed).
    Close {
        /// How it ended.
        resolution: Resolution,
    },
}

impl Incident {
    /// What must be done next; a function of the state alone.
    pub fn effects(&self) -> Vec<Effect> {
        vec![match &self.phase {
            Phase::Diagnosing => Effect::Diagnose,
            Phase::Planning => Effect::Plan,
            Phase::Gating { plan_idx } => Effect::AskGate {
                plan_idx: *plan_idx,
            },
            Phase::AwaitingApproval { plan_idx, expires } => Effect::AwaitApproval {
                plan_idx: *plan_idx,
                expires: *expires,
            },
            Phase::Deferred { plan_idx, until } => Effect::WakeAt {
                plan_idx: *plan_idx,
                until: *until,
            },
            Phase::Running { run } => Effect::Execute { run: *run },
            Phase::Verifying { run, .. } => Effect::Verify { run: *run },
            Phase::Undoing { run } => Effect::Undo { run: *run },
            Phase::Recommended | Phase::Escalated => Effect::WatchRecovery,
            Phase::Resolved { run } => Effect::Close {
                resolution: Resolution::Healed { run: *run },
            },
            Phase::Stuck { reason } => Effect::Escalate {
                reason: reason.clone(),
            },
            Phase::Closed { .. } => return Vec::new(),
        }]
    }
}
