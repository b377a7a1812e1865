//! The rules of the linter, each over a playbook that was read without mistakes.

use std::collections::BTreeSet;
use std::time::Duration;

use homeostasis_core::Target;
use homeostasis_core::condition::Condition;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{EffectClass, Inverse};
use serde_json::Value;

use super::definition::{Playbook, PlaybookStep, PreCondition};
use super::lint::{LintFacts, LintRule};
use crate::action::captures_in;

/// What was found so far: rule, path, why.
#[derive(Debug, Default)]
pub(super) struct Found(pub(super) Vec<(LintRule, String, String)>);

impl Found {
    pub(super) fn add(
        &mut self,
        rule: LintRule,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.0.push((rule, path.into(), message.into()));
    }
}

pub(super) fn all(playbook: &Playbook, facts: &LintFacts<'_>, found: &mut Found) {
    reach(playbook, found);
    trigger(playbook, facts, found);
    conditions(playbook, found);
    verification(playbook, found);
    times(playbook, facts.permit_ttl, found);
    rollback(playbook, facts, found);
    together(playbook, facts, found);
    for step in playbook.steps() {
        self::step(playbook, step, facts, found);
    }
}

fn reach(playbook: &Playbook, found: &mut Found) {
    let trigger = playbook.trigger();
    let is_named = trigger.service.is_some()
        || trigger.condition.as_ref().is_some_and(|condition| {
            condition
                .variables()
                .any(|variable| variable.label("service").is_some())
        });
    if !is_named && playbook.safety().blast_radius.is_none() {
        found.add(
            LintRule::UnboundedTarget,
            "safety.blast_radius",
            "it applies to every service",
        );
    }
}

fn trigger(playbook: &Playbook, facts: &LintFacts<'_>, found: &mut Found) {
    let (Some(cause), Some(causes)) = (&playbook.trigger().cause, facts.causes) else {
        return;
    };
    let Some(captured) = causes.get(cause) else {
        found.add(
            LintRule::UnknownCause,
            "trigger.cause",
            format!("nothing names the cause `{cause}`, so it never applies"),
        );
        return;
    };
    for step in playbook.steps() {
        for (name, value) in &step.args {
            for (capture, _) in captures_in(value, "") {
                if !captured.contains(&capture) {
                    found.add(
                        LintRule::UnknownCapture,
                        format!("{}.{name}", step.path),
                        format!("no rule of the cause `{cause}` captures `{capture}`"),
                    );
                }
            }
        }
    }
}

fn conditions(playbook: &Playbook, found: &mut Found) {
    let pre = playbook.pre_conditions().iter().enumerate();
    let pre = pre.filter_map(|(idx, pre_condition)| match pre_condition {
        PreCondition::Condition { condition, .. } => {
            Some((format!("pre_conditions[{idx}]"), condition))
        }
        PreCondition::Check(_) => None,
    });
    let trigger = playbook.trigger().condition.as_ref();
    let check = playbook
        .verification()
        .and_then(|verification| verification.condition.as_ref());
    let all = trigger
        .map(|condition| ("trigger.condition".to_owned(), condition))
        .into_iter()
        .chain(pre)
        .chain(check.map(|condition| ("verification.check".to_owned(), condition)));
    for (path, condition) in all {
        if Condition::can_hold([condition]) == Some(false) {
            let message = format!("`{condition}` holds for no value");
            found.add(LintRule::ImpossibleCondition, path, message);
        }
    }
    if let (Some(trigger), Some(check)) = (trigger, check)
        && variables(trigger) == variables(check)
        && Condition::can_hold([trigger, check]) == Some(true)
    {
        found.add(
            LintRule::VerifiedWhileIll,
            "verification.check",
            format!("`{check}` may hold while `{trigger}` still does"),
        );
    }
}

fn variables(condition: &Condition) -> BTreeSet<String> {
    condition.variables().map(ToString::to_string).collect()
}

fn verification(playbook: &Playbook, found: &mut Found) {
    let Some(check) = playbook.verification() else {
        found.add(
            LintRule::MissingVerification,
            "verification",
            "success is only that the anomalies are gone",
        );
        return;
    };
    let looks = check.consecutive.saturating_sub(1);
    if check.interval.saturating_mul(looks) > check.watch {
        found.add(
            LintRule::WatchTooShort,
            "verification.watch",
            "it ends before `consecutive` looks are made, so every verdict will be uncertain",
        );
    }
}

/// How long a step may take at most, with its retries.
fn worst_case(step: &PlaybookStep) -> Duration {
    let waits = (1..step.retry.attempts).fold(Duration::ZERO, |sum, number| {
        let doublings = number.saturating_sub(1).min(31);
        let doubled = step.retry.backoff.saturating_mul(1 << doublings);
        sum.saturating_add(doubled.min(step.retry.max_backoff))
    });
    step.timeout
        .saturating_mul(step.retry.attempts)
        .saturating_add(waits)
}

