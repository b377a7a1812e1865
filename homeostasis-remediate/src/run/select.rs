//! Which playbook fits an incident, and how well.

use homeostasis_core::condition::Truth;
use homeostasis_core::record::Hypothesis;
use homeostasis_core::{Context, Target, TargetScope, Timestamp};

use crate::playbook::{CheckRegistry, Playbook, PreCondition, Trigger};

/// How far back a value may lie to count for a trigger's condition.
const TRIGGER_WINDOW: std::time::Duration = std::time::Duration::from_secs(60);

/// How well `trigger` fits: 1.0 asked for by name, or cause and service; 0.8 cause; 0.5 family or
/// condition; 0.3 service alone; `None` if anything it names does not hold. Unknown does not hold.
pub(super) fn fitness(
    cx: &Context,
    trigger: &Trigger,
    hinted: bool,
    cause: Option<&Hypothesis>,
    target: &Target,
) -> Option<f64> {
    if let Some(service) = &trigger.service
        && !service.contains(target)
    {
        return None;
    }
    if let Some(named) = &trigger.cause
        && cause.is_none_or(|cause| cause.cause != *named)
    {
        return None;
    }
    if let Some(named) = &trigger.category
        && cause.is_none_or(|cause| cause.category != *named)
    {
        return None;
    }
    if let Some(condition) = &trigger.condition
        && !hinted
    {
        let window = TRIGGER_WINDOW.max(trigger.duration);
        let scope = scope(cx, target, cx.now() - window);
        if !condition.evaluate(&scope).is_ok_and(Truth::is_true) {
            return None;
        }
    }
    if hinted {
        return Some(1.0);
    }
    match (&trigger.cause, &trigger.service) {
        (Some(_), Some(_)) => Some(1.0),
        (Some(_), None) => Some(0.8),
        (None, _) if trigger.category.is_some() || trigger.condition.is_some() => Some(0.5),
        (None, Some(_)) if cause.is_some() => Some(0.3),
        (None, _) => None,
    }
}

/// The first pre-condition of `playbook` that is not known to hold, in words.
pub(super) async fn unmet(
    cx: &Context,
    playbook: &Playbook,
    checks: &CheckRegistry,
    target: &Target,
) -> Option<String> {
    for pre_condition in playbook.pre_conditions() {
        let (answer, words) = match pre_condition {
            PreCondition::Check(name) => {
                let answer = match checks.get(name) {
                    Some(check) => check.check(cx, target).await,
                    None => Truth::Unknown,
                };
                (answer, name.clone())
            }
            PreCondition::Condition { condition, within } => {
                let scope = scope(cx, target, cx.now() - *within);
                let answer = condition.evaluate(&scope).unwrap_or(Truth::Unknown);
                (answer, condition.to_string())
            }
        };
        if !answer.is_true() {
            return Some(format!("{words} is {answer}"));
        }
    }
    None
}

fn scope<'a>(cx: &'a Context, target: &'a Target, since: Timestamp) -> TargetScope<'a> {
    TargetScope {
        observations: cx.observations(),
        target: Some(target),
        since,
        now: cx.now(),
    }
}
