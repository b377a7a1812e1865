//! When one healer alone must not decide.

use serde::{Deserialize, Serialize};

use crate::port::Tally;
use crate::record::RiskLevel;
use crate::unit::Ratio;

/// Which plans need the votes of other healers, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuorumPolicy {
    /// Plans of this risk or more. Default critical.
    pub from_risk: RiskLevel,
    /// Which share of the configured members must say yes, whether they answer or not. Default 0.6.
    pub share: Ratio,
}

impl Default for QuorumPolicy {
    fn default() -> Self {
        Self {
            from_risk: RiskLevel::Critical,
            share: Ratio::saturating(0.6),
        }
    }
}

impl QuorumPolicy {
    /// Whether enough said yes. Without members nobody did.
    pub fn is_reached(&self, tally: Tally) -> bool {
        tally.members > 0
            && tally.ayes > 0
            && Ratio::of(tally.ayes.min(tally.members), tally.members) >= self.share
    }

    /// Whether it cannot be reached any more, however the others vote.
    pub fn is_lost(&self, tally: Tally) -> bool {
        let ayes = tally.members.saturating_sub(tally.noes);
        !self.is_reached(Tally { ayes, ..tally })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_do_not_answer_count_among_the_members() {
        let policy = QuorumPolicy::default();
        for (members, ayes, noes, reached, lost) in [
            (1, 1, 0, true, false),
            (5, 3, 0, true, false),
            (5, 2, 0, false, false),
            (5, 2, 2, false, false),
            (5, 2, 3, false, true),
            // 3 of 3 that answered are not 0.6 of 6.
            (6, 3, 0, false, false),
            (0, 0, 0, false, true),
            (3, 9, 0, true, false),
        ] {
            let tally = Tally {
                members,
                ayes,
                noes,
            };
            assert_eq!(policy.is_reached(tally), reached, "{tally:?}");
            assert_eq!(policy.is_lost(tally), lost, "{tally:?}");
        }
    }
}
