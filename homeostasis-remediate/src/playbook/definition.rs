//! A playbook as it was read and checked.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::condition::Condition;
use homeostasis_core::record::{
    Baseline, Category, Comparison, PlaybookRef, RadiusLevel, Retry, Scenario, Severity,
};
use homeostasis_core::signal::HealthTier;
use homeostasis_core::{Digest, Target};
use serde_json::{Map, Value};

use super::lint::LintRule;

/// A checked playbook. It is immutable and known by the hash of its text: a changed text is
/// another playbook, and a run that began under the old one stays with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Playbook {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) category: Option<String>,
    pub(super) severity: Option<Severity>,
    pub(super) trigger: Trigger,
    pub(super) pre_conditions: Vec<PreCondition>,
    pub(super) steps: Vec<PlaybookStep>,
    pub(super) verification: Option<VerificationCheck>,
    pub(super) rollback: Option<Rollback>,
    pub(super) escalation: Escalation,
    pub(super) safety: Safety,
    pub(super) allowed: Vec<LintRule>,
    pub(super) metadata: Map<String, Value>,
    pub(super) text: Arc<str>,
    pub(super) source: String,
    pub(super) hash: Digest,
}

/// When a playbook applies; everything that is given must hold.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Trigger {
    /// A condition over metrics, watched by a detector and checked again when a plan is made.
    pub condition: Option<Condition>,
    /// How long the condition must hold before it is an anomaly.
    pub duration: Duration,
    /// The diagnosed cause, such as `memory_leak`.
    pub cause: Option<String>,
    /// The family of the diagnosed cause.
    pub category: Option<Category>,
    /// The service at fault, or one instance of it.
    pub service: Option<Target>,
}

/// What must hold before anything is done; unknown is not met.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PreCondition {
    /// A check of the host, by name.
    Check(String),
    /// A condition over the target's metrics.
    Condition {
        /// What must hold.
        condition: Condition,
        /// How old a value may be to count.
        within: Duration,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlaybookStep {
    /// Where it stands in the playbook: `remediation_steps[1].parallel[0]`.
    pub path: String,
    /// Whether it begins together with the step before it, instead of after it.
    pub with_previous: bool,
    /// For people.
    pub name: String,
    /// Which action.
    pub action: String,
    /// On what, if not on the target of the plan.
    pub target: Option<Target>,
    /// The action's arguments; text may hold placeholders.
    pub args: Map<String, Value>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// When it is tried again.
    pub retry: Retry,
    /// What its author expects of it, for people.
    pub expected_recovery: Option<String>,
}

/// How the outcome is judged.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VerificationCheck {
    /// What must hold, over the metrics of the target.
    pub condition: Option<Condition>,
    /// How often in a row it must hold.
    pub consecutive: u32,
    /// How far back a value may lie to count.
    pub window: Duration,
    /// The share of health checks that must pass, if health is judged.
    pub health: Option<f64>,
    /// The same for the checks of one tier each.
    pub health_tiers: Vec<TierCheck>,
    /// What the service must still be able to do.
    pub scenarios: Vec<Scenario>,
    /// The share of scenarios that must pass.
    pub min_pass_rate: f64,
    /// Comparisons with another time.
    pub comparisons: Vec<ComparisonCheck>,
    /// What must hold at once, before anything else is judged.
    pub immediate: Option<ImmediateCheck>,
    /// How long to wait before the first look.
    pub wait: Duration,
    /// How long to watch at most.
    pub watch: Duration,
    /// How far apart two looks are.
    pub interval: Duration,
    /// How long what holds must go on holding; 0 for no longer.
    pub stability: Duration,
    /// How far apart two looks are meanwhile.
    pub stability_interval: Duration,
}

impl VerificationCheck {
    /// How many criteria a plan has of it.
    pub(super) fn n_criteria(&self) -> usize {
        let immediate = self.immediate.as_ref().map_or(0, |immediate| {
            usize::from(immediate.condition.is_some()) + usize::from(immediate.health.is_some())
        });
        usize::from(self.condition.is_some())
            + usize::from(self.health.is_some())
            + self.health_tiers.len()
            + self.scenarios.len()
            + self.comparisons.len()
            + immediate
    }
}

