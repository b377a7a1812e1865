//! What every plan of a rollout keeps to, whatever the strategy.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::port::{MemoryArms, MemoryRouter};
use homeostasis_core::record::{
    CanaryForecast, CanaryTraffic, EffectClass, Inverse, Plan, PlanStep,
};
use homeostasis_core::stage::{CanaryAnalysis, CanaryAnalyst, CanaryError};
use homeostasis_core::{ConfigError, IncidentId, PlanId, Topology};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::action::{ActionRegistry, AwaitCanary, AwaitDrained, ShiftTraffic};

/// Plans are made without asking it.
#[derive(Debug)]
struct NotAsked;

impl CanaryAnalyst for NotAsked {
    fn begin(&self) -> Box<dyn CanaryAnalysis> {
        panic!("a plan is made without an analysis")
    }

    fn resume(&self, _: &Value) -> Result<Box<dyn CanaryAnalysis>, CanaryError> {
        panic!("a plan is made without an analysis")
    }

    fn forecast(&self, _: &CanaryTraffic) -> CanaryForecast {
        panic!("a plan is made without a forecast")
    }
}

fn actions() -> ActionRegistry {
    let (router, arms) = (
        Arc::new(MemoryRouter::default()),
        Arc::new(MemoryArms::default()),
    );
    let mut actions = ActionRegistry::default();
    actions.register(ShiftTraffic::new(router)).unwrap();
    let watch = AwaitCanary::new(Arc::clone(&arms) as Arc<_>, Arc::new(NotAsked));
    actions.register(watch).unwrap();
    actions.register(AwaitDrained::new(arms)).unwrap();
    actions
}

fn plan(rollout: &Rollout) -> Result<Plan, ConfigError> {
    let binding = RolloutBinding {
        id: PlanId::from_u128(1),
        incident: IncidentId::from_u128(1),
        ordered_by: "ada",
        topology: &Topology::default(),
    };
    rollout.plan(&actions(), binding)
}

fn canary() -> Rollout {
    Rollout::new("orders", "blue", "green")
}

/// The weights of the old and the new version that each shift sets.
fn weights(plan: &Plan) -> Vec<(u64, u64)> {
    let shifts = plan
        .steps
        .iter()
        .filter(|step| step.action == "shift_traffic");
    let of = |step: &PlanStep, slot: &str| step.args["weights"][slot].as_u64().unwrap();
    shifts
        .map(|step| (of(step, "blue"), of(step, "green")))
        .collect()
}

fn strategies() -> impl Strategy<Value = RolloutStrategy> {
    prop_oneof![
        Just(RolloutStrategy::Canary),
        Just(RolloutStrategy::Progressive),
        Just(RolloutStrategy::BlueGreen),
        (1..=100_u32, 1..=100_u32)
            .prop_map(|(initial, step)| RolloutStrategy::Stepwise { initial, step }),
        (1..=99_u32, 0..3600_u64).prop_map(|(percent, secs)| RolloutStrategy::AbTest {
            percent,
            at_least: Duration::from_secs(secs),
        }),
        proptest::collection::btree_set(1..100_u32, 0..8).prop_map(|percents| {
            let percents = percents.into_iter().chain([100]);
            RolloutStrategy::Stages(percents.map(RolloutStage::of).collect())
        }),
    ]
}

