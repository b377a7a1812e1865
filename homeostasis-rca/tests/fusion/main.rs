//! Evidence of made-up incidents: who is named, what does not matter, and what happens to nonsense.

mod shop;

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::record::{Anomaly, Role, Subject};
use homeostasis_core::signal::{Change, ChangeKind};
use homeostasis_core::stage::{Analyzer, Evidence};
use homeostasis_core::testing::RecordedObservations;
use homeostasis_core::testing::analyzer::{incident_of, topology_of};
use homeostasis_core::{Context, Incident, ManualClock, Target, Timestamp};
use homeostasis_rca::{
    Activity, Alarm, EdgeGaps, EvidenceBundle, EvidenceChange, EvidenceFusion, EvidenceSeries,
    Family, FusionAnalyzer, Memory, Ranking, SeriesKind, Worse,
};
use proptest::prelude::*;
use shop::{ONSET, Shop, at, noise};

fn first(ranking: &Ranking) -> &str {
    ranking
        .suspects
        .first()
        .map_or("", |it| it.service.as_str())
}

fn family(ranking: &Ranking) -> Option<Family> {
    Some(ranking.suspects.first()?.families.first()?.family)
}

#[test]
fn who_runs_out_of_processor_is_named_for_it() {
    let bundle = Shop::new().busy("orders").bundle();
    let ranking = EvidenceFusion.rank(&bundle);
    assert_eq!(
        (first(&ranking), family(&ranking)),
        ("orders", Some(Family::Resource))
    );
    assert_eq!(ranking.abstained, None);
    let said = ranking.suspects[0].to_string();
    assert!(
        said.contains("resource") && said.contains("cpu_usage"),
        "{said}"
    );
}

#[test]
fn whose_calls_lose_time_on_the_way_is_named_for_it() {
    let ranking = EvidenceFusion.rank(&Shop::new().delayed("orders").bundle());
    assert_eq!(
        (first(&ranking), family(&ranking)),
        ("orders", Some(Family::Network))
    );
}

#[test]
fn who_logs_something_new_is_named_and_not_its_caller() {
    let ranking = EvidenceFusion.rank(&Shop::new().odd("orders").odd("stock").bundle());
    assert_eq!(
        (first(&ranking), family(&ranking)),
        ("stock", Some(Family::Behavior))
    );
}

#[test]
fn what_varies_in_every_incident_counts_less() {
    let mut memory = Memory::default();
    for _ in 0..6 {
        let mut bundle = Shop::new().odd("web").bundle();
        bundle.memory = memory.clone();
        memory.remember(EvidenceFusion.rank(&bundle).past);
    }
    let mut bundle = Shop::new().odd("web").odd("stock").bundle();
    bundle.calls.clear();
    let novice = EvidenceFusion.rank(&bundle);
    bundle.memory = memory;
    let ranking = EvidenceFusion.rank(&bundle);
    let nats = |ranking: &Ranking| {
        let web = ranking.suspects.iter().find(|it| it.service == "web");
        web.map_or(0.0, |it| it.nats)
    };
    assert_eq!(first(&ranking), "stock");
    assert!(
        nats(&ranking) < nats(&novice) / 2.0,
        "{} {}",
        nats(&ranking),
        nats(&novice)
    );
}

#[test]
fn a_calm_system_accuses_nobody() {
    let ranking = EvidenceFusion.rank(&Shop::new().bundle());
    let reason = ranking.abstained.expect("an abstention");
    assert!(
        reason.contains("unusual") || reason.contains("too close"),
        "{reason}"
    );
}

#[test]
fn nothing_known_is_an_abstention_with_a_reason() {
    let ranking = EvidenceFusion.rank(&EvidenceBundle::new(at(0), at(60)));
    assert!(ranking.suspects.is_empty() && ranking.changes.is_empty());
    assert!(ranking.abstained.unwrap().contains("no service"));
}

#[test]
fn what_speaks_against_a_suspect_is_said() {
    let ranking = EvidenceFusion.rank(&Shop::new().busy("stock").odd("orders").bundle());
    let of = |service: &str| ranking.suspects.iter().find(|it| it.service == service);
    let against = &of("orders").expect("a suspect").against;
    assert_eq!(against.len(), 1, "{against:?}");
    assert!(
        against[0].starts_with("resource speaks for stock ("),
        "{against:?}"
    );
    let said = of("stock").expect("a suspect").to_string();
    assert!(
        said.contains("against it: behavior speaks for orders"),
        "{said}"
    );
}