/// What must hold at once.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ImmediateCheck {
    /// What must hold, over the metrics of the target.
    pub condition: Option<Condition>,
    /// The share of health checks that must pass, if health is judged.
    pub health: Option<f64>,
    /// How far back a value may lie to count, and over how long health is judged.
    pub window: Duration,
    /// How soon after the remedy.
    pub within: Duration,
}

/// The health checks of one tier.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TierCheck {
    /// Which.
    pub tier: HealthTier,
    /// The share of them that must pass.
    pub pass_rate: f64,
    /// Over how long.
    pub window: Duration,
}

/// A comparison of one metric with what it was at another time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ComparisonCheck {
    /// Which metric.
    pub metric: String,
    /// Whose, if not the plan's target.
    pub target: Option<Target>,
    /// What it must be.
    pub comparison: Comparison,
    /// How long the stretches are that are compared.
    pub window: Duration,
    /// With which time.
    pub baseline: Baseline,
}

/// What its author says about taking it back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rollback {
    /// `false` makes every step irreversible.
    pub available: bool,
    /// Why, if not.
    pub reason: Option<String>,
}

/// Whom to call when it does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Escalation {
    /// Whether those in `notify` are called if it was tried and people are needed. Others are called
    /// in any case: an incident without a remedy is never left alone.
    pub on_failure: bool,
    /// Whom, beside those of the escalation policy: channels by name, or people and roles.
    pub notify: Vec<String>,
    /// Whether to open an incident in the host's own system: what a channel such as `PagerDuty` does
    /// with each message. Nothing else follows it.
    pub create_incident: bool,
}

impl Default for Escalation {
    /// People are called.
    fn default() -> Self {
        Self {
            on_failure: true,
            notify: Vec::new(),
            create_incident: false,
        }
    }
}

/// What its author allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Safety {
    /// No step is tried again more often; `None` leaves it to the steps.
    pub max_retries: Option<u32>,
    /// Whether people must approve whatever the policy says.
    pub require_approval: bool,
    /// How far its author means it to reach: a plan that reaches further needs approval.
    pub blast_radius: Option<RadiusLevel>,
}

impl Playbook {
    /// Its `playbook_id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// For people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version, as its author counts.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The shelf it stands on: `infrastructure`, `application` … For people.
    pub fn category(&self) -> Option<&str> {
        self.category.as_deref()
    }

    /// How bad its author thinks the trouble is.
    pub fn severity(&self) -> Option<Severity> {
        self.severity
    }

    /// When it applies.
    pub fn trigger(&self) -> &Trigger {
        &self.trigger
    }

    /// What must hold before anything is done.
    pub fn pre_conditions(&self) -> &[PreCondition] {
        &self.pre_conditions
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[PlaybookStep] {
        &self.steps
    }

    /// How the outcome is judged, if it says.
    pub fn verification(&self) -> Option<&VerificationCheck> {
        self.verification.as_ref()
    }

    /// What its author says about taking it back.
    pub fn rollback(&self) -> Option<&Rollback> {
        self.rollback.as_ref()
    }

    /// Whom to call when it does not work.
    pub fn escalation(&self) -> &Escalation {
        &self.escalation
    }

    /// What its author allows.
    pub fn safety(&self) -> &Safety {
        &self.safety
    }

    /// Whatever else its author noted.
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }

    /// The lint rules it is knowingly against.
    pub fn allowed(&self) -> &[LintRule] {
        &self.allowed
    }

    /// What was read.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The file it was read from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The hash of its text.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// What plans made from it refer to.
    pub fn reference(&self) -> PlaybookRef {
        PlaybookRef {
            id: self.id.clone(),
            version: self.version.clone(),
            hash: self.hash,
        }
    }
}
