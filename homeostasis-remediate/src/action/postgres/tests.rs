//! Against a real server.

use std::process::Command;
use std::time::Duration;

use homeostasis_core::{Clock, ErrorKind, Target, Topology};
use serde_json::json;

use super::testing::{PASSWORD, Server, filled, once};
use super::*;
use crate::action::laws::{self, RealClock};
use crate::action::{Action, ActionCall, ActionError, ActionRegistry, ProbeAnswer};
use crate::playbook::{CheckRegistry, PlaybookSet};

#[tokio::test]
async fn long_queries_are_canceled_within_bounds_and_nobody_else_is_touched() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut sleepers = Vec::new();
    for name in ["web_1", "web_2", "web_3"] {
        sleepers.push(server.sleeper("app", name).await);
    }
    let bystanders = [
        server.sleeper("app", "webx1").await,
        server.sleeper("postgres", "web_admin").await,
    ];
    let ours = server.sleeper("app", "homeostasis").await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let action = PgSessions::cancel_long_queries(server.servers("healer"));
    let args = json!({"server": "db", "older_than": "100ms", "application": "web_*", "user": "app",
        "database": "shop", "max": 2});
    let active = || {
        server.sql("SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%sleep%' AND pid <> pg_backend_pid()")
    };
    assert_eq!(active(), "homeostasis web_1 web_2 web_3 web_admin webx1");
    laws::repeat_and_undo(&action, &args, active).await;
    // The longest two, and as often as it ran not one more.
    assert_eq!(active(), "homeostasis web_3 web_admin webx1");
    for sleeper in sleepers.drain(..2) {
        assert_eq!(sleeper.await.unwrap(), "57014 true", "the session lives");
    }
    let (captured, output) = once(&action, &args).await;
    let output = output.unwrap();
    assert_eq!(
        (&output["found"], &output["ended"]),
        (&json!(1), &json!(1)),
        "{output}"
    );
    assert_eq!(captured[0]["application"], "web_3");
    assert!(
        !captured.to_string().contains("pg_sleep"),
        "queries may hold secrets"
    );
    assert!(
        bystanders
            .iter()
            .chain([&ours])
            .all(|task| !task.is_finished())
    );
}

#[tokio::test]
async fn a_session_that_went_on_to_something_else_is_not_hit() {
    let Some(server) = Server::start() else {
        return;
    };
    let client = server.session("app", "web").await;
    for action in [
        PgSessions::terminate(server.servers("healer")),
        PgSessions::reset_connections(server.servers("healer")),
    ] {
        client.batch_execute("SELECT 1").await.unwrap();
        let args = json!({"server": "db", "older_than": "100ms", "application": "web"});
        let mut args = filled(&action, &args);
        if args.contains_key("state") {
            args.insert("state".to_owned(), "any".into());
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
        let (target, key) = (Target::service("orders").unwrap(), laws::key(1));
        let call = ActionCall::new(&target, &args, &key);
        let captured = action.capture(&laws::context(), &call).await.unwrap();
        assert_eq!(captured.as_array().unwrap().len(), 1, "{captured}");
        // The same process, another query.
        client.batch_execute("SELECT 2").await.unwrap();
        let call = call.with_captured(&captured);
        let output = action.perform(&laws::context(), &call).await.unwrap();
        assert_eq!(output["ended"], 0, "{output}");
        assert_eq!(output["gone_before"], 1, "{output}");
        client.batch_execute("SELECT 3").await.unwrap();
        // A process of the same number that began at another time.
        let mut other = action.capture(&laws::context(), &call).await.unwrap();
        while other == json!([]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            other = action.capture(&laws::context(), &call).await.unwrap();
        }
        other[0]["started"] = "2020-01-01 00:00:00+00".into();
        let call = call.with_captured(&other);
        let output = action.perform(&laws::context(), &call).await.unwrap();
        assert_eq!(output["ended"], 0, "{output}");
    }
}

#[tokio::test]
async fn sessions_idle_in_a_transaction_are_ended_and_superusers_only_if_told() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("CREATE TABLE t (n int)");
    server.sql("GRANT ALL ON t TO app");
    let open = server.session("app", "open").await;
    open.batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let admin = server.session("postgres", "admin").await;
    admin.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let idle = server.session("app", "idle").await;
    idle.batch_execute("SELECT 1").await.unwrap();
    let busy = server.sleeper("app", "busy").await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let names = || {
        server.sql("SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'psql'")
    };
    assert_eq!(names(), "admin busy idle open");
    let args = json!({"server": "db", "older_than": "100ms"});
    let action = PgSessions::terminate_idle_in_transaction(server.servers("healer"));
    laws::repeat_and_undo(&action, &args, names).await;
    assert_eq!(names(), "admin busy idle");
    let action = PgSessions::reset_connections(server.servers("healer"));
    laws::repeat_and_undo(&action, &args, names).await;
    assert_eq!(names(), "admin busy");
    let action = PgSessions::terminate(server.servers("healer"));
    laws::repeat_and_undo(&action, &args, names).await;
    assert_eq!(names(), "admin");
    assert_eq!(busy.await.unwrap(), "57P01 false");
    // Who does not see others would find nothing.
    let blind = PgSessions::terminate(server.servers("app"));
    let error = once(&blind, &args).await.1.unwrap_err();
    assert!(error.to_string().contains("pg_read_all_stats"), "{error}");
    // Only a superuser ends one.
    let args = json!({"server": "db", "older_than": "100ms", "include_superusers": true});
    let action = PgSessions::terminate_idle_in_transaction(server.servers("healer"));
    let error = once(&action, &args).await.1.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(
        error.report().to_string().contains("42501"),
        "{}",
        error.report()
    );
    let action = PgSessions::terminate_idle_in_transaction(server.servers("postgres"));
    laws::repeat_and_undo(&action, &args, names).await;
    assert_eq!(names(), "");
}

