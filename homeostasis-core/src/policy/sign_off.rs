//! Sign-off: whose consent a plan needs, by how far it reaches.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::port::Role;
use crate::record::{Plan, RadiusLevel};
use crate::time::Timestamp;

/// A granted approval.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Approval {
    /// What was approved.
    pub plan_hash: Digest,
    /// By whom.
    pub by: String,
    /// What they are; empty if the host did not prove it with a token.
    pub roles: BTreeSet<Role>,
    /// When it was journaled.
    pub at: Timestamp,
    /// Whether a run was opened with it: it counts for no other.
    pub is_consumed: bool,
}

impl Approval {
    /// A consent that nothing was done with yet, of somebody without roles.
    pub fn new(plan_hash: Digest, by: impl Into<String>, at: Timestamp) -> Self {
        Self {
            plan_hash,
            by: by.into(),
            roles: BTreeSet::new(),
            at,
            is_consumed: false,
        }
    }

    /// The same by somebody with `roles`.
    pub fn with_roles(mut self, roles: impl IntoIterator<Item = Role>) -> Self {
        self.roles = roles.into_iter().collect();
        self
    }
}

/// Which roles must be among those who agree, by the reach of the plan.
///
/// What a level asks for holds for every level above it that says nothing of its own. It adds to
/// how many must agree, and asks nobody where no approval is needed. The default asks for no roles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignOff(pub BTreeMap<RadiusLevel, BTreeSet<Role>>);

impl SignOff {
    /// The roles that are asked for a plan of this reach.
    pub fn roles(&self, radius: RadiusLevel) -> impl Iterator<Item = &Role> {
        let level = self.0.range(..=radius).next_back();
        level.into_iter().flat_map(|(_, roles)| roles)
    }
}

/// Why a person's word does not count for `plan`, whoever they are.
///
/// The two-person rule: whoever wrote what the plan was made from does not approve it.
pub fn is_own_author(plan: &Plan, name: &str) -> bool {
    plan.author.as_deref() == Some(name)
}
