//! From a rollout to a plan.

use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::policy::{Reach, blast_radius};
use homeostasis_core::record::{Plan, PlanStep, Retry};
use homeostasis_core::{ConfigError, IncidentId, PlanId, Target, Topology, Violation, Violations};
use serde_json::{Map, Value, json};

use super::{OnUncertain, ROLLOUTS, RollbackMode, Rollout, RolloutStage, RolloutStep};
use crate::action::{ActionRegistry, LONGEST_WATCH};

/// What a rollout is bound to when it becomes a plan.
#[derive(Debug, Clone, Copy)]
pub struct RolloutBinding<'a> {
    /// The plan's id.
    pub id: PlanId,
    /// The incident it is kept with.
    pub incident: IncidentId,
    /// Who ordered it.
    pub ordered_by: &'a str,
    /// What the blast radius is computed in.
    pub topology: &'a Topology,
}

/// A watch may end this often without an outcome, because the process ended, before it counts as
/// what ends the process.
const WATCH_ATTEMPTS: u32 = 20;

/// How long one attempt at a step may take beside what it watches.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// What a slot that lost its traffic gets to answer what it had.
const SETTLES_IN: Duration = Duration::from_secs(5);

/// What must succeed where nobody says so and nothing can be compared.
const LAST_FLOOR: f64 = 0.98;

/// A stage in the weights the router can give.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shift {
    stage: RolloutStage,
    from_weight: u32,
    to_weight: u32,
}

impl Rollout {
    /// The plan: what is done before, for each stage a shift and a watch, what is done after.
    ///
    /// # Errors
    /// Everything [`check`](Self::check) says, every action that is not registered (`shift_traffic`
    /// and `await_canary` among them), and every argument that does not fit its action.
    pub fn plan(
        &self,
        actions: &ActionRegistry,
        binding: RolloutBinding<'_>,
    ) -> Result<Plan, ConfigError> {
        self.check()?;
        let target = Target::service(self.service.clone())
            .map_err(|error| ConfigError::single("service", &self.service, error.to_string()))?;
        let title = format!("roll out {} to {} of {}", self.to, self.service, self.from);
        let mut plan = Plan::new(binding.id, binding.incident, ROLLOUTS, title, target);
        let mut found = Violations::new();
        let mut steps = Vec::new();
        for (idx, step) in self.before.iter().enumerate() {
            steps.push((format!("before[{idx}]"), self.around(step), false));
        }
        if let Some(shadow) = self.shadow {
            let name = format!("watch {} in the shadow", self.to);
            let watch = self.watch(shadow, None, true);
            steps.push(("shadow".to_owned(), (name, watch), false));
        }
        let shifts = self.shifts();
        for (idx, shift) in shifts.iter().enumerate() {
            let place = format!("strategy.stages[{idx}]");
            let percent = shift.stage.percent;
            let name = format!("give {} {percent} % of the traffic", self.to);
            steps.push((
                place.clone(),
                (name, self.shift(&shifts[..idx], shift)),
                false,
            ));
            let is_last = idx + 1 == shifts.len();
            let floor = shift.stage.min_success.or(is_last.then_some(LAST_FLOOR));
            let watch = self.watch(shift.stage.at_least, floor, shift.from_weight > 0);
            let name = format!("watch {} at {percent} %", self.to);
            let is_pivot =
                self.rollback == RollbackMode::Checkpoint || is_last && !self.after.is_empty();
            steps.push((place, (name, watch), is_pivot));
        }
        for (idx, step) in self.after.iter().enumerate() {
            steps.push((format!("after[{idx}]"), self.around(step), false));
        }
        for (place, (name, step), is_pivot) in steps {
            let bound = bind(actions, &plan.target, name, step);
            if let Some(mut step) = found.absorb(bound.map_err(|error| error.under(&place))) {
                step.pivot = is_pivot;
                plan.steps.push(step);
            }
        }
        if let Some(error) = found.into_error() {
            return Err(error);
        }
        let targets: Vec<_> = plan.steps.iter().map(|step| step.target.clone()).collect();
        plan.radius = blast_radius(&targets, binding.topology, Reach::default());
        plan.ordered_by = Some(binding.ordered_by.to_owned());
        // Where it needs approval, somebody else gives it.
        plan.author = Some(binding.ordered_by.to_owned());
        plan.fitness = 1.0;
        match plan.violation() {
            None => Ok(plan),
            Some(broken) => Err(ConfigError::single(
                "rollout",
                broken,
                "a plan within bounds",
            )),
        }
    }

