//! The phases of one verification, and how each ends it.

use super::*;
use crate::scenario::ScenarioFunction;
use homeostasis_core::record::{Scenario, ScenarioCall, ScenarioStep};
use homeostasis_core::{BoxError, Ratio};
use serde_json::{Map, Value};

fn immediate(condition: &str, within: u64) -> Phases {
    Phases {
        immediate: vec![metric(condition, 1)],
        immediate_within: secs(within),
        ..Phases::default()
    }
}

fn stable_for(stability: u64) -> Phases {
    Phases {
        stability: secs(stability),
        stability_interval: secs(10),
        ..Phases::default()
    }
}

#[test]
fn immediate_checks_that_fail_end_it_with_a_rollback() {
    let mut case = Case::new(up_again(1110), vec![metric("up == 1", 1)]);
    case.phases = immediate("up == 1", 30);
    let verdict = case.verdict();
    assert_eq!(
        (verdict.kind, verdict.at, verdict.recommendation),
        (VerdictKind::Failed, at(1100), Recommendation::RollBack),
        "{verdict:?}"
    );
    assert!(
        verdict
            .reason
            .starts_with("immediate checks failed within 30s")
    );
    assert!(
        verdict.checks[0]
            .criterion
            .starts_with("immediate: up == 1")
    );

    // In time, it goes on with the short watch.
    let mut case = Case::new(up_again(1090), vec![metric("up == 1", 3)]);
    case.phases = immediate("up == 1", 30);
    let verdict = case.verdict();
    assert_eq!((verdict.kind, verdict.at), (VerdictKind::Success, at(1092)));
}

#[test]
fn immediate_checks_without_data_are_uncertain_and_not_a_failure() {
    let mut case = Case::new(up_again(1071), vec![metric("up == 1", 1)]);
    case.phases = immediate("threads < 5", 30);
    let verdict = case.verdict();
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Uncertain, at(1100))
    );
    assert!(
        verdict.reason.contains("settled by samples of threads"),
        "{verdict:?}"
    );
}

#[test]
fn what_holds_must_go_on_holding_and_a_relapse_is_remembered() {
    let mut case = Case::new(up_again(1075), vec![metric("up == 1", 1)]);
    case.phases = stable_for(120);
    let verdict = case.verdict();
    // The anomaly must be gone three times in a row, then it is watched for two minutes.
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Success, at(1077 + 120)),
        "{verdict:?}"
    );

    let relapsing = sampled(RecordedObservations::new(), "up", |now| {
        let is_ill = (at(SINCE)..at(1075)).contains(&now) || (at(1120)..at(1130)).contains(&now);
        f64::from(u8::from(!is_ill))
    });
    let queue = sampled(relapsing, "queue_length", |_| 1.0);
    let criteria = vec![metric("up == 1", 1), metric("queue_length < 5", 1)];
    let mut case = Case::new(queue, criteria);
    case.phases = stable_for(120);
    let verdict = case.verdict();
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Partial, at(1197)),
        "{verdict:?}"
    );
    assert!(
        verdict.reason.contains("failed at 1 of 12 looks"),
        "{verdict:?}"
    );
}

/// `up` is down in trouble until 1075, and again in `relapses`.
fn up_but(relapses: &[std::ops::Range<i64>]) -> RecordedObservations {
    sampled(RecordedObservations::new(), "up", |now| {
        let trouble = SINCE..1075;
        let mut down = relapses.iter().chain([&trouble]);
        let is_down = down.any(|it| (at(it.start)..at(it.end)).contains(&now));
        f64::from(u8::from(!is_down))
    })
}

#[test]
fn one_bad_look_of_the_stability_watch_takes_nothing_back_and_two_at_its_end_do() {
    // It looks at 1087, 1097 and so on until 1197.
    let stretch = |from, to| -> std::ops::Range<i64> { from..to };
    for (relapse, kind) in [
        (stretch(1125, 1130), VerdictKind::Partial),
        (stretch(1105, 1150), VerdictKind::Partial),
        (stretch(1195, 1400), VerdictKind::Partial),
        (stretch(1180, 1400), VerdictKind::Failed),
    ] {
        let world = up_but(std::slice::from_ref(&relapse));
        let mut case = Case::new(world, vec![metric("up == 1", 1)]);
        case.phases = stable_for(120);
        let verdict = case.verdict();
        assert_eq!(
            (verdict.kind, verdict.at),
            (kind, at(1197)),
            "{relapse:?}: {verdict:?}"
        );
        assert!(verdict.reason.contains("of 12 looks"), "{verdict:?}");
    }
}

