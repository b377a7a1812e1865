//! From measured worlds to a named root cause, or an abstention.

mod calibration;
mod hostile;
mod world;

use homeostasis_core::record::{Diagnosis, Finding, Role};
use homeostasis_core::signal::{ChangeKind, HealthState};
use world::{ONSET, World};

fn ill(before: f64, after: f64) -> impl Fn(f64) -> f64 {
    move |t| if t < ONSET { before } else { after }
}

fn named(diagnosis: &Diagnosis) -> String {
    diagnosis.root_cause().map_or_else(
        || format!("abstained: {diagnosis}"),
        |cause| format!("{} of {}", cause.cause, cause.target),
    )
}

async fn assert_named(world: World, expected: &str) -> Diagnosis {
    let diagnosis = world.diagnose().await;
    assert_eq!(named(&diagnosis), expected, "{diagnosis:#?}");
    diagnosis
}

/// Orders is killed; the gateway fails where it needs orders.
fn orders_killed(seed: u64) -> World {
    World::new(seed)
        .calm(&["gateway", "orders"])
        .p95("gateway", ill(0.02, 0.03))
        .errors("gateway", ill(0.001, 0.4))
        .flag("process_up", "gateway", |_| true)
        .flag("up", "gateway", |_| true)
        .flag("process_up", "orders", |t| t < ONSET)
        .flag("up", "orders", |t| t < ONSET)
        .health(
            304.0,
            "orders",
            HealthState::Unhealthy,
            "connection refused",
        )
        .health(
            308.0,
            "orders",
            HealthState::Unhealthy,
            "connection refused",
        )
        .log(301.0, "gateway", "http://orders:80: connection refused")
        .log(302.0, "gateway", "http://orders:80: connection refused")
        .anomaly(302.0, "gateway", "error_ratio")
        .anomaly(304.0, "orders", "up")
}

/// Catalog becomes slow; requests pile up in the gateway.
fn catalog_slow(seed: u64) -> World {
    World::new(seed)
        .calm(&["gateway", "catalog"])
        .p95("catalog", ill(0.02, 0.8))
        .errors("catalog", |_| 0.001)
        .flag("process_up", "catalog", |_| true)
        .p95("gateway", ill(0.03, 0.9))
        .series("http_requests_in_flight", "gateway", ill(2.0, 60.0))
        .errors("gateway", ill(0.001, 0.1))
        .flag("process_up", "gateway", |_| true)
        .anomaly(ONSET, "gateway", "http_request_duration_p95_seconds")
}

#[tokio::test]
async fn a_killed_service_is_named_and_its_caller_only_suffers() {
    let diagnosis = assert_named(orders_killed(1), "process_down of orders").await;
    let cause = diagnosis.root_cause().unwrap();
    assert!(cause.confidence.get() > 0.9, "{cause}");
    assert!(
        cause
            .evidence
            .iter()
            .any(|finding| !finding.proofs.is_empty())
    );
    let blamed_caller = diagnosis
        .hypotheses
        .iter()
        .filter(|hypothesis| hypothesis.target.service_name() == "gateway");
    for hypothesis in blamed_caller {
        assert!(hypothesis.confidence.get() < 0.2, "{hypothesis}");
    }
}

#[tokio::test]
async fn a_leaking_service_is_named_also_when_it_makes_its_caller_slow() {
    let world = World::new(2)
        .calm(&["gateway", "catalog"])
        .memory("catalog", |t| 60.0 + (t - 150.0).max(0.0))
        .p95("catalog", ill(0.02, 0.2))
        .flag("process_up", "catalog", |_| true)
        .p95("gateway", ill(0.03, 0.25))
        .errors("gateway", |_| 0.001)
        .anomaly(ONSET, "gateway", "http_request_duration_p95_seconds")
        .anomaly(280.0, "catalog", "process_resident_memory_bytes");
    assert_named(world, "memory_leak of catalog").await;
}

#[tokio::test]
async fn a_leak_without_any_other_symptom_is_named() {
    let world = World::new(3)
        .calm(&["catalog"])
        .memory("catalog/1", |t| 60.0 + (t - 200.0).max(0.0))
        .memory("catalog/0", |_| 60.0)
        .p95("catalog", |_| 0.02)
        .anomaly(280.0, "catalog", "process_resident_memory_bytes");
    assert_named(world, "memory_leak of catalog/1").await;
}

#[tokio::test]
async fn a_bad_deployment_is_named_when_only_its_own_service_came_to_harm() {
    let world = World::new(4)
        .calm(&["gateway"])
        .p95("gateway", |_| 0.02)
        .errors("gateway", ill(0.001, 0.3))
        .flag("process_up", "gateway", |_| true)
        .change(296.0, ChangeKind::Deploy, "gateway")
        .anomaly(ONSET, "gateway", "error_ratio");
    let diagnosis = assert_named(world, "bad_deploy of gateway").await;
    let evidence = &diagnosis.root_cause().unwrap().evidence;
    for role in [Role::Cause, Role::Context] {
        assert!(
            evidence.iter().any(|finding| finding.role == role),
            "{role:?}"
        );
    }
}