#[test]
fn evidence_for_two_alike_is_too_close_to_name_one() {
    let ranking = EvidenceFusion.rank(&Shop::new().busy("stock").busy("orders").bundle());
    assert!(
        ranking.abstained.as_ref().unwrap().contains("too close"),
        "{ranking:?}"
    );
}

/// The latency of a chain of services that all got slow, alarmed at the first.
fn slow_chain(calls: &[(&str, &[&str])]) -> EvidenceBundle {
    let mut bundle = EvidenceBundle::new(at(ONSET), at(ONSET + 300));
    bundle.alarm = Some(Alarm {
        service: "web".to_owned(),
        metric: "latency".to_owned(),
        at: at(ONSET),
    });
    for (caller, callees) in calls {
        let callees = callees.iter().map(|callee| (*callee).to_owned());
        bundle.calls.insert((*caller).to_owned(), callees.collect());
        let late = [0.1, 0.1, 0.5, 0.9, 0.8, 0.9, 0.95];
        bundle.series.push(EvidenceSeries {
            service: (*caller).to_owned(),
            callee: None,
            metric: "latency".to_owned(),
            kind: SeriesKind::Latency,
            worse: Worse::Up,
            calm: (0..100).map(|i| 0.1 + 0.01 * noise(i)).collect(),
            points: (ONSET - 60..).step_by(60).map(at).zip(late).collect(),
        });
    }
    bundle
}

#[test]
fn the_walk_ends_at_the_deepest_ill_service() {
    let chain = slow_chain(&[("web", &["orders"]), ("orders", &["stock"]), ("stock", &[])]);
    assert_eq!(first(&EvidenceFusion.rank(&chain)), "stock");
}

/// The calls of a slow chain as spans show them.
fn traced(calls: &[(&str, &str)]) -> Activity {
    let edge = |(caller, callee): &(&str, &str)| EdgeGaps {
        caller: (*caller).to_owned(),
        callee: (*callee).to_owned(),
        n: 2,
        gaps: vec![100.0, 100.0],
    };
    Activity {
        from: at(ONSET + 60),
        to: at(ONSET + 120),
        edges: calls.iter().map(edge).collect(),
        ..Activity::default()
    }
}

#[test]
fn the_walk_follows_calls_that_spans_show_and_declared_ones_win() {
    let slow = slow_chain(&[("web", &["orders"]), ("orders", &["stock"]), ("stock", &[])]);
    let mut chain = slow.clone();
    chain.calls.clear();
    assert_eq!(
        first(&EvidenceFusion.rank(&chain)),
        "web",
        "who was alarmed"
    );
    chain.slices = vec![traced(&[("web", "orders"), ("orders", "stock")])];
    assert_eq!(first(&EvidenceFusion.rank(&chain)), "stock");
    assert_eq!(
        family(&EvidenceFusion.rank(&chain)),
        Some(Family::Propagation)
    );
    // Once is not enough.
    chain.slices[0].edges[1].n = 1;
    assert_eq!(first(&EvidenceFusion.rank(&chain)), "orders");
    // Who says whom it calls calls nobody else.
    let mut declared = slow;
    declared
        .calls
        .insert("orders".to_owned(), ["web".to_owned()].into());
    declared.slices = vec![traced(&[("orders", "stock")])];
    assert_eq!(first(&EvidenceFusion.rank(&declared)), "orders");
}

#[test]
fn of_two_series_of_one_metric_the_one_that_rose_most_counts() {
    let ill = slow_chain(&[("web", &["orders"]), ("orders", &["stock"]), ("stock", &[])]);
    for is_first in [false, true] {
        let mut chain = ill.clone();
        for series in &ill.series {
            let mut well = series.clone();
            for (_, value) in &mut well.points {
                *value = 0.1;
            }
            let place = if is_first { 0 } else { chain.series.len() };
            chain.series.insert(place, well);
        }
        assert_eq!(EvidenceFusion.rank(&chain), EvidenceFusion.rank(&ill));
    }
}

#[test]
fn who_is_known_only_from_its_callers_is_no_end() {
    let mut chain = slow_chain(&[("web", &["orders"]), ("orders", &["stock"]), ("stock", &[])]);
    chain.inferred.insert("stock".to_owned());
    let stock = chain.series.iter_mut().find(|it| it.service == "stock");
    for (_, value) in &mut stock.expect("a series").points {
        *value *= 1000.0;
    }
    assert_eq!(first(&EvidenceFusion.rank(&chain)), "orders");
}

