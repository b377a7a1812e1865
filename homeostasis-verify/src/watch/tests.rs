mod phases;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::*;
use crate::course::decide;
use crate::criterion::{Evaluator, Look, Reading};
use crate::harm::{HarmReading, HarmWatch};
use crate::judgment::Judgment;
use homeostasis_core::condition::Condition;
use homeostasis_core::record::Criterion;
use homeostasis_core::record::{
    Anomaly, Baseline, BlastRadius, CheckOutcome, Comparison, EventKind, Expectation, HealEvent,
    Phases, Plan, PlanStep, Recommendation, SCHEMA_VERSION, Severity, Subject, VerdictKind,
    VerificationSpec,
};
use homeostasis_core::signal::{HealthReport, HealthState, SeriesKey};
use homeostasis_core::testing::RecordedObservations;
use homeostasis_core::{
    Cancellation, Clock, Incident, IncidentId, ManualClock, NodeId, PlanId, Target, TenantId,
    Timestamp, cycle,
};

// The world: normal until 1000, trouble until 1060, the remedy runs from 1060 to 1070.
const SINCE: i64 = 1000;
const STARTED: i64 = 1060;
const ENDED: i64 = 1070;

const fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn target() -> Target {
    "orders/0".parse().unwrap()
}

fn key(metric: &str) -> SeriesKey {
    SeriesKey::new(metric)
        .with("service", "orders")
        .with("instance", "0")
}

fn sampled(
    world: RecordedObservations,
    metric: &str,
    level: impl Fn(Timestamp) -> f64,
) -> RecordedObservations {
    world.with_sampled(key(metric), at(400), at(1400), secs(1), level)
}

fn health(
    world: RecordedObservations,
    state: impl Fn(Timestamp) -> HealthState,
) -> RecordedObservations {
    (1000..1400).fold(world, |world, s| {
        world.with_health(HealthReport::new(at(s), target(), "http", state(at(s))))
    })
}

/// `up` is 0 in trouble, and 1 again from `healed` on.
fn up_again(healed: i64) -> RecordedObservations {
    sampled(RecordedObservations::new(), "up", move |now| {
        f64::from(u8::from(now < at(SINCE) || now >= at(healed)))
    })
}

fn anomaly(metric: &str, low: Option<f64>, high: Option<f64>) -> Anomaly {
    let mut anomaly =
        Anomaly::new("d", target(), Subject::Series(key(metric)), at(1003)).saying("out of band");
    anomaly.since = at(SINCE);
    anomaly.expected = Expectation::Between { low, high };
    anomaly
}

fn incident(anomaly: Anomaly) -> Incident {
    let event = HealEvent {
        schema_version: SCHEMA_VERSION,
        incident: IncidentId::from_u128(1),
        seq: 0,
        at: at(1003),
        node: NodeId::default(),
        kind: EventKind::Opened {
            tenant: TenantId::default(),
            anomaly: Box::new(anomaly),
            severity: Severity::Sev2,
            radius: BlastRadius::UNKNOWN,
            score: None,
        },
    };
    cycle::transition(None, &event).unwrap().0
}

fn metric(condition: &str, consecutive: u32) -> Criterion {
    Criterion::Metric {
        condition: Condition::parse(condition).unwrap(),
        target: target(),
        window: secs(30),
        consecutive,
    }
}

struct Case {
    world: RecordedObservations,
    incident: Incident,
    criteria: Vec<Criterion>,
    phases: Phases,
    scenarios: Scenarios,
    deadline: Option<Duration>,
    cancel_at: Option<i64>,
    /// When the healer comes to it.
    begins: i64,
    until: Option<i64>,
}

impl Case {
    fn new(world: RecordedObservations, criteria: Vec<Criterion>) -> Self {
        Self {
            world,
            incident: incident(anomaly("up", Some(1.0), None)),
            criteria,
            phases: Phases::default(),
            scenarios: Scenarios::default(),
            deadline: None,
            cancel_at: None,
            begins: ENDED,
            until: None,
        }
    }

