//! Votes: what other healers say of a plan that one alone must not decide on.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::stage_error;
use crate::id::IncidentId;

stage_error!(
    /// Why the votes could not be counted; a plan that needs them then does not run.
    VoteError
);

/// What is voted on. A vote is bound to the plan's hash: a plan that changed has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// For which incident.
    pub incident: IncidentId,
    /// Which plan.
    pub plan_hash: Digest,
    /// The plan in words.
    pub summary: String,
}

/// How a vote stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many members are configured, whether they answer or not.
    pub members: u64,
    /// How many said yes.
    pub ayes: u64,
    /// How many said no.
    pub noes: u64,
}

/// Where members vote.
#[async_trait]
pub trait Electorate: fmt::Debug + Send + Sync {
    /// Asks those who were not asked yet, and counts the votes so far. Each member counts once.
    async fn poll(&self, ballot: &Ballot) -> Result<Tally, VoteError>;
}

const _: fn(&dyn Electorate) = |_| {};

/// One member that says yes: a healer that has no others to ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoleMember;

#[async_trait]
impl Electorate for SoleMember {
    async fn poll(&self, _: &Ballot) -> Result<Tally, VoteError> {
        Ok(Tally {
            members: 1,
            ayes: 1,
            noes: 0,
        })
    }
}
