//! Against a real server.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use homeostasis_core::testing::engine::{Engine, Scratch, find, free_port};
use homeostasis_core::{Clock, ErrorKind, Target, Topology};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use super::*;
use crate::action::laws::{self, RealClock};
use crate::action::{Action, ActionCall, ActionError, ActionRegistry, ProbeAnswer};
use crate::playbook::{CheckRegistry, PlaybookSet};

const PLACES: &[&str] = &["/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin"];
const PASSWORD: &str = "h-u-n-t-e-r-2";
const START: Duration = Duration::from_secs(120);

struct Server {
    bin: PathBuf,
    data: PathBuf,
    engine: Option<Engine>,
    port: u16,
    _scratch: Scratch,
}

impl Server {
    /// With the database `shop` and the roles `app`, and `healer` that may end sessions; none if it is not
    /// installed.
    fn start() -> Option<Self> {
        let mut server = Self::prepare()?;
        let password = server.data.with_file_name("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let mut initdb = unprivileged(&server.bin.join("initdb"));
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "-N",
            "--no-locale",
            "-E",
            "UTF8",
        ]);
        initdb.arg("-D").arg(&server.data);
        run(initdb.arg("--pwfile").arg(&password));
        server.launch();
        server.sql("CREATE DATABASE shop");
        server.sql(&format!("CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'"));
        server.sql(&format!(
            "CREATE ROLE healer LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_signal_backend, pg_read_all_stats"
        ));
        Some(server)
    }

    /// One that follows this one.
    fn standby(&self) -> Self {
        let mut standby = Self::prepare().unwrap();
        let mut backup = unprivileged(&self.bin.join("pg_basebackup"));
        backup
            .env("PGPASSWORD", PASSWORD)
            .arg("-D")
            .arg(&standby.data);
        let url = format!("host=127.0.0.1 port={} user=postgres", self.port);
        run(backup.args(["-R", "-c", "fast", "-d", &url]));
        standby.launch();
        standby
    }

    fn prepare() -> Option<Self> {
        let bin = find("initdb", PLACES)?.canonicalize().unwrap();
        let scratch = Scratch::new();
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        Some(Self {
            bin: bin.parent().unwrap().to_owned(),
            data: scratch.path().join("data"),
            engine: None,
            port: free_port(),
            _scratch: scratch,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "a test runs a real server")]
    fn launch(&mut self) {
        let mut command = unprivileged(&self.bin.join("postgres"));
        command
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "autovacuum=off",
            "max_connections=20",
        ] {
            command.args(["-c", setting]);
        }
        let engine = self.engine.insert(Engine::start(command));
        let mut ready = Command::new(self.bin.join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        engine.wait_until("server", START, || ready.status().unwrap().success());
    }

    /// Runs a statement as the superuser, in a session of its own.
    #[expect(clippy::disallowed_methods, reason = "a test runs a real client")]
    fn sql(&self, statement: &str) -> String {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        let database = if statement.starts_with("CREATE DATABASE") {
            "postgres"
        } else {
            "shop"
        };
        psql.args([
            "-U", "postgres", "-d", database, "-X", "-A", "-t", "-q", "-c", statement,
        ]);
        psql.env("PGPASSWORD", PASSWORD);
        run(&mut psql).trim().to_owned()
    }

    async fn wait_until(&self, question: &str) {
        let began = RealClock.now();
        while self.sql(question) != "t" {
            assert!(
                RealClock.now().since(began) < START,
                "not in time: {question}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A session of `user` as the application `name`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the session goes on beside the test"
    )]
    async fn session(&self, user: &str, name: &str) -> Client {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .unwrap();
        let mut login = tokio_postgres::Config::new();
        login
            .user(user)
            .password(PASSWORD)
            .dbname("shop")
            .application_name(name);
        let (client, connection) = login.connect_raw(stream, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A session that sleeps until somebody ends its query.
    #[expect(
        clippy::disallowed_methods,
        reason = "the query goes on beside the test"
    )]
    async fn sleeper(&self, user: &str, name: &str) -> tokio::task::JoinHandle<String> {
        let client = self.session(user, name).await;
        let sleeping = tokio::spawn(async move {
            let error = client
                .batch_execute("SELECT pg_sleep(600)")
                .await
                .unwrap_err();
            let survives = client.batch_execute("SELECT 1").await.is_ok();
            let code = error.code().map_or("closed", |code| code.code());
            format!("{code} {survives}")
        });
        let asleep = format!(
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = '{name}' AND state = 'active' AND query LIKE '%sleep%'"
        );
        self.wait_until(&asleep).await;
        sleeping
    }

    fn servers(&self, user: &str) -> PostgresServers {
        let target = Target::service("orders").unwrap();
        let mut config =
            PostgresServerConfig::new(target, format!("127.0.0.1:{}", self.port), user);
        config.password = Some(PASSWORD.into());
        config.database = Some("shop".to_owned());
        config.connect_timeout = START;
        PostgresServers::default().server("db", config).unwrap()
    }
}

/// `program` as somebody without rights: the server refuses to be root.
#[expect(clippy::disallowed_methods, reason = "a test runs a real server")]
fn unprivileged(program: &Path) -> Command {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program);
    command
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}

/// Captures and does it once; what was captured, and what came of it.
async fn once(action: &dyn Action, args: &Value) -> (Value, Result<Value, ActionError>) {
    let (args, target) = (filled(action, args), Target::service("orders").unwrap());
    let key = laws::key(1);
    let call = ActionCall::new(&target, &args, &key);
    match action.capture(&laws::context(), &call).await {
        Ok(captured) => {
            let call = call.with_captured(&captured);
            let done = action.perform(&laws::context(), &call).await;
            (captured, done)
        }
        Err(error) => (Value::Null, Err(error)),
    }
}

fn filled(action: &dyn Action, args: &Value) -> serde_json::Map<String, Value> {
    let mut args = args.as_object().unwrap().clone();
    action.spec().fill_defaults(&mut args);
    args
}

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
    let target = Target::service("orders").unwrap();
    let mut config =
        PostgresServerConfig::new(target, format!("127.0.0.1:{}", server.port), "postgres");
    config.password = Some(PASSWORD.into());
    config.database = Some("shop".to_owned());
    config.lock_timeout = Duration::from_millis(100);
    let servers = PostgresServers::default().server("db", config).unwrap();
    let error = once(&PgVacuum::new(servers), &args).await.1.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(
        error.report().to_string().contains("55P03"),
        "{}",
        error.report()
    );
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
async fn a_standby_is_promoted_once_and_not_while_its_primary_lives() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let standby = server.standby();
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
    server.engine = None;
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
    let address = format!("127.0.0.1:{}", server.port);
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
    server.engine = None;
    let error = once(&action, &args).await.1.unwrap_err();
    assert!(
        !error.may_have_begun() && error.kind() == ErrorKind::Transient,
        "{error:?}"
    );
    assert_eq!(server.port, address[10..].parse::<u16>().unwrap());
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
