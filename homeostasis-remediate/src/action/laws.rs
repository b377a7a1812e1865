//! The laws of one action, for the tests beside each.
//!
//! A new action needs a test that calls [`repeat_and_undo`], and a line in [`PROVEN`].

use std::fmt::Debug;
use std::sync::Arc;

use homeostasis_core::record::EffectClass;
use homeostasis_core::{
    BoxFuture, Clock, Context, IdempotencyKey, IncidentId, RunId, Target, Timestamp,
};
use serde_json::Value;

use crate::action::{Action, ActionCall, ProbeAnswer};

/// Real time, for tests that wait for real processes, and for tokio's paused time.
#[derive(Debug)]
pub(crate) struct RealClock;

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "a test's clock reads the wall")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        Timestamp::EPOCH + since
    }

    fn sleep(&self, duration: std::time::Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

pub(crate) fn context() -> Context {
    Context::new(Arc::new(RealClock), 1).for_incident(IncidentId::from_u128(9))
}

pub(crate) fn key(n: usize) -> IdempotencyKey {
    IdempotencyKey::new(RunId::from_u128(5), n)
}

/// Does it, does it again as after a crash, takes it back, takes it back again.
pub(crate) async fn repeat_and_undo<S: PartialEq + Debug>(
    action: &dyn Action,
    args: &Value,
    observe: impl Fn() -> S,
) {
    repeat_and_undo_in(&context(), action, args, observe).await;
}

/// The same with another clock.
pub(crate) async fn repeat_and_undo_in<S: PartialEq + Debug>(
    cx: &Context,
    action: &dyn Action,
    args: &Value,
    observe: impl Fn() -> S,
) {
    let target = Target::service("orders").unwrap();
    let mut args = args.as_object().unwrap().clone();
    action.spec().fill_defaults(&mut args);
    assert_eq!(action.spec().problems(&args, false), []);
    assert_eq!(action.check(&args), []);
    let key = key(0);
    let before = observe();
    let call = ActionCall::new(&target, &args, &key);
    let captured = action.capture(cx, &call).await.unwrap();
    assert_eq!(observe(), before, "capture changed something");
    let call = call.with_captured(&captured);
    if action.effect(&args) == EffectClass::Probeable {
        let answer = action.probe(cx, &call).await;
        assert!(!matches!(answer, ProbeAnswer::Happened(_)), "{answer:?}");
    }
    action.perform(cx, &call).await.unwrap();
    let after = observe();
    if action.effect(&args) == EffectClass::Probeable {
        let answer = action.probe(cx, &call).await;
        assert!(matches!(answer, ProbeAnswer::Happened(_)), "{answer:?}");
    }
    assert_eq!(observe(), after, "probe changed something");
    if action.effect(&args) != EffectClass::Opaque {
        action.perform(cx, &call.with_attempt(2)).await.unwrap();
        assert_eq!(observe(), after, "doing it twice is not doing it once");
    }
    if matches!(
        action.inverse(&args),
        homeostasis_core::record::Inverse::Captured(_)
    ) {
        for _ in 0..2 {
            action.undo(cx, &call).await.unwrap();
            assert_eq!(observe(), before, "undo did not put back what was captured");
        }
    }
}

/// Every action of this crate: its type, and the test that holds it to the laws with the file it is
/// in. Failure after any step, and dying at any write, are tried in `run/law_tests.rs` for every
/// effect class.
const PROVEN: &[(&str, &str, &str)] = &[
    (
        "EmptyQuarantine",
        "action/files/quarantine.rs",
        "emptying_twice_is_emptying_once",
    ),
    (
        "CallFunction",
        "action/function.rs",
        "a_function_with_an_inverse_obeys_the_laws",
    ),
    (
        "CleanFiles",
        "action/files/clean.rs",
        "doing_it_twice_is_doing_it_once_and_the_bounds_hold",
    ),
    (
        "ClearCache",
        "action/cache.rs",
        "clearing_twice_is_as_good_as_once",
    ),
    (
        "CompressFiles",
        "action/files/compress.rs",
        "compressing_twice_is_compressing_once_and_nothing_is_lost",
    ),
    (
        "HaproxyServer",
        "action/haproxy/tests.rs",
        "state_and_weight_obey_the_laws_over_both_sockets",
    ),
    (
        "HttpRequestAction",
        "action/http.rs",
        "a_restorable_put_obeys_the_laws",
    ),
    (
        "NginxReload",
        "action/nginx/tests.rs",
        "an_upstream_is_replaced_put_back_and_new_workers_serve_it",
    ),
    (
        "PgPromoteReplica",
        "action/postgres/tests.rs",
        "a_standby_is_promoted_once_and_not_while_its_primary_lives",
    ),
    (
        "PgReindex",
        "action/postgres/tests.rs",
        "an_index_is_rebuilt_and_what_a_failed_try_left_is_dropped",
    ),
    (
        "PgSessions",
        "action/postgres/tests.rs",
        "long_queries_are_canceled_within_bounds_and_nobody_else_is_touched",
    ),
    (
        "PgVacuum",
        "action/postgres/tests.rs",
        "a_table_is_vacuumed_and_a_server_that_skips_it_is_found_out",
    ),
    (
        "RedisDeleteKeys",
        "action/redis/tests.rs",
        "matching_keys_are_deleted_unless_they_are_too_many_or_not_the_host_s_to_give",
    ),
    (
        "RedisKillClients",
        "action/redis/tests.rs",
        "idle_clients_are_closed_within_bounds_and_those_at_work_are_not",
    ),
    (
        "RedisMemoryPurge",
        "action/redis/tests.rs",
        "unused_memory_is_given_back_and_measured",
    ),
    (
        "RedisPromoteReplica",
        "action/redis/tests.rs",
        "a_replica_is_promoted_once_and_not_while_its_primary_lives",
    ),
    (
        "RedisSetConfig",
        "action/redis/tests.rs",
        "a_setting_is_set_read_back_and_put_back",
    ),
    (
        "ReloadConfig",
        "action/reload_config.rs",
        "repeating_do_and_undo_is_harmless",
    ),
    (
        "RelocateFiles",
        "action/files/relocate.rs",
        "doing_and_taking_back_are_harmless_twice",
    ),
    (
        "ResetBreaker",
        "action/reset_breaker.rs",
        "a_breaker_that_was_opened_lets_calls_pass_and_a_second_reset_is_harmless",
    ),
    (
        "ResizePool",
        "action/pool.rs",
        "repeating_do_and_undo_is_harmless",
    ),
    (
        "RestartProcess",
        "action/process/actions.rs",
        "a_restart_obeys_the_laws_whether_it_ran_before_or_not",
    ),
    (
        "RestartTask",
        "action/task.rs",
        "a_restart_obeys_the_laws_and_leaves_the_others_alone",
    ),
    (
        "RollbackDeployment",
        "action/deployment_slot.rs",
        "repeating_do_and_undo_is_harmless",
    ),
    (
        "RotateLog",
        "action/files/rotate.rs",
        "a_renamed_log_keeps_its_lines_and_the_new_one_its_rights",
    ),
    (
        "RunProgram",
        "action/program.rs",
        "a_program_the_host_vouches_for_obeys_the_laws",
    ),
    (
        "SetFlag",
        "action/flag.rs",
        "repeating_do_and_undo_is_harmless",
    ),
    (
        "SetResourceLimit",
        "action/program/limits.rs",
        "limits_of_a_real_process_are_set_and_put_back",
    ),
    (
        "ShedLoad",
        "action/shed_load.rs",
        "repeating_do_and_undo_is_harmless",
    ),
    (
        "AwaitCanary",
        "action/rollout/await_canary_tests.rs",
        "watching_again_gives_the_same_answer",
    ),
    (
        "AwaitDrained",
        "action/rollout/drain.rs",
        "waiting_again_gives_the_same_answer",
    ),
    (
        "ShiftTraffic",
        "action/rollout/shift_traffic.rs",
        "repeating_do_and_undo_is_harmless",
    ),
    (
        "StartProcess",
        "action/process/actions.rs",
        "starting_obeys_the_laws_and_undo_stops_only_what_it_started",
    ),
    (
        "StopProcess",
        "action/process/actions.rs",
        "stopping_obeys_the_laws_and_undo_starts_it_again",
    ),
    (
        "ToolAction",
        "action/program/systemd.rs",
        "every_verb_obeys_the_laws_whether_the_unit_runs_or_not",
    ),
];

/// The types that implement `Action` in `text`.
fn implemented(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            line.strip_prefix("impl Action for ")?
                .split([' ', '<'])
                .next()
        })
        .map(str::to_owned)
        .collect()
}

/// The source files below `folder`.
fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_action_is_held_to_the_laws() {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src.join("action"), &mut files);
    let mut shipped: Vec<_> = files
        .iter()
        .flat_map(|file| implemented(&std::fs::read_to_string(file).unwrap()))
        .collect();
    shipped.sort();
    let mut listed: Vec<_> = PROVEN
        .iter()
        .map(|(action, ..)| (*action).to_owned())
        .collect();
    listed.sort();
    assert_eq!(
        shipped, listed,
        "every action, and nothing else, is in PROVEN"
    );
    for (action, file, test) in PROVEN {
        let text = std::fs::read_to_string(src.join(file)).unwrap();
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
    }
}
