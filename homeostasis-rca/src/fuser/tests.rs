use std::sync::Arc;

use homeostasis_core::record::{Anomaly, Proof, Subject};
use homeostasis_core::testing::analyzer::{incident_of, topology_of};
use homeostasis_core::{ManualClock, Topology};
use proptest::prelude::*;

use super::*;

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn finding(analyzer: &str, who: &str, cause: &str, nats: f64) -> Finding {
    let category = Category::ApplicationError;
    let proof = Proof {
        kind: "test".to_owned(),
        reference: format!("what {analyzer} saw"),
        at: None,
        statement: "it is so".to_owned(),
    };
    Finding::new(analyzer, target(who), cause, category, Role::Cause, nats)
        .proven_by(proof)
        .saying(format!("{who} has {cause}"))
}

fn context_of(who: &str, cause: &str, nats: f64) -> Finding {
    let mut made = finding("change", who, cause, nats);
    made.role = Role::Context;
    made
}

fn fuse_in(topology: Topology, config: LogOddsConfig, findings: Vec<Finding>) -> Diagnosis {
    let cx = Context::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 1)
        .in_topology(Arc::new(topology));
    let subject = Subject::Condition("x".to_owned());
    let anomaly = Anomaly::new("d", target("a"), subject, Timestamp::EPOCH).saying("x");
    let incident = incident_of(&[anomaly]);
    let evidence = Evidence::new(&incident, Timestamp::EPOCH, Timestamp::EPOCH);
    let fuser = LogOddsFuser::new(config).unwrap();
    fuser.fuse(&cx, &evidence, findings)
}

fn fuse(findings: Vec<Finding>) -> Diagnosis {
    let topology = topology_of(&[("a", &["b"]), ("b", &["c"])]);
    fuse_in(topology, LogOddsConfig::default(), findings)
}

fn confidence(diagnosis: &Diagnosis, who: &str) -> f64 {
    let found = diagnosis
        .hypotheses
        .iter()
        .find(|h| h.target == target(who));
    found.map_or(0.0, |h| h.confidence.get())
}

#[test]
fn one_finding_gives_the_posterior_of_its_odds() {
    // Log odds -2 + 3 = 1: e / (1 + e).
    let diagnosis = fuse(vec![finding("x", "c", "leak", 3.0)]);
    assert!((confidence(&diagnosis, "c") - 0.731_058_578_63).abs() < 1e-9);
    assert_eq!(diagnosis.root_cause().unwrap().cause, "leak");
}

#[test]
fn findings_of_one_analyzer_count_less_than_those_of_two() {
    let twice = |second: &str, reference: &str| {
        let mut second = finding(second, "c", "leak", 1.5);
        second.proofs[0].reference = reference.to_owned();
        let first = finding("x", "c", "leak", 1.5);
        confidence(&fuse(vec![first, second]), "c")
    };
    let alone = finding("x", "c", "leak", 1.5);
    let fact = alone.proofs[0].reference.clone();
    let alone = confidence(&fuse(vec![alone]), "c");
    assert!(twice("x", "another") < twice("y", "another"));
    assert!(twice("x", "another") > alone);
    // Who has no other fact has nothing to add.
    assert_eq!((twice("x", &fact), twice("y", &fact)), (alone, alone));
}

#[test]
fn context_multiplies_and_is_nothing_alone() {
    let alone = fuse(vec![context_of("c", "bad_deploy", 5.0)]);
    assert!(alone.hypotheses.is_empty() && alone.abstained.is_some());
    let harm = || finding("x", "c", "bad_deploy", 2.0);
    let with = fuse(vec![harm(), context_of("c", "bad_deploy", 1.0)]);
    // Log odds -2 + 2 + 1 against -2 + 2.
    assert!((confidence(&with, "c") - 0.731_058_578_63).abs() < 1e-9);
    assert!((confidence(&fuse(vec![harm()]), "c") - 0.5).abs() < 1e-9);
    let elsewhere = fuse(vec![harm(), context_of("b", "bad_deploy", 1.0)]);
    assert!((confidence(&elsewhere, "c") - 0.5).abs() < 1e-9);
}

#[test]
fn two_close_rivals_are_left_to_people_even_when_both_are_likely_enough() {
    let config = LogOddsConfig {
        threshold: 0.1,
        ..LogOddsConfig::default()
    };
    let diagnose = |nats| {
        let findings = vec![
            finding("x", "b", "leak", 4.0),
            finding("x", "c", "leak", nats),
        ];
        fuse_in(Topology::default(), config.clone(), findings)
    };
    let close = diagnose(4.3);
    assert!(close.abstained.unwrap().contains("too close"));
    assert!(diagnose(5.0).root_cause().is_some());
}

#[test]
fn a_circle_of_calls_explains_nothing() {
    let circle = topology_of(&[("a", &["b"]), ("b", &["a"])]);
    assert_eq!(blamed_of(circle, 5.0), "a");
    assert_eq!(blamed_of(topology_of(&[("a", &["b"])]), 5.0), "b");
}

#[test]
fn a_callee_that_stumbles_does_not_explain_a_caller_that_falls() {
    assert_eq!(blamed_of(topology_of(&[("a", &["b"])]), 2.5), "a");
}

/// Who is blamed if the caller `a` fails with 6 nats and `b` with `nats`.
fn blamed_of(topology: Topology, nats: f64) -> String {
    let findings = vec![
        finding("x", "a", "error_rate", 6.0),
        finding("x", "b", "error_rate", nats),
    ];
    let diagnosis = fuse_in(topology, LogOddsConfig::default(), findings);
    diagnosis.hypotheses[0].target.to_string()
}