#[test]
fn silence_in_the_stability_watch_is_not_holding() {
    let mut world = RecordedObservations::new();
    for (from, to) in [(400, 1080), (1190, 1400)] {
        world = world.with_sampled(key("up"), at(from), at(to), secs(1), |now| {
            f64::from(u8::from(now < at(SINCE) || now >= at(1075)))
        });
    }
    let mut case = Case::new(world, vec![metric("up == 1", 1)]);
    case.phases = stable_for(120);
    let verdict = case.verdict();
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Uncertain, at(1197)),
        "{verdict:?}"
    );
    let silent = |check: &homeostasis_core::record::CheckResult| {
        check.outcome == CheckOutcome::NoData && check.detail.contains("silent at 8 of 12 looks")
    };
    assert!(verdict.checks.iter().any(silent), "{verdict:?}");
}

#[test]
fn a_verdict_that_is_due_is_given_after_one_look_however_often_it_began() {
    let mut case = Case::new(up_again(9999), vec![metric("up == 1", 1)]);
    (case.begins, case.until) = (1300, Some(1270));
    let verdict = case.verdict();
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Failed, at(1300)),
        "{verdict:?}"
    );
    // The stability watch that is left is none.
    let mut case = Case::new(up_again(1075), vec![metric("up == 1", 1)]);
    (case.begins, case.until) = (1300, Some(1270));
    case.phases = stable_for(120);
    let verdict = case.verdict();
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Uncertain, at(1300)),
        "{verdict:?}"
    );
    assert!(verdict.reason.contains("cut short"), "{verdict:?}");
}

#[test]
fn comparisons_are_judged_at_the_end_of_the_stability_watch() {
    // Slower than before for the first minute, because caches are cold.
    let latency = |now: Timestamp, later: f64| match now {
        now if now < at(SINCE) => 0.1,
        now if now < at(1140) => 0.3,
        _ => later,
    };
    let compare = Criterion::Comparison {
        metric: "latency_seconds".to_owned(),
        target: target(),
        comparison: Comparison::AtMost(1.2),
        window: secs(30),
        baseline: Baseline::BeforeIncident,
    };
    for (later, kind) in [(0.11, VerdictKind::Success), (0.15, VerdictKind::Partial)] {
        let world = sampled(up_again(1075), "latency_seconds", |now| latency(now, later));
        let mut case = Case::new(world, vec![metric("up == 1", 1), compare.clone()]);
        case.phases = stable_for(120);
        let verdict = case.verdict();
        assert_eq!((verdict.kind, verdict.at), (kind, at(1197)), "{verdict:?}");
        let words = |check: &homeostasis_core::record::CheckResult| {
            check
                .criterion
                .starts_with("comparison: latency_seconds of orders/0")
        };
        assert!(verdict.checks.iter().any(words), "{verdict:?}");
    }
}

#[test]
fn harm_in_the_stability_watch_fails_it_at_once() {
    let world = sampled(up_again(1075), "http_requests_rate", |_| 50.0);
    let world = sampled(world, "error_ratio", |now| {
        if now < at(1150) { 0.02 } else { 0.9 }
    });
    let mut case = Case::new(world, vec![metric("error_ratio < 50%", 1)]);
    case.phases = stable_for(300);
    let verdict = case.verdict();
    assert_eq!(verdict.kind, VerdictKind::Failed, "{verdict:?}");
    assert!(verdict.at < at(1200), "{verdict:?}");
}

#[test]
fn a_stability_watch_that_is_cut_short_is_uncertain() {
    let mut case = Case::new(up_again(1075), vec![metric("up == 1", 1)]);
    case.phases = stable_for(120);
    case.deadline = Some(secs(60));
    let verdict = case.verdict();
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Uncertain, at(1130)),
        "{verdict:?}"
    );
    assert!(verdict.reason.contains("cut short"), "{verdict:?}");
}

/// Answers with its argument, or not at all.
#[derive(Debug)]
struct Echo;

#[async_trait]
impl ScenarioFunction for Echo {
    fn has_side_effects(&self) -> bool {
        false
    }