#[tokio::test]
async fn a_table_is_vacuumed_and_a_server_that_skips_it_is_found_out() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql(r#"CREATE TABLE "odd "".name" AS SELECT generate_series(1, 20000) AS n"#);
    let dead =
        || server.sql(r#"SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'odd ".name'"#);
    server.sql(r#"DELETE FROM "odd "".name" WHERE n > 100"#);
    server
        .wait_until("SELECT sum(n_dead_tup) = 19900 FROM pg_stat_user_tables")
        .await;
    let args = json!({"server": "db", "table": r#"public."odd "".name""#});
    let action = PgVacuum::new(server.servers("postgres"));
    laws::repeat_and_undo(&action, &args, dead).await;
    assert_eq!(dead(), "0");
    let (_, output) = once(&action, &args).await;
    let bytes = output.unwrap()["bytes"].as_i64().unwrap();

    // Not the owner: the server warns, says that it did, and did not.
    let action = PgVacuum::new(server.servers("healer"));
    let error = once(&action, &args).await.1.unwrap_err();
    assert!(
        error.report().to_string().contains("may not vacuum"),
        "{}",
        error.report()
    );

    let full = json!({"server": "db", "table": r#"public."odd "".name""#, "full": true});
    let action = PgVacuum::new(server.servers("postgres"));
    assert_eq!(action.check(&filled(&action, &full))[0].pointer, "/full");
    assert!(matches!(
        once(&action, &full).await.1,
        Err(ActionError::Denied { .. })
    ));
    let action = action.allowing_full();
    let output = once(&action, &full).await.1.unwrap();
    assert!(output["bytes"].as_i64().unwrap() <= bytes, "{output}");

    let none = json!({"server": "db", "table": "public.none"});
    let error = once(&action, &none).await.1.unwrap_err();
    assert!(matches!(error, ActionError::Invalid { .. }), "{error}");
    let evil = json!({"server": "db", "table": "t; DROP TABLE t"});
    assert_eq!(action.check(&filled(&action, &evil))[0].pointer, "/table");

    // Somebody holds it: it waits as long as the host lets it, and no longer.
    let holder = server.session("postgres", "holder").await;
    holder
        .batch_execute(r#"BEGIN; LOCK "odd "".name""#)
        .await
        .unwrap();
    let servers = server.servers_with("postgres", Duration::from_millis(100));
    let error = once(&PgVacuum::new(servers), &args).await.1.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(
        error.report().to_string().contains("55P03"),
        "{}",
        error.report()
    );
    holder.batch_execute("COMMIT").await.unwrap();
    // Nothing would show that it was done.
    server.sql("ALTER ROLE postgres SET track_counts = off");
    let action = PgVacuum::new(server.servers("postgres"));
    let error = once(&action, &args).await.1.unwrap_err();
    assert!(error.to_string().contains("track_counts"), "{error}");
}

#[tokio::test]
async fn an_index_is_rebuilt_and_what_a_failed_try_left_is_dropped() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("CREATE TABLE t AS SELECT generate_series(1, 5000) AS n");
    server.sql("CREATE INDEX t_n ON t (n)");
    server.sql("CREATE INDEX t_other ON t (n)");
    let indexes = || {
        server.sql("SELECT string_agg(relname || i.indisvalid, ' ' ORDER BY relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE indrelid = 't'::regclass")
    };
    let oid = || server.sql("SELECT 't_n'::regclass::oid");
    let action = PgReindex::new(server.servers("postgres"));
    let args = json!({"server": "db", "index": "public.t_n"});
    laws::repeat_and_undo(&action, &args, || (oid(), indexes())).await;
    assert_eq!(indexes(), "t_ntrue t_othertrue");

    // Older transactions are waited for, before the new index takes the name and after; the limit of
    // time ends that.
    for (mode, left, is_new) in [
        ("ROW EXCLUSIVE", "t_n_ccnewfalse", false),
        ("ROW SHARE", "t_n_ccoldfalse", true),
    ] {
        let old = server.session("postgres", "old").await;
        let lock = format!("BEGIN; LOCK TABLE t IN {mode} MODE");
        old.batch_execute(&lock).await.unwrap();
        let before = oid();
        let filled_args = filled(&action, &args);
        let (target, key) = (Target::service("orders").unwrap(), laws::key(1));
        let call = ActionCall::new(&target, &filled_args, &key);
        let captured = action.capture(&laws::context(), &call).await.unwrap();
        let call = call.with_captured(&captured);
        let soon = RealClock.now() + Duration::from_secs(2);
        let late = call.with_deadline(soon);
        let error = action.perform(&laws::context(), &late).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.report());
        assert_eq!(oid() != before, is_new);
        assert!(indexes().contains(left), "{}", indexes());
        let answer = action.probe(&laws::context(), &call).await;
        assert_eq!(
            matches!(answer, ProbeAnswer::Happened(_)),
            is_new,
            "{answer:?}"
        );
        assert_eq!(answer == ProbeAnswer::DidNot, !is_new, "{answer:?}");
        old.batch_execute("COMMIT").await.unwrap();
        let again = action
            .perform(&laws::context(), &call.with_attempt(2))
            .await;
        assert_eq!(again.unwrap()["dropped_invalid"], 1);
        assert_eq!(indexes(), "t_ntrue t_othertrue");
        assert_ne!(oid(), before);
    }
}

#[tokio::test]
async fn a_rebuild_waits_for_older_transactions_longer_than_others_wait_for_locks() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql("CREATE TABLE t AS SELECT generate_series(1, 5000) AS n");
    server.sql("CREATE INDEX t_n ON t (n)");
    let old = server.session("postgres", "old").await;
    old.batch_execute("BEGIN; LOCK TABLE t IN ROW EXCLUSIVE MODE")
        .await
        .unwrap();
    let action = PgReindex::new(server.servers_with("postgres", Duration::from_millis(300)));
    let args = json!({"server": "db", "index": "public.t_n"});
    let commit = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        old.batch_execute("COMMIT").await.unwrap();
    };
    let ((_, output), ()) = tokio::join!(once(&action, &args), commit);
    assert_eq!(output.unwrap()["valid"], true);
}

#[tokio::test]
async fn each_statement_ends_before_the_deadline_whatever_went_before() {
    let Some(server) = Server::start() else {
        return;
    };
    let (args, target) = (json!({"server": "db"}), Target::service("orders").unwrap());
    let (args, key) = (args.as_object().unwrap(), laws::key(1));
    let began = RealClock.now();
    let call = ActionCall::new(&target, args, &key);
    let call = call.with_deadline(began + Duration::from_secs(3));
    let servers = server.servers("postgres");
    let mut session = servers.open(&laws::context(), &call).await.unwrap();
    session
        .act("sleeping", "SELECT pg_sleep(1.5)")
        .await
        .unwrap();
    let error = session.act("sleeping", "SELECT pg_sleep(60)").await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.report());
    assert!(RealClock.now() < call.deadline, "{}", error.report());
    tokio::time::sleep(call.deadline.since(RealClock.now())).await;
    let error = session.act("sleeping", "SELECT 1").await.unwrap_err();
    assert!(!error.may_have_begun(), "{}", error.report());
}

#[tokio::test]
async fn a_promotion_that_takes_long_goes_on_and_nobody_says_that_it_did_not_happen() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let standby = server.standby("");
    standby
        .wait_until("SELECT EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming')")
        .await;
    server.kill();
    standby
        .wait_until("SELECT count(*) = 0 FROM pg_stat_wal_receiver")
        .await;
    let action = PgPromoteReplica::new(standby.servers("postgres"));
    let args = filled(&action, &json!({"server": "db"}));
    let (target, key) = (Target::service("orders").unwrap(), laws::key(1));
    let call = ActionCall::new(&target, &args, &key);
    let captured = action.capture(&laws::context(), &call).await.unwrap();
    let call = call.with_captured(&captured);
    // As with much to replay.
    let startup = standby.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'");
    signal("-STOP", &startup);
    let late = call.with_deadline(RealClock.now() + Duration::from_secs(3));
    let done = action.perform(&laws::context(), &late).await;
    let answer = action.probe(&laws::context(), &call).await;
    signal("-CONT", &startup);
    let error = done.unwrap_err();
    assert!(
        error.may_have_begun() && error.kind() == ErrorKind::Timeout,
        "{}",
        error.report()
    );
    assert!(matches!(answer, ProbeAnswer::CannotTell(_)), "{answer:?}");
    standby.wait_until("SELECT NOT pg_is_in_recovery()").await;
    let answer = action.probe(&laws::context(), &call).await;
    assert!(matches!(answer, ProbeAnswer::Happened(_)), "{answer:?}");
}

#[expect(clippy::disallowed_methods, reason = "a test runs a real program")]
fn signal(which: &str, pid: &str) {
    let sent = Command::new("kill").args([which, pid]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn a_standby_is_promoted_once_and_not_while_its_primary_lives() {
    let Some(mut server) = Server::start() else {
        return;
    };
    server.sql(&format!(
        "CREATE ROLE promoter LOGIN PASSWORD '{PASSWORD}'; GRANT EXECUTE ON FUNCTION pg_promote TO promoter"
    ));
    let standby = server.standby("");
    standby
        .wait_until("SELECT EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming')")
        .await;
    let action = PgPromoteReplica::new(standby.servers("postgres"));
    let args = json!({"server": "db"});
    let error = once(&action, &args).await.1.unwrap_err();
    assert!(error.to_string().contains("still receives"), "{error}");
    let error = once(&PgPromoteReplica::new(standby.servers("healer")), &args)
        .await
        .1
        .unwrap_err();
    assert!(error.to_string().contains("pg_promote"), "{error}");
    // One that may, and does not see what the receiver does.
    let blind = PgPromoteReplica::new(standby.servers("promoter"));
    let error = once(&blind, &args).await.1.unwrap_err();
    assert!(error.to_string().contains("pg_read_all_stats"), "{error}");
    // One that gets everything from elsewhere.
    let fed = server.standby("primary_conninfo = ''");
    let error = once(&PgPromoteReplica::new(fed.servers("postgres")), &args).await;
    let error = error.1.unwrap_err();
    assert!(error.to_string().contains("never received"), "{error}");
    drop(fed);
    // What serves the standby is no client's session.
    let sender = || server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'");
    let before = sender();
    assert_ne!(before, "");
    let everybody = json!({"server": "db", "older_than": "100ms", "state": "any",
        "include_superusers": true});
    let visitor = server.session("postgres", "visitor").await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let terminate = PgSessions::terminate(server.servers("postgres"));
    let output = once(&terminate, &everybody).await.1.unwrap();
    assert_eq!(output["ended"], 1, "{output}");
    assert!(visitor.batch_execute("SELECT 1").await.is_err());
    assert_eq!(sender(), before);
    server.kill();
    standby
        .wait_until(
            "SELECT NOT EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming')",
        )
        .await;
    let state = || standby.sql("SELECT pg_is_in_recovery()");
    assert_eq!(state(), "t");
    laws::repeat_and_undo(&action, &args, state).await;
    assert_eq!(state(), "f");
    standby.sql("CREATE TABLE written (n int)");
    let error = once(&action, &args).await.1.unwrap_err();
    assert!(error.to_string().contains("expected a standby"), "{error}");
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_and_the_password_is_not() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let args = json!({"server": "db", "older_than": "1s"});
    let target = Target::service("orders").unwrap();
    let address = server.address();
    let mut config = PostgresServerConfig::new(target, address.clone(), "healer");
    config.password = Some("Tr0ub4dor".into());
    let servers = PostgresServers::default().server("db", config).unwrap();
    let action = PgSessions::terminate(servers);
    let error = once(&action, &args).await.1.unwrap_err();
    assert!(
        !error.may_have_begun() && error.kind() == ErrorKind::Permanent,
        "{error:?}"
    );
    let said = error.report().to_string();
    assert!(said.contains(&address) && said.contains("28P01"), "{said}");
    assert!(
        !said.contains("Tr0ub4dor") && !format!("{action:?}").contains("Tr0ub4dor"),
        "{said}"
    );
    server.kill();
    let error = once(&action, &args).await.1.unwrap_err();
    assert!(
        !error.may_have_begun() && error.kind() == ErrorKind::Transient,
        "{error:?}"
    );
    assert_eq!(server.port(), address[10..].parse::<u16>().unwrap());
}

#[test]
fn playbooks_with_them_are_read_and_their_mistakes_are_named() {
    let target = Target::service("orders").unwrap();
    let config = PostgresServerConfig::new(target.clone(), "127.0.0.1:1", "healer");
    let servers = PostgresServers::default().server("db", config).unwrap();
    let mut actions = ActionRegistry::default();
    actions
        .register(PgSessions::cancel_long_queries(servers.clone()))
        .unwrap();
    actions
        .register(PgSessions::terminate(servers.clone()))
        .unwrap();
    actions
        .register(PgSessions::terminate_idle_in_transaction(servers.clone()))
        .unwrap();
    actions
        .register(PgSessions::reset_connections(servers.clone()))
        .unwrap();
    actions.register(PgVacuum::new(servers.clone())).unwrap();
    actions.register(PgReindex::new(servers.clone())).unwrap();
    actions.register(PgPromoteReplica::new(servers)).unwrap();
    let text = "
playbook_id: slow-queries
name: End what holds the database
version: '1.0.0'
trigger: {cause: slow_dependency, service: orders}
remediation_steps:
  - {name: Cancel, action: pg_cancel_long_queries, server: db, older_than: 5m, application: 'web*'}
  - {name: End, action: pg_terminate_idle_in_transaction, server: db, older_than: 10m, max: 5}
  - {name: Vacuum, action: pg_vacuum, server: db, table: public.orders}
  - {name: Reindex, action: pg_reindex, server: db, index: public.orders_pkey}
verification: {check: error_ratio < 1%}
";
    let checks = CheckRegistry::default();
    let read = |text: &str| PlaybookSet::parse([("a.yaml", text)], &actions, &checks);
    let playbooks = read(text).unwrap();
    let playbook = playbooks.get("slow-queries").unwrap();
    let dry = playbook
        .dry_run(&actions, &target, &Topology::default())
        .unwrap()
        .to_string();
    assert!(dry.contains("pg_terminate_idle_in_transaction"), "{dry}");
    assert!(
        dry.contains("what the session had not committed is lost"),
        "{dry}"
    );
    for (good, bad, expected) in [
        (
            "older_than: 5m",
            "older_than: 5ms",
            "a duration between 100ms",
        ),
        ("max: 5}", "max: 500}", "an integer between 1 and 100"),
        (
            "server: db, table: public.orders",
            "server: dv, table: public.orders",
            "one of `db`",
        ),
        ("public.orders}", "orders}", "schema.name"),
        ("public.orders_pkey}", "'public.a;b.c'}", "schema.name"),
        (
            "public.orders}",
            "public.orders, full: true}",
            "the host does not allow VACUUM FULL",
        ),
    ] {
        let error = read(&text.replace(good, bad)).unwrap_err().to_string();
        assert!(error.contains(expected), "{bad}: {error}");
    }
}

#[test]
fn wrong_settings_are_all_told() {
    let target = Target::service("orders").unwrap();
    let mut config = PostgresServerConfig::new(target, "u:s3cret@db:1", "");
    config.database = Some(String::new());
    config.lock_timeout = Duration::ZERO;
    let error = PostgresServers::default().server("db", config).unwrap_err();
    assert_eq!(error.violations().len(), 4, "{error}");
    assert!(error.to_string().contains("servers.db.address"), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}
