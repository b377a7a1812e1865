//! Reading playbooks: every mistake is found at once and named with its line and column.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::condition::Condition;
use homeostasis_core::document::{
    self, Fields, Parser, Shape, boolean, duration, integer, list, nested, non_empty_string,
    one_of, parsed, raw, string,
};
use homeostasis_core::record::{Category, RadiusLevel, Severity};
use homeostasis_core::{ConfigError, Digest, Target, Violations};
use serde_json::{Map, Value};

use super::check::CheckRegistry;
use super::definition::{Escalation, Playbook, PreCondition, Rollback, Safety, Trigger};
use super::lint::LintRule;
use super::read_verification::verification;
use crate::action::{ActionRegistry, is_name};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) const SEVERITIES: &[(&str, Severity)] = &[
    ("critical", Severity::Sev0),
    ("high", Severity::Sev1),
    ("medium", Severity::Sev2),
    ("low", Severity::Sev3),
    ("sev0", Severity::Sev0),
    ("sev1", Severity::Sev1),
    ("sev2", Severity::Sev2),
    ("sev3", Severity::Sev3),
];

pub(super) const CATEGORIES: &[(&str, Category)] = &[
    ("resource_exhaustion", Category::ResourceExhaustion),
    ("network", Category::Network),
    ("application_error", Category::ApplicationError),
    ("configuration", Category::Configuration),
    ("dependency_failure", Category::DependencyFailure),
    ("data_validation", Category::DataValidation),
    ("concurrency", Category::Concurrency),
    ("security", Category::Security),
];

pub(super) const RADII: &[(&str, RadiusLevel)] = &[
    ("single_instance", RadiusLevel::SingleInstance),
    ("single_host", RadiusLevel::SingleInstance),
    ("single_container", RadiusLevel::SingleInstance),
    ("single_service", RadiusLevel::SingleService),
    ("multiple_services", RadiusLevel::MultipleServices),
    ("cluster_wide", RadiusLevel::ClusterWide),
    ("multi_region", RadiusLevel::MultiRegion),
];

impl Playbook {
    /// Reads and checks a playbook from YAML, or JSON if `source` ends in `.json`.
    ///
    /// Actions and checks must be registered, and arguments must fit their actions' parameters.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with line and column.
    pub fn parse(
        source: &str,
        text: &str,
        actions: &ActionRegistry,
        checks: &CheckRegistry,
    ) -> Result<Self, ConfigError> {
        let node = Parser::new().source(source).parse(text)?;
        let mut playbook = document::decode(&node, nested(|d| playbook(d, actions, checks)))?;
        source.clone_into(&mut playbook.source);
        playbook.text = Arc::from(text);
        playbook.hash = Digest::of_bytes(text.as_bytes());
        Ok(playbook)
    }
}

fn playbook(
    d: &mut Fields<'_>,
    actions: &ActionRegistry,
    checks: &CheckRegistry,
) -> Option<Playbook> {
    let id = d.required("playbook_id", non_empty_string());
    if id.as_deref().is_some_and(|id| !is_name(id)) {
        d.reject("playbook_id", "letters, digits, `.`, `_` and `-`");
    }
    let name = d.required("name", non_empty_string());
    let version = d.required("version", non_empty_string());
    let category = d.optional("category", non_empty_string());
    let severity = d.optional("severity", one_of(SEVERITIES));
    let trigger = d.required("trigger", nested(trigger));
    let pre_conditions = d.default(
        "pre_conditions",
        list(PreConditionShape { checks }),
        Vec::new(),
    );
    let safety = d.default("safety", nested(safety), Safety::default());
    let max_retries = safety.as_ref().and_then(|safety| safety.max_retries);
    let has_cause = trigger
        .as_ref()
        .is_none_or(|trigger| trigger.cause.is_some());
    let steps = super::read_step::steps(d, actions, max_retries, has_cause);
    let verification = d.optional("verification", nested(verification));
    let rollback = d.optional("rollback", nested(rollback));
    let escalation = d.default("escalation", nested(escalation), Escalation::default());
    let allowed = d.default("lint", nested(lint), Vec::new());
    let metadata = d.optional("metadata", raw());
    let metadata = metadata.and_then(|metadata| match metadata.map(|raw| raw.to_json()) {
        None => Some(Map::new()),
        Some(Value::Object(fields)) => Some(fields),
        Some(_) => {
            d.reject("metadata", "a mapping");
            None
        }
    });
    Some(Playbook {
        id: id?,
        name: name?,
        version: version?,
        category: category?,
        severity: severity?,
        trigger: trigger?,
        pre_conditions: pre_conditions?,
        steps: steps?,
        verification: verification?,
        rollback: rollback?,
        escalation: escalation?,
        safety: safety?,
        allowed: allowed?,
        metadata: metadata?,
        text: Arc::from(""),
        source: String::new(),
        hash: Digest::of_bytes(b""),
    })
}

