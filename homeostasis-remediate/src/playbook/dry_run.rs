//! What a playbook would do, without doing it.

use std::fmt;

use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Inverse, Plan};
use homeostasis_core::{ConfigError, IncidentId, PlanId, Target, Topology};

use super::definition::{Playbook, PreCondition};
use super::to_plan::PlanBinding;
use crate::action::ActionRegistry;
use crate::template::Captures;

/// What a playbook would do to one target; made without touching or asking anything.
///
/// `Display` prints it for people.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DryRun {
    /// The plan it would become. Its ids are zero and mean nothing.
    pub plan: Plan,
    /// What would be asked first, in words.
    pub pre_conditions: Vec<String>,
    /// The steps, in order.
    pub steps: Vec<DryStep>,
}

/// What one step would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DryStep {
    /// What the action does, in words.
    pub description: String,
    /// What its author expects of it.
    pub expected_recovery: Option<String>,
    /// The argument vectors of the programs it would start, in order.
    pub commands: Vec<Vec<String>>,
}

impl Playbook {
    /// What it would do to `target` in `topology`; captures stand for their own names.
    ///
    /// # Errors
    /// As for [`to_plan`](Playbook::to_plan).
    pub fn dry_run(
        &self,
        actions: &ActionRegistry,
        target: &Target,
        topology: &Topology,
    ) -> Result<DryRun, ConfigError> {
        let plan = self.to_plan(
            actions,
            PlanBinding {
                id: PlanId::from_u128(0),
                incident: IncidentId::from_u128(0),
                remediator: "dry-run",
                target,
                topology,
                fitness: 1.0,
                captures: Captures::Sample,
            },
        )?;
        let steps = self
            .steps()
            .iter()
            .zip(&plan.steps)
            .map(|(step, planned)| DryStep {
                commands: actions
                    .get(&step.action)
                    .map(|action| action.commands(&planned.target, &planned.args))
                    .unwrap_or_default(),
                description: actions
                    .get(&step.action)
                    .map(|action| action.spec().description.clone())
                    .unwrap_or_default(),
                expected_recovery: step.expected_recovery.clone(),
            })
            .collect();
        let pre_conditions = self
            .pre_conditions()
            .iter()
            .map(|pre_condition| match pre_condition {
                PreCondition::Check(name) => format!("check {name}"),
                PreCondition::Condition { condition, within } => {
                    format!(
                        "{condition} (values of the last {})",
                        format_duration(*within)
                    )
                }
            })
            .collect();
        Ok(DryRun {
            plan,
            pre_conditions,
            steps,
        })
    }
}

impl fmt::Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        writeln!(f, "{} on {}: {}", plan.title, plan.target, plan.radius)?;
        for pre_condition in &self.pre_conditions {
            writeln!(f, "  only if {pre_condition}")?;
        }
        for (idx, (step, dry)) in plan.steps.iter().zip(&self.steps).enumerate() {
            let together = if step.with_previous {
                ", at the same time"
            } else {
                ""
            };
            let number = idx + 1;
            writeln!(
                f,
                "  {number}. {} ({}){together}",
                step.name, dry.description
            )?;
            writeln!(f, "     action   {} on {}", step.action, step.target)?;
            for (name, value) in &step.args {
                writeln!(f, "     argument {name} = {value}")?;
            }
            for argv in &dry.commands {
                writeln!(f, "     argv     {argv:?}")?;
            }
            writeln!(
                f,
                "     effect   {}, risk {}, at most {} × {}",
                step.effect,
                step.risk,
                step.retry.attempts,
                format_duration(step.timeout)
            )?;
            match &step.inverse {
                Inverse::Nothing => writeln!(f, "     undo     nothing to take back")?,
                Inverse::Captured(what) => writeln!(f, "     undo     puts back {what}")?,
                Inverse::Irreversible(why) => writeln!(f, "     undo     impossible: {why}")?,
            }
            if let Some(expected) = &dry.expected_recovery {
                writeln!(f, "     expected {expected}")?;
            }
        }
        let verification = &plan.verification;
        writeln!(
            f,
            "  then wait {} and watch at most {}: {} criteria",
            format_duration(verification.wait),
            format_duration(verification.watch),
            verification.criteria.len()
        )?;
        let phases = &verification.phases;
        if !phases.immediate.is_empty() {
            let within = format_duration(phases.immediate_within);
            let n = phases.immediate.len();
            writeln!(f, "  before that, within {within}: {n} immediate criteria")?;
        }
        if !phases.stability.is_zero() {
            let stability = format_duration(phases.stability);
            writeln!(f, "  then it must stay so for {stability}")?;
        }
        if plan.require_approval {
            writeln!(f, "  asks for approval whatever the policy says")?;
        }
        Ok(())
    }
}
