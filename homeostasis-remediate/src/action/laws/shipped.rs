//! Every action of this crate, made as a host makes it, and the test that holds each to the laws.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::Target;
use homeostasis_core::port::{HttpClient, MemoryArms, MemoryRouter, NoHttp};
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use super::super::*;
use super::RealClock;
use crate::action::files::testing::Playground;
use crate::action::rollout::PlainAnalyst;

/// What a playbook calls it; the file and the name of its test; how the test makes it. Failure after any
/// step, and dying at any write, are tried in `run/law_tests.rs` for every effect class.
const PROVEN: &[(&str, &str, &str, &str)] = &[
    (
        "add_firewall_rule",
        "program/firewall.rs",
        "a_real_rule_is_added_once_found_again_and_deleted_alone",
        "add_rule()",
    ),
    (
        "archive_files",
        "files/relocate.rs",
        "doing_and_taking_back_are_harmless_twice",
        "RelocateFiles::archive(",
    ),
    (
        "await_canary",
        "rollout/await_canary_tests.rs",
        "watching_again_gives_the_same_answer",
        "",
    ),
    (
        "await_drained",
        "rollout/drain.rs",
        "waiting_again_gives_the_same_answer",
        "AwaitDrained::new(",
    ),
    (
        "call_function",
        "function.rs",
        "a_function_with_an_inverse_obeys_the_laws",
        "CallFunction::new(",
    ),
    (
        "clean_files",
        "files/clean.rs",
        "doing_it_twice_is_doing_it_once_and_the_bounds_hold",
        "CleanFiles::new(",
    ),
    (
        "clean_package_cache",
        "program/maintenance.rs",
        "the_arguments_are_exactly_these",
        "PackageCache::Apt.clean(",
    ),
    (
        "clear_cache",
        "cache.rs",
        "clearing_twice_is_as_good_as_once",
        "ClearCache::default()",
    ),
    (
        "compress_files",
        "files/compress.rs",
        "compressing_twice_is_compressing_once_and_nothing_is_lost",
        "CompressFiles::new(",
    ),
    (
        "cordon_node",
        "program/kubernetes/tests.rs",
        "every_verb_obeys_the_laws",
        "cordon_node()",
    ),
    (
        "delete_pod",
        "program/kubernetes/tests.rs",
        "every_verb_obeys_the_laws",
        "delete_pod()",
    ),
    (
        "drain_node",
        "program/kubernetes/tests.rs",
        "every_verb_obeys_the_laws",
        "drain_node()",
    ),
    (
        "empty_quarantine",
        "files/quarantine.rs",
        "emptying_twice_is_emptying_once",
        "",
    ),
    (
        "flush_dns_cache",
        "program/maintenance.rs",
        "the_arguments_are_exactly_these",
        "flush_dns_cache(",
    ),
    (
        "haproxy_set_server_state",
        "haproxy/tests.rs",
        "state_and_weight_obey_the_laws_over_both_sockets",
        "HaproxyServer::set_state(",
    ),
    (
        "haproxy_set_weight",
        "haproxy/tests.rs",
        "state_and_weight_obey_the_laws_over_both_sockets",
        "HaproxyServer::set_weight(",
    ),
    (
        "http_request",
        "http.rs",
        "a_restorable_put_obeys_the_laws",
        "",
    ),
    (
        "move_aside",
        "files/relocate.rs",
        "doing_and_taking_back_are_harmless_twice",
        "RelocateFiles::aside(",
    ),
    (
        "nginx_reload",
        "nginx/tests.rs",
        "an_upstream_is_replaced_put_back_and_new_workers_serve_it",
        "",
    ),
    (
        "pg_cancel_long_queries",
        "postgres/tests.rs",
        "long_queries_are_canceled_within_bounds_and_nobody_else_is_touched",
        "PgSessions::cancel_long_queries(",
    ),
    (
        "pg_promote_replica",
        "postgres/tests.rs",
        "a_standby_is_promoted_once_and_not_while_its_primary_lives",
        "PgPromoteReplica::new(",
    ),
    (
        "pg_reindex",
        "postgres/tests.rs",
        "an_index_is_rebuilt_and_what_a_failed_try_left_is_dropped",
        "PgReindex::new(",
    ),
    (
        "pg_reset_connections",
        "postgres/tests.rs",
        "sessions_idle_in_a_transaction_are_ended_and_superusers_only_if_told",
        "PgSessions::reset_connections(",
    ),
    (
        "pg_terminate",
        "postgres/tests.rs",
        "sessions_idle_in_a_transaction_are_ended_and_superusers_only_if_told",
        "PgSessions::terminate(",
    ),
    (
        "pg_terminate_idle_in_transaction",
        "postgres/tests.rs",
        "sessions_idle_in_a_transaction_are_ended_and_superusers_only_if_told",
        "PgSessions::terminate_idle_in_transaction(",
    ),
    (
        "pg_vacuum",
        "postgres/tests.rs",
        "a_table_is_vacuumed_and_a_server_that_skips_it_is_found_out",
        "PgVacuum::new(",
    ),
    (
        "redis_delete_keys",
        "redis/tests.rs",
        "matching_keys_are_deleted_unless_they_are_too_many_or_not_the_host_s_to_give",
        "RedisDeleteKeys::new(",
    ),
    (
        "redis_kill_clients",
        "redis/tests.rs",
        "idle_clients_are_closed_within_bounds_and_those_at_work_are_not",
        "RedisKillClients::new(",
    ),
    (
        "redis_memory_purge",
        "redis/tests.rs",
        "unused_memory_is_given_back_and_measured",
        "RedisMemoryPurge::new(",
    ),
    (
        "redis_promote_replica",
        "redis/tests.rs",
        "a_replica_is_promoted_once_and_not_while_its_primary_lives",
        "RedisPromoteReplica::new(",
    ),
    (
        "redis_set_config",
        "redis/tests.rs",
        "a_setting_is_set_read_back_and_put_back",
        "RedisSetConfig::new(",
    ),
    (
        "reload_config",
        "reload_config.rs",
        "repeating_do_and_undo_is_harmless",
        "",
    ),
    (
        "reload_unit",
        "program/systemd.rs",
        "every_verb_obeys_the_laws_whether_the_unit_runs_or_not",
        "reload_unit()",
    ),
    (
        "reset_breaker",
        "reset_breaker.rs",
        "a_breaker_that_was_opened_lets_calls_pass_and_a_second_reset_is_harmless",
        "",
    ),
    (
        "resize_pool",
        "pool.rs",
        "repeating_do_and_undo_is_harmless",
        "",
    ),
    (
        "restart_interface",
        "program/interface.rs",
        "a_real_interface_goes_down_and_up_and_the_default_route_is_spared",
        "restart_interface()",
    ),
    (
        "restart_process",
        "process/actions.rs",
        "a_restart_obeys_the_laws_whether_it_ran_before_or_not",
        "RestartProcess::new(",
    ),
    (
        "restart_rollout",
        "program/kubernetes/tests.rs",
        "every_verb_obeys_the_laws",
        "restart_rollout()",
    ),
    (
        "restart_task",
        "task.rs",
        "a_restart_obeys_the_laws_and_leaves_the_others_alone",
        "",
    ),
    (
        "restart_unit",
        "program/systemd.rs",
        "every_verb_obeys_the_laws_whether_the_unit_runs_or_not",
        "restart_unit()",
    ),
    (
        "rollback_deployment",
        "deployment_slot.rs",
        "repeating_do_and_undo_is_harmless",
        "",
    ),
    (
        "rotate_log",
        "files/rotate.rs",
        "a_renamed_log_keeps_its_lines_and_the_new_one_its_rights",
        "",
    ),
    (
        "run_program",
        "program.rs",
        "a_program_the_host_vouches_for_obeys_the_laws",
        "",
    ),
    (
        "scale_deployment",
        "program/kubernetes/tests.rs",
        "every_verb_obeys_the_laws",
        "scale_deployment()",
    ),
    (
        "set_flag",
        "flag.rs",
        "repeating_do_and_undo_is_harmless",
        "",
    ),
    (
        "set_resource_limit",
        "program/limits.rs",
        "limits_of_a_real_process_are_set_and_put_back",
        "",
    ),
    (
        "set_unit_limits",
        "program/unit_limits.rs",
        "limits_are_set_and_put_back_to_what_they_were",
        "set_unit_limits()",
    ),
    (
        "shed_load",
        "shed_load.rs",
        "repeating_do_and_undo_is_harmless",
        "",
    ),
    (
        "shift_traffic",
        "rollout/shift_traffic.rs",
        "repeating_do_and_undo_is_harmless",
        "",
    ),
    (
        "start_process",
        "process/actions.rs",
        "starting_obeys_the_laws_and_undo_stops_only_what_it_started",
        "StartProcess::new(",
    ),
    (
        "start_unit",
        "program/systemd.rs",
        "every_verb_obeys_the_laws_whether_the_unit_runs_or_not",
        "start_unit()",
    ),
    (
        "stop_process",
        "process/actions.rs",
        "stopping_obeys_the_laws_and_undo_starts_it_again",
        "StopProcess::new(",
    ),
    (
        "stop_unit",
        "program/systemd.rs",
        "every_verb_obeys_the_laws_whether_the_unit_runs_or_not",
        "stop_unit()",
    ),
    (
        "uncordon_node",
        "program/kubernetes/tests.rs",
        "every_verb_obeys_the_laws",
        "uncordon_node()",
    ),
    (
        "undo_rollout",
        "program/kubernetes/tests.rs",
        "every_verb_obeys_the_laws",
        "undo_rollout()",
    ),
];

