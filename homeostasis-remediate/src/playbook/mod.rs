//! Playbooks: what an operator writes about when to do what.

mod check;
mod definition;
mod dry_run;
mod library;
mod lint;
mod lint_rules;
#[cfg(test)]
mod lint_tests;
mod read;
mod read_step;
mod read_verification;
#[cfg(feature = "schema")]
mod schema;
mod set;
#[cfg(test)]
mod tests;
mod to_plan;
#[cfg(test)]
mod verification_tests;

pub use crate::template::Captures;
pub use check::{CheckRegistry, PreCheck};
pub use definition::{
    ComparisonCheck, Escalation, ImmediateCheck, Playbook, PlaybookStep, PreCondition, Rollback,
    Safety, TierCheck, Trigger, VerificationCheck,
};
pub use dry_run::{DryRun, DryStep};
pub use library::{
    NotRecovered, PlaybookLibrary, PlaybookParameter, PlaybookPick, PlaybookTemplate,
};
pub use lint::{Lint, LintFacts, LintRule};
#[cfg(feature = "schema")]
pub use schema::playbook_schema;
pub use set::PlaybookSet;
pub use to_plan::PlanBinding;