#[tokio::test]
async fn a_callee_that_got_a_little_slower_does_not_excuse_a_bad_deployment() {
    for seed in 30..40 {
        let world = World::new(seed)
            .calm(&["gateway", "orders"])
            .p95("gateway", ill(0.005, 0.06))
            .errors("gateway", ill(0.001, 0.75))
            .p95("orders", ill(0.002, 0.05))
            .errors("orders", |_| 0.001)
            .change(299.0, ChangeKind::Deploy, "gateway")
            .anomaly(ONSET, "gateway", "error_ratio");
        assert_named(world, "bad_deploy of gateway").await;
    }
}

#[tokio::test]
async fn a_line_from_just_before_an_earlier_incident_was_seen_belongs_to_that_one() {
    let world = |seen, closed| {
        World::new(40)
            .calm(&["gateway"])
            .p95("gateway", |_| 0.02)
            .errors("gateway", ill(0.001, 0.4))
            .log(287.5, "gateway", "http://orders:80: connection refused")
            .log(288.0, "gateway", "http://orders:80: connection refused")
            .besides(seen, closed)
            .anomaly(ONSET, "gateway", "error_ratio")
    };
    let accuses = |findings: Vec<Finding>| findings.iter().any(|it| it.analyzer == "rules");
    let (_, findings) = world(292.0, 295.0).findings().await;
    assert!(!accuses(findings));
    let (_, findings) = world(260.0, 295.0).findings().await;
    assert!(!accuses(findings));
    // Nothing was wrong at that time but this.
    let (_, findings) = world(260.0, 270.0).findings().await;
    assert!(accuses(findings));
}

#[tokio::test]
async fn a_change_of_configuration_is_named_as_one() {
    let world = World::new(5)
        .calm(&["catalog"])
        .p95("catalog", ill(0.02, 0.5))
        .change(298.0, ChangeKind::Config, "catalog")
        .anomaly(ONSET, "catalog", "http_request_duration_p95_seconds");
    assert_named(world, "configuration_error of catalog").await;
}

#[tokio::test]
async fn the_slow_callee_is_named_and_not_the_caller_where_calls_pile_up() {
    for seed in 0..20 {
        assert_named(catalog_slow(seed), "slow_response of catalog").await;
    }
}

/// Place and service of each step.
/// What made the shop call people once: beside compilers the slow service was called saturated.
#[tokio::test]
async fn a_slow_service_that_works_a_little_more_is_slow_and_not_saturated() {
    for seed in 0..20 {
        let world = World::new(seed)
            .calm(&["gateway", "catalog"])
            .p95("catalog", ill(0.02, 0.03))
            .series("process_cpu_ratio", "catalog", ill(0.02, 0.7))
            .p95("gateway", ill(0.03, 0.1))
            .anomaly(ONSET, "gateway", "http_request_duration_p95_seconds");
        assert_named(world, "slow_response of catalog").await;
    }
    let busy = catalog_slow(1).series("process_cpu_ratio", "catalog", ill(0.02, 0.98));
    assert_named(busy, "cpu_saturation of catalog").await;
}

fn steps(diagnosis: &Diagnosis) -> Vec<String> {
    let chain = diagnosis.chain.as_ref().expect("a chain");
    assert_eq!((chain.violation(), &chain.broken), (None, &None), "{chain}");
    let steps = chain.steps.iter();
    steps
        .map(|it| format!("{} {}", it.place, it.target))
        .collect()
}

#[tokio::test]
async fn a_named_cause_is_told_as_a_chain_to_what_raised_the_incident() {
    let slow = catalog_slow(1).diagnose().await;
    assert_eq!(steps(&slow), ["cause catalog", "objective gateway"]);
    let text = slow.to_string();
    assert!(
        text.contains("\n1. cause: catalog at 1970-01-01T00:05:")
            && text
                .contains("   - series http_request_duration_p95_seconds{service=\"catalog\"}: ")
            && text.contains("   - anomaly http_request_duration_p95_seconds{service=\"gateway\"}"),
        "{text}"
    );
    let mut killed = orders_killed(1).diagnose().await;
    assert_eq!(
        steps(&killed),
        ["cause orders", "symptom orders", "objective gateway"]
    );
    // What is written and read again is the same; what was written before there were chains reads.
    let written = serde_json::to_value(&killed).unwrap();
    assert_eq!(
        serde_json::from_value::<Diagnosis>(written.clone()).unwrap(),
        killed
    );
    let mut older = written;
    older.as_object_mut().unwrap().remove("chain");
    killed.chain = None;
    assert_eq!(serde_json::from_value::<Diagnosis>(older).unwrap(), killed);
    let nothing = World::new(1)
        .calm(&[])
        .anomaly(ONSET, "gateway", "error_ratio");
    assert_eq!(nothing.diagnose().await.chain, None, "nobody is named");
}

