//! What the gate answers, check by check.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The checks, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Check {
    /// Everything is stopped, or not.
    KillSwitch,
    /// Whether only people can help.
    People,
    /// Feature flags.
    FeatureFlag,
    /// Observe, approve, auto, paused.
    Mode,
    /// Whether the healer may do it, by the access control.
    Authorization,
    /// Whether its tenant has room.
    TenantQuota,
    /// Severity against blast radius, and the operator's rules.
    Policy,
    /// Whether this kind of patch may be made here, now.
    PatchRisk,
    /// The risk of the steps.
    Risk,
    /// Whether what it was made under still holds.
    Preconditions,
    /// Whether it can be taken back.
    Reversible,
    /// Whether so much is unknown that it may do little.
    SafeMode,
    /// Whether it failed too often.
    CircuitBreaker,
    /// How often it may run.
    RateLimit,
    /// How soon it may run again.
    CoolDown,
    /// Whether it goes round in circles.
    NoProgress,
    /// Whether too few peers of the target are well.
    Storm,
    /// Whether it has to wait for a maintenance window.
    MaintenanceWindow,
    /// Whether it is worth it.
    CostBenefit,
    /// Whether enough other healers agree.
    Quorum,
    /// Whether people agreed.
    Approval,
}

/// One answer, with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateAnswer {
    /// Which check.
    pub check: Check,
    /// What it decided by itself.
    pub answer: Answer,
    /// The numbers and the reason.
    pub detail: String,
}

/// What one check decided by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// Nothing against it.
    Pass,
    /// Only if this many people agree.
    NeedsApproval(u32),
    /// Not now.
    Defer(Timestamp),
    /// Say what would be done, do not do it.
    Recommend,
    /// Not at all.
    Refuse,
    /// People must take over.
    Escalate,
}

/// What the gate decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GateDecision {
    /// It may run.
    Permitted,
    /// It may run once people agree.
    NeedsApproval {
        /// How many.
        approvals: u32,
        /// When silence becomes a refusal.
        expires: Timestamp,
    },
    /// It is asked again then; it is not dropped.
    Deferred {
        /// When.
        until: Timestamp,
    },
    /// It is only recommended.
    Recommended,
    /// This plan may not run; another one may.
    Refused,
    /// People must take over.
    Escalated,
}

/// The decision with every answer: what is kept on the incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateRecord {
    /// The decision.
    pub decision: GateDecision,
    /// The answers up to the one that decided.
    pub answers: Vec<GateAnswer>,
}

impl GateRecord {
    /// Why it was decided so: the details of the checks that did not pass.
    pub fn reason(&self) -> String {
        let objections: Vec<_> = self
            .answers
            .iter()
            .filter(|answer| answer.answer != Answer::Pass)
            .map(|answer| answer.detail.as_str())
            .collect();
        if objections.is_empty() {
            "every check passed".to_owned()
        } else {
            objections.join("; ")
        }
    }

    /// A deferral for a reason outside of the gate: a lease that somebody else holds.
    pub fn deferred(mut self, until: Timestamp) -> Self {
        self.decision = GateDecision::Deferred { until };
        self
    }
}

impl fmt::Display for GateRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decision {
            GateDecision::Permitted => f.write_str("permitted"),
            GateDecision::NeedsApproval { approvals, .. } => {
                write!(f, "needs {approvals} approval(s): {}", self.reason())
            }
            GateDecision::Deferred { until } => {
                write!(f, "deferred until {until}: {}", self.reason())
            }
            GateDecision::Recommended => write!(f, "recommended only: {}", self.reason()),
            GateDecision::Refused => write!(f, "refused: {}", self.reason()),
            GateDecision::Escalated => write!(f, "escalated: {}", self.reason()),
        }
    }
}
