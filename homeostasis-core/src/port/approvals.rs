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
    /// When, as far as the host knows. A decision that is not newer than one of the same person that
    /// the journal has already is that one.
    pub at: Timestamp,
}

/// Where people are asked. An answer is bound to the plan's hash: a plan that changed has none.
///
/// Whoever implements it vouches for the names it gives: they have no roles, so that where a
/// [sign-off](crate::policy::SignOff) asks for roles only people who showed a token can give it.
#[async_trait]
pub trait Approvals: fmt::Debug + Send + Sync {
    /// Asks; asking again about the same hash changes at most until when.
    async fn request(&self, request: ApprovalRequest);

    /// The answers on this hash so far, oldest first; each person counts once.
    async fn decisions(&self, plan_hash: Digest) -> Vec<ApprovalDecision>;
}

/// Nobody to ask: every request is refused at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoApprovals;

#[async_trait]
impl Approvals for NoApprovals {
    async fn request(&self, _: ApprovalRequest) {}

    async fn decisions(&self, _: Digest) -> Vec<ApprovalDecision> {
        vec![ApprovalDecision {
            granted: false,
            by: "homeostasis".to_owned(),
            reason: "nobody is configured to approve plans".to_owned(),
            at: Timestamp::EPOCH,
        }]
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
    decisions: HashMap<Digest, Vec<ApprovalDecision>>,
}

impl MemoryApprovals {
    const LIMIT: usize = 1024;

    fn state(&self) -> std::sync::MutexGuard<'_, ApprovalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What nobody refused and what is not expired at `now`, with the answers so far.
    pub fn pending(&self, now: Timestamp) -> Vec<(ApprovalRequest, Vec<ApprovalDecision>)> {
        let state = self.state();
        let answers = |request: &ApprovalRequest| {
            state
                .decisions
                .get(&request.plan_hash)
                .cloned()
                .unwrap_or_default()
        };
        state
            .requests
            .iter()
            .filter(|request| request.expires > now)
            .map(|request| (request.clone(), answers(request)))
            .filter(|(_, answers)| answers.iter().all(|answer| answer.granted))
            .collect()
    }

    /// Decides on the plan with this hash.
    ///
    /// A newer decision of the same person takes the place of the earlier one. Returns false, and
    /// changes nothing, if nobody asked about it or this person has decided and this is no newer.
    pub fn decide(&self, plan_hash: Digest, decision: ApprovalDecision) -> bool {
        let mut state = self.state();
        let asked = state
            .requests
            .iter()
            .any(|request| request.plan_hash == plan_hash);
        let answers = state.decisions.entry(plan_hash).or_default();
        let is_newer = |present: &ApprovalDecision| present.at < decision.at;
        match answers.iter().position(|present| present.by == decision.by) {
            _ if !asked => return false,
            Some(idx) if is_newer(&answers[idx]) => answers[idx] = decision,
            Some(_) => return false,
            None => answers.push(decision),
        }
        true
    }
}

#[async_trait]
impl Approvals for MemoryApprovals {
    async fn request(&self, request: ApprovalRequest) {
        let mut state = self.state();
        let mut known = state.requests.iter_mut();
        if let Some(present) = known.find(|present| present.plan_hash == request.plan_hash) {
            // Asked anew, it is pending for longer; what was said stays.
            present.expires = present.expires.max(request.expires);
            return;
        }
        if state.requests.len() == Self::LIMIT {
            let oldest = state.requests.remove(0);
            state.decisions.remove(&oldest.plan_hash);
        }
        state.requests.push(request);
    }

    async fn decisions(&self, plan_hash: Digest) -> Vec<ApprovalDecision> {
        self.state()
            .decisions
            .get(&plan_hash)
            .cloned()
            .unwrap_or_default()
    }
}
