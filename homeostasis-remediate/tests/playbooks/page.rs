//! `docs/playbooks.md`: what is shipped, and how each was proven.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use homeostasis_core::record::Inverse;
use homeostasis_remediate::playbook::{Playbook, PlaybookLibrary, PreCondition};

use crate::host;
use crate::reading::{committed, compare};

/// What a test proves of a playbook: that it mends what was broken for real, or that a program is
/// given exactly these arguments and answers as the real one does.
const PROOFS: &[(&str, &str, &str)] = &[
    (
        "circuit_breaker_reset",
        "real",
        "application#a_tripped_breaker_lets_calls_pass_again",
    ),
    (
        "clear_application_cache",
        "real",
        "application#a_cache_that_nobody_can_read_is_emptied_and_read_from_the_source",
    ),
    (
        "grow_connection_pool",
        "real",
        "application#a_pool_that_is_used_up_serves_who_waits",
    ),
    (
        "raise_descriptor_limit",
        "real",
        "application#a_process_out_of_descriptors_gets_room_until_taken_back",
    ),
    (
        "restart_leaking_service",
        "real",
        "application#a_process_that_leaks_and_hangs_begins_small_again",
    ),
    (
        "restart_service",
        "real",
        "application#a_killed_process_runs_again",
    ),
    (
        "restart_supervised_task",
        "real",
        "application#a_task_that_hangs_is_started_anew_and_works",
    ),
    (
        "roll_back_configuration",
        "real",
        "application#a_broken_configuration_gives_way_to_the_last_good_one_and_back",
    ),
    (
        "rollback_deployment",
        "real",
        "application#a_bad_deployment_gives_way_to_the_one_before_and_back",
    ),
    (
        "shed_load",
        "real",
        "application#load_is_shed_while_a_service_is_slow_and_no_longer_when_taken_back",
    ),
    (
        "turn_off_feature",
        "real",
        "application#a_feature_that_fails_is_turned_off_and_on_again_when_taken_back",
    ),
    (
        "close_idle_redis_clients",
        "real",
        "redis#a_server_full_of_idle_clients_takes_new_ones",
    ),
    (
        "delete_cached_keys",
        "real",
        "redis#the_keys_of_one_prefix_go_and_others_stay",
    ),
    (
        "end_idle_transactions",
        "real",
        "postgres#a_session_that_holds_a_lock_and_does_nothing_is_ended_and_others_go_on",
    ),
    (
        "fail_over_redis",
        "real",
        "redis#a_replica_takes_over_when_the_primary_is_gone",
    ),
    (
        "failover_to_replica",
        "real",
        "postgres#a_standby_takes_over_when_the_primary_is_gone",
    ),
    (
        "kill_long_running_queries",
        "real",
        "postgres#a_query_that_runs_for_ever_is_canceled_and_its_session_lives",
    ),
    (
        "rebuild_indexes",
        "real",
        "postgres#an_invalid_index_is_built_anew",
    ),
    (
        "relieve_redis_memory",
        "real",
        "redis#a_full_cache_takes_writes_again_and_refuses_them_when_taken_back",
    ),
    (
        "reset_idle_connections",
        "real",
        "postgres#a_server_full_of_forgotten_connections_takes_new_ones",
    ),
    (
        "vacuum_tables",
        "real",
        "postgres#a_bloated_table_is_cleaned_and_its_old_rows_are_frozen",
    ),
    (
        "archive_old_files",
        "real",
        "files#old_files_leave_for_the_archive_and_come_back_when_taken_back",
    ),
    (
        "disk_space_cleanup",
        "real",
        "files#a_disk_full_of_old_files_has_room_again_and_nothing_else_is_touched",
    ),
    (
        "network_connectivity_restore",
        "real, `resolvectl` by argv",
        "network#a_machine_is_back_in_its_network",
    ),
    (
        "raise_unit_limits",
        "argv",
        "systemd#a_unit_at_its_limits_gets_room_until_taken_back",
    ),
    (
        "rotate_and_compress_logs",
        "real",
        "files#a_flooded_log_begins_anew_and_its_writer_loses_no_line",
    ),
    (
        "service_restart",
        "argv",
        "systemd#a_failed_unit_is_restarted",
    ),
    (
        "vm_restart",
        "argv",
        "systemd#a_machine_is_rebooted_by_its_hypervisor",
    ),
    (
        "clear_evicted_pods",
        "argv",
        "kubernetes#failed_pods_of_one_namespace_are_deleted",
    ),
    (
        "node_drain_and_replace",
        "argv",
        "kubernetes#a_broken_node_is_drained_and_then_replaced",
    ),
    (
        "pod_restart",
        "argv",
        "kubernetes#an_ill_pod_is_deleted_once",
    ),
    (
        "scale_deployment",
        "argv",
        "kubernetes#a_deployment_is_scaled_and_scaled_back",
    ),
    (
        "undo_rollout",
        "argv",
        "kubernetes#a_rollout_is_undone_and_done_again_when_taken_back",
    ),
    (
        "drain_proxy_backend",
        "real",
        "network#a_server_that_fails_gets_no_requests_until_taken_back",
    ),
    (
        "flush_dns_cache",
        "argv",
        "systemd#the_cache_of_names_is_emptied",
    ),
    (
        "reload_certificates",
        "argv",
        "systemd#a_server_reads_renewed_certificates",
    ),
    (
        "reroute_upstream",
        "real",
        "network#requests_go_to_a_server_that_answers",
    ),
    (
        "reset_firewall_rules",
        "real",
        "network#rules_that_block_everybody_give_way_to_those_that_are_good",
    ),
    (
        "restart_network_interface",
        "real",
        "network#an_interface_that_is_down_comes_up_and_goes_back",
    ),
    (
        "update_routing_table",
        "real",
        "network#a_dead_gateway_is_gone_around",
    ),
];

