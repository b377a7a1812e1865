use std::sync::Arc;

use homeostasis_core::record::{Category, Proof, Role, Subject};
use homeostasis_core::signal::SpanRecord;
use homeostasis_core::testing::RecordedObservations;
use homeostasis_core::testing::analyzer::{incident_of, topology_of};
use homeostasis_core::{ManualClock, Timestamp, Topology};
use proptest::prelude::*;

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn found(who: &str, cause: &str, nats: f64, onset: Option<i64>) -> Finding {
    let (target, category) = (who.parse().unwrap(), Category::ApplicationError);
    let mut finding = Finding::new("test", target, cause, category, Role::Cause, nats)
        .proven_by(Proof {
            kind: "series".to_owned(),
            reference: format!("{cause}{{service={who}}}"),
            at: None,
            statement: format!("{cause} was measured of {who}"),
        })
        .saying(format!("{cause} at {who}"));
    finding.onset = onset.map(at);
    finding
}

fn raised(who: &str, since: i64) -> Anomaly {
    let subject = Subject::Condition(format!("{who} is fast"));
    let mut anomaly =
        Anomaly::new("watch", who.parse().unwrap(), subject, at(900)).saying("it is slow");
    anomaly.since = at(since);
    anomaly
}

fn root(finding: &Finding) -> Hypothesis {
    Hypothesis {
        target: finding.target.clone(),
        cause: finding.cause.clone(),
        category: finding.category,
        confidence: Confidence::saturating(0.9),
        evidence: vec![finding.clone()],
        explanation: finding.explanation.clone(),
    }
}

/// The chain of the first of `findings`.
fn chain_in(
    topology: Topology,
    observations: RecordedObservations,
    findings: &[Finding],
    anomalies: &[Anomaly],
) -> CausalChain {
    let cx = Context::new(Arc::new(ManualClock::new(at(900))), 1)
        .observing(Arc::new(observations))
        .in_topology(Arc::new(topology));
    let incident = incident_of(anomalies);
    let evidence = Evidence::new(&incident, at(0), at(900));
    let chain = ChainBuilder::default()
        .build(&cx, &evidence, findings, &root(&findings[0]))
        .unwrap();
    assert_eq!(chain.violation(), None, "{chain}");
    chain
}

fn chain(calls: &[(&str, &[&str])], findings: &[Finding], anomalies: &[Anomaly]) -> CausalChain {
    let nothing = RecordedObservations::new();
    chain_in(topology_of(calls), nothing, findings, anomalies)
}

/// Place and service of each step, and why it is broken.
fn told(chain: &CausalChain) -> String {
    let steps = chain.steps.iter().map(|step| {
        let through = step.through.iter().map(|it| format!("({it})"));
        let through = through.collect::<Vec<_>>().concat();
        format!("{}{through} {}", step.place, step.target)
    });
    let mut told = steps.collect::<Vec<_>>().join(" > ");
    if let Some(why) = &chain.broken {
        told = format!("{told} | {why}");
    }
    told
}

const SHOP: &[(&str, &[&str])] = &[
    ("gateway", &["orders"]),
    ("orders", &["stock"]),
    ("stock", &["db"]),
];

#[test]
fn a_chain_leads_from_the_cause_over_symptoms_and_callers_to_the_objective() {
    let findings = [
        found("db/1", "disk_full", 6.0, Some(100)),
        found("db", "slow_response", 4.0, Some(400)),
        found("stock", "slow_response", 4.0, Some(410)),
        found("orders", "error_rate", 4.0, Some(430)),
        found("gateway", "error_rate", 4.0, Some(440)),
    ];
    let chain = chain(SHOP, &findings, &[raised("gateway", 445)]);
    assert_eq!(
        told(&chain),
        "cause db/1 > symptom db > caller stock > caller orders > objective gateway"
    );
    let text = chain.to_string();
    for cited in [
        "1. cause: db/1 at 1970-01-01T00:01:40Z: disk_full: disk_full at db/1 (90.0 %)\n   \
         - series disk_full{service=db/1}: disk_full was measured of db/1",
        "- series error_rate{service=orders}: error_rate was measured of orders",
        "- anomaly gateway is fast: watch found it: it is slow",
        "- series error_rate{service=gateway}",
    ] {
        assert!(text.contains(cited), "{cited} in {text}");
    }
}

#[test]
fn what_raised_the_incident_in_the_causes_own_service_ends_the_chain() {
    let findings = [
        found("db", "process_down", 6.0, Some(100)),
        found("db", "connection_refused", 3.0, Some(101)),
    ];
    let own = chain(&[], &findings, &[raised("db", 105)]);
    assert_eq!(told(&own), "cause db > symptom db > objective db");
    let alone = chain(&[], &findings[..1], &[raised("db", 105)]);
    assert_eq!(told(&alone), "cause db > objective db");
}