pub(super) fn condition() -> document::Parsed<Condition> {
    parsed("a condition such as disk_usage_percent > 85")
}

pub(super) fn target() -> document::Parsed<Target> {
    parsed("a service, or service/instance")
}

fn trigger(d: &mut Fields<'_>) -> Option<Trigger> {
    let condition = d.optional("condition", condition());
    let duration = d.default("duration", duration(Duration::ZERO..=DAY), Duration::ZERO);
    let cause = d.optional("cause", non_empty_string());
    let category = d.optional("category", one_of(CATEGORIES));
    let service = d.optional("service", target());
    if !["condition", "cause", "category", "service"]
        .iter()
        .any(|name| d.has(name))
    {
        d.reject_all("one of `condition`, `cause`, `category`, `service`");
        return None;
    }
    if d.has("duration") && !d.has("condition") {
        d.reject("duration", "a `condition` that lasts so long");
    }
    Some(Trigger {
        condition: condition?,
        duration: duration?,
        cause: cause?,
        category: category?,
        service: service?,
    })
}

/// `check: name`, `condition: …`, or just a condition.
struct PreConditionShape<'a> {
    checks: &'a CheckRegistry,
}

impl Shape for PreConditionShape<'_> {
    type Output = PreCondition;

    fn read(
        &self,
        node: &document::Node,
        path: &str,
        violations: &mut Violations,
    ) -> Option<PreCondition> {
        if node.as_str().is_some() {
            let condition = condition().read(node, path, violations)?;
            let within = Duration::from_secs(60);
            return Some(PreCondition::Condition { condition, within });
        }
        nested(|d| self.fields(d)).read(node, path, violations)
    }

    fn expected(&self) -> String {
        "a condition, `check: name` or `condition: …`".to_owned()
    }
}

impl PreConditionShape<'_> {
    fn fields(&self, d: &mut Fields<'_>) -> Option<PreCondition> {
        let check = d.optional("check", non_empty_string());
        let condition = d.optional("condition", condition());
        let within = d.default("within", duration(SECOND..=DAY), Duration::from_secs(60));
        match (check?, condition?) {
            (Some(check), None) => {
                if self.checks.get(&check).is_none() {
                    let names: Vec<_> = self
                        .checks
                        .names()
                        .map(|name| format!("`{name}`"))
                        .collect();
                    d.reject(
                        "check",
                        if names.is_empty() {
                            "a registered check; none is registered".to_owned()
                        } else {
                            format!("one of {}", names.join(", "))
                        },
                    );
                    return None;
                }
                if d.has("within") {
                    d.reject("within", "a `condition` beside it");
                }
                Some(PreCondition::Check(check))
            }
            (None, Some(condition)) => Some(PreCondition::Condition {
                condition,
                within: within?,
            }),
            _ => {
                d.reject_all("either `check` or `condition`");
                None
            }
        }
    }
}

fn rollback(d: &mut Fields<'_>) -> Option<Rollback> {
    let available = d.required("available", boolean());
    let reason = d.optional("reason", string());
    if available == Some(false) && !d.has("reason") {
        d.reject("reason", "why it cannot be taken back");
    }
    Some(Rollback {
        available: available?,
        reason: reason?,
    })
}

fn escalation(d: &mut Fields<'_>) -> Option<Escalation> {
    let on_failure = d.default("on_failure", boolean(), true);
    let notify = d.default("notify", list(non_empty_string()), Vec::new());
    let create_incident = d.default("create_incident", boolean(), false);
    Some(Escalation {
        on_failure: on_failure?,
        notify: notify?,
        create_incident: create_incident?,
    })
}

/// `lint: {allow: [rule, …]}`.
fn lint(d: &mut Fields<'_>) -> Option<Vec<LintRule>> {
    let names: Vec<_> = LintRule::ALL
        .iter()
        .map(|rule| (rule.name(), *rule))
        .collect();
    d.required("allow", list(one_of(&names)).at_least(1))
}

fn safety(d: &mut Fields<'_>) -> Option<Safety> {
    let max_retries = d.optional("max_retries", integer(0..=19_u32));
    let require_approval = d.default("require_approval", boolean(), false);
    let blast_radius = d.optional("blast_radius", one_of(RADII));
    Some(Safety {
        max_retries: max_retries?,
        require_approval: require_approval?,
        blast_radius: blast_radius?,
    })
}