    /// The stages in weights; those that would give the same weights are one, with the longer time
    /// and the higher share that must succeed.
    fn shifts(&self) -> Vec<Shift> {
        let mut shifts: Vec<Shift> = Vec::new();
        for stage in self.strategy.stages() {
            let (all, to_weight) = match self.instances {
                None => (100, stage.percent),
                Some(n) => {
                    let share = u64::from(stage.percent) * u64::from(n);
                    let whole = u32::try_from(share.div_ceil(100)).unwrap_or(n);
                    (n, whole.clamp(1, n))
                }
            };
            let from_weight = all - to_weight;
            match shifts.last_mut().filter(|last| last.to_weight == to_weight) {
                Some(last) => {
                    let floors = [last.stage.min_success, stage.min_success];
                    last.stage = RolloutStage {
                        percent: stage.percent,
                        at_least: last.stage.at_least.max(stage.at_least),
                        min_success: floors.into_iter().flatten().reduce(f64::max),
                    };
                }
                None => shifts.push(Shift {
                    stage,
                    from_weight,
                    to_weight,
                }),
            }
        }
        shifts
    }

    /// The step that follows on those `before` it.
    fn shift(&self, before: &[Shift], shift: &Shift) -> RolloutStep {
        let weights = |from: u32, to: u32| {
            let pairs = [(&self.from, from), (&self.to, to)];
            let pairs = pairs.map(|(slot, weight)| (slot.clone(), Value::from(weight)));
            Value::Object(Map::from_iter(pairs))
        };
        let mut args = json!({
            "service": self.service,
            "weights": weights(shift.from_weight, shift.to_weight),
        });
        match before.last() {
            None => args["all_from"] = self.from.clone().into(),
            Some(before) => args["expects"] = weights(before.from_weight, before.to_weight),
        }
        match self.rollback {
            // The first stage goes back to what was found.
            RollbackMode::Immediate if !before.is_empty() => args["back_to"] = weights(1, 0),
            // What was started before is stopped next: it answers what it has.
            RollbackMode::Gradual { pause } if !self.before.is_empty() => {
                args["pause"] = format_duration(pause.max(SETTLES_IN)).into();
            }
            RollbackMode::Gradual { pause } => args["pause"] = format_duration(pause).into(),
            _ if !self.before.is_empty() => args["pause"] = format_duration(SETTLES_IN).into(),
            _ => {}
        }
        RolloutStep {
            attempts: 3,
            ..RolloutStep::new("shift_traffic", args)
        }
    }

    fn watch(&self, at_least: Duration, floor: Option<f64>, has_baseline: bool) -> RolloutStep {
        let at_most = at_least
            .saturating_add(self.decide_within)
            .min(LONGEST_WATCH);
        let mut args = json!({
            "service": self.service,
            "canary": self.to,
            "interval": format_duration(self.interval),
            "at_least": format_duration(at_least),
            "at_most": format_duration(at_most),
            "min_requests": self.min_requests,
            "max_error_increase": self.max_error_increase,
            "on_uncertain": match self.on_uncertain {
                OnUncertain::RollBack => "roll_back",
                OnUncertain::Hold => "hold",
            },
        });
        if has_baseline {
            args["baseline"] = self.from.clone().into();
        }
        if let Some(floor) = floor {
            args["min_success"] = floor.into();
        }
        RolloutStep {
            attempts: WATCH_ATTEMPTS,
            ..RolloutStep::new("await_canary", args)
        }
    }

    fn around(&self, step: &RolloutStep) -> (String, RolloutStep) {
        (format!("{} for {}", step.action, self.to), step.clone())
    }
}

/// The step of a plan: arguments checked, effect class, inverse and reach taken from the action.
fn bind(
    actions: &ActionRegistry,
    target: &Target,
    name: String,
    step: RolloutStep,
) -> Result<PlanStep, ConfigError> {
    let Some(action) = actions.get(&step.action) else {
        let expected = "a registered action";
        return Err(ConfigError::single("action", &step.action, expected));
    };
    let (spec, mut args) = (action.spec(), step.args);
    spec.fill_defaults(&mut args);
    let mut problems = spec.problems(&args, false);
    if problems.is_empty() {
        problems = action.check(&args);
    }
    let mut found = Violations::new();
    for problem in problems {
        let given = Value::Object(args.clone());
        let given = given.pointer(&problem.pointer).map(ToString::to_string);
        let path = problem.pointer.trim_start_matches('/').replace('/', ".");
        found.push(Violation::new(
            format!("args.{path}"),
            given.unwrap_or_default(),
            problem.expected,
        ));
    }
    let mut bound = PlanStep::new(name, step.action, action.touches(target, &args));
    bound.effect = action.effect(&args);
    bound.risk = spec.risk;
    bound.inverse = action.inverse(&args);
    bound.watches = action.watches(&args);
    bound.timeout = STEP_TIMEOUT
        .max(spec.default_timeout)
        .saturating_add(bound.watches);
    bound.retry = Retry {
        attempts: step.attempts,
        backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(5),
    };
    bound.args = args;
    found.into_result(bound)
}
