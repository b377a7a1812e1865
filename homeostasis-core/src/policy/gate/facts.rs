//! What the gate looks at.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flags::{Flags, Mode};
use crate::id::TenantId;
use crate::policy::{Approval, BreakerState, Limit, PatchUse, Policy};
use crate::port::{Tally, TenantPolicy};
use crate::record::{BlastRadius, Category, Severity, StepPhase};
use crate::time::Timestamp;

/// What the effects are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// A new run: every check applies.
    Execute,
    /// A run that another process began: it was counted and approved then.
    Resume,
    /// Taking a run back: what was done may always be undone, unless everything is stopped.
    Undo,
}

impl Purpose {
    /// The steps a permit for this purpose covers: forward ones, or those that take back.
    pub fn phase(self) -> StepPhase {
        match self {
            Self::Execute | Self::Resume => StepPhase::Do,
            Self::Undo => StepPhase::Undo,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Execute => "execute",
            Self::Resume => "resume",
            Self::Undo => "undo",
        })
    }
}

/// What somebody outside of the gate said about a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Testimony {
    /// Nothing against it.
    Yes,
    /// Something against it, and what.
    No(String),
    /// They could not be asked, and why: the worst case.
    Unknown(String),
}

/// How much of what applies to a tenant is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantUse {
    /// What applies to it.
    pub policy: TenantPolicy,
    /// How many heals of it run at this moment, without this one.
    pub heals: u64,
    /// How many runs began for it within the last hour.
    pub runs_last_hour: u64,
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitUse {
    /// The limit.
    pub limit: Limit,
    /// How many runs fall into its window.
    pub used: u64,
}

/// How the instances of a service are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerHealth {
    /// How many are well: no open incident is about them, and the plan is not either.
    pub healthy: u64,
    /// How many there are.
    pub total: u64,
}

/// Everything the gate looks at. Gathered by the engine, so that the gate itself is pure.
#[derive(Debug, Clone)]
pub struct GateFacts<'a> {
    /// The present.
    pub now: Timestamp,
    /// What the effects are for.
    pub purpose: Purpose,
    /// Whether everything is stopped.
    pub kill_switch: bool,
    /// How far the healer may go by itself.
    pub mode: &'a Mode,
    /// Feature flags; `heal`, `heal.<playbook>`, `heal.environment.<name>`,
    /// `heal.cause.<category>` and `heal.tenant.<name>` turn acting off.
    pub flags: &'a Flags,
    /// Which environment this is; empty if nobody said.
    pub environment: &'a str,
    /// Whose incident it is.
    pub tenant: &'a TenantId,
    /// The kind of the root cause, if one is known.
    pub category: Option<Category>,
    /// Whether the healer may execute this on all its targets, by the access control.
    pub authorization: Testimony,
    /// What the tenant uses; `None` means that it is unknown or could not be read.
    pub tenant_use: Option<TenantUse>,
    /// Whether what the plan was made under still holds, as its remediator says.
    pub preconditions: Testimony,
    /// How much was patched lately; `None` means it could not be read. Looked at only if the plan
    /// changes files.
    pub patch_use: Option<PatchUse>,
    /// How others voted on this plan; `None` means that the votes could not be counted. Looked at
    /// only if the plan needs votes.
    pub tally: Option<Tally>,
    /// The operator's policy.
    pub policy: &'a Policy,
    /// Why only people may act on the incident, if a detector said so.
    pub needs_people: Option<&'a str>,
    /// How bad the incident is.
    pub severity: Severity,
    /// How far the incident reaches.
    pub incident_radius: BlastRadius,
    /// Whether the diagnosis names a cause, or a detector the playbook.
    pub is_cause_known: bool,
    /// How often an incident like this one was opened before; `None` means it could not be read.
    pub seen_before: Option<u64>,
    /// When a service of the incident or of the plan was last changed, as far as the signals show.
    pub last_change: Option<Timestamp>,
    /// How many services there are; 0 if nobody said.
    pub n_services: u64,
    /// How the instances beside those of the plan are, of the service that is worst off; `None` if the plan is about no
    /// single instance.
    pub peers: Option<PeerHealth>,
    /// Whether an operator marked the target critical; unknown is critical.
    pub critical_service: bool,
    /// The breaker of the plan's action; `None` means it could not be read.
    pub breaker: Option<&'a BreakerState>,
    /// The limits that apply; `None` means the counters could not be read.
    pub limits: Option<Vec<LimitUse>>,
    /// When the last run on this target began.
    pub last_run: Option<Timestamp>,
    /// How often this action was run for this fingerprint within a day.
    pub same_action_runs: u64,
    /// The approvals people gave.
    pub approvals: &'a [Approval],
}