/// Actions by what playbooks call them, and the types that they are of.
#[derive(Default)]
struct Shipped {
    registry: ActionRegistry,
    types: BTreeSet<&'static str>,
}

impl Shipped {
    fn add<A: Action + 'static>(&mut self, action: A) {
        let path = std::any::type_name::<A>();
        self.types.insert(path.rsplit("::").next().unwrap_or(path));
        self.registry.register(action).unwrap();
    }

    fn all() -> Self {
        let mut all = Self::default();
        let place = Playground::new();
        let roots = place.roots();
        let day = Duration::from_secs(86_400);
        all.add(CleanFiles::new(roots.clone()));
        all.add(CompressFiles::new(roots.clone()));
        all.add(RelocateFiles::archive(roots.clone()));
        all.add(RelocateFiles::aside(roots.clone(), "store").unwrap());
        all.add(EmptyQuarantine::new(roots.clone(), "store", day).unwrap());
        all.add(RotateLog::new(roots));
        let tool = Tool::at("/nowhere").unwrap();
        let systemctl = Systemctl::new(tool.clone(), ["*"]).unwrap();
        all.add(systemctl.restart_unit());
        all.add(systemctl.start_unit());
        all.add(systemctl.stop_unit());
        all.add(systemctl.reload_unit());
        all.add(systemctl.set_unit_limits());
        let kubectl = Kubectl::new(tool.clone());
        all.add(kubectl.delete_pod());
        all.add(kubectl.scale_deployment());
        all.add(kubectl.restart_rollout());
        all.add(kubectl.undo_rollout());
        all.add(kubectl.cordon_node());
        all.add(kubectl.uncordon_node());
        all.add(kubectl.drain_node());
        let interfaces = NetworkInterfaces::new(tool.clone(), ["*"]).unwrap();
        all.add(interfaces.restart_interface());
        let firewall = Firewall::new(tool.clone(), ["inet filter input"]).unwrap();
        all.add(firewall.add_rule());
        all.add(flush_dns_cache(&tool));
        all.add(PackageCache::Apt.clean(&tool));
        all.add(RunProgram::default());
        let processes = ProcessSupervisor::new(Arc::new(RealClock));
        all.add(SetResourceLimit::new(processes.clone()));
        all.add(RestartProcess::new(processes.clone()));
        all.add(StartProcess::new(processes.clone()));
        all.add(StopProcess::new(processes));
        all.add(NginxReload::default());
        let haproxy = HaproxyInstances::default();
        all.add(HaproxyServer::set_state(haproxy.clone()));
        all.add(HaproxyServer::set_weight(haproxy));
        let servers = PostgresServers::default();
        all.add(PgSessions::cancel_long_queries(servers.clone()));
        all.add(PgSessions::terminate(servers.clone()));
        all.add(PgSessions::terminate_idle_in_transaction(servers.clone()));
        all.add(PgSessions::reset_connections(servers.clone()));
        all.add(PgVacuum::new(servers.clone()));
        all.add(PgReindex::new(servers.clone()));
        all.add(PgPromoteReplica::new(servers));
        let servers = RedisServers::default();
        all.add(RedisDeleteKeys::new(servers.clone()));
        all.add(RedisSetConfig::new(servers.clone()));
        all.add(RedisMemoryPurge::new(servers.clone()));
        all.add(RedisKillClients::new(servers.clone()));
        all.add(RedisPromoteReplica::new(servers));
        let client: Arc<dyn HttpClient> = Arc::new(NoHttp);
        all.add(HttpRequestAction::new(client, ["http://gateway:80"]).unwrap());
        all.add(SetFlag::default());
        all.add(ResizePool::default());
        all.add(ClearCache::default());
        all.add(ReloadConfig::default());
        all.add(RollbackDeployment::default());
        all.add(ShedLoad::default());
        all.add(ResetBreaker::default());
        all.add(ShiftTraffic::new(Arc::new(MemoryRouter::default())));
        let arms = Arc::new(MemoryArms::default());
        all.add(AwaitDrained::new(Arc::clone(&arms) as Arc<_>));
        all.add(AwaitCanary::new(arms, Arc::new(PlainAnalyst)));
        let tasks = TaskSupervisor::new(Arc::new(RealClock), Handle::current());
        all.add(RestartTask::new(tasks));
        // Its name is the host's to give.
        let spec = ActionSpec::new("a function");
        all.add(CallFunction::new("call_function", spec, |_| {
            Box::pin(std::future::ready(Ok(Value::Null)))
        }));
        all
    }
}

