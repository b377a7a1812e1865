//! What is allowed but probably not meant.

use std::fmt;
use std::time::Duration;

use homeostasis_core::record::{EffectClass, Inverse};

use super::definition::Playbook;
use crate::action::ActionRegistry;

/// Which rule found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LintRule {
    /// A step cannot be taken back and nobody is asked.
    IrreversibleWithoutApproval,
    /// Nothing says how success is recognized.
    MissingVerification,
    /// It may apply to, or reach, more than its author may think.
    UnboundedTarget,
    /// A step starts after the permit has ended in the worst case.
    UnreachableStep,
    /// `rollback.available` promises what a step cannot do.
    RollbackPromised,
    /// Retries of an opaque step never happen once it may have begun.
    RetriedOpaqueStep,
    /// The watch ends before the condition can have held as often as asked.
    WatchTooShort,
}

impl LintRule {
    /// The rule's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::IrreversibleWithoutApproval => "irreversible-without-approval",
            Self::MissingVerification => "missing-verification",
            Self::UnboundedTarget => "unbounded-target",
            Self::UnreachableStep => "unreachable-step",
            Self::RollbackPromised => "rollback-promised",
            Self::RetriedOpaqueStep => "retried-opaque-step",
            Self::WatchTooShort => "watch-too-short",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lint {
    /// Which rule.
    pub rule: LintRule,
    /// Where in the playbook.
    pub path: String,
    /// What is suspicious, and what to do about it.
    pub message: String,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.path, self.message, self.rule.name())
    }
}

impl Playbook {
    /// What is allowed but probably not meant. `permit_ttl` is how long a run may take, as the
    /// gate's policy says.
    pub fn lint(&self, actions: &ActionRegistry, permit_ttl: Duration) -> Vec<Lint> {
        let mut found = Vec::new();
        self.lint_steps(actions, permit_ttl, &mut found);
        let mut find = |rule, path: &str, message: &str| {
            found.push(Lint {
                rule,
                path: path.to_owned(),
                message: message.to_owned(),
            });
        };
        let trigger = self.trigger();
        let named = trigger.service.is_some()
            || trigger.condition.as_ref().is_some_and(|condition| {
                condition
                    .variables()
                    .any(|variable| variable.label("service").is_some())
            });
        if !named && self.safety().blast_radius.is_none() {
            find(
                LintRule::UnboundedTarget,
                "safety.blast_radius",
                "it applies to every service; name one in `trigger.service`, or say how far it may reach",
            );
        }
        match self.verification() {
            None => find(
                LintRule::MissingVerification,
                "verification",
                "success is only that the anomalies are gone; say what must hold afterwards",
            ),
            Some(check) => {
                let needed = check
                    .interval
                    .saturating_mul(check.consecutive.saturating_sub(1));
                if needed > check.watch {
                    find(
                        LintRule::WatchTooShort,
                        "verification.watch",
                        "it ends before `consecutive` looks are made; every verdict will be uncertain",
                    );
                }
            }
        }
        found
    }

    fn lint_steps(&self, actions: &ActionRegistry, permit_ttl: Duration, found: &mut Vec<Lint>) {
        let mut starts_at = Duration::ZERO;
        for (idx, step) in self.steps().iter().enumerate() {
            let path = format!("remediation_steps[{idx}]");
            let mut find = |rule, message: String| {
                found.push(Lint {
                    rule,
                    path: path.clone(),
                    message,
                });
            };
            if starts_at >= permit_ttl {
                find(
                    LintRule::UnreachableStep,
                    format!(
                        "in the worst case it is due after {starts_at:?}, when the permit of {permit_ttl:?} has ended"
                    ),
                );
            }
            let waits = (1..step.retry.attempts).fold(Duration::ZERO, |sum, number| {
                let doubled = step
                    .retry
                    .backoff
                    .saturating_mul(1 << number.saturating_sub(1).min(31));
                sum.saturating_add(doubled.min(step.retry.max_backoff))
            });
            starts_at = starts_at
                .saturating_add(step.timeout.saturating_mul(step.retry.attempts))
                .saturating_add(waits);
            let Some(action) = actions.get(&step.action) else {
                continue;
            };
            let inverse = action.inverse(&step.args);
            let says_irreversible = self.rollback().is_some_and(|rollback| !rollback.available);
            let irreversible = !inverse.is_reversible()
                || (says_irreversible && matches!(inverse, Inverse::Captured(_)));
            if irreversible && !self.safety().require_approval {
                find(
                    LintRule::IrreversibleWithoutApproval,
                    format!(
                        "`{}` cannot be taken back here; set `safety.require_approval`, or pre-approve it knowingly",
                        step.action
                    ),
                );
            }
            if let Inverse::Irreversible(why) = &inverse
                && self.rollback().is_some_and(|rollback| rollback.available)
            {
                find(
                    LintRule::RollbackPromised,
                    format!(
                        "`rollback.available` is true, but `{}` cannot be taken back: {why}",
                        step.action
                    ),
                );
            }
            if action.effect(&step.args) == EffectClass::Opaque && step.retry.attempts > 1 {
                find(
                    LintRule::RetriedOpaqueStep,
                    format!(
                        "`{}` is opaque: it is tried again only if it certainly did not begin",
                        step.action
                    ),
                );
            }
            if step.args.values().any(has_wildcard) {
                find(
                    LintRule::UnboundedTarget,
                    "an argument holds a wildcard or `..`; name what is meant".to_owned(),
                );
            }
        }
    }
}

fn has_wildcard(value: &serde_json::Value) -> bool {
    use serde_json::Value;
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