#[test]
fn a_service_that_nothing_is_known_of_is_passed_and_named() {
    let findings = [found("db", "process_down", 6.0, Some(100))];
    let chain = chain(SHOP, &findings, &[raised("orders", 110)]);
    assert_eq!(told(&chain), "cause db > objective(stock) orders");
    assert!((chain.steps[1].probability.get() - 0.9).abs() < 1e-9);
}

#[test]
fn calls_that_spans_show_lead_where_none_are_declared() {
    let mut observations = RecordedObservations::new();
    for trace in 0..8 {
        for (id, parent, who) in [(1, 0, "gateway"), (2, 1, "orders")] {
            let second = Duration::from_secs(1);
            let mut span = SpanRecord::new(at(50 + trace), second, "work");
            span.target = Some(who.parse().unwrap());
            (span.trace, span.span, span.parent) = (Some(trace.to_string()), id, parent);
            observations = observations.with_span(span);
        }
    }
    let findings = [found("orders", "process_down", 6.0, Some(100))];
    let anomalies = [raised("gateway", 110)];
    let inferred = chain_in(
        Topology::default(),
        observations.clone(),
        &findings,
        &anomalies,
    );
    assert_eq!(told(&inferred), "cause orders > objective gateway");
    let seen = inferred.steps[1].probability.get();
    assert!((seen - 0.9).abs() < 1e-9, "8 calls count 9/10: {seen}");
    // What a service declares wins: the gateway does not call orders.
    let declared = topology_of(&[("gateway", &["stock"])]);
    let other = chain_in(declared, observations, &findings, &anomalies);
    assert_eq!(
        told(&other),
        "cause orders | no 5 or fewer calls are known that lead from gateway to orders"
    );
}

#[test]
fn a_link_outside_of_the_window_or_too_unsure_breaks_the_chain_and_says_where() {
    let of = |orders: Finding| {
        let cause = found("stock", "process_down", 6.0, Some(100));
        told(&chain(SHOP, &[cause, orders], &[raised("gateway", 400)]))
    };
    let late = of(found("orders", "error_rate", 4.0, Some(390)));
    assert!(
        late.starts_with("cause stock | that stock (at 1970-01-01T00:01:40Z) led to orders (at ")
            && late.ends_with("has a probability of 20 %, expected at least 70 %"),
        "{late}"
    );
    let early = of(found("orders", "error_rate", 4.0, Some(10)));
    assert!(early.contains("probability of 0 %"), "{early}");
    let unsure = of(found("orders", "error_rate", 1.0, Some(110)));
    assert!(unsure.contains("probability of 63 %"), "{unsure}");
    // The first link holds, the second does not.
    let half = of(found("orders", "error_rate", 4.0, Some(110)));
    assert!(half.starts_with("cause stock > caller orders | "), "{half}");
}

#[test]
fn an_effect_on_the_causes_own_service_that_came_later_is_left_out() {
    let findings = [
        found("orders", "process_down", 6.0, Some(100)),
        found("orders", "error_rate", 5.0, Some(150)),
    ];
    let up = chain(SHOP, &findings, &[raised("gateway", 105)]);
    assert_eq!(told(&up), "cause orders > objective gateway");
    let own = chain(SHOP, &findings, &[raised("orders", 105)]);
    assert_eq!(told(&own), "cause orders > objective orders");
    let in_order = chain(SHOP, &findings, &[raised("gateway", 155)]);
    assert_eq!(
        told(&in_order),
        "cause orders > symptom orders > objective gateway"
    );
}

#[test]
fn what_was_changed_works_when_it_is_used() {
    for cause in ["bad_deploy", "configuration_error"] {
        let findings = [
            found("orders", cause, 6.0, Some(100)),
            found("orders", "error_rate", 5.0, Some(400)),
        ];
        let late = chain(SHOP, &findings, &[raised("gateway", 405)]);
        assert_eq!(
            told(&late),
            "cause orders > symptom orders > objective gateway"
        );
    }
}

#[test]
fn of_ways_over_services_that_say_nothing_the_most_probable_is_taken() {
    let mut observations = RecordedObservations::new();
    for trace in 0..2 {
        for (id, parent, who) in [(1, 0, "gateway"), (2, 1, "aaa"), (3, 2, "orders")] {
            let mut span = SpanRecord::new(at(50 + trace), Duration::from_secs(1), "work");
            span.target = Some(who.parse().unwrap());
            (span.trace, span.span, span.parent) = (Some(trace.to_string()), id, parent);
            observations = observations.with_span(span);
        }
    }
    let topology = topology_of(&[("gateway", &["aaa", "router"]), ("router", &["orders"])]);
    let findings = [found("orders", "process_down", 6.0, Some(100))];
    let chain = chain_in(topology, observations, &findings, &[raised("gateway", 110)]);
    assert_eq!(told(&chain), "cause orders > objective(router) gateway");
    assert!((chain.steps[1].probability.get() - SILENT_ONCE).abs() < 1e-9);
}

/// One service passed of which nothing is known.
const SILENT_ONCE: f64 = 0.9;

