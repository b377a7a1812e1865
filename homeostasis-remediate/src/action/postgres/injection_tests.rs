//! Hostile strings on the way to a real `PostgreSQL` server, as a superuser whom nothing would be refused.

use homeostasis_core::testing::postgres::open_to_all;
use serde_json::json;

use super::testing::Server;
use super::*;
use crate::action::injection_tests::{Case, attack, attack_undo, attacks, case, filled, hostile};
use crate::action::laws::context;

/// What only means something to this server; `OUTSIDE` becomes a folder that nobody may touch.
const SQL: [&str; 14] = [
    "public.prices; DROP TABLE public.witness",
    "public.prices\"; DROP TABLE public.witness; --",
    "public.\"prices\"; DROP TABLE public.witness; --\"",
    "public.prices, public.witness",
    "public.prices (n)",
    "public.\"no\"\"; COPY (SELECT 1) TO PROGRAM 'touch OUTSIDE/ran'; --\"",
    "public.no\"; COPY (SELECT 1) TO PROGRAM 'touch OUTSIDE/ran'; --",
    "'; DROP TABLE public.witness; --",
    "' OR '1' = '1",
    "' OR true OR application_name LIKE '",
    "\\'; DROP TABLE public.witness; --",
    "%",
    "_______",
    "$$; SET ROLE app; $$",
];

/// What stands for sessions and is compared with theirs.
const PATTERNS: [&str; 3] = ["user", "database", "application"];

/// Tables and indexes whose names are attacks: quoted wrongly, they drop the witness.
const NAMES: &str = r#"
CREATE TABLE witness AS SELECT generate_series(1, 10) AS n;
CREATE TABLE prices AS SELECT generate_series(1, 10) AS n;
CREATE TABLE "x""; DROP TABLE public.witness; --" AS SELECT generate_series(1, 10) AS n;
CREATE INDEX prices_n ON prices (n);
CREATE INDEX "i""; DROP TABLE public.witness; --" ON prices (n);
-- As if a try had failed: what is left is dropped by the name the server tells.
CREATE INDEX "i""; DROP TABLE public.witness; --_ccnew" ON prices (n);
UPDATE pg_index SET indisvalid = false
  WHERE indexrelid = 'public."i""; DROP TABLE public.witness; --_ccnew"'::regclass;"#;

/// What is in the server: objects, roles, rows, settings; and who is logged in beside us.
fn seen(server: &Server) -> String {
    server.sql(
        "SELECT json_build_array(
          (SELECT json_agg(relname ORDER BY oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace),
          (SELECT json_agg(indexrelid::text ORDER BY indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = indexrelid
             WHERE relnamespace = 'public'::regnamespace),
          (SELECT json_agg(rolname ORDER BY oid) FROM pg_roles),
          (SELECT json_agg(datname ORDER BY oid) FROM pg_database),
          (SELECT count(*) FROM witness),
          (SELECT json_agg(sourcefile) FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'),
          (SELECT json_agg(pid ORDER BY pid) FROM pg_stat_activity WHERE application_name = 'witness'))",
    )
}

fn cases(server: &Server) -> Vec<Case> {
    let servers = server.servers("postgres");
    let sessions = json!({"server": "db", "older_than": "100ms", "application": "nobody",
        "user": "nobody", "database": "nowhere", "include_superusers": true});
    let mut any = sessions.clone();
    any["state"] = "any".into();
    vec![
        case(
            PgSessions::cancel_long_queries(servers.clone()),
            sessions.clone(),
        ),
        case(PgSessions::terminate(servers.clone()), any),
        case(
            PgSessions::terminate_idle_in_transaction(servers.clone()),
            sessions.clone(),
        ),
        case(PgSessions::reset_connections(servers.clone()), sessions),
        case(
            PgVacuum::new(servers.clone()),
            json!({"server": "db", "table": "public.prices"}),
        ),
        case(
            PgReindex::new(servers),
            json!({"server": "db", "index": "public.prices_n"}),
        ),
    ]
}

#[tokio::test]
async fn no_string_becomes_a_statement_or_a_pattern_that_hits_others() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql(NAMES);
    let place = tempfile::tempdir().unwrap();
    open_to_all(place.path());
    let witness = server.session("app", "witness").await;
    witness.batch_execute("SELECT 1").await.unwrap();
    // Long enough ago for every pattern.
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    let before = seen(&server);
    let outside = place.path().to_str().unwrap();
    let sql: Vec<_> = SQL
        .iter()
        .map(|text| text.replace("OUTSIDE", outside))
        .collect();
    let all = [sql.clone(), hostile(place.path())].concat();
    let mut n_attacks = 0;
    for case in &cases(&server) {
        let name = case.action.name();
        // What finds sessions does it with one statement in all four.
        let is_first =
            !name.starts_with("pg_reset") && !name.contains("_idle_") && !name.contains("_cancel_");
        for text in if is_first { &all } else { &sql } {
            for (param, mut args) in attacks(case, text) {
                let is_pattern = PATTERNS.contains(&param.as_str());
                if is_pattern {
                    // It alone says who is found.
                    args.retain(|other, _| *other == param || !PATTERNS.contains(&other.as_str()));
                }
                if is_pattern && text == "*" {
                    continue;
                }
                let result = attack(&context(), &*case.action, &args, !is_first).await;
                let is_good = match &result {
                    Ok(output) => is_pattern && output["found"] == 0,
                    Err(_) => !is_pattern || text.contains('\0'),
                };
                assert!(is_good, "{name} {param} {text:?}: {result:?}");
                n_attacks += 1;
            }
        }
        assert_eq!(seen(&server), before, "{name}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
    witness.batch_execute("SELECT 1").await.unwrap();
    assert!(n_attacks > 700, "{n_attacks}");
}

#[tokio::test]
async fn an_object_whose_name_is_an_attack_is_only_itself() {
    let Some(server) = Server::start() else {
        return;
    };
    server.sql(NAMES);
    let servers = server.servers("postgres");
    let table = json!({"server": "db", "table": r#"public."x""; DROP TABLE public.witness; --""#});
    let index = json!({"server": "db", "index": r#"public."i""; DROP TABLE public.witness; --""#});
    let vacuum = case(PgVacuum::new(servers.clone()), table);
    let rebuild = case(PgReindex::new(servers), index);
    for case in [&vacuum, &rebuild] {
        let done = attack(&context(), &*case.action, &filled(case), true).await;
        assert!(done.is_ok(), "{}: {done:?}", case.action.name());
        let undone = attack_undo(&context(), &*case.action, &filled(case), &json!({})).await;
        assert!(undone.is_err(), "{undone:?}");
    }
    assert_eq!(server.sql("SELECT count(*) FROM witness"), "10");
    let left = "SELECT count(*) FROM pg_class WHERE relname LIKE '%ccnew'";
    assert_eq!(server.sql(left), "0", "what a failed try left is dropped");
}