#[test]
fn one_instance_is_named_and_several_are_the_service() {
    let who = |instances: &[&str]| {
        let findings = instances
            .iter()
            .map(|instance| finding("x", instance, "process_down", 6.0));
        let service = finding("y", "c", "process_down", 2.0);
        let diagnosis = fuse(findings.chain([service]).collect());
        diagnosis.hypotheses[0].target.to_string()
    };
    assert_eq!(who(&["c/0"]), "c/0");
    assert_eq!(who(&["c/0", "c/1"]), "c");
    assert_eq!(who(&[]), "c");
}

#[test]
fn findings_that_break_the_contract_are_ignored() {
    let mut unproven = finding("x", "c", "leak", 9.0);
    unproven.proofs.clear();
    let diagnosis = fuse(vec![unproven, finding("x", "c", "leak", f64::NAN)]);
    assert_eq!(
        diagnosis.abstained.as_deref(),
        Some("no analyzer found a cause")
    );
}

#[test]
fn a_configuration_out_of_range_names_every_value() {
    let config = LogOddsConfig {
        prior: 1.0,
        damping: f64::NAN,
        priors: BTreeMap::from([("leak".to_owned(), -11.0)]),
        ..LogOddsConfig::default()
    };
    let error = LogOddsFuser::new(config).unwrap_err().to_string();
    assert_eq!(
        error,
        "prior = 1, expected -10 <= value <= 0\n\
         priors.leak = -11, expected -10 <= value <= 0\n\
         damping = NaN, expected 0 <= value <= 1"
    );
}

#[test]
fn analyzers_that_rest_on_one_series_do_not_count_it_twice() {
    let of = |analyzer: &str, reference: &str| {
        let mut made = finding(analyzer, "a", "slow_response", 3.0);
        made.proofs[0].kind = "series".to_owned();
        made.proofs[0].reference = reference.to_owned();
        made
    };
    let sure = |second| {
        let first = of("saturation", "latency{service=\"a\"}");
        confidence_of(&fuse(vec![first, second]), "slow_response")
    };
    let other = sure(of("fusion", "queue{service=\"a\"}"));
    let same = sure(of("fusion", "latency{instance=\"a/1\"}"));
    let damped = sure(of("saturation", "queue{service=\"a\"}"));
    assert!(same < damped && damped < other, "{same} {damped} {other}");
    let first = of("saturation", "latency{service=\"a\"}");
    assert_eq!(same, confidence_of(&fuse(vec![first]), "slow_response"));
    let mut alarm = of("fusion", "a/latency");
    alarm.proofs[0].kind = "alarm".to_owned();
    assert_eq!(sure(alarm), same);
    // Over a third one that rests on both, all are one family.
    let mut three = vec![
        of("saturation", "latency"),
        of("trend", "queue"),
        of("fusion", "latency"),
    ];
    let apart = confidence_of(&fuse(three[..2].to_vec()), "slow_response");
    let shared = three[1].proofs[0].clone();
    three[2].proofs.push(shared);
    three[2].log_likelihood_ratio = 0.0;
    let joined = confidence_of(&fuse(three), "slow_response");
    assert!(joined < apart, "{joined} {apart}");
}

fn any_finding() -> impl Strategy<Value = Finding> {
    let who = prop::sample::select(vec!["a", "b", "b/0", "b/1", "c"]);
    let cause = prop::sample::select(vec![
        "process_down",
        "error_rate",
        "bad_deploy",
        "memory_leak",
    ]);
    let role = prop::sample::select(vec![Role::Cause, Role::Context, Role::Symptom]);
    let analyzer = prop::sample::select(vec!["x", "y"]);
    let nats = prop_oneof![-9.0..9.0f64, Just(f64::MAX), Just(-1e300), Just(f64::NAN)];
    (
        analyzer,
        who,
        cause,
        role,
        nats,
        prop::option::of(0..90_i64),
    )
        .prop_map(|(analyzer, who, cause, role, nats, onset)| {
            let mut made = finding(analyzer, who, cause, nats);
            made.role = role;
            made.onset = onset.map(Timestamp::from_secs);
            made
        })
}

proptest! {
    #[test]
    fn the_order_of_findings_does_not_matter_and_numbers_stay_sane(
        findings in prop::collection::vec(any_finding(), 0..24),
        turn in 0..24_usize,
    ) {
        let mut turned = findings.clone();
        turned.reverse();
        if !turned.is_empty() {
            let by = turn % turned.len();
            turned.rotate_left(by);
        }
        let (a, b) = (fuse(findings), fuse(turned));
        prop_assert_eq!(&a, &b);
        prop_assert!(a.root_cause().is_some() || a.abstained.is_some());
        let sure: Vec<f64> = a.hypotheses.iter().map(|h| h.confidence.get()).collect();
        prop_assert!(sure.windows(2).all(|pair| pair[0] >= pair[1]));
    }

    #[test]
    fn more_evidence_for_a_cause_never_lowers_its_confidence(
        findings in prop::collection::vec(any_finding(), 0..12),
        nats in 0.0..8.0f64,
    ) {
        let with = |nats| {
            let mut findings = findings.clone();
            findings.push(finding("z", "c", "disk_full", nats));
            confidence_of(&fuse(findings), "disk_full")
        };
        prop_assert!(with(nats) <= with(nats + 0.5) + 1e-12);
    }
}

fn confidence_of(diagnosis: &Diagnosis, cause: &str) -> f64 {
    let found = diagnosis.hypotheses.iter().find(|h| h.cause == cause);
    found.map_or(0.0, |h| h.confidence.get())
}