    /// Waits 5 s, looks every second, watches 60 s. The time moves when everybody sleeps.
    fn run(self) -> Result<Verdict, VerifyError> {
        let clock = ManualClock::new(at(self.begins));
        let world = self.world.paced_by(Arc::new(clock.clone()));
        let cancellation = Cancellation::default();
        let mut cx = Context::new(Arc::new(clock.clone()), 1)
            .observing(Arc::new(world))
            .cancelled_by(cancellation.clone());
        if let Some(deadline) = self.deadline {
            cx = cx.within(deadline);
        }
        let mut plan = Plan::new(
            PlanId::from_u128(2),
            self.incident.id,
            "playbooks",
            "restart",
            target(),
        );
        plan.steps
            .push(PlanStep::new("restart", "restart_process", target()));
        plan.verification = VerificationSpec {
            criteria: self.criteria,
            wait: secs(5),
            watch: secs(60),
            interval: secs(1),
            phases: self.phases,
        };
        assert_eq!(plan.verification.violation(), None);
        let watch = SequentialWatch::new(WatchConfig::default())
            .unwrap()
            .with_scenarios(self.scenarios);
        let mut request = VerifyRequest::new(&self.incident, &plan, at(STARTED), at(ENDED));
        request.until = self.until.map(at);
        let mut verifying = pin!(watch.verify(&cx, request));
        let mut task = std::task::Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(verdict) = verifying.as_mut().poll(&mut task) {
                return verdict;
            }
            let next = clock.next_wake().expect("a watch that waits sleeps");
            clock.advance(next - clock.now());
            if self.cancel_at.is_some_and(|secs| clock.now() >= at(secs)) {
                cancellation.cancel();
            }
        }
    }

    fn verdict(self) -> Verdict {
        self.run().unwrap()
    }
}

#[test]
fn success_comes_as_soon_as_the_criterion_held_often_enough() {
    let verdict = Case::new(up_again(1080), vec![metric("up == 1", 3)]).verdict();
    assert_eq!(verdict.kind, VerdictKind::Success, "{verdict:?}");
    assert_eq!(verdict.at, at(1082));
    assert_eq!(verdict.recommendation, Recommendation::Close);
    assert_eq!(
        verdict.checks[0].criterion,
        "up == 1 on orders/0, 3 times in a row"
    );
    assert!(
        verdict.checks[0].detail.contains("held 3 of 3"),
        "{verdict:?}"
    );
}

#[test]
fn the_first_look_comes_after_the_wait_and_not_before() {
    let verdict = Case::new(up_again(1071), vec![metric("up == 1", 1)]).verdict();
    assert_eq!((verdict.kind, verdict.at), (VerdictKind::Success, at(1075)));
}

#[test]
fn what_never_comes_back_is_failed_at_the_end_with_data() {
    let verdict = Case::new(up_again(9999), vec![metric("up == 1", 3)]).verdict();
    assert_eq!((verdict.kind, verdict.at), (VerdictKind::Failed, at(1135)));
    assert_eq!(verdict.recommendation, Recommendation::RollBack);
}

#[test]
fn some_that_hold_and_some_that_do_not_are_partial() {
    let world = sampled(up_again(1075), "queue_length", |_| 500.0);
    let criteria = vec![metric("up == 1", 3), metric("queue_length < 100", 1)];
    let verdict = Case::new(world, criteria).verdict();
    assert_eq!((verdict.kind, verdict.at), (VerdictKind::Partial, at(1135)));
    assert!(
        verdict.reason.contains("does not hold: queue_length"),
        "{}",
        verdict.reason
    );
}

#[test]
fn silence_is_uncertain_and_says_what_would_settle_it() {
    let verdict = Case::new(RecordedObservations::new(), vec![metric("up == 1", 1)]).verdict();
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Uncertain, at(1135))
    );
    assert!(
        verdict.reason.contains("settled by samples of up"),
        "{}",
        verdict.reason
    );
    assert!(
        verdict
            .checks
            .iter()
            .all(|check| check.outcome == CheckOutcome::NoData)
    );
}