#[tokio::test]
async fn calls_that_spans_show_lead_to_the_slow_callee_where_none_are_declared() {
    let undeclared = || catalog_slow(3).in_topology(&[]);
    let diagnosis = assert_named(
        undeclared().traced("gateway", "catalog"),
        "slow_response of catalog",
    );
    assert_eq!(
        steps(&diagnosis.await),
        ["cause catalog", "objective gateway"]
    );
    let blind = undeclared().diagnose().await;
    assert_ne!(named(&blind), "slow_response of catalog");
}

/// The machine is busy, so that orders is slower too: 60 ms do not explain what 900 ms do.
#[tokio::test]
async fn of_two_slow_callees_the_one_that_accounts_for_the_callers_latency_is_named() {
    for seed in 0..20 {
        let world = World::new(seed)
            .calm(&["gateway", "catalog", "orders"])
            .p95("catalog", ill(0.02, 0.8))
            .p95("orders", ill(0.02, 0.08))
            .p95("gateway", ill(0.03, 0.9))
            .errors("gateway", ill(0.001, 0.1))
            .anomaly(ONSET, "gateway", "http_request_duration_p95_seconds");
        assert_named(world, "slow_response of catalog").await;
    }
}

#[tokio::test]
async fn the_deepest_of_a_chain_is_named() {
    let world = World::new(7)
        .in_topology(&[("edge", &["gateway"]), ("gateway", &["catalog"])])
        .p95("edge", ill(0.04, 1.0))
        .p95("gateway", ill(0.03, 0.9))
        .p95("catalog", ill(0.02, 0.8))
        .anomaly(ONSET, "edge", "http_request_duration_p95_seconds");
    assert_named(world, "slow_response of catalog").await;
}

#[tokio::test]
async fn nothing_wrong_gives_an_abstention() {
    for seed in 0..20 {
        let world = World::new(seed)
            .calm(&[])
            .anomaly(ONSET, "gateway", "requests_rate");
        let diagnosis = world.diagnose().await;
        assert!(diagnosis.root_cause().is_none(), "{seed}: {diagnosis:#?}");
        assert!(diagnosis.abstained.is_some());
    }
}

#[tokio::test]
async fn a_change_alone_is_never_a_cause() {
    let world = World::new(8)
        .calm(&[])
        .change(299.0, ChangeKind::Deploy, "gateway")
        .anomaly(ONSET, "gateway", "requests_rate");
    let diagnosis = world.diagnose().await;
    assert!(diagnosis.hypotheses.is_empty(), "{diagnosis:#?}");
}

#[tokio::test]
async fn a_deployment_of_an_unrelated_service_is_not_blamed() {
    let world = catalog_slow(9).change(299.0, ChangeKind::Deploy, "billing");
    let (_, findings) = world.findings().await;
    assert!(
        findings.iter().any(|finding| finding.role == Role::Context
            && finding.explanation.starts_with("no change to blame")),
        "{findings:#?}"
    );
    let diagnosis = assert_named(world, "slow_response of catalog").await;
    let is_billing = |target: &homeostasis_core::Target| target.service_name() == "billing";
    assert!(!diagnosis.hypotheses.iter().any(|h| is_billing(&h.target)));
}

#[tokio::test]
async fn a_deployment_of_the_caller_does_not_hide_a_killed_dependency() {
    for lag in [-10.0, -2.0, 0.0, 3.0] {
        let world = orders_killed(10).change(ONSET + lag, ChangeKind::Deploy, "gateway");
        assert_named(world, "process_down of orders").await;
    }
}

#[tokio::test]
async fn a_deployment_of_the_caller_does_not_hide_a_slow_dependency() {
    let world = catalog_slow(11).change(298.0, ChangeKind::Deploy, "gateway");
    let diagnosis = world.diagnose().await;
    let best = &diagnosis.hypotheses[0];
    assert_eq!(best.target.service_name(), "catalog", "{diagnosis:#?}");
}

#[tokio::test]
async fn harm_that_was_there_before_the_change_is_not_laid_at_its_door() {
    let world = World::new(12)
        .calm(&["gateway"])
        .errors("gateway", |t| if t < 285.0 { 0.001 } else { 0.3 })
        .p95("gateway", |_| 0.02)
        .change(300.0, ChangeKind::Deploy, "gateway")
        .anomaly(288.0, "gateway", "error_ratio");
    assert_named(world, "error_rate of gateway").await;
}

