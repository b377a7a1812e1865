//! How playbooks spell verification, and what becomes of it in a plan.

use std::time::Duration;

use homeostasis_core::record::{
    Baseline, Comparison, Criterion, Expected, ScenarioCall, VerificationSpec,
};
use homeostasis_core::signal::HealthTier;
use homeostasis_core::{Context, IncidentId, PlanId, Target, Topology, async_trait};
use serde_json::{Value, json};

use super::{Captures, CheckRegistry, PlanBinding, Playbook};
use crate::action::{Action, ActionCall, ActionError, ActionRegistry, ActionSpec};

const HEAD: &str = "\
playbook_id: p
name: P
version: '1'
trigger: {service: orders}
remediation_steps: [{action: noop}]
verification:
";

const WHOLE: &str = "  check: error_rate < 0.1%
  consecutive: 3
  health_tiers:
    - {tier: shallow}
    - {tier: deep, window: 4m}
    - {tier: comprehensive, pass_rate: 90%}
  scenarios:
    - name: a customer logs in
      steps:
        - {name: page, url: 'http://127.0.0.1:8080/', contains: welcome, within: 1s}
        - {name: log in, method: POST, url: 'http://127.0.0.1:8080/login', body: {user: smoke}, status: [200, 201], side_effects: true}
        - {name: rows, function: count, args: {table: users}, json: {/rows: 3}, timeout: 2s}
  min_pass_rate: 50%
  comparison:
    - {metric: error_ratio, at_most: 1.1, baseline: last_24h_at_same_time}
    - {metric: latency_seconds, at_most: 1.2}
  immediate: {check: up == 1, health: 100%, within: 20s}
  watch: 10m
  stability: 5m
  stability_interval: 30s
";

/// Nothing is done here: playbooks are only read.
#[derive(Debug)]
struct Noop(ActionSpec);

#[async_trait]
impl Action for Noop {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn spec(&self) -> &ActionSpec {
        &self.0
    }

    async fn perform(&self, _: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        panic!("it was performed");
    }
}

fn actions() -> ActionRegistry {
    let mut actions = ActionRegistry::default();
    actions.register(Noop(ActionSpec::new("a test"))).unwrap();
    actions
}

fn read(verification: &str) -> Result<Playbook, String> {
    let text = format!("{HEAD}{verification}");
    Playbook::parse("p.yaml", &text, &actions(), &CheckRegistry::default())
        .map_err(|error| error.to_string())
}

fn spec(verification: &str) -> VerificationSpec {
    let actions = actions();
    let target = Target::service("orders").unwrap();
    let binding = PlanBinding {
        id: PlanId::from_u128(1),
        incident: IncidentId::from_u128(2),
        remediator: "playbooks",
        target: &target,
        topology: &Topology::default(),
        fitness: 1.0,
        captures: Captures::Sample,
    };
    let plan = read(verification)
        .unwrap()
        .to_plan(&actions, binding)
        .unwrap();
    assert_eq!(plan.violation(), None);
    plan.verification
}

#[test]
fn a_plan_has_every_criterion_and_phase_of_its_playbook() {
    let spec = spec(WHOLE);
    let secs = Duration::from_secs;
    let tiers = spec
        .criteria
        .iter()
        .filter_map(|criterion| match criterion {
            Criterion::Health {
                tier: Some(tier),
                pass_rate,
                window,
                ..
            } => Some((*tier, pass_rate.get(), *window)),
            _ => None,
        });
    let tiers: Vec<_> = tiers.collect();
    assert_eq!(
        tiers,
        [
            (HealthTier::Shallow, 1.0, secs(120)),
            (HealthTier::Deep, 1.0, secs(240)),
            (HealthTier::Comprehensive, 0.9, secs(600)),
        ]
    );
    let scenario = spec.criteria.iter().find_map(|criterion| match criterion {
        Criterion::Functional { scenario } => Some(scenario),
        _ => None,
    });
    let steps = &scenario.unwrap().steps;
    assert!(steps.len() == 3 && steps[1].side_effects && !steps[0].side_effects);
    assert_eq!(steps[0].expect.within, Some(secs(1)));
    let ScenarioCall::Http { method, json, .. } = &steps[1].call else {
        panic!("{:?}", steps[1])
    };
    assert_eq!(
        (method.as_str(), json),
        ("POST", &Some(json!({"user": "smoke"})))
    );
    assert_eq!(steps[1].expect.status, [200, 201]);
    let rows = Expected {
        json: [("/rows".to_owned(), json!(3))].into(),
        ..Expected::default()
    };
    assert_eq!((&steps[2].expect, steps[2].timeout), (&rows, secs(2)));
    let baselines = spec
        .criteria
        .iter()
        .filter_map(|criterion| match criterion {
            Criterion::Comparison {
                baseline,
                comparison,
                ..
            } => Some((*baseline, *comparison)),
            _ => None,
        });
    let baselines: Vec<_> = baselines.collect();
    assert_eq!(
        baselines,
        [
            (Baseline::Yesterday, Comparison::AtMost(1.1)),
            (Baseline::BeforeIncident, Comparison::AtMost(1.2)),
        ]
    );
    let phases = &spec.phases;
    assert_eq!(
        (phases.immediate.len(), phases.immediate_within),
        (2, secs(20))
    );
    assert_eq!(
        (phases.stability, phases.stability_interval),
        (secs(300), secs(30))
    );
    assert!((phases.min_pass_rate.get() - 0.5).abs() < 1e-9);
}

