//! Severity against blast radius as data, and the operator's rules beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::{Plan, RadiusLevel, Severity};
use crate::target::Target;

/// What is asked of a plan before it may run, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// Nothing.
    Auto,
    /// That so many people agree.
    Approvals(u32),
    /// It does not run; another plan may.
    Refused,
    /// People take over.
    People,
}

impl Default for Requirement {
    /// One person.
    fn default() -> Self {
        Self::Approvals(1)
    }
}

impl Requirement {
    /// How many people must agree.
    pub fn approvals(self) -> u32 {
        match self {
            Self::Approvals(approvals) => approvals,
            _ => 0,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Approvals(approvals) => write!(f, "{approvals} approval(s)"),
            Self::Refused => f.write_str("refused"),
            Self::People => f.write_str("people"),
        }
    }
}

/// What is asked by severity and reach of a plan, where nothing else asks for more.
///
/// The default, for plans that are not pre-approved:
///
/// | | SEV0 | SEV1 | SEV2 | SEV3 |
/// |---|---|---|---|---|
/// | single instance | 1 | auto | auto | auto |
/// | single service | 1 | auto | 1 | 1 |
/// | multiple services | 1 | auto | auto | auto |
/// | cluster wide, multi region | 2 | 2 | 2 | 2 |
///
/// What reaches further than `max_radius` asks for one approval at least: by default that is
/// multiple services. A pre-approved plan within `max_radius` needs no single approval of the
/// matrix; two and more it needs all the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyMatrix {
    /// What differs from the default.
    cells: BTreeMap<Severity, BTreeMap<RadiusLevel, Requirement>>,
}

impl PolicyMatrix {
    /// The same with one cell replaced.
    pub fn with(mut self, severity: Severity, radius: RadiusLevel, cell: Requirement) -> Self {
        self.cells.entry(severity).or_default().insert(radius, cell);
        self
    }

    /// What it asks for.
    pub fn ask(&self, severity: Severity, radius: RadiusLevel) -> Requirement {
        let cell = self.cells.get(&severity).and_then(|row| row.get(&radius));
        cell.copied()
            .unwrap_or_else(|| Self::built_in(severity, radius))
    }

    fn built_in(severity: Severity, radius: RadiusLevel) -> Requirement {
        match radius {
            RadiusLevel::ClusterWide | RadiusLevel::MultiRegion => Requirement::Approvals(2),
            _ if severity == Severity::Sev0 => Requirement::Approvals(1),
            RadiusLevel::SingleService if severity > Severity::Sev1 => Requirement::Approvals(1),
            _ => Requirement::Auto,
        }
    }
}

/// One rule of the operator's: what fits everything that it names asks for `require`.
///
/// A rule makes the policy stricter and never milder; of all that fit the strictest counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyRule {
    /// Its name, for the incident's record.
    pub name: String,
    /// Services, by the plan's target or a step's; empty is every one.
    pub services: BTreeSet<String>,
    /// Playbooks and actions, by name or as `remediator.action`; empty is every one.
    pub actions: BTreeSet<String>,
    /// Severities; empty is every one.
    pub severities: BTreeSet<Severity>,
    /// Environments; empty is every one. Where nobody said which environment it is, all fit.
    pub environments: BTreeSet<String>,
    /// What it asks for. Default one approval.
    pub require: Requirement,
}

/// The names of a plan that rules look for, made once for all of them.
#[derive(Debug)]
pub(super) struct PlanNames<'a> {
    services: BTreeSet<&'a str>,
    actions: BTreeSet<String>,
}

impl<'a> PlanNames<'a> {
    pub(super) fn of(plan: &'a Plan) -> Self {
        let targets = plan.steps.iter().map(|step| &step.target);
        let services = targets.chain([&plan.target]).map(Target::service_name);
        let mut actions = BTreeSet::new();
        actions.extend(plan.playbook.iter().map(|book| book.id.clone()));
        for step in &plan.steps {
            actions.insert(format!("{}.{}", plan.remediator, step.action));
            actions.insert(step.action.clone());
        }
        Self {
            services: services.collect(),
            actions,
        }
    }
}

impl PolicyRule {
    /// Whether it is about `plan`.
    pub fn fits(&self, plan: &Plan, severity: Severity, environment: &str) -> bool {
        self.fits_names(&PlanNames::of(plan), severity, environment)
    }

    pub(super) fn fits_names(
        &self,
        plan: &PlanNames<'_>,
        severity: Severity,
        environment: &str,
    ) -> bool {
        let services = &self.services;
        let actions = &self.actions;
        (self.severities.is_empty() || self.severities.contains(&severity))
            && (self.environments.is_empty()
                || environment.is_empty()
                || self.environments.contains(environment))
            && (services.is_empty() || plan.services.iter().any(|name| services.contains(*name)))
            && (actions.is_empty() || plan.actions.iter().any(|name| actions.contains(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_replaces_the_built_in_one_and_no_other() {
        let matrix = PolicyMatrix::default().with(
            Severity::Sev2,
            RadiusLevel::SingleService,
            Requirement::Auto,
        );
        let ask = |severity| matrix.ask(severity, RadiusLevel::SingleService);
        assert_eq!(ask(Severity::Sev2), Requirement::Auto);
        assert_eq!(ask(Severity::Sev3), Requirement::Approvals(1));
        assert_eq!(
            matrix.ask(Severity::Sev2, RadiusLevel::UNKNOWN),
            Requirement::Approvals(2)
        );
    }

    #[test]
    fn requirements_are_ordered_by_how_strict_they_are() {
        let mut all = [
            Requirement::People,
            Requirement::Approvals(2),
            Requirement::Auto,
            Requirement::Refused,
            Requirement::Approvals(1),
        ];
        all.sort();
        let said: Vec<_> = all.iter().map(ToString::to_string).collect();
        let expected = [
            "auto",
            "1 approval(s)",
            "2 approval(s)",
            "refused",
            "people",
        ];
        assert_eq!(said, expected);
    }
}