    async fn call(&self, _: &Context, args: &Map<String, Value>) -> Result<Value, BoxError> {
        args.get("says")
            .cloned()
            .ok_or_else(|| "out of order".into())
    }
}

fn scenario(function: &str, says: Option<&str>) -> Criterion {
    let args = says.map(|says| ("says".to_owned(), Value::from(says)));
    let step = ScenarioStep {
        name: "ask".to_owned(),
        call: ScenarioCall::Function {
            name: function.to_owned(),
            args: args.into_iter().collect(),
        },
        expect: homeostasis_core::record::Expected {
            contains: Some("well".to_owned()),
            ..homeostasis_core::record::Expected::default()
        },
        timeout: secs(5),
        side_effects: false,
    };
    let name = format!("{function} says {says:?}");
    let steps = vec![step];
    Criterion::Functional {
        scenario: Scenario { name, steps },
    }
}

#[test]
fn too_few_functional_tests_are_partial_and_ask_to_investigate() {
    let well = || scenario("echo", Some("all is well"));
    let ill = || scenario("echo", Some("no"));
    let unknown = || scenario("another", None);
    let verdict = |tests: &[Criterion], min_pass_rate: f64| {
        let criteria = [&[metric("up == 1", 1)], tests].concat();
        let mut case = Case::new(up_again(1075), criteria);
        case.phases.min_pass_rate = Ratio::new(min_pass_rate).unwrap();
        case.scenarios = Scenarios::default().with_function("echo", Echo).unwrap();
        case.verdict()
    };
    assert_eq!(verdict(&[well(), well()], 1.0).kind, VerdictKind::Success);
    let partial = verdict(&[well(), ill()], 1.0);
    assert_eq!(
        (partial.kind, partial.recommendation),
        (VerdictKind::Partial, Recommendation::Investigate)
    );
    assert!(
        partial.reason.contains("1 of 2 functional tests pass"),
        "{partial:?}"
    );
    assert_eq!(verdict(&[well(), ill()], 0.5).kind, VerdictKind::Success);
    let missing = verdict(&[well(), unknown()], 1.0);
    assert_eq!(missing.kind, VerdictKind::Uncertain, "{missing:?}");
    assert!(
        missing.reason.contains("expected a registered one"),
        "{missing:?}"
    );
    assert_eq!(verdict(&[ill(), unknown()], 1.0).kind, VerdictKind::Partial);
}

#[test]
fn scenarios_are_done_where_everything_else_is_silent() {
    for (says, kind) in [
        ("all is well", VerdictKind::Uncertain),
        ("no", VerdictKind::Partial),
    ] {
        let tests = vec![scenario("echo", Some(says))];
        let mut case = Case::new(RecordedObservations::new(), tests);
        case.scenarios = Scenarios::default().with_function("echo", Echo).unwrap();
        let verdict = case.verdict();
        assert_eq!(verdict.kind, kind, "{verdict:?}");
        let is_done = |check: &homeostasis_core::record::CheckResult| {
            check.criterion.starts_with("functional: echo says")
        };
        assert!(verdict.checks.iter().any(is_done), "{verdict:?}");
    }
}

#[test]
fn a_plan_whose_phases_are_out_of_range_is_not_believed() {
    let broken = |change: &dyn Fn(&mut VerificationSpec)| {
        let mut spec = VerificationSpec::default();
        change(&mut spec);
        spec.violation().unwrap_or_default()
    };
    let compare = || Criterion::Comparison {
        metric: "m".to_owned(),
        target: target(),
        comparison: Comparison::AtMost(1.0),
        window: secs(1),
        baseline: Baseline::BeforeIncident,
    };
    assert!(broken(&|spec| spec.phases.immediate = vec![compare()]).contains("expected metric"));
    assert!(broken(&|spec| spec.phases.stability_interval = Duration::ZERO).contains("stability"));
    assert!(broken(&|spec| spec.phases.stability = secs(90_000)).contains("stability = "));
    assert_eq!(
        broken(&|spec| spec.phases.immediate = vec![metric("up == 1", 1)]),
        ""
    );
    let mut all = VerificationSpec {
        criteria: vec![scenario("echo", None)],
        phases: immediate("up == 1", 30),
        ..VerificationSpec::default()
    };
    all.phases.stability = secs(300);
    assert_eq!(all.longest(), secs(30 + 5 + 120 + 5 + 300));
}