/// The types that implement `Action` in `text`.
fn implemented(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| {
        let name = line
            .strip_prefix("impl Action for ")?
            .split([' ', '<'])
            .next()?;
        Some(name.to_owned())
    })
}

/// The source files below `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/action")
}

#[tokio::test]
async fn every_type_that_is_an_action_is_shipped() {
    let mut files = Vec::new();
    sources(&folder(), &mut files);
    let text = |file: &PathBuf| std::fs::read_to_string(file).unwrap();
    let types: BTreeSet<_> = files
        .iter()
        .flat_map(|file| implemented(&text(file)).collect::<Vec<_>>())
        .collect();
    let shipped = Shipped::all()
        .types
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        types, shipped,
        "every type that implements `Action` is made in `Shipped::all`"
    );
}

#[tokio::test]
async fn every_action_is_held_to_the_laws() {
    let shipped = Shipped::all().registry;
    let proven: BTreeMap<_, _> = PROVEN.iter().map(|row| (row.0, row)).collect();
    let (names, listed): (Vec<_>, Vec<_>) =
        (shipped.names().collect(), proven.keys().copied().collect());
    assert_eq!(
        names, listed,
        "every action, and nothing else, is in PROVEN"
    );
    for (action, file, test, made) in proven.into_values() {
        let text = std::fs::read_to_string(folder().join(file)).unwrap();
        let body = text
            .split_once(&format!("async fn {test}() {{"))
            .unwrap_or_else(|| panic!("{action}: {file} has no test {test}"))
            .1;
        // Up to the next test, in a module within the file or of its own.
        let body = body.split("\n    #[").next().unwrap_or_default();
        let body = body.split("\n#[").next().unwrap_or_default();
        assert!(
            body.contains("laws::repeat_and_undo") && text.contains("#[tokio::test"),
            "{action}: {test} does not call laws::repeat_and_undo"
        );
        assert!(
            body.contains(made),
            "{action}: {test} does not make it with {made}"
        );
    }
}

#[tokio::test]
async fn an_effect_and_an_inverse_say_what_each_action_does() {
    use homeostasis_core::record::{EffectClass, Inverse};
    let shipped = Shipped::all().registry;
    for name in shipped.names() {
        let spec = shipped.get(name).unwrap().spec();
        assert!(!spec.description.is_empty(), "{name}");
        if spec.effect == EffectClass::Read {
            assert_eq!(
                spec.inverse,
                Inverse::Nothing,
                "{name}: what reads leaves nothing to take back"
            );
        }
        if let Inverse::Captured(what) | Inverse::Irreversible(what) = &spec.inverse {
            assert!(!what.is_empty(), "{name}");
        }
        for param in &spec.params {
            assert!(!param.doc.is_empty(), "{name}: {}", param.name);
            assert!(
                !param.required || param.default.is_none(),
                "{name}: {}",
                param.name
            );
        }
        let target = Target::service("orders").unwrap();
        let touched = shipped.get(name).unwrap().touches(&target, &Map::new());
        assert_eq!(
            touched, target,
            "{name}: without arguments it is whom the plan names"
        );
    }
}