#[tokio::test]
async fn a_callee_that_falls_ill_later_does_not_explain_its_caller() {
    let world = World::new(13)
        .calm(&["gateway", "catalog"])
        .errors("gateway", |t| if t < 250.0 { 0.001 } else { 0.4 })
        .p95("catalog", |t| if t < 325.0 { 0.02 } else { 0.06 })
        .change(248.0, ChangeKind::Deploy, "gateway")
        .anomaly(250.0, "gateway", "error_ratio");
    assert_named(world, "bad_deploy of gateway").await;
}

#[tokio::test]
async fn a_process_that_lives_but_does_not_answer_is_not_called_dead() {
    for (detail, expected) in [
        ("timed out after 1 s", "slow_response of orders"),
        ("connection refused", "connection_refused of orders"),
        ("status 500", "error_rate of orders"),
    ] {
        let world = World::new(14)
            .calm(&["orders"])
            .flag("process_up", "orders", |_| true)
            .flag("up", "orders", |t| t < ONSET)
            .health(304.0, "orders", HealthState::Unhealthy, detail)
            .health(308.0, "orders", HealthState::Unhealthy, detail)
            .anomaly(304.0, "orders", "up");
        assert_named(world, expected).await;
    }
}

#[tokio::test]
async fn two_services_equally_ill_and_unrelated_are_not_decided_between() {
    let world = World::new(15)
        .calm(&["catalog", "orders"])
        .p95("catalog", ill(0.02, 0.5))
        .p95("orders", ill(0.02, 0.5))
        .anomaly(ONSET, "gateway", "error_ratio");
    let diagnosis = world.diagnose().await;
    assert!(diagnosis.root_cause().is_none(), "{diagnosis:#?}");
    assert_eq!(diagnosis.hypotheses.len().min(2), 2, "the ranking is kept");
}

#[tokio::test]
async fn a_full_disk_is_named_from_its_log_and_its_gauge() {
    let world = World::new(16)
        .calm(&[])
        .log(
            301.0,
            "orders",
            "write failed: No space left on device (os error 28)",
        )
        .log(
            303.0,
            "orders",
            "write failed: No space left on device (os error 28)",
        )
        .anomaly(ONSET, "orders", "writes_rate");
    assert_named(world, "disk_full of orders").await;
}

#[tokio::test]
async fn memory_at_its_limit_makes_its_error_surer_and_idle_memory_less_sure() {
    let told = async |limit: Option<f64>| {
        let line = "java.lang.OutOfMemoryError: Java heap space";
        let world = World::new(21).calm(&["orders"]);
        // It needs 57 to 63 MiB, as always, until the trouble: then 95 to 105.
        let mut world = world
            .memory("orders", ill(60.0, 100.0))
            .log(312.0, "orders", line)
            .anomaly(ONSET, "orders", "requests_rate");
        if let Some(limit) = limit {
            world = world.series("process_memory_limit_bytes", "orders", |_| {
                limit * 1_048_576.0
            });
        }
        let diagnosis = world.diagnose().await;
        let found = diagnosis
            .hypotheses
            .iter()
            .find(|h| h.cause == "memory_leak");
        found.expect("its rule speaks").confidence.get()
    };
    let (full, unknown, idle) = (
        told(Some(105.0)).await,
        told(None).await,
        told(Some(999.0)).await,
    );
    assert!(
        full > unknown + 0.02 && unknown > idle + 0.05,
        "{full} {unknown} {idle}"
    );
}

#[tokio::test]
async fn a_line_that_was_always_there_says_nothing() {
    let world = (0..160).fold(World::new(17).calm(&[]), |world, i| {
        world.log(f64::from(i) * 2.0, "orders", "cache: permission denied")
    });
    let world = world.anomaly(ONSET, "orders", "writes_rate");
    let diagnosis = world.diagnose().await;
    assert!(diagnosis.root_cause().is_none(), "{diagnosis:#?}");
}

#[tokio::test]
async fn an_earlier_incident_neither_blinds_nor_is_blamed() {
    let earlier = |t: f64| (200.0..250.0).contains(&t);
    for healed in [250.0, 287.0] {
        let world = World::new(18)
            .calm(&["gateway", "orders"])
            .p95("gateway", |_| 0.02)
            .errors("gateway", move |t| {
                if t >= ONSET || earlier(t) { 0.4 } else { 0.001 }
            })
            .flag("process_up", "gateway", |_| true)
            .flag("process_up", "orders", move |t| {
                !(200.0..healed).contains(&t)
            })
            .p95("orders", |_| 0.02)
            .change(298.0, ChangeKind::Deploy, "gateway")
            .anomaly(ONSET, "gateway", "error_ratio");
        assert_named(world, "bad_deploy of gateway").await;
    }
}
