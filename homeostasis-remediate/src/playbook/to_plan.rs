//! From a playbook to a plan for one incident.

use homeostasis_core::condition::Condition;
use homeostasis_core::policy::{Reach, blast_radius};
use homeostasis_core::record::{
    Criterion, Inverse, Phases, Plan, PlanStep, RadiusLevel, VerificationSpec,
};
use homeostasis_core::{
    ConfigError, IncidentId, PlanId, Ratio, Target, Topology, Violation, Violations,
};

use super::definition::{Playbook, PlaybookStep};
use crate::action::ActionRegistry;
use crate::template::{Bindings, Captures, fill};

/// What a playbook is bound to when it becomes a plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanBinding<'a> {
    /// The plan's id.
    pub id: PlanId,
    /// For which incident.
    pub incident: IncidentId,
    /// Which remediator runs it.
    pub remediator: &'a str,
    /// On what: the root cause, not the symptom.
    pub target: &'a Target,
    /// What the blast radius is computed in.
    pub topology: &'a Topology,
    /// How well it fits, `0..=1`.
    pub fitness: f64,
    /// What `${cause.capture.NAME}` stands for.
    pub captures: Captures<'a>,
}

impl Playbook {
    /// The plan for one incident: placeholders filled in as values, arguments checked again,
    /// effect classes, inverses and reach taken from the actions.
    ///
    /// # Errors
    /// Every argument that does not fit once it is filled in, every action that is gone, and every
    /// capture that the diagnosis does not hold, holds twice, or holds in a form its parameter does
    /// not take; each with playbook, step and argument.
    pub fn to_plan(
        &self,
        actions: &ActionRegistry,
        binding: PlanBinding<'_>,
    ) -> Result<Plan, ConfigError> {
        let mut plan = Plan::new(
            binding.id,
            binding.incident,
            binding.remediator,
            self.name(),
            binding.target.clone(),
        );
        let mut violations = Violations::new();
        for step in self.steps() {
            let bound = self.bind(step, actions, &binding);
            let path = format!("{}.{}", self.id(), step.path);
            if let Some(step) = violations.absorb(bound.map_err(|error| error.under(&path))) {
                plan.steps.push(step);
            }
        }
        if let Some(error) = violations.into_error() {
            return Err(error);
        }
        let mut targets: Vec<_> = plan.steps.iter().map(|step| step.target.clone()).collect();
        targets.push(binding.target.clone());
        plan.radius = blast_radius(&targets, binding.topology, Reach::default());
        plan.playbook = Some(self.reference());
        let author = self.metadata().get("author");
        plan.author = author.and_then(|author| author.as_str()).map(str::to_owned);
        plan.require_approval =
            self.safety().require_approval || self.reaches_too_far(plan.radius.level);
        plan.verification = self.verification_for(binding.target);
        if self.escalation().on_failure {
            plan.notify.clone_from(&self.escalation().notify);
        }
        plan.fitness = binding.fitness;
        Ok(plan)
    }

    fn reaches_too_far(&self, level: RadiusLevel) -> bool {
        self.safety()
            .blast_radius
            .is_some_and(|meant| level > meant)
    }

    fn bind(
        &self,
        step: &PlaybookStep,
        actions: &ActionRegistry,
        binding: &PlanBinding<'_>,
    ) -> Result<PlanStep, ConfigError> {
        let Some(action) = actions.get(&step.action) else {
            let expected = "a registered action";
            return Err(ConfigError::single("action", &step.action, expected));
        };
        let spec = action.spec();
        let bindings = Bindings {
            target: binding.target,
            incident: binding.incident,
            captures: binding.captures,
        };
        let mut args = fill(spec, &step.args, &bindings)
            .map_err(|(name, expected)| ConfigError::single(name, "a placeholder", expected))?;
        spec.fill_defaults(&mut args);
        let mut problems = spec.problems(&args, false);
        if problems.is_empty() {
            problems = action.check(&args);
        }
        let mut violations = Violations::new();
        for problem in problems {
            let value = serde_json::Value::Object(args.clone())
                .pointer(&problem.pointer)
                .map(ToString::to_string)
                .unwrap_or_default();
            let path = problem.pointer.trim_start_matches('/').replace('/', ".");
            violations.push(Violation::new(path, value, problem.expected));
        }
        let planned = step.target.as_ref().unwrap_or(binding.target);
        let mut bound = PlanStep::new(&step.name, &step.action, action.touches(planned, &args));
        bound.effect = action.effect(&args);
        bound.risk = spec.risk;
        bound.inverse = self.inverse(action.inverse(&args));
        bound.watches = action.watches(&args);
        bound.timeout = step.timeout.saturating_add(bound.watches);
        bound.retry = step.retry;
        bound.with_previous = step.with_previous;
        bound.args = args;
        violations.into_result(bound)
    }

    /// An author who says that nothing can be taken back is believed.
    fn inverse(&self, inverse: Inverse) -> Inverse {
        match (self.rollback(), inverse) {
            (Some(rollback), Inverse::Captured(_)) if !rollback.available => {
                let reason = rollback.reason.as_deref().unwrap_or("its playbook says so");
                Inverse::Irreversible(reason.to_owned())
            }
            (_, inverse) => inverse,
        }
    }

    fn verification_for(&self, target: &Target) -> VerificationSpec {
        let Some(check) = self.verification() else {
            return VerificationSpec::default();
        };
        let metric = |condition: &Condition, window, consecutive| Criterion::Metric {
            condition: condition.clone(),
            target: target.clone(),
            window,
            consecutive,
        };
        let health = |pass_rate, window, tier| Criterion::Health {
            target: target.clone(),
            pass_rate: Ratio::new(pass_rate).unwrap_or(Ratio::ONE),
            window,
            tier,
        };
        let mut criteria = Vec::new();
        if let Some(condition) = &check.condition {
            criteria.push(metric(condition, check.window, check.consecutive));
        }
        if let Some(pass_rate) = check.health {
            criteria.push(health(pass_rate, check.window, None));
        }
        let tiers = check.health_tiers.iter();
        criteria.extend(tiers.map(|it| health(it.pass_rate, it.window, Some(it.tier))));
        let scenarios = check.scenarios.iter().cloned();
        criteria.extend(scenarios.map(|scenario| Criterion::Functional { scenario }));
        criteria.extend(
            check
                .comparisons
                .iter()
                .map(|comparison| Criterion::Comparison {
                    metric: comparison.metric.clone(),
                    target: comparison.target.as_ref().unwrap_or(target).clone(),
                    comparison: comparison.comparison,
                    window: comparison.window,
                    baseline: comparison.baseline,
                }),
        );
        let mut phases = Phases {
            min_pass_rate: Ratio::new(check.min_pass_rate).unwrap_or(Ratio::ONE),
            stability: check.stability,
            stability_interval: check.stability_interval,
            ..Phases::default()
        };
        if let Some(immediate) = &check.immediate {
            let condition = immediate.condition.as_ref();
            let at_once = condition.map(|condition| metric(condition, immediate.window, 1));
            let healthy = immediate
                .health
                .map(|rate| health(rate, immediate.window, None));
            phases.immediate = at_once.into_iter().chain(healthy).collect();
            phases.immediate_within = immediate.within;
        }
        VerificationSpec {
            criteria,
            wait: check.wait,
            watch: check.watch,
            interval: check.interval,
            phases,
        }
    }
}
