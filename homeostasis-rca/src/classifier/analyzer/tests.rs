use std::sync::Arc;

use homeostasis_core::record::{Anomaly, Subject};
use homeostasis_core::signal::{CauseRelation, ErrorEvent};
use homeostasis_core::stage::Fuser as _;
use homeostasis_core::testing::RecordedObservations;
use homeostasis_core::testing::analyzer::{incident_of, topology_of};
use homeostasis_core::{Digest, ManualClock};

use super::*;
use crate::{ErrorClassifier, HybridConfig, LogOddsFuser, RuleAnalyzer, RuleSet};

const RULES: &str = "
rules:
- id: sure
  title: A voucher is past its time.
  pattern: voucher has expired
  cause: malformed_data
  category: data_validation
  confidence: 0.95
  examples: [the voucher has expired]
- id: unsure
  title: A voucher is odd.
  pattern: voucher is odd
  cause: odd_voucher
  category: data_validation
  confidence: 0.6
  examples: [the voucher is odd]
- id: wrong
  title: Something is in a bad state.
  pattern: bad state
  cause: bad_state
  category: application_error
  confidence: 0.6
  fallback: true
  examples: [bad state]
";

const MODEL: &str = r#"{"format":1,"features":1,"classes":["data_validation","network","unknown"],"threshold":0.7,"temperature":1.0,"training":"DIGEST","evaluation":{"rows":100,"accuracy":0.9,"macro_f1":0.9,"categories":[],"reliability":[{"from":0.9,"answers":98,"confidence":0.95,"precision":PRECISION}]},"intercepts":[0.0,0.0,0.0],"weights":{"word:voucher":[6.0,-6.0,0.0],"word:peer":[-6.0,6.0,0.0],"word:perhaps":[0.2,0.0,0.0],"word:whatever":[0.0,0.0,6.0]}}"#;