#[test]
fn without_criteria_the_anomalous_series_must_be_back_in_its_band() {
    let verdict = Case::new(up_again(1090), Vec::new()).verdict();
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Success, at(1092)),
        "{verdict:?}"
    );
    let verdict = Case::new(up_again(9999), Vec::new()).verdict();
    assert_eq!(verdict.kind, VerdictKind::Failed);
}

#[test]
fn without_criteria_health_checks_stand_in_for_a_silent_series() {
    let world = health(RecordedObservations::new(), |_| HealthState::Healthy);
    let verdict = Case::new(world, Vec::new()).verdict();
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Success, at(1075)),
        "{verdict:?}"
    );
    assert!(
        verdict.checks[0]
            .criterion
            .starts_with("health checks of orders/0")
    );
    let verdict = Case::new(RecordedObservations::new(), Vec::new()).verdict();
    assert_eq!(verdict.kind, VerdictKind::Uncertain);
}

#[test]
fn a_restarted_healer_believes_what_the_incident_saw_of_a_state_and_of_a_level_nothing() {
    // It sees nothing from before the remedy ended.
    let world = (ENDED + 1..1400).fold(RecordedObservations::new(), |world, s| {
        let report = HealthReport::new(at(s), target(), "http", HealthState::Healthy);
        world.with_health(report)
    });
    let world = world.with_sampled(
        key("queue_length"),
        at(ENDED + 1),
        at(1400),
        secs(1),
        |_| 1.0,
    );
    let verdict = |anomaly| {
        let mut case = Case::new(world.clone(), vec![metric("queue_length < 5", 1)]);
        case.incident = incident(anomaly);
        case.verdict()
    };
    let mut unhealthy = anomaly("up", None, None);
    unhealthy.subject = Subject::Health("http".to_owned());
    let proven = verdict(unhealthy);
    assert_eq!(proven.kind, VerdictKind::Success, "{proven:?}");
    let high = verdict(anomaly("queue_length", None, Some(5.0)));
    assert_eq!(high.kind, VerdictKind::Partial, "{high:?}");
}

#[test]
fn things_that_get_clearly_worse_fail_long_before_the_end() {
    let world = sampled(up_again(9999), "http_requests_rate", |_| 50.0);
    let world = sampled(world, "error_ratio", |now| {
        if now < at(ENDED) { 0.02 } else { 0.9 }
    });
    let verdict = Case::new(world, vec![metric("up == 1", 3)]).verdict();
    assert_eq!(verdict.kind, VerdictKind::Failed);
    assert!(verdict.at < at(1100), "{verdict:?}");
    assert!(
        verdict.reason.starts_with("clearly worse"),
        "{}",
        verdict.reason
    );
}

#[test]
fn criteria_that_hold_while_things_are_clearly_worse_are_a_contradiction() {
    let world = sampled(up_again(1070), "http_requests_rate", |_| 50.0);
    let world = sampled(world, "error_ratio", |now| {
        if now < at(ENDED) { 0.02 } else { 0.9 }
    });
    let slow = Criterion::Health {
        target: target(),
        pass_rate: homeostasis_core::Ratio::ONE,
        window: secs(30),
        tier: None,
    };
    // The health checks decide only after 30 s, when the errors have long been seen.
    let world = health(world, |_| HealthState::Healthy);
    let verdict = Case::new(world.clone(), vec![slow]).verdict();
    assert_eq!(
        verdict.kind,
        VerdictKind::Failed,
        "seen while the criterion was not decided"
    );
    let judgment = decide(
        &[("c".to_owned(), reading_passed())],
        &HarmReading {
            log_e: 9.0,
            limit: 5.0,
            loudest: Some("errors".to_owned()),
        },
        false,
    )
    .unwrap();
    assert_eq!(judgment.kind, VerdictKind::Uncertain);
}

