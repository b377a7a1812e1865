//! Whether others agreed: healers by vote, people by approval.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Answer, GateFacts};
use crate::policy::{Approval, is_own_author};
use crate::port::Role;
use crate::record::Plan;
use crate::time::Timestamp;

/// How soon the votes are counted again.
const RECOUNT: Duration = Duration::from_secs(30);

pub(super) fn quorum(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let policy = &facts.policy.quorum;
    let risk = plan.risk();
    if risk < policy.from_risk {
        return (Answer::Pass, format!("risk {risk} needs no votes"));
    }
    let Some(tally) = facts.tally else {
        let detail = format!("risk {risk} needs votes, and they could not be counted");
        return (Answer::Escalate, detail);
    };
    let detail = format!(
        "{} of {} members agree, {} do not, {} asked for",
        tally.ayes, tally.members, tally.noes, policy.share
    );
    if policy.is_reached(tally) {
        (Answer::Pass, detail)
    } else if policy.is_lost(tally) {
        (Answer::Refuse, detail)
    } else {
        (Answer::Defer(facts.now + RECOUNT), detail)
    }
}

pub(super) fn approval(plan: &Plan, facts: &GateFacts<'_>, needed: u32) -> (Answer, String) {
    if needed == 0 {
        return (Answer::Pass, "nobody was asked".to_owned());
    }
    let hash = plan.hash();
    let mut people: BTreeMap<&str, &Approval> = BTreeMap::new();
    let mut objections = Vec::new();
    let given = facts.approvals.iter();
    for approval in given.filter(|approval| approval.plan_hash == hash) {
        match objection(approval, plan, facts) {
            None => {
                people.insert(&approval.by, approval);
            }
            Some(reason) => {
                objections.push(format!("that of {} does not count: {reason}", approval.by));
            }
        }
    }
    let holds = |role: &&Role| !people.values().any(|given| given.roles.contains(*role));
    let roles = facts.policy.sign_off.roles(plan.radius.level);
    let missing: Vec<_> = roles.filter(holds).map(Role::to_string).collect();
    if !missing.is_empty() {
        objections.push(format!("nobody signed off as {}", missing.join(", ")));
    }
    let mut detail = format!(
        "{} of {needed} approvals for {}",
        people.len(),
        hash.short()
    );
    for objection in objections {
        detail.push_str("; ");
        detail.push_str(&objection);
    }
    if people.len() as u64 >= u64::from(needed) && missing.is_empty() {
        (Answer::Pass, detail)
    } else {
        (Answer::NeedsApproval(needed), detail)
    }
}

/// When silence becomes a refusal: counted from the first consent that counts, so that asking for
/// the second does not prolong the time.
pub(super) fn deadline(plan: &Plan, facts: &GateFacts<'_>) -> Timestamp {
    let hash = plan.hash();
    let counts = |approval: &&Approval| {
        approval.plan_hash == hash && objection(approval, plan, facts).is_none()
    };
    let first = facts.approvals.iter().filter(counts).map(|given| given.at);
    let asked_at = first.min().map_or(facts.now, |at| at.min(facts.now));
    asked_at + facts.policy.approval_ttl
}

/// Why a consent to `plan` does not count.
fn objection(approval: &Approval, plan: &Plan, facts: &GateFacts<'_>) -> Option<String> {
    if approval.is_consumed {
        Some("a run was opened with it".to_owned())
    } else if is_own_author(plan, &approval.by) {
        Some("the plan is their own".to_owned())
    } else if facts.now - approval.at >= facts.policy.approval_ttl {
        Some(format!("it is of {}", approval.at))
    } else {
        None
    }
}