proptest! {
    #[test]
    fn every_shift_grows_keeps_the_sum_and_is_watched_before_the_next(
        strategy in strategies(),
        instances in proptest::option::of(1..500_u32),
        shadow in any::<bool>(),
        checkpoint in any::<bool>(),
    ) {
        let mut rollout = canary();
        rollout.strategy = strategy;
        rollout.instances = instances;
        rollout.shadow = shadow.then_some(Duration::from_secs(60));
        if checkpoint {
            rollout.rollback = RollbackMode::Checkpoint;
        }
        let plan = plan(&rollout).unwrap();
        let all = u64::from(instances.unwrap_or(100));
        let weights = weights(&plan);
        let stages = rollout.strategy.stages();
        prop_assert!(weights.len() <= stages.len());
        prop_assert_eq!(weights.last().copied(), Some((0, all)));
        let mut before = 0;
        for (blue, green) in weights {
            prop_assert_eq!(blue + green, all);
            prop_assert!(green > before, "{} after {}", green, before);
            before = green;
        }
        // Each begins only on the weights of the one before.
        let mut shifts = plan.steps.iter().filter(|step| step.action == "shift_traffic");
        let mut last = shifts.next().unwrap();
        prop_assert_eq!(last.args.get("all_from"), Some(&json!("blue")));
        for shift in shifts {
            prop_assert_eq!(shift.args.get("expects"), last.args.get("weights"));
            last = shift;
        }
        // Rounded up, at least one, and never less than a stage asks for.
        for stage in &stages {
            let least = (u64::from(stage.percent) * all).div_ceil(100).max(1);
            let mut weights = plan.steps.iter().filter_map(|step| step.args.get("weights"));
            prop_assert!(weights.any(|it| it["green"] == least), "{}", least);
        }
        // Whoever gets more traffic is watched next, and only what is confirmed is never taken back.
        for (step, next) in plan.steps.iter().zip(&plan.steps[1..]) {
            if step.action == "shift_traffic" {
                prop_assert_eq!(&next.action[..], "await_canary");
                prop_assert_eq!(next.pivot, checkpoint);
                let is_captured = matches!(step.inverse, Inverse::Captured(_));
                prop_assert!(is_captured && !step.pivot);
                prop_assert_eq!(step.effect, EffectClass::Idempotent);
            }
        }
        prop_assert_eq!(&plan.steps.last().unwrap().action[..], "await_canary");
        prop_assert_eq!(plan.violation(), None);
        // It is a file as well.
        let text = serde_json::to_string(&rollout).unwrap();
        prop_assert_eq!(serde_json::from_str::<Rollout>(&text).unwrap(), rollout);
    }
}

#[test]
fn one_percent_of_three_instances_is_one_instance() {
    let mut rollout = canary();
    rollout.instances = Some(3);
    let plan = plan(&rollout).unwrap();
    // 1 % and 10 % are the same instance, 50 % are two.
    assert_eq!(weights(&plan), [(2, 1), (1, 2), (0, 3)]);
    assert_eq!(plan.steps[1].args["baseline"], "blue");
    let last = plan.steps.last().unwrap();
    assert_eq!(last.args.get("baseline"), None);
    assert_eq!(last.args["min_success"], 0.98);
}

#[test]
fn the_progressive_table_has_its_times_and_floors_and_its_permit_lasts_as_long() {
    let mut rollout = canary();
    rollout.strategy = RolloutStrategy::Progressive;
    let plan = plan(&rollout).unwrap();
    assert_eq!(
        weights(&plan),
        [(99, 1), (95, 5), (75, 25), (50, 50), (0, 100)]
    );
    let watches = plan
        .steps
        .iter()
        .filter(|step| step.action == "await_canary");
    let floors: Vec<_> = watches
        .map(|step| {
            (
                step.args["at_least"].as_str().unwrap(),
                &step.args["min_success"],
            )
        })
        .collect();
    let table = json!([
        ["10m", 0.999],
        ["30m", 0.995],
        ["1h", 0.99],
        ["2h", 0.99],
        ["5m", 0.98]
    ]);
    assert_eq!(json!(floors), table);
    // At most two hours more than at least, and a look, for each of five.
    let minutes = 10 + 30 + 60 + 120 + 5 + 5 * (120 + 1);
    assert_eq!(plan.watches(), Duration::from_secs(60 * minutes));
}

#[test]
fn what_stops_the_old_version_comes_after_the_last_verdict_and_is_not_taken_back() {
    let mut rollout = canary();
    rollout.strategy = RolloutStrategy::BlueGreen;
    let drain = RolloutStep::new(
        "await_drained",
        json!({"service": "orders", "slot": "blue"}),
    );
    rollout.after.push(drain);
    let plan = plan(&rollout).unwrap();
    let steps: Vec<_> = plan
        .steps
        .iter()
        .map(|step| (&step.action[..], step.pivot))
        .collect();
    let wanted = [
        ("shift_traffic", false),
        ("await_canary", true),
        ("await_drained", false),
    ];
    assert_eq!(steps, wanted);
    assert_eq!(plan.steps[1].args.get("baseline"), None);
}