fn undo(playbook: &Playbook, inverses: &[Inverse]) -> String {
    let mut what: Vec<String> = inverses
        .iter()
        .filter_map(|inverse| match inverse {
            Inverse::Nothing => None,
            Inverse::Captured(what) => Some(what.clone()),
            Inverse::Irreversible(_) => Some("impossible".to_owned()),
        })
        .collect();
    what.dedup();
    match playbook
        .rollback()
        .and_then(|rollback| rollback.reason.clone())
    {
        Some(reason) if what.iter().any(|what| what == "impossible") => {
            format!("impossible: {reason}")
        }
        Some(reason) => format!("none needed: {reason}"),
        None => what.join("; "),
    }
}

#[tokio::test]
async fn the_page_is_what_the_playbooks_say_and_every_proof_is_a_test() {
    let dir = tempfile::tempdir().unwrap();
    let actions = host::actions(dir.path());
    let set = host::examples(&actions);
    let mut page = fs::read_to_string(committed("tests/playbooks/page_head.md")).unwrap();
    let mut category = "";
    for template in PlaybookLibrary::shipped().unwrap().iter() {
        if template.category() != category {
            category = template.category();
            write!(page, "\n## {category}\n\n| playbook | trigger | actions | risk | approval | undo | the host sets | proven | by |\n|---|---|---|---|---|---|---|---|---|\n").unwrap();
        }
        let playbook = set.get(template.name()).unwrap();
        let target = "shop/shop-1".parse().unwrap();
        let plan = playbook
            .dry_run(&actions, &target, &host::topology())
            .unwrap()
            .plan;
        let inverses: Vec<_> = plan.steps.iter().map(|step| step.inverse.clone()).collect();
        let trigger = match (&playbook.trigger().cause, &playbook.trigger().condition) {
            (Some(cause), _) => format!("`{cause}`"),
            (None, condition) => format!("`{}`", condition.as_ref().unwrap()),
        };
        let steps: Vec<_> = plan
            .steps
            .iter()
            .map(|step| format!("`{}`", step.action))
            .collect();
        let unset = template
            .parameters()
            .iter()
            .filter(|(_, parameter)| parameter.default.is_none());
        let mut unset: Vec<_> = unset.map(|(name, _)| format!("`{name}`")).collect();
        unset.extend(playbook.pre_conditions().iter().filter_map(|it| match it {
            PreCondition::Check(name) if name != "not_recovered" => Some(format!("check `{name}`")),
            _ => None,
        }));
        let (_, how, test) = PROOFS
            .iter()
            .find(|(name, ..)| *name == template.name())
            .unwrap_or_else(|| panic!("{} is not proven", template.name()));
        writeln!(
            page,
            "| [`{}`](https://github.com/homeostasis-rs/homeostasis/blob/main/homeostasis-remediate/playbooks/{}): {} | {trigger} | {} | {} | {} | {} | {} | {how} | `{test}` |",
            template.name(),
            template.source(),
            template.about(),
            steps.join(", "),
            plan.risk(),
            if playbook.safety().require_approval { "always" } else { "as the policy says" },
            undo(playbook, &inverses),
            unset.join(", "),
        )
        .unwrap();
    }
    compare(&committed("../docs/playbooks.md"), &page);

    for (name, how, test) in PROOFS {
        assert!(set.get(name).is_some(), "{name} is not shipped");
        assert!(
            *how == "argv" || how.starts_with("real"),
            "{name} is proven {how}"
        );
        let (file, test) = test.split_once('#').unwrap();
        let code = fs::read_to_string(committed(&format!("tests/playbooks/{file}.rs"))).unwrap();
        let begin = code.find(&format!("async fn {test}()"));
        let body = &code[begin.unwrap_or_else(|| panic!("{file}.rs has no {test}"))..];
        let body = &body[..body.find("\n}\n").unwrap()];
        assert!(
            body.contains(&format!("example(\"{name}\")")),
            "{test} does not run {name}"
        );
    }
    let unique: BTreeSet<_> = PROOFS.iter().map(|(name, ..)| name).collect();
    assert_eq!(unique.len(), PROOFS.len());
}