#[test]
fn a_playbook_without_them_has_the_short_watch_alone() {
    let spec = spec("  check: up == 1\n");
    assert_eq!(spec.phases, VerificationSpec::default().phases);
    let stored = serde_json::to_value(&spec).unwrap();
    assert!(
        stored.get("phases").is_none(),
        "the hash of older plans stays what it was"
    );
}

#[test]
fn by_default_it_watches_for_as_long_as_health_is_judged_over() {
    assert_eq!(
        spec("  health_tiers: [{tier: deep}]\n").watch,
        Duration::from_secs(300)
    );
    assert_eq!(
        spec("  health: 100%\n  window: 4m\n").watch,
        Duration::from_secs(240)
    );
    assert_eq!(
        spec("  check: up == 1\n  window: 4m\n").watch,
        Duration::from_secs(120)
    );
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    let step = |step: &str| format!("  scenarios: [{{name: s, steps: [{{name: x, {step}}}]}}]\n");
    for (text, place, expected) in [
        (
            step("url: 'http://a/', method: POST"),
            "steps[0].side_effects",
            "may change something",
        ),
        (
            step("url: 'ftp://a/'"),
            "steps[0].url",
            "http://127.0.0.1:8080/",
        ),
        (
            step("url: 'http://${target}/'"),
            "steps[0].url",
            "without placeholders",
        ),
        (
            step("url: 'http://a/', function: f"),
            "steps[0]",
            "either `url` or `function`",
        ),
        (
            step("timeout: 1s"),
            "steps[0]",
            "either `url` or `function`",
        ),
        (
            step("function: f, status: [200]"),
            "steps[0].status",
            "a `url` beside it",
        ),
        (
            step("url: 'http://a/', args: {a: 1}"),
            "steps[0].args",
            "a `function` beside it",
        ),
        (
            step("url: 'http://a/', json: {state: 1}"),
            "steps[0].json",
            "JSON pointers",
        ),
        (
            step("url: 'http://a/', status: [99]"),
            "steps[0].status[0]",
            "100",
        ),
        (
            step("url: 'http://a/', within: 10s"),
            "steps[0].within",
            "at most `timeout`",
        ),
        (
            "  scenarios: [{name: s, steps: []}]\n".to_owned(),
            "scenarios[0].steps",
            "a list of 1 to 16",
        ),
        (
            "  health_tiers: [{tier: deep}]\n  watch: 2m\n".to_owned(),
            "verification.watch",
            "of a tier",
        ),
        (
            "  check: up == 1\n  min_pass_rate: 50%\n".to_owned(),
            "min_pass_rate",
            "`scenarios`",
        ),
        (
            "  check: up == 1\n  stability_interval: 9s\n".to_owned(),
            "stability_interval",
            "`stability`",
        ),
        (
            "  check: up == 1\n  immediate: {within: 5s}\n".to_owned(),
            "immediate",
            "`check`",
        ),
        (
            "  check: up == 1\n  immediate: {health: 100%, window: 60s}\n".to_owned(),
            "immediate.window",
            "at most `within`",
        ),
        (
            "  comparison: [{metric: m, at_most: 1, baseline: ever}]\n".to_owned(),
            "comparison[0].baseline",
            "same_time_yesterday",
        ),
    ] {
        let error = read(&text).unwrap_err();
        assert!(
            error.contains(place) && error.contains(expected),
            "{text}: {error}"
        );
    }
}
