//! Each playbook is chosen for the incident it is for, and for no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::record::Diagnosis;
use homeostasis_core::signal::{HealthReport, HealthState};
use homeostasis_core::testing::RecordedObservations;
use homeostasis_core::{ManualClock, Target, Timestamp};
use homeostasis_remediate::PlaybookRemediator;

use crate::{clinic, host};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// Which cause asks for which playbooks, if all were picked for one service.
const CAUSES: &[(&str, &[&str])] = &[
    ("application_exception", &["turn_off_feature"]),
    ("bad_deploy", &["rollback_deployment", "undo_rollout"]),
    (
        "cache_memory_exhausted",
        &["delete_cached_keys", "relieve_redis_memory"],
    ),
    ("certificate_expired", &["reload_certificates"]),
    ("configuration_error", &["roll_back_configuration"]),
    (
        "connection_leak",
        &["close_idle_redis_clients", "reset_idle_connections"],
    ),
    ("connection_pool_exhausted", &["grow_connection_pool"]),
    ("connection_refused", &["reroute_upstream"]),
    ("cpu_saturation", &["scale_deployment"]),
    ("data_corruption", &["rebuild_indexes"]),
    (
        "database_unavailable",
        &["fail_over_redis", "failover_to_replica"],
    ),
    ("descriptor_leak", &["raise_descriptor_limit"]),
    ("disk_full", &["disk_space_cleanup"]),
    ("dns_failure", &["flush_dns_cache"]),
    ("error_rate", &["drain_proxy_backend"]),
    (
        "hardware_failure",
        &["node_drain_and_replace", "vm_restart"],
    ),
    ("host_blocked", &["reset_firewall_rules"]),
    ("limit_reached", &["raise_unit_limits"]),
    ("lock_wait", &["end_idle_transactions"]),
    ("log_flood", &["rotate_and_compress_logs"]),
    ("malformed_data", &["clear_application_cache"]),
    ("memory_leak", &["restart_leaking_service"]),
    (
        "network_unreachable",
        &[
            "network_connectivity_restore",
            "restart_network_interface",
            "update_routing_table",
        ],
    ),
    (
        "process_down",
        &["pod_restart", "restart_service", "service_restart"],
    ),
    ("slow_response", &["kill_long_running_queries", "shed_load"]),
    ("task_failed", &["restart_supervised_task"]),
    ("transaction_ids_exhausted", &["vacuum_tables"]),
];

/// Those that a condition asks for.
const CONDITIONS: &[&str] = &[
    "archive_old_files",
    "circuit_breaker_reset",
    "clear_evicted_pods",
];

fn remediator(dir: &tempfile::TempDir) -> PlaybookRemediator {
    let actions = host::actions(dir.path());
    PlaybookRemediator::new(host::examples(&actions), actions, host::checks())
}

async fn chosen(
    remediator: &PlaybookRemediator,
    cx: &homeostasis_core::Context,
    target: &str,
    hint: Option<&str>,
    cause: Option<&str>,
) -> BTreeSet<String> {
    let target: Target = target.parse().unwrap();
    let diagnosis = cause.map_or_else(
        || Diagnosis::abstain("a condition asks"),
        |cause| clinic::diagnosis(&target, cause),
    );
    let incident = clinic::incident(&target, hint, NOW);
    let selection = clinic::select(remediator, cx, &incident, &diagnosis).await;
    let named = selection.plans.into_iter();
    named.map(|plan| plan.playbook.unwrap().id).collect()
}

