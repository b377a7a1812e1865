//! Which playbook fits an incident, and how well.

use homeostasis_core::condition::Truth;
use homeostasis_core::record::Hypothesis;
use homeostasis_core::{Context, Target, TargetScope, Timestamp};

use crate::playbook::{CheckRegistry, Playbook, PreCondition, Trigger};

/// How far back a value may lie to count for a trigger's condition.
const TRIGGER_WINDOW: std::time::Duration = std::time::Duration::from_secs(60);

/// How closely a trigger meets an incident; the closer one is tried first, whatever the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// Only the service is named, and nothing speaks for it yet.
    Service,
    /// Only the service is named, and it helped in similar incidents.
    History,
    /// The family of the cause, or a condition.
    Category,
    /// The cause.
    Cause,
    /// Asked for by name, or the cause at this service.
    Exact,
}

impl Fit {
    /// What a fitness of this kind begins at; the score fills the fifth above it.
    fn base(self) -> f64 {
        match self {
            Self::Service => 0.0,
            Self::History => 0.2,
            Self::Category => 0.4,
            Self::Cause => 0.6,
            Self::Exact => 0.8,
        }
    }

    /// The fitness of a plan that fits so and has this score of `0..=1`.
    pub(super) fn fitness(self, score: f64) -> f64 {
        self.base() + score.clamp(0.0, 1.0) / 5.0
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Service => "it is for this service",
            Self::History => "it helped in similar incidents",
            Self::Category => "its category or condition fits",
            Self::Cause => "its cause fits",
            Self::Exact => "it was asked for, or is for this cause at this service",
        }
    }
}

/// How closely `trigger` fits; `None` if anything it names does not hold. Unknown does not hold.
pub(super) fn fit(
    cx: &Context,
    trigger: &Trigger,
    hinted: bool,
    cause: Option<&Hypothesis>,
    target: &Target,
) -> Option<Fit> {
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
        return Some(Fit::Exact);
    }
    match (&trigger.cause, &trigger.service) {
        (Some(_), Some(_)) => Some(Fit::Exact),
        (Some(_), None) => Some(Fit::Cause),
        (None, _) if trigger.category.is_some() || trigger.condition.is_some() => {
            Some(Fit::Category)
        }
        (None, Some(_)) if cause.is_some() => Some(Fit::Service),
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
