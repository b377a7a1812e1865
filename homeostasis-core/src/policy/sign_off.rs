//! Sign-off: whose consent a plan needs, by how far it reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
    /// When it was given, by the clock of who passed it on: compared with others of that clock only.
    pub given_at: Timestamp,
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
            given_at: at,
            is_consumed: false,
        }
    }

    /// The same, given at that time by another clock.
    pub fn given_at(mut self, at: Timestamp) -> Self {
        self.given_at = at;
        self
    }

    /// Whether it counts at `now`: no run was opened with it, and it is younger than `ttl`.
    pub fn counts(&self, now: Timestamp, ttl: Duration) -> bool {
        !self.is_consumed && now - self.at < ttl
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
/// The two-person rule: whoever wrote what the plan was made from does not approve it. Names are
/// compared without regard to case and to space around them.
pub fn is_own_author(plan: &Plan, name: &str) -> bool {
    let plain = |name: &str| name.trim().to_lowercase();
    plan.author
        .as_deref()
        .is_some_and(|author| plain(author) == plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{IncidentId, PlanId};
    use crate::target::Target;

    #[test]
    fn an_author_is_known_however_the_name_is_written() {
        let target = Target::service("orders").unwrap();
        let (id, incident) = (PlanId::from_u128(1), IncidentId::from_u128(1));
        let mut plan = Plan::new(id, incident, "doctor", "cure", target);
        assert!(!is_own_author(&plan, ""));
        plan.author = Some(" Ada ".to_owned());
        assert!(is_own_author(&plan, "ada") && !is_own_author(&plan, "adam"));
    }
}