#[tokio::test]
async fn the_table_names_every_shipped_playbook_and_only_causes_that_somebody_names() {
    let dir = tempfile::tempdir().unwrap();
    let set = host::examples(&host::actions(dir.path()));
    let mut by_cause = BTreeMap::<_, BTreeSet<_>>::new();
    for playbook in set.iter() {
        let cause = playbook.trigger().cause.clone().unwrap_or_default();
        by_cause.entry(cause).or_default().insert(playbook.id());
    }
    let table = CAUSES
        .iter()
        .map(|(cause, ids)| ((*cause).to_owned(), ids.iter().copied().collect()));
    let table: BTreeMap<String, BTreeSet<_>> = table
        .chain([(String::new(), CONDITIONS.iter().copied().collect())])
        .collect();
    assert_eq!(by_cause, table);
    // Rules name them, or the analyzers of `docs/how-to/write-a-playbook.md`.
    let rules = homeostasis::rca::RuleSet::shipped().unwrap();
    let named: BTreeSet<_> = rules
        .rules()
        .iter()
        .map(|rule| rule.cause.as_str())
        .collect();
    let analyzers = [
        "process_down",
        "connection_refused",
        "slow_response",
        "error_rate",
    ];
    for (cause, _) in CAUSES {
        assert!(
            named.contains(cause) || analyzers.contains(cause),
            "nothing names {cause}"
        );
    }
}

#[tokio::test]
async fn each_cause_asks_for_its_playbooks_at_the_service_they_were_picked_for() {
    let dir = tempfile::tempdir().unwrap();
    let remediator = remediator(&dir);
    let cx = clinic::context_of(Arc::new(ManualClock::new(NOW)));
    let unmeasured = chosen(&remediator, &cx, "shop/shop-1", None, Some("disk_full")).await;
    assert_eq!(
        unmeasured,
        BTreeSet::new(),
        "it must be known that the disk is full"
    );
    let cx = clinic::seeing(
        cx,
        &[
            ("process_resident_memory_bytes", 1e9),
            ("http_request_error_ratio", 0.5),
        ],
    );
    for (cause, ids) in CAUSES {
        // A full disk holds for the playbook that waits for that condition as well.
        let is_disk = *cause == "disk_full";
        let cx = &if is_disk {
            clinic::seeing(cx.clone(), &[("host_disk_used_ratio", 0.95)])
        } else {
            cx.clone()
        };
        let more = if is_disk { &CONDITIONS[..1] } else { &[] };
        let ids = ids.iter().chain(more);
        let ids: BTreeSet<String> = ids.map(|id| (*id).to_owned()).collect();
        let ask = |target| chosen(&remediator, cx, target, None, Some(cause));
        assert_eq!(ask("shop/shop-1").await, ids, "{cause}");
        assert_eq!(ask("billing/0").await, BTreeSet::new(), "{cause} elsewhere");
    }
    for cause in ["stack_overflow", "nobody_knows"] {
        let none = chosen(&remediator, &cx, "shop/shop-1", None, Some(cause)).await;
        assert_eq!(none, BTreeSet::new(), "{cause}");
    }
    let full = [("host_disk_used_ratio", 0.95), ("kube_pods_failed", 30.0)];
    let cx = clinic::seeing(cx, &full);
    for id in CONDITIONS {
        let one = chosen(&remediator, &cx, "shop/shop-1", Some(id), None).await;
        assert_eq!(one, BTreeSet::from([(*id).to_owned()]));
    }
    assert_eq!(
        chosen(&remediator, &cx, "shop/shop-1", None, None).await,
        BTreeSet::new()
    );
}

#[tokio::test]
async fn what_recovered_meanwhile_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let remediator = remediator(&dir);
    let target: Target = "shop/shop-1".parse().unwrap();
    let world = |state| {
        let report = |ago, state| {
            let at = NOW - Duration::from_secs(ago);
            HealthReport::new(at, target.clone(), "ping", state)
        };
        let world = RecordedObservations::new()
            .with_health(report(120, HealthState::Unhealthy))
            .with_health(report(5, state));
        Arc::new(world)
    };
    for (state, n) in [(HealthState::Healthy, 0), (HealthState::Unhealthy, 3)] {
        let cx = clinic::context_of(Arc::new(ManualClock::new(NOW))).observing(world(state));
        let found = chosen(&remediator, &cx, "shop/shop-1", None, Some("process_down")).await;
        assert_eq!(found.len(), n, "{state:?}: {found:?}");
    }
}
