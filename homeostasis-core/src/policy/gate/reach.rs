//! How bad, how far, how dangerous, and whether it can be taken back.

use super::{Answer, GateFacts};
use crate::record::{Plan, RadiusLevel, Severity};

pub(super) fn severity_and_radius(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let pre_approved = facts.policy.is_pre_approved(plan);
    let detail = format!(
        "{} with a plan of radius {} in an incident of radius {}",
        facts.severity, plan.radius, facts.incident_radius
    );
    if facts.severity == Severity::Sev0 && facts.incident_radius.level == RadiusLevel::MultiRegion {
        return (Answer::Escalate, format!("{detail}: always for people"));
    }
    let critical = !pre_approved && facts.critical_service;
    let by_radius = match plan.radius.level {
        RadiusLevel::ClusterWide | RadiusLevel::MultiRegion => 2,
        own if own > facts.policy.max_radius => 1,
        RadiusLevel::SingleService if plan.radius.instances > facts.policy.max_instances => 1,
        RadiusLevel::SingleService
            if critical || (!pre_approved && facts.severity > Severity::Sev1) =>
        {
            1
        }
        // A grave incident of a critical service does not wait for its smallest remedy.
        RadiusLevel::SingleInstance if critical && facts.severity > Severity::Sev1 => 1,
        _ => 0,
    };
    if facts.severity == Severity::Sev0 && !pre_approved {
        // Gravity adds to what the radius asks for, it never takes from it.
        return (
            Answer::NeedsApproval(by_radius.max(1)),
            format!("{detail}: only pre-approved actions run by themselves"),
        );
    }
    if by_radius == 0 {
        (Answer::Pass, detail)
    } else {
        (Answer::NeedsApproval(by_radius), detail)
    }
}

pub(super) fn risk(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let detail = format!("risk {}, allowed {}", plan.risk(), facts.policy.max_risk);
    if plan.require_approval {
        (
            Answer::NeedsApproval(1),
            "the plan itself asks for approval".to_owned(),
        )
    } else if plan.risk() > facts.policy.max_risk && !facts.policy.is_pre_approved(plan) {
        (Answer::NeedsApproval(1), detail)
    } else {
        (Answer::Pass, detail)
    }
}

pub(super) fn reversible(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    match plan.steps.iter().find(|step| !step.inverse.is_reversible()) {
        Some(step) if !facts.policy.is_pre_approved(plan) => (
            Answer::NeedsApproval(1),
            format!("step {:?} cannot be taken back", step.name),
        ),
        Some(step) => (
            Answer::Pass,
            format!(
                "step {:?} cannot be taken back but is pre-approved",
                step.name
            ),
        ),
        None => (Answer::Pass, "every step can be taken back".to_owned()),
    }
}

pub(super) fn safe_mode(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let policy = &facts.policy.safe_mode;
    let mut reasons = Vec::new();
    if policy.unknown_cause && !facts.is_cause_known {
        reasons.push("no cause is known".to_owned());
    }
    if policy.new_kind && facts.seen_before.is_none_or(|times| times == 0) {
        reasons.push("an incident of this kind was never seen before".to_owned());
    }
    let since_change = facts.last_change.map(|at| facts.now - at);
    if let Some(ago) = since_change.filter(|ago| *ago < policy.after_change) {
        reasons.push(format!("it was changed {ago:?} ago"));
    }
    if reasons.is_empty() {
        return (Answer::Pass, "no reason for safe mode".to_owned());
    }
    let detail = format!("safe mode: {}", reasons.join(", "));
    if facts.policy.is_pre_approved(plan) {
        (Answer::Pass, format!("{detail}; but it is pre-approved"))
    } else if plan.radius.level > RadiusLevel::SingleInstance {
        let detail = format!(
            "{detail}; it reaches further than one instance: {}",
            plan.radius
        );
        (Answer::Refuse, detail)
    } else {
        (Answer::NeedsApproval(1), detail)
    }
}