#[test]
fn services_that_call_each_other_in_a_circle_come_to_an_end() {
    let circle = slow_chain(&[
        ("web", &["orders", "web"]),
        ("orders", &["stock"]),
        ("stock", &["orders"]),
    ]);
    let ranking = EvidenceFusion.rank(&circle);
    assert_eq!(ranking.suspects.len(), 3);
    assert!(ranking.suspects.iter().all(|it| it.nats.is_finite()));
}

#[test]
fn a_change_is_blamed_for_what_it_says_and_not_for_when_it_came() {
    let change = |id: &str, minutes: u64, diff: &str| EvidenceChange {
        id: id.to_owned(),
        at: at(ONSET) - Duration::from_secs(60 * minutes),
        service: "orders".to_owned(),
        summary: String::new(),
        files: vec!["orders.go".to_owned()],
        diff: diff.to_owned(),
    };
    let mut bundle = Shop::new().odd("orders").bundle();
    bundle.changes = vec![
        change(
            "guilty",
            90,
            "-\tif left == nil {\n-\t\treturn reserve(left)\n-\t}",
        ),
        change("moved", 5, "-\ta()\n-\tb()\n+\tb()\n+\ta()"),
        change("late", 0, "-\tx := limit(a)\n+\tx := a"),
    ];
    bundle.changes[2].at = at(ONSET) + Duration::from_secs(600);
    let ranking = EvidenceFusion.rank(&bundle);
    let ids: Vec<&str> = ranking.changes.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["guilty"], "{:?}", ranking.changes);
    bundle.changes.remove(0);
    assert!(
        EvidenceFusion.rank(&bundle).changes.is_empty(),
        "no change to blame"
    );
}

#[test]
fn a_saved_bundle_gives_the_same_diagnosis() {
    let mut memory = Memory::default();
    memory.remember(EvidenceFusion.rank(&Shop::new().odd("web").bundle()).past);
    let mut bundle = Shop::new()
        .busy("orders")
        .odd("stock")
        .delayed("web")
        .bundle();
    bundle.memory = memory;
    let saved = bundle.to_json().unwrap();
    let read = EvidenceBundle::from_json(&saved).unwrap();
    assert_eq!(read, bundle);
    assert_eq!(EvidenceFusion.rank(&read), EvidenceFusion.rank(&bundle));
    let other = saved.replacen("\"schema_version\":1", "\"schema_version\":9", 1);
    let error = EvidenceBundle::from_json(&other).unwrap_err().to_string();
    assert!(error.contains("schema_version = 9, expected 1"), "{error}");
}

#[test]
fn gigantic_and_contradictory_evidence_is_ranked_in_finite_numbers() {
    let mut bundle = Shop::new().busy("orders").bundle();
    for i in 0..400 {
        let mut series = bundle.series[i % 3].clone();
        series.service = format!("s{i}");
        series.callee = (i % 4 == 0).then(|| format!("s{}", i + 1));
        series.calm = (0..20_000).map(noise).collect();
        series
            .points
            .iter_mut()
            .for_each(|(_, value)| *value = if i % 2 == 0 { f64::MAX } else { f64::MIN });
        bundle.series.push(series);
    }
    let text = "x".repeat(1 << 20);
    bundle.changes.push(EvidenceChange {
        id: "huge".to_owned(),
        at: at(ONSET - 60),
        service: "orders".to_owned(),
        summary: String::new(),
        files: Vec::new(),
        diff: format!("-{text}\n+{}", "9".repeat(1 << 20)),
    });
    // How long that takes is what `ms_hostile` of the suite says.
    let ranking = EvidenceFusion.rank(&bundle);
    let broken = ranking.suspects.iter().find(|it| !it.nats.is_finite());
    assert!(broken.is_none(), "{broken:?}");
}

/// Orders begins to log something new at the onset.
fn odd_orders() -> RecordedObservations {
    let mut observations = RecordedObservations::new();
    for minute in -5..3 {
        let mut shop = Shop::new();
        if minute >= 0 {
            shop = shop.odd("orders");
        }
        let (spans, logs) = shop.records(ONSET + 60 * minute);
        for span in spans {
            observations = observations.with_span(span);
        }
        for log in logs {
            observations = observations.with_log(log);
        }
    }
    observations
}

