//! Whether people agreed.

use super::{Answer, GateFacts};
use crate::record::Plan;

pub(super) fn approval(plan: &Plan, facts: &GateFacts<'_>, needed: u32) -> (Answer, String) {
    let hash = plan.hash();
    let mut people: Vec<_> = facts
        .approvals
        .iter()
        .filter(|approval| approval.plan_hash == hash)
        .map(|approval| approval.by.as_str())
        .collect();
    people.sort_unstable();
    people.dedup();
    let detail = format!(
        "{} of {needed} approvals for {}",
        people.len(),
        hash.short()
    );
    if people.len() as u64 >= u64::from(needed) {
        (Answer::Pass, detail)
    } else {
        (Answer::NeedsApproval(needed), detail)
    }
}
