//! Whether the healer itself may do it, and for whom.

use std::time::Duration;

use super::{Answer, GateFacts, Purpose, Testimony};
use crate::record::Plan;

/// How soon a tenant whose heals are all taken is asked about again.
const RETRY: Duration = Duration::from_secs(10);

pub(super) fn authorization(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    match &facts.authorization {
        Testimony::Yes => (
            Answer::Pass,
            "the healer may do it on every target".to_owned(),
        ),
        Testimony::No(reason) => (Answer::Refuse, reason.clone()),
        Testimony::Unknown(reason) => (
            Answer::Escalate,
            format!("nobody can say whether the healer may do it: {reason}"),
        ),
    }
}

pub(super) fn tenant_quota(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let tenant = facts.tenant;
    let Some(used) = &facts.tenant_use else {
        return (
            Answer::Escalate,
            format!("tenant {tenant} is unknown, or what it uses"),
        );
    };
    if facts.purpose == Purpose::Resume {
        // It was counted when it began.
        return (Answer::Pass, format!("tenant {tenant} is known"));
    }
    let (heals, runs) = (
        used.policy.max_concurrent_heals,
        used.policy.max_runs_per_hour,
    );
    let detail = format!(
        "tenant {tenant}: {} of {heals} heals run, {} of {runs} runs within an hour",
        used.heals, used.runs_last_hour
    );
    if heals == 0 || runs == 0 {
        (
            Answer::Recommend,
            format!("{detail}: its heals are stopped"),
        )
    } else if used.heals >= u64::from(heals) {
        (Answer::Defer(facts.now + RETRY), detail)
    } else if used.runs_last_hour >= u64::from(runs) {
        (Answer::Defer(facts.now + Duration::from_secs(60)), detail)
    } else {
        (Answer::Pass, detail)
    }
}