#[test]
fn a_missing_onset_counts_less_and_is_not_made_up() {
    let findings = [found("orders", "process_down", 6.0, None)];
    let chain = chain(SHOP, &findings, &[raised("gateway", 110)]);
    assert_eq!(told(&chain), "cause orders > objective gateway");
    assert_eq!(chain.steps[0].at, None);
    assert!((chain.steps[1].probability.get() - UNKNOWN_ORDER).abs() < 1e-9);
}

#[test]
fn in_a_circle_time_decides_or_nobody() {
    let circle: &[(&str, &[&str])] = &[("a", &["b"]), ("b", &["c"]), ("c", &["a"])];
    let of = |onset, since| {
        let findings = [found("a", "process_down", 6.0, onset)];
        told(&chain(circle, &findings, &[raised("c", since)]))
    };
    assert_eq!(of(Some(100), 110), "cause a > objective c");
    assert!(of(Some(100), 100).contains("probability of 50 %"));
    assert!(of(None, 100).contains("probability of 40 %"));
}

#[test]
fn nobody_who_is_too_far_away_is_reached() {
    let names: Vec<String> = (0..9).map(|n| format!("s{n}")).collect();
    let mut topology = Topology::default();
    for pair in names.windows(2) {
        let facts = homeostasis_core::ServiceFacts {
            depends_on: [pair[1].clone()].into(),
            ..Default::default()
        };
        topology.insert(&pair[0], facts);
    }
    let mut findings = vec![found("s8", "process_down", 6.0, Some(100))];
    findings.extend((3..8).map(|n| found(&format!("s{n}"), "error_rate", 5.0, Some(105))));
    let of = |who| {
        let nothing = RecordedObservations::new();
        chain_in(topology.clone(), nothing, &findings, &[raised(who, 106)])
    };
    assert_eq!(of("s3").steps.len(), 6);
    assert_eq!(
        of("s2").broken.unwrap(),
        "no 5 or fewer calls are known that lead from s2 to s8"
    );
}

#[test]
fn without_proof_or_incident_there_is_no_chain_and_bad_values_are_named() {
    let mut bare = root(&found("db", "process_down", 6.0, None));
    bare.evidence.clear();
    let incident = incident_of(&[raised("db", 10)]);
    let evidence = Evidence::new(&incident, at(0), at(900));
    let cx = Context::new(Arc::new(ManualClock::new(at(900))), 1);
    let built = ChainBuilder::default().build(&cx, &evidence, &[], &bare);
    assert_eq!(built, None);
    let config = ChainConfig {
        window: Duration::ZERO,
        tolerance: Duration::MAX,
        depth: 0,
        threshold: f64::NAN,
    };
    let error = ChainBuilder::new(config).unwrap_err().to_string();
    for named in ["window", "tolerance", "depth", "threshold"] {
        assert!(error.contains(named), "{named} in {error}");
    }
    let config: ChainConfig = serde_json::from_str(r#"{"window": 30}"#).unwrap();
    assert_eq!(config.window, Duration::from_secs(30));
    assert!(serde_json::from_str::<ChainConfig>(r#"{"window": -1}"#).is_err());
    assert!(serde_json::from_str::<ChainConfig>(r#"{"depht": 1}"#).is_err());
}

fn findings() -> impl Strategy<Value = Vec<Finding>> {
    let causes = ["process_down", "memory_leak", "slow_response", "error_rate"];
    let one = (
        0..6_u8,
        0..4_usize,
        -3.0..9.0_f64,
        prop::option::of(0..900_i64),
    );
    let one = one.prop_map(move |(who, cause, nats, onset)| {
        found(&format!("s{who}"), causes[cause], nats, onset)
    });
    prop::collection::vec(one, 1..20)
}

proptest! {
    /// Whatever the evidence and the calls, circles among them.
    #[test]
    fn every_chain_keeps_its_rules_and_no_order_matters(
        mut findings in findings(),
        calls in prop::collection::vec((0..6_u8, 0..6_u8), 0..20),
        since in 0..900_i64,
    ) {
        findings[0].log_likelihood_ratio = 3.0;
        let mut topology = Topology::default();
        for (caller, callee) in calls {
            let name = format!("s{caller}");
            let mut facts = topology.service(&name).cloned().unwrap_or_default();
            facts.depends_on.insert(format!("s{callee}"));
            topology.insert(name, facts);
        }
        let nothing = RecordedObservations::new();
        let anomalies = [raised("s5", since)];
        let drawn = chain_in(topology.clone(), nothing.clone(), &findings, &anomalies);
        for step in &drawn.steps[1..] {
            prop_assert!(step.probability.get() >= 0.7, "{}", drawn);
        }
        let mut services: Vec<_> = drawn.steps.iter().map(|it| it.target.service_name()).collect();
        services.dedup();
        let n = services.len();
        services.sort_unstable();
        services.dedup();
        prop_assert_eq!(n, services.len(), "nobody is passed twice: {}", drawn);
        findings[1..].reverse();
        prop_assert_eq!(drawn, chain_in(topology, nothing, &findings, &anomalies));
    }
}