fn reading_passed() -> Reading {
    let world = up_again(1070);
    let mut evaluator = Evaluator::new(&metric("up == 1", 1), crate::Tolerance::default()).unwrap();
    evaluator
        .look(&Look::new(&world, at(SINCE), at(ENDED), at(1080)))
        .unwrap()
}

#[test]
fn a_comparison_alone_also_needs_the_anomaly_to_be_gone() {
    let compare = Criterion::Comparison {
        metric: "error_ratio".to_owned(),
        target: target(),
        comparison: Comparison::AtMost(1.1),
        window: secs(20),
        baseline: Baseline::BeforeIncident,
    };
    let errors = |now: Timestamp| {
        if (at(SINCE)..at(ENDED)).contains(&now) {
            0.5
        } else {
            0.01
        }
    };
    let world = sampled(up_again(1080), "error_ratio", errors);
    let verdict = Case::new(world, vec![compare.clone()]).verdict();
    assert_eq!(
        (verdict.kind, verdict.at),
        (VerdictKind::Success, at(1090)),
        "{verdict:?}"
    );
    let world = sampled(up_again(9999), "error_ratio", errors);
    assert_eq!(
        Case::new(world, vec![compare]).verdict().kind,
        VerdictKind::Partial
    );
}

#[test]
fn an_anomaly_that_began_after_the_remedy_must_be_gone_too() {
    let mut case = Case::new(
        sampled(up_again(1070), "disk_usage_percent", |_| 99.0),
        vec![metric("up == 1", 1)],
    );
    let mut new = anomaly("disk_usage_percent", None, Some(85.0));
    new.at = at(1071);
    new.since = at(1071);
    case.incident.anomalies.push(new);
    assert_eq!(case.verdict().kind, VerdictKind::Partial);
}

#[test]
fn a_deadline_ends_the_watch_early_and_a_past_one_is_an_error() {
    let mut case = Case::new(up_again(9999), vec![metric("up == 1", 3)]);
    case.deadline = Some(secs(20));
    assert_eq!(case.verdict().at, at(1090));
    let mut late = Case::new(up_again(9999), Vec::new());
    late.deadline = Some(Duration::ZERO);
    assert!(matches!(late.run(), Err(VerifyError::Timeout { .. })));
}

#[test]
fn a_cancelled_watch_gives_no_verdict() {
    let mut case = Case::new(up_again(9999), vec![metric("up == 1", 3)]);
    case.cancel_at = Some(1080);
    assert!(matches!(case.run(), Err(VerifyError::Cancelled { .. })));
}

#[test]
fn public_types_cross_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<SequentialWatch>();
    check::<WatchConfig>();
    check::<HarmWatch>();
    check::<Evaluator>();
    check::<Judgment>();
}

#[tokio::test]
async fn it_keeps_what_every_verifier_must_keep() {
    use homeostasis_core::record::Plan;
    use homeostasis_core::testing::{analyzer::incident_of, verifier};
    use homeostasis_core::{IncidentId, PlanId, Timestamp};

    let target: Target = "orders".parse().unwrap();
    let subject = Subject::Health("http".to_owned());
    let at = Timestamp::from_secs(1_000);
    let anomaly = Anomaly::new("health", target.clone(), subject, at).saying("it is down");
    let incident = incident_of(&[anomaly]);
    let id = PlanId::from_u128(1);
    let mut plan = Plan::new(
        id,
        IncidentId::from_u128(2),
        "playbooks",
        "restart",
        target.clone(),
    );
    let watch = SequentialWatch::new(WatchConfig::default()).unwrap();
    verifier::conformance(&watch, &incident, &plan).await;
    plan.verification.criteria.push(Criterion::Metric {
        condition: Condition::parse("up == 1").unwrap(),
        target,
        window: Duration::from_secs(10),
        consecutive: 3,
    });
    verifier::conformance(&watch, &incident, &plan).await;
}
