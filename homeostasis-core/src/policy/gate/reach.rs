//! How bad, how far, how dangerous, and whether it can be taken back.

use super::{Answer, GateFacts, Testimony};
use crate::policy::Requirement;
use crate::policy::matrix::PlanNames;
use crate::record::{Plan, RadiusLevel, Severity};

pub(super) fn severity_and_radius(plan: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    let (severity, level) = (facts.severity, plan.radius.level);
    let detail = format!(
        "{severity} with a plan of radius {} in an incident of radius {}",
        plan.radius, facts.incident_radius
    );
    if severity == Severity::Sev0 && facts.incident_radius.level == RadiusLevel::MultiRegion {
        return (Answer::Escalate, format!("{detail}: always for people"));
    }
    let pre_approved = facts.policy.is_pre_approved(plan);
    let mut required = facts.policy.matrix.ask(severity, level);
    let mut by = "the matrix asks for it".to_owned();
    let is_far = level > facts.policy.max_radius
        || (level == RadiusLevel::SingleService
            && plan.radius.instances > facts.policy.max_instances);
    let one = Requirement::Approvals(1);
    if pre_approved && !is_far && required == one {
        required = Requirement::Auto;
    }
    // A grave incident of a critical service does not wait for its smallest remedy.
    let is_critical = match level {
        RadiusLevel::SingleInstance => facts.critical_service && severity > Severity::Sev1,
        RadiusLevel::SingleService => facts.critical_service,
        _ => false,
    };
    for (holds, words) in [
        (is_far, "it reaches further than allowed"),
        (is_critical && !pre_approved, "the service is critical"),
        (
            severity == Severity::Sev0 && !pre_approved,
            "only pre-approved actions run by themselves",
        ),
    ] {
        if holds && one > required {
            required = one;
            words.clone_into(&mut by);
        }
    }
    let names = PlanNames::of(plan);
    for rule in &facts.policy.rules {
        // The cheap question first: there may be many.
        if rule.require > required && rule.fits_names(&names, severity, facts.environment) {
            required = rule.require;
            by = format!("rule {:?} asks for it", rule.name);
        }
    }
    match required {
        Requirement::Auto | Requirement::Approvals(0) => (Answer::Pass, detail),
        Requirement::Approvals(approvals) => {
            (Answer::NeedsApproval(approvals), format!("{detail}: {by}"))
        }
        Requirement::Refused => (Answer::Refuse, format!("{detail}: refused, {by}")),
        Requirement::People => (Answer::Escalate, format!("{detail}: for people, {by}")),
    }
}

/// What a remediator cannot tell does not hold: another plan may be tried.
pub(super) fn preconditions(_: &Plan, facts: &GateFacts<'_>, _: u32) -> (Answer, String) {
    match &facts.preconditions {
        Testimony::Yes => (
            Answer::Pass,
            "what it was made under still holds".to_owned(),
        ),
        Testimony::No(reason) => (
            Answer::Refuse,
            format!("a pre-condition is not met: {reason}"),
        ),
        Testimony::Unknown(reason) => (
            Answer::Refuse,
            format!("its pre-conditions could not be asked about: {reason}"),
        ),
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