fn deploy_of_orders() -> Change {
    let orders = Target::service("orders").expect("a name");
    Change::new(at(ONSET - 30), ChangeKind::Deploy, orders, "v2")
        .with("diff", "-    if left == nil { return reserve(left) }")
}

/// Three minutes after the onset.
fn context(observations: RecordedObservations) -> Context {
    let calls: [(&str, &[&str]); 2] = [("web", &["orders"]), ("orders", &["stock"])];
    Context::new(Arc::new(ManualClock::new(at(ONSET + 180))), 1)
        .observing(Arc::new(observations))
        .in_topology(Arc::new(topology_of(&calls)))
}

fn no_answer_of_web() -> Incident {
    let web = Target::service("web").expect("a name");
    let subject = Subject::Health("http".to_owned());
    incident_of(&[Anomaly::new("health", web, subject, at(ONSET)).saying("no answer")])
}

#[tokio::test]
async fn a_fault_that_recurs_is_named_as_surely_the_eleventh_time() {
    let (cx, incident) = (context(odd_orders()), no_answer_of_web());
    let evidence = Evidence::new(&incident, at(ONSET - 600), at(ONSET + 180));
    let analyzer = FusionAnalyzer::default();
    let mut nats = Vec::new();
    for _ in 0..11 {
        let findings = analyzer.analyze(&cx, &evidence).await.unwrap();
        let first = findings.iter().find(|it| it.cause == "behavior_change");
        let first = first.expect("a finding");
        assert_eq!(first.target.service_name(), "orders");
        nats.push(first.log_likelihood_ratio);
        // Looks at one incident know the same, whatever closes in between.
        let known = analyzer.bundle(&cx, &evidence).memory;
        assert_eq!(known.incidents().len() + 1, nats.len());
        analyzer.closed(&incident);
    }
    assert!(nats[10] >= nats[0] - 1e-9, "{nats:?}");
}

#[tokio::test]
async fn of_changes_of_one_name_the_one_that_is_blamed_is_named() {
    let web = Target::service("web").expect("a name");
    let after = at(ONSET + 120);
    let mut back = deploy_of_orders();
    back.at = after;
    let observations = odd_orders()
        .with_change(deploy_of_orders())
        .with_change(Change::new(at(ONSET - 20), ChangeKind::Deploy, web, "v2"))
        .with_change(back);
    let (cx, incident) = (context(observations), no_answer_of_web());
    let evidence = Evidence::new(&incident, at(ONSET - 600), at(ONSET + 180));
    let findings = FusionAnalyzer::default().analyze(&cx, &evidence).await;
    let findings = findings.unwrap();
    let mut blamed = findings.iter().filter(|it| it.cause == "bad_deploy");
    assert!(
        blamed.all(|it| it.target.service_name() == "orders" && it.onset < Some(after)),
        "{findings:#?}"
    );
    let roles = [Role::Context, Role::Cause];
    let is_told = |role| {
        findings
            .iter()
            .any(|it| it.cause == "bad_deploy" && it.role == role)
    };
    assert!(roles.into_iter().all(is_told), "{findings:#?}");
}

