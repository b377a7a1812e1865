//! How it went before and how often it may be done.

use super::{Answer, GateFacts};
use crate::policy::BreakerPhase;
use crate::record::Plan;
use crate::unit::Ratio;

pub(super) fn circuit_breaker(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let Some(breaker) = facts.breaker else {
        return (
            Answer::Escalate,
            "the circuit breaker could not be read".to_owned(),
        );
    };
    let failures = breaker.consecutive_failures();
    match breaker.phase(facts.now, &facts.policy.breaker) {
        BreakerPhase::Closed => (
            Answer::Pass,
            format!("breaker closed, {failures} failures in a row"),
        ),
        BreakerPhase::HalfOpen => (Answer::Pass, "breaker half open: one attempt".to_owned()),
        BreakerPhase::Open { until } => (
            Answer::Refuse,
            format!(
                "breaker of {} open until {until} after {failures} failures in a row",
                plan.action_key()
            ),
        ),
    }
}

pub(super) fn rate_limit(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let Some(limits) = &facts.limits else {
        return (
            Answer::Escalate,
            "the rate limits could not be read".to_owned(),
        );
    };
    match limits.iter().find(|usage| usage.used >= usage.limit.max) {
        Some(usage) => {
            // A sliding window frees a place at the latest when it has passed once.
            let wait = usage.limit.window.min(std::time::Duration::from_secs(60));
            (
                Answer::Defer(facts.now + wait),
                format!("{} runs used of {}", usage.used, usage.limit),
            )
        }
        None => (Answer::Pass, format!("{} limits have room", limits.len())),
    }
}

pub(super) fn cool_down(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    // A run of the future means that the clock was set back: it counts as one of this moment.
    let last_run = facts.last_run.map(|last| last.min(facts.now));
    match last_run.map(|last| last + facts.policy.min_interval) {
        Some(free) if free > facts.now => (
            Answer::Defer(free),
            format!("{} rests until {free}", plan.target),
        ),
        _ => (Answer::Pass, format!("{} has rested", plan.target)),
    }
}

pub(super) fn no_progress(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let (runs, allowed) = (facts.same_action_runs, facts.policy.no_progress);
    if allowed > 0 && runs >= allowed {
        (
            Answer::Escalate,
            format!(
                "{} ran {runs} times for the same fingerprint within a day",
                plan.action_key()
            ),
        )
    } else {
        (
            Answer::Pass,
            format!("{runs} earlier runs for the same fingerprint"),
        )
    }
}

pub(super) fn storm(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let policy = &facts.policy.storm;
    let Some(peers) = facts.peers.filter(|peers| peers.total >= policy.at_least) else {
        return (
            Answer::Pass,
            format!("{} is none of several instances", plan.target),
        );
    };
    let share = Ratio::of(peers.healthy, peers.total);
    let detail = format!(
        "{} of {} instances of {} are left, {} asked for",
        peers.healthy,
        peers.total,
        plan.target.to_service(),
        policy.min_healthy
    );
    if share < policy.min_healthy {
        (Answer::Escalate, detail)
    } else {
        (Answer::Pass, detail)
    }
}

pub(super) fn maintenance_window(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let maintenance = &facts.policy.maintenance;
    let Some(name) = maintenance.waits(plan) else {
        return (Answer::Pass, "nothing of it waits for a window".to_owned());
    };
    if let Some(until) = maintenance.open_until(facts.now) {
        return (Answer::Pass, format!("a window is open until {until}"));
    }
    let (answer, when) = match maintenance.next_opening(facts.now) {
        Some(opens) if opens - facts.now <= maintenance.max_wait => {
            (Answer::Defer(opens), format!("the next opens at {opens}"))
        }
        Some(opens) => (
            Answer::Refuse,
            format!(
                "the next opens at {opens}, later than in {:?}",
                maintenance.max_wait
            ),
        ),
        None => (Answer::Refuse, "there is none".to_owned()),
    };
    (
        answer,
        format!("{name} waits for a maintenance window: {when}"),
    )
}
