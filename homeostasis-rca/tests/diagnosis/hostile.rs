//! Evidence that goes in circles, contradicts itself, is not there or is far too much.

use std::collections::BTreeSet;

use homeostasis_core::record::{Finding, Role};

use crate::world::{ONSET, World, at};
use crate::{assert_named, ill, named};

/// Three services that call each other in a circle, and themselves.
fn circle(seed: u64) -> World {
    let calls: [(&str, &[&str]); 3] = [
        ("gateway", &["catalog", "gateway"]),
        ("catalog", &["orders", "catalog"]),
        ("orders", &["gateway", "orders"]),
    ];
    World::new(seed).in_topology(&calls)
}

#[tokio::test]
async fn in_a_circle_of_equally_ill_services_none_is_named() {
    let all = ["gateway", "catalog", "orders"];
    let world = all
        .into_iter()
        .fold(circle(31).calm(&all), |world, service| {
            world
                .p95(service, ill(0.02, 0.8))
                .errors(service, ill(0.001, 0.3))
                .anomaly(ONSET, service, "error_ratio")
        });
    let diagnosis = world.diagnose().await;
    assert!(named(&diagnosis).starts_with("abstained"), "{diagnosis:#?}");
    let accused: BTreeSet<&str> = diagnosis
        .hypotheses
        .iter()
        .filter(|hypothesis| hypothesis.confidence.get() > 0.2)
        .map(|hypothesis| hypothesis.target.service_name())
        .collect();
    assert_eq!(accused, BTreeSet::from(all), "{diagnosis:#?}");
    assert_eq!(diagnosis.violation(), None);
}

#[tokio::test]
async fn a_circle_does_not_hide_the_one_that_died() {
    let world = circle(32)
        .calm(&["orders", "gateway"])
        .flag("process_up", "orders", |t| t < ONSET)
        .flag("up", "orders", |t| t < ONSET)
        .p95("gateway", |_| 0.02)
        .errors("gateway", ill(0.001, 0.3))
        .anomaly(302.0, "gateway", "error_ratio")
        .anomaly(304.0, "orders", "up");
    assert_named(world, "process_down of orders").await;
}

#[tokio::test]
async fn nothing_to_see_is_said_to_be_nothing() {
    let (_, findings) = World::new(33)
        .anomaly(ONSET, "gateway", "rows")
        .findings()
        .await;
    assert!(
        findings.iter().all(|finding| finding.role != Role::Cause),
        "{findings:?}"
    );
    let diagnosis = World::new(33)
        .anomaly(ONSET, "gateway", "rows")
        .diagnose()
        .await;
    assert_eq!(
        diagnosis.abstained.as_deref(),
        Some("no analyzer found a cause")
    );
}

#[tokio::test]
async fn evidence_for_and_against_the_same_takes_confidence_away() {
    let full = || {
        let line = "write failed: No space left on device (os error 28)";
        let world = World::new(34).calm(&["orders"]).memory("orders", |_| 60.0);
        world
            .log(301.0, "orders", line)
            .log(303.0, "orders", line)
            .anomaly(ONSET, "orders", "writes_rate")
    };
    let sure = assert_named(full(), "disk_full of orders").await;
    // Its log says full, its gauge says a third.
    let torn = full().series("disk_used_ratio", "orders", |_| 0.33);
    let torn = torn.diagnose().await;
    let of = |d: &homeostasis_core::record::Diagnosis| d.hypotheses[0].confidence.get();
    assert!(
        of(&torn) < of(&sure) - 0.02,
        "{} of {}",
        of(&torn),
        of(&sure)
    );
    let against = |finding: &&Finding| finding.log_likelihood_ratio < 0.0;
    let against: Vec<_> = torn.hypotheses[0].evidence.iter().filter(against).collect();
    assert_eq!(against.len(), 1, "{torn:#?}");
    assert!(
        against[0].explanation.contains("disk_used_ratio is 3"),
        "{against:?}"
    );
    assert!(
        against[0].proofs[0]
            .at
            .is_some_and(|told| told >= at(ONSET - 75.0))
    );
}

#[tokio::test]
async fn gigantic_and_countless_lines_keep_every_bound() {
    let end = "No space left on device (os error 28)";
    let long = format!("{} {end}", "x".repeat(8 << 20));
    let mut world = World::new(35)
        .calm(&[])
        .log(301.0, "orders", &long)
        .anomaly(ONSET, "orders", "writes_rate");
    for n in 0..2_000_u32 {
        let line = format!("write {n} failed: {end} {}", "y".repeat(3_000));
        world = world.log(302.0 + f64::from(n) / 100.0, "orders", &line);
    }
    let (_, findings) = world.findings().await;
    let broken: Vec<String> = findings.iter().filter_map(Finding::violation).collect();
    assert_eq!(broken, [""; 0]);
    // As many as there are causes, not lines.
    assert!(findings.len() < 60, "{} findings", findings.len());
    let diagnosis = assert_named(world, "disk_full of orders").await;
    assert_eq!(diagnosis.violation(), None);
}
