//! Approvals: people who decide on plans.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{IncidentId, PlanId};
use crate::time::Timestamp;

/// What is asked of people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApprovalRequest {
    /// For which incident.
    pub incident: IncidentId,
    /// Which plan.
    pub plan: PlanId,
    /// What the answer is bound to.
    pub plan_hash: Digest,
    /// The plan and the reason in words.
    pub summary: String,
    /// When silence becomes a refusal.
    pub expires: Timestamp,
}

impl ApprovalRequest {
    /// A request.
    pub fn new(
        incident: IncidentId,
        plan: PlanId,
        plan_hash: Digest,
        summary: impl Into<String>,
        expires: Timestamp,
    ) -> Self {
        Self {
            incident,
            plan,
            plan_hash,
            summary: summary.into(),
            expires,
        }
    }
}

/// What somebody decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalDecision {
    /// Whether the plan may run.
    pub granted: bool,
    /// Who decided.
    pub by: String,
    /// What they said.
    pub reason: String,
}

/// Where people are asked. An answer is bound to the plan's hash: a plan that changed has none.
#[async_trait]
pub trait Approvals: fmt::Debug + Send + Sync {
    /// Asks; asking again about the same hash changes nothing.
    async fn request(&self, request: ApprovalRequest);

    /// The answer on this hash, if somebody gave one.
    async fn decision(&self, plan_hash: Digest) -> Option<ApprovalDecision>;
}

/// Nobody to ask: every request is refused at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoApprovals;

#[async_trait]
impl Approvals for NoApprovals {
    async fn request(&self, _: ApprovalRequest) {}

    async fn decision(&self, _: Digest) -> Option<ApprovalDecision> {
        Some(ApprovalDecision {
            granted: false,
            by: "homeostasis".to_owned(),
            reason: "nobody is configured to approve plans".to_owned(),
        })
    }
}

/// Requests and answers in memory; at most 1024 requests are kept, the oldest go first.
#[derive(Debug, Default)]
pub struct MemoryApprovals {
    state: Mutex<ApprovalState>,
}

#[derive(Debug, Default)]
struct ApprovalState {
    requests: Vec<ApprovalRequest>,
    decisions: HashMap<Digest, ApprovalDecision>,
}

impl MemoryApprovals {
    const LIMIT: usize = 1024;

    fn state(&self) -> std::sync::MutexGuard<'_, ApprovalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits for an answer at `now`.
    pub fn pending(&self, now: Timestamp) -> Vec<ApprovalRequest> {
        let state = self.state();
        let open = |request: &&ApprovalRequest| {
            request.expires > now && !state.decisions.contains_key(&request.plan_hash)
        };
        state.requests.iter().filter(open).cloned().collect()
    }

    /// Decides on the plan with this hash; the first decision stands. Returns whether this was it.
    pub fn decide(&self, plan_hash: Digest, decision: ApprovalDecision) -> bool {
        let mut state = self.state();
        if state.decisions.contains_key(&plan_hash) {
            return false;
        }
        state.decisions.insert(plan_hash, decision);
        true
    }
}

#[async_trait]
impl Approvals for MemoryApprovals {
    async fn request(&self, request: ApprovalRequest) {
        let mut state = self.state();
        if state
            .requests
            .iter()
            .any(|present| present.plan_hash == request.plan_hash)
        {
            return;
        }
        if state.requests.len() == Self::LIMIT {
            let oldest = state.requests.remove(0);
            state.decisions.remove(&oldest.plan_hash);
        }
        state.requests.push(request);
    }

    async fn decision(&self, plan_hash: Digest) -> Option<ApprovalDecision> {
        self.state().decisions.get(&plan_hash).cloned()
    }
}