#[tokio::test]
async fn what_an_engine_observes_becomes_evidence_and_a_finding() {
    let now = at(ONSET + 180);
    let cx = context(odd_orders().with_change(deploy_of_orders()));
    let incident = no_answer_of_web();
    let evidence = Evidence::new(&incident, at(ONSET - 600), now);
    let bundle = EvidenceBundle::gather(&cx, &evidence);
    assert_eq!((bundle.onset, bundle.until), (at(ONSET), now));
    assert!(bundle.slices.len() >= 3 && bundle.calm.len() >= 4);
    assert!(bundle.calls["web"].contains("orders"));
    let analyzer = FusionAnalyzer::default();
    let findings = analyzer.analyze(&cx, &evidence).await.unwrap();
    let of = |cause: &str, role| {
        let mut found = findings
            .iter()
            .filter(|it| it.cause == cause && it.role == role);
        found.next().expect("a finding")
    };
    let first = of("behavior_change", Role::Cause);
    assert_eq!(first.target.service_name(), "orders");
    assert!(
        first.explanation.contains("nothing left to reserve"),
        "{first:?}"
    );
    // The ranking knows how sure it is: at most 97 %.
    assert!(first.log_likelihood_ratio <= (0.97_f64 / 0.03).ln() + 1e-9);
    // The change that the ranking blames, alone as context, with the harm as a cause.
    let context = of("bad_deploy", Role::Context);
    assert_eq!(context.proofs.len(), 1);
    assert!(
        context.explanation.contains("v2 is to blame: "),
        "{context:?}"
    );
    let blamed = of("bad_deploy", Role::Cause);
    assert_eq!(blamed.onset, Some(at(ONSET - 30)));
    assert_eq!(blamed.proofs[1..], first.proofs[..]);
    assert!(findings.iter().all(|it| it.violation().is_none()));
    assert_eq!(
        findings.len(),
        3,
        "suspects beside the first are none: {findings:#?}"
    );

    // Only a closed incident is remembered; what is stored of it is taken up whole.
    let before = analyzer.bundle(&cx, &evidence);
    assert_eq!(before.memory, Memory::default());
    analyzer.closed(&incident);
    let after = analyzer.bundle(&cx, &evidence);
    assert_eq!(after.memory.incidents().len(), 1);
    analyzer.closed(&incident);
    assert_eq!(analyzer.bundle(&cx, &evidence), after, "once");
    let stored = analyzer.snapshot().unwrap();
    let next = FusionAnalyzer::default();
    next.restore(&stored).unwrap();
    assert_eq!(next.bundle(&cx, &evidence), after);
    let saved = EvidenceBundle::from_json(&after.to_json().unwrap()).unwrap();
    assert_eq!(EvidenceFusion.rank(&saved), EvidenceFusion.rank(&after));
    assert_eq!(
        next.analyze(&cx, &evidence).await.unwrap(),
        analyzer.analyze(&cx, &evidence).await.unwrap()
    );
    let mut other = stored;
    other.version = 9;
    let refused = next.restore(&other).unwrap_err().to_string();
    assert!(refused.contains("snapshot of fusion 9"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_evidence_does_not_matter(turn in 0..50_usize, busy in 0..3_usize, odd in 0..3_usize) {
        let names = ["web", "orders", "stock"];
        let shop = Shop::new().busy(names[busy]).odd(names[odd]).delayed(names[odd]);
        let bundle = shop.bundle();
        let mut turned = bundle.clone();
        let n = turned.series.len();
        turned.series.rotate_left(turn % n);
        turned.series.reverse();
        turned.slices.reverse();
        turned.calm.reverse();
        let (a, b) = (EvidenceFusion.rank(&bundle), EvidenceFusion.rank(&turned));
        prop_assert_eq!(a.suspects, b.suspects);
    }

    #[test]
    fn the_unit_of_a_series_does_not_matter(exponent in -6..6_i32, which in 0..3_usize) {
        let bundle = Shop::new().busy("orders").bundle();
        let mut scaled = bundle.clone();
        let series = &mut scaled.series[which];
        let factor = 10_f64.powi(exponent);
        series.calm.iter_mut().for_each(|value| *value *= factor);
        series.points.iter_mut().for_each(|(_, value)| *value *= factor);
        let (a, b) = (EvidenceFusion.rank(&bundle), EvidenceFusion.rank(&scaled));
        for (a, b) in a.suspects.iter().zip(&b.suspects) {
            prop_assert_eq!(&a.service, &b.service);
            prop_assert!((a.nats - b.nats).abs() < 1e-6, "{} {}", a.nats, b.nats);
        }
    }

    #[test]
    fn nonsense_is_ranked_or_refused_but_never_breaks(
        values in prop::collection::vec(prop::num::f64::ANY, 0..80),
        onset in -1000..1000_i64,
        until in -1000..1000_i64,
    ) {
        let mut bundle = EvidenceBundle::new(Timestamp::from_secs(onset), Timestamp::from_secs(until));
        for (idx, kind) in [SeriesKind::Cpu, SeriesKind::Latency, SeriesKind::Other].into_iter().enumerate() {
            let half = values.len() / 2;
            bundle.series.push(EvidenceSeries {
                service: format!("s{idx}"),
                callee: (idx == 2).then(|| "s0".to_owned()),
                metric: "m".to_owned(),
                kind,
                worse: [Worse::Up, Worse::Down, Worse::Either][idx],
                calm: values[..half].to_vec(),
                points: (0..).map(Timestamp::from_secs).zip(values[half..].iter().copied()).collect(),
            });
        }
        let ranking = EvidenceFusion.rank(&bundle);
        prop_assert!(ranking.suspects.iter().all(|it| it.nats.is_finite()), "{:?}", ranking);
        prop_assert!(ranking.confidence.get() <= 0.97);
    }
}