fn times(playbook: &Playbook, permit_ttl: Duration, found: &mut Found) {
    let (mut begins, mut ends) = (Duration::ZERO, Duration::ZERO);
    let mut is_unreachable = false;
    for step in playbook.steps() {
        if !step.with_previous {
            begins = ends;
        }
        if begins >= permit_ttl {
            is_unreachable = true;
            found.add(
                LintRule::UnreachableStep,
                &step.path,
                format!(
                    "in the worst case it is due after {}, when the permit of {} has ended",
                    format_duration(begins),
                    format_duration(permit_ttl)
                ),
            );
        }
        ends = ends.max(begins.saturating_add(worst_case(step)));
    }
    if ends > permit_ttl && !is_unreachable {
        found.add(
            LintRule::TimeoutsBeyondPermit,
            "remediation_steps",
            format!(
                "in the worst case the steps take {}, and a run may take {}",
                format_duration(ends),
                format_duration(permit_ttl)
            ),
        );
    }
}

fn rollback(playbook: &Playbook, facts: &LintFacts<'_>, found: &mut Found) {
    if playbook
        .rollback()
        .is_none_or(|rollback| !rollback.available)
    {
        return;
    }
    let mut restores = false;
    for step in playbook.steps() {
        let Some(action) = facts.actions.get(&step.action) else {
            return;
        };
        match action.inverse(&step.args) {
            Inverse::Nothing => {}
            Inverse::Captured(_) => restores = true,
            Inverse::Irreversible(why) => {
                restores = true;
                found.add(
                    LintRule::RollbackPromised,
                    &step.path,
                    format!(
                        "`rollback.available` is true, but `{}` cannot be taken back: {why}",
                        step.action
                    ),
                );
            }
        }
    }
    if !restores {
        found.add(
            LintRule::EmptyRollback,
            "rollback.available",
            "taking it back does nothing",
        );
    }
}

/// Steps that begin at once and touch one target; the target of the plan stands for itself.
fn together(playbook: &Playbook, facts: &LintFacts<'_>, found: &mut Found) {
    let Ok(planned) = Target::service("the-target-of-the-plan") else {
        return;
    };
    let mut touched: Vec<Target> = Vec::new();
    for step in playbook.steps() {
        if !step.with_previous {
            touched.clear();
        }
        let Some(action) = facts.actions.get(&step.action) else {
            continue;
        };
        // Reading disturbs nobody.
        if action.effect(&step.args) == EffectClass::Read {
            continue;
        }
        let on = action.touches(step.target.as_ref().unwrap_or(&planned), &step.args);
        if touched.contains(&on) {
            let whom = if on == planned {
                "the plan's target".to_owned()
            } else {
                on.to_string()
            };
            found.add(
                LintRule::ParallelSameTarget,
                &step.path,
                format!("another step that begins with it touches {whom} too"),
            );
        }
        touched.push(on);
    }
}

fn step(playbook: &Playbook, step: &PlaybookStep, facts: &LintFacts<'_>, found: &mut Found) {
    if step.args.values().any(has_wildcard) {
        found.add(
            LintRule::UnboundedTarget,
            &step.path,
            "an argument holds a wildcard or `..`",
        );
    }
    let Some(action) = facts.actions.get(&step.action) else {
        found.add(
            LintRule::UnregisteredName,
            format!("{}.action", step.path),
            format!("no action `{}` is registered", step.action),
        );
        return;
    };
    let inverse = action.inverse(&step.args);
    let says_irreversible = playbook
        .rollback()
        .is_some_and(|rollback| !rollback.available);
    let is_irreversible =
        !inverse.is_reversible() || (says_irreversible && matches!(inverse, Inverse::Captured(_)));
    if is_irreversible && !playbook.safety().require_approval {
        found.add(
            LintRule::IrreversibleWithoutApproval,
            &step.path,
            format!("`{}` cannot be taken back here", step.action),
        );
    }
    if action.effect(&step.args) == EffectClass::Opaque && step.retry.attempts > 1 {
        found.add(
            LintRule::RetriedOpaqueStep,
            &step.path,
            format!(
                "`{}` is opaque: it is tried again only if it certainly did not begin",
                step.action
            ),
        );
    }
}

fn has_wildcard(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            !text.contains("://")
                && (text.contains('*') || text.split('/').any(|part| part == ".."))
        }
        Value::Array(items) => items.iter().any(has_wildcard),
        Value::Object(fields) => fields.values().any(has_wildcard),
        _ => false,
    }
}