#[test]
fn each_way_back_is_in_the_steps() {
    let shift = |rollback| {
        let mut rollout = canary();
        rollout.rollback = rollback;
        let steps = plan(&rollout).unwrap().steps;
        let shifts = steps
            .into_iter()
            .filter(|step| step.action == "shift_traffic");
        shifts.collect::<Vec<_>>()
    };
    let at_once = shift(RollbackMode::Immediate);
    assert_eq!(at_once[0].args.get("back_to"), None);
    for step in &at_once[1..] {
        assert_eq!(step.args["back_to"], json!({"blue": 1, "green": 0}));
    }
    let minute = Duration::from_secs(60);
    for step in shift(RollbackMode::Gradual { pause: minute }) {
        assert_eq!(
            (&step.args["pause"], step.args.get("back_to")),
            (&json!("1m"), None)
        );
        assert!(step.timeout > minute);
        // The permit of the way back lasts as long.
        assert_eq!(step.watches, minute);
    }
}

#[test]
fn what_was_started_before_answers_what_it_has_however_short_the_pause() {
    let mut rollout = canary();
    rollout.rollback = RollbackMode::Gradual {
        pause: Duration::ZERO,
    };
    let drain = json!({"service": "orders", "slot": "green", "quiet": "1s"});
    rollout.before = vec![RolloutStep::new("await_drained", drain)];
    let plan = plan(&rollout).unwrap();
    let mut shifts = plan.steps.iter().filter(|it| it.action == "shift_traffic");
    assert!(shifts.all(|step| step.args["pause"] == json!("5s")));
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_place() {
    let text = json!({
        "service": "", "from": "a b", "to": "a b", "instances": 0, "min_requests": 0,
        "max_error_increase": 1.5, "interval": "0s", "decide_within": "30h",
        "rollback": {"gradual": {"pause": "2h"}},
        "strategy": {"stages": [
            {"percent": 10, "at_least": "23h"}, {"percent": 10, "min_success": 2}
        ]},
        "before": [{"action": "x", "attempts": 0}],
    });
    let rollout: Rollout = serde_json::from_value(text).unwrap();
    let said = rollout.check().unwrap_err().to_string();
    for place in [
        "service",
        "from",
        "to",
        "instances",
        "min_requests",
        "max_error_increase",
        "interval",
        "decide_within",
        "rollback.pause",
        "strategy.stages[0].at_least",
        "strategy.stages[1].percent",
        "strategy.stages[1].min_success",
        "100 percent",
        "before[0].attempts",
    ] {
        assert!(said.contains(place), "{place}: {said}");
    }
    for strange in [
        json!({"service": "a", "from": "b", "to": "c", "form": "b"}),
        json!({"service": "a", "from": "b", "to": "c", "rollback": {"gradual": {"pause": "1s", "stop": 1}}}),
        json!({"service": "a", "from": "b", "to": "c", "strategy": {"stepwise": {"initial": 1, "step": 1, "setp": 1}}}),
    ] {
        assert!(
            serde_json::from_value::<Rollout>(strange.clone()).is_err(),
            "{strange}"
        );
    }
}

#[test]
fn an_action_that_is_missing_and_an_argument_that_does_not_fit_are_named() {
    let mut rollout = canary();
    rollout
        .before
        .push(RolloutStep::new("start_worker", json!({})));
    let drain = json!({"service": "orders", "slot": "blue", "quiet": "0s"});
    rollout.after.push(RolloutStep::new("await_drained", drain));
    let said = plan(&rollout).unwrap_err().to_string();
    assert!(
        said.contains("before[0].action") && said.contains("start_worker"),
        "{said}"
    );
    assert!(said.contains("after[0].args.quiet"), "{said}");
}