fn analyzer_of(precision: &str) -> ClassifierAnalyzer {
    let digest = Digest::of_bytes(b"").to_string();
    let model = MODEL
        .replace("DIGEST", &digest)
        .replace("PRECISION", precision);
    let model = ErrorClassifier::read("m.json", &model).unwrap();
    let rules = RuleSet::parse("r.yaml", RULES).unwrap();
    ClassifierAnalyzer::new(HybridClassifier::new(rules, model, HybridConfig::default()).unwrap())
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn error(of: &str, secs: i64, line: &str) -> LogRecord {
    LogRecord::new(at(secs), Level::Error, line).of(of.parse().unwrap())
}

struct World {
    cx: Context,
    incident: homeostasis_core::Incident,
}

impl World {
    fn of(records: impl IntoIterator<Item = LogRecord>) -> Self {
        let world = records
            .into_iter()
            .fold(RecordedObservations::new(), RecordedObservations::with_log);
        let topology = topology_of(&[("gateway", &["orders"]), ("orders", &["db"])]);
        let cx = Context::new(Arc::new(ManualClock::new(at(320))), 1)
            .observing(Arc::new(world))
            .in_topology(Arc::new(topology));
        let subject = Subject::Condition("x".to_owned());
        let orders = Target::service("orders").unwrap();
        let incident = incident_of(&[Anomaly::new("d", orders, subject, at(300)).saying("x")]);
        Self { cx, incident }
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence::new(&self.incident, at(0), at(320))
    }

    async fn findings(&self, analyzer: &dyn Analyzer) -> Vec<Finding> {
        let found = analyzer.analyze(&self.cx, &self.evidence()).await.unwrap();
        assert!(found.iter().all(|finding| finding.violation().is_none()));
        found
    }
}

async fn found(records: impl IntoIterator<Item = LogRecord>) -> Vec<Finding> {
    World::of(records).findings(&analyzer_of("0.99")).await
}

#[tokio::test]
async fn what_no_rule_explains_is_told_with_its_line_and_what_spoke() {
    let text = "the order is not taken\nthe voucher is torn";
    let found = found([error("orders", 302, text)]).await;
    let [one] = &found[..] else {
        panic!("{found:#?}");
    };
    assert_eq!(
        (&*one.target.to_string(), &*one.cause),
        ("orders", "data_validation")
    );
    assert_eq!(
        (one.role, one.category),
        (Role::Cause, Category::DataValidation)
    );
    assert_eq!(one.onset, Some(at(302)));
    // 1.5 errors in 35 seconds against half of one in 285: ln 24, more than it may count.
    assert_eq!(one.log_likelihood_ratio, MAX_NATS);
    let proofs: Vec<_> = one
        .proofs
        .iter()
        .map(|p| (&*p.kind, &*p.reference, &*p.statement))
        .collect();
    let expected = [
        ("log", "error of orders", "the voucher is torn"),
        (
            "feature",
            "word:voucher",
            "adds 6.00 to the logit of data validation",
        ),
    ];
    assert_eq!(proofs, expected);
}

#[tokio::test]
async fn what_the_classifier_is_not_sure_of_is_not_told() {
    for line in ["perhaps", "whatever", "zzz", "voucher peer"] {
        assert_eq!(found([error("orders", 302, line)]).await, [], "{line}");
    }
    let quiet = LogRecord::new(at(302), Level::Info, "the voucher is torn")
        .of(Target::service("orders").unwrap());
    assert_eq!(found([quiet]).await, []);
}

#[tokio::test]
async fn an_error_counts_as_much_as_the_classifier_was_right_and_lines_came_more_often() {
    let nats = async |precision: &str, records: Vec<LogRecord>| {
        let found = World::of(records).findings(&analyzer_of(precision)).await;
        found.first().map(|finding| finding.log_likelihood_ratio)
    };
    let fresh = || vec![error("orders", 302, "the voucher is torn")];
    // 73.5 of 98 right: 74.5 to 25.5 with one more of both.
    let expected = (74.5_f64 / 25.5).ln();
    let measured = nats("0.75", fresh()).await.unwrap();
    assert!((measured - expected).abs() < 1e-9, "{measured}");
    assert_eq!(nats("0.5", fresh()).await, None);
    // Odds of a negative number are none.
    assert_eq!(nats("99.0", fresh()).await, None);
    let always = (0..32).map(|n| error("orders", n * 10, "the voucher is torn"));
    assert!(nats("0.99", always.collect()).await.unwrap_or_default() < 0.2);
}

#[tokio::test]
async fn a_model_that_nobody_evaluated_says_nothing() {
    let mut analyzer = analyzer_of("0.99");
    let bare = MODEL.replace("DIGEST", &Digest::of_bytes(b"").to_string());
    let bare = bare.replace(
        r#"{"from":0.9,"answers":98,"confidence":0.95,"precision":PRECISION}"#,
        "",
    );
    let bare = ErrorClassifier::read("m.json", &bare).unwrap();
    let rules = analyzer.hybrid.rules().clone();
    analyzer.hybrid = HybridClassifier::new(rules, bare, HybridConfig::default()).unwrap();
    let world = World::of([error("orders", 302, "the voucher is torn")]);
    assert_eq!(world.findings(&analyzer).await, []);
}

#[tokio::test]
async fn what_a_rule_is_sure_of_is_left_to_it() {
    assert_eq!(
        found([error("orders", 302, "the voucher has expired")]).await,
        []
    );
}

#[tokio::test]
async fn an_unsure_rule_lends_its_cause_and_the_line_is_one_fact() {
    let world = World::of([error("orders", 302, "the voucher is odd")]);
    let analyzer = analyzer_of("0.99");
    let ours = world.findings(&analyzer).await;
    let rules = RuleAnalyzer::new(analyzer.hybrid().rules().clone());
    let theirs = world.findings(&rules).await;
    assert_eq!((ours.len(), theirs.len()), (1, 1));
    assert_eq!(ours[0].cause, theirs[0].cause);
    assert_eq!(ours[0].proofs[0], theirs[0].proofs[0]);
}

#[tokio::test]
async fn a_rule_of_another_category_lends_nothing() {
    let found = found([error("orders", 302, "bad state: voucher")]).await;
    let causes: Vec<_> = found
        .iter()
        .map(|f| (&*f.cause, &*f.proofs[0].reference))
        .collect();
    assert_eq!(causes, [("data_validation", "error of orders")]);
}

#[tokio::test]
async fn an_error_of_the_network_accuses_the_callee_it_names_and_else_nobody() {
    let accused = async |line: &str| {
        let found = found([error("orders", 302, line)]).await;
        found
            .first()
            .map(|finding| (finding.target.to_string(), finding.role))
    };
    let by = |name: &str, role| Some((name.to_owned(), role));
    assert_eq!(accused("the peer db is odd").await, by("db", Role::Cause));
    assert_eq!(
        accused("the peer is odd").await,
        by("orders", Role::Symptom)
    );
}

#[tokio::test]
async fn alone_it_never_passes_the_fuser() {
    // Many errors of many instances, and callers that all accuse the same.
    let instances = (0..40).map(|n| error(&format!("orders/{n}"), 302, "the voucher is torn"));
    let callers = ["gateway", "orders"].map(|of| error(of, 303, "the peers orders and db: peer"));
    let world = World::of(instances.chain(callers));
    let findings = world.findings(&analyzer_of("0.99")).await;
    assert!(findings.len() >= 2, "{findings:#?}");
    let diagnosis = LogOddsFuser::default().fuse(&world.cx, &world.evidence(), findings);
    assert!(diagnosis.abstained.is_some(), "{diagnosis:#?}");
    let top = diagnosis.hypotheses[0].confidence.get();
    assert!((0.3..0.5).contains(&top), "{top}");
}

#[tokio::test]
async fn nothing_gigantic_things_and_hostile_ones_cost_little_and_break_nothing() {
    assert_eq!(found([]).await, []);
    let flood = (0..20_000).map(|n| error("orders", 301 + n % 19, "the voucher is torn"));
    let found_in_flood = found(flood).await;
    assert_eq!(found_in_flood.len(), 1);
    // What was thinned out is counted.
    let said = &found_in_flood[0].explanation;
    assert!(said.contains("logged 20000 times"), "{said}");
    let long = format!("voucher {}\n", "voucher \u{0}\u{202e}{}%s".repeat(50_000)).repeat(3);
    let mut nested = ErrorEvent::new("", "voucher", "v".repeat(1 << 20));
    for _ in 0..100 {
        let cause = std::mem::replace(&mut nested, ErrorEvent::new("", "voucher", ""));
        nested = nested.because(CauseRelation::default(), cause);
    }
    let mut with_error = error("orders", 305, "\n\n\n");
    with_error.error = Some(Box::new(nested));
    let mut heavy = error("orders", 305, "voucher");
    heavy.weight = u32::MAX;
    let records = || {
        [
            error("orders", 303, &long),
            with_error.clone(),
            heavy.clone(),
        ]
    };
    let first = found(records()).await;
    assert_eq!(first.len(), 1);
    let mut backwards = records();
    backwards.reverse();
    assert_eq!(found(backwards).await, first);
}
