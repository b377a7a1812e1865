//! The playbooks that come with the crate.

use std::sync::OnceLock;

use homeostasis_core::ConfigError;

use super::PlaybookLibrary;

/// Every file of `playbooks/`, by category and name; a test holds the list against the folder.
#[rustfmt::skip]
pub(super) const FILES: &[(&str, &str)] = &[
    ("application/circuit_breaker_reset.yaml", include_str!("../../../playbooks/application/circuit_breaker_reset.yaml")),
    ("application/clear_application_cache.yaml", include_str!("../../../playbooks/application/clear_application_cache.yaml")),
    ("application/grow_connection_pool.yaml", include_str!("../../../playbooks/application/grow_connection_pool.yaml")),
    ("application/raise_descriptor_limit.yaml", include_str!("../../../playbooks/application/raise_descriptor_limit.yaml")),
    ("application/restart_leaking_service.yaml", include_str!("../../../playbooks/application/restart_leaking_service.yaml")),
    ("application/restart_service.yaml", include_str!("../../../playbooks/application/restart_service.yaml")),
    ("application/restart_supervised_task.yaml", include_str!("../../../playbooks/application/restart_supervised_task.yaml")),
    ("application/roll_back_configuration.yaml", include_str!("../../../playbooks/application/roll_back_configuration.yaml")),
    ("application/rollback_deployment.yaml", include_str!("../../../playbooks/application/rollback_deployment.yaml")),
    ("application/shed_load.yaml", include_str!("../../../playbooks/application/shed_load.yaml")),
    ("application/turn_off_feature.yaml", include_str!("../../../playbooks/application/turn_off_feature.yaml")),
    ("database/close_idle_redis_clients.yaml", include_str!("../../../playbooks/database/close_idle_redis_clients.yaml")),
    ("database/delete_cached_keys.yaml", include_str!("../../../playbooks/database/delete_cached_keys.yaml")),
    ("database/end_idle_transactions.yaml", include_str!("../../../playbooks/database/end_idle_transactions.yaml")),
    ("database/fail_over_redis.yaml", include_str!("../../../playbooks/database/fail_over_redis.yaml")),
    ("database/failover_to_replica.yaml", include_str!("../../../playbooks/database/failover_to_replica.yaml")),
    ("database/kill_long_running_queries.yaml", include_str!("../../../playbooks/database/kill_long_running_queries.yaml")),
    ("database/rebuild_indexes.yaml", include_str!("../../../playbooks/database/rebuild_indexes.yaml")),
    ("database/relieve_redis_memory.yaml", include_str!("../../../playbooks/database/relieve_redis_memory.yaml")),
    ("database/reset_idle_connections.yaml", include_str!("../../../playbooks/database/reset_idle_connections.yaml")),
    ("database/vacuum_tables.yaml", include_str!("../../../playbooks/database/vacuum_tables.yaml")),
    ("infrastructure/archive_old_files.yaml", include_str!("../../../playbooks/infrastructure/archive_old_files.yaml")),
    ("infrastructure/disk_space_cleanup.yaml", include_str!("../../../playbooks/infrastructure/disk_space_cleanup.yaml")),
    ("infrastructure/network_connectivity_restore.yaml", include_str!("../../../playbooks/infrastructure/network_connectivity_restore.yaml")),
    ("infrastructure/raise_unit_limits.yaml", include_str!("../../../playbooks/infrastructure/raise_unit_limits.yaml")),
    ("infrastructure/rotate_and_compress_logs.yaml", include_str!("../../../playbooks/infrastructure/rotate_and_compress_logs.yaml")),
    ("infrastructure/service_restart.yaml", include_str!("../../../playbooks/infrastructure/service_restart.yaml")),
    ("infrastructure/vm_restart.yaml", include_str!("../../../playbooks/infrastructure/vm_restart.yaml")),
    ("kubernetes/clear_evicted_pods.yaml", include_str!("../../../playbooks/kubernetes/clear_evicted_pods.yaml")),
    ("kubernetes/node_drain_and_replace.yaml", include_str!("../../../playbooks/kubernetes/node_drain_and_replace.yaml")),
    ("kubernetes/pod_restart.yaml", include_str!("../../../playbooks/kubernetes/pod_restart.yaml")),
    ("kubernetes/scale_deployment.yaml", include_str!("../../../playbooks/kubernetes/scale_deployment.yaml")),
    ("kubernetes/undo_rollout.yaml", include_str!("../../../playbooks/kubernetes/undo_rollout.yaml")),
    ("network/drain_proxy_backend.yaml", include_str!("../../../playbooks/network/drain_proxy_backend.yaml")),
    ("network/flush_dns_cache.yaml", include_str!("../../../playbooks/network/flush_dns_cache.yaml")),
    ("network/reload_certificates.yaml", include_str!("../../../playbooks/network/reload_certificates.yaml")),
    ("network/reroute_upstream.yaml", include_str!("../../../playbooks/network/reroute_upstream.yaml")),
    ("network/reset_firewall_rules.yaml", include_str!("../../../playbooks/network/reset_firewall_rules.yaml")),
    ("network/restart_network_interface.yaml", include_str!("../../../playbooks/network/restart_network_interface.yaml")),
    ("network/update_routing_table.yaml", include_str!("../../../playbooks/network/update_routing_table.yaml")),
];

/// Read once, when it is first asked for.
pub(super) fn shipped() -> Result<&'static PlaybookLibrary, ConfigError> {
    static SHIPPED: OnceLock<Result<PlaybookLibrary, ConfigError>> = OnceLock::new();
    let read = SHIPPED.get_or_init(|| PlaybookLibrary::read(FILES.iter().copied()));
    read.as_ref().map_err(Clone::clone)
}
