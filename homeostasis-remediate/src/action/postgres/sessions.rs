//! `pg_cancel_long_queries`, `pg_terminate`, `pg_terminate_idle_in_transaction`, `pg_reset_connections`.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::server::{APPLICATION, PostgresServers, Session};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind,
};

/// How long the sessions that were told have to end, and how often that is looked at.
const SETTLE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// The most sessions of one step.
const MOST: i64 = 100;

/// Who is found: never ourselves, never another of our actions, and only client backends, so neither
/// autovacuum (whether it prevents wraparound or not) nor replication nor a worker.
const FIND: &str = r"
SELECT a.pid, a.backend_start::text, a.state, a.query_start::text, a.state_change::text,
  a.usename::text, a.datname::text, a.application_name,
  extract(epoch FROM clock_timestamp() - s.since)::float8
FROM pg_stat_activity a
JOIN pg_roles r ON r.oid = a.usesysid
CROSS JOIN LATERAL (SELECT CASE a.state WHEN 'active' THEN a.query_start ELSE a.state_change END) s(since)
WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND a.application_name <> $1
  AND a.state = ANY($2::text[])
  AND clock_timestamp() - s.since >= make_interval(secs => $3::float8)
  AND ($4::text IS NULL OR a.usename::text LIKE $4)
  AND ($5::text IS NULL OR a.datname::text LIKE $5)
  AND ($6::text IS NULL OR a.application_name LIKE $6)
  AND ($7::bool OR NOT r.rolsuper)
ORDER BY s.since LIMIT $8::int8";

/// Whether a session is still the one that was found, doing what it did then: a process that serves
/// somebody else by now started at another time, and a query that came since began at another.
const STILL: &str = r"
FROM pg_stat_activity a
WHERE a.pid = $1 AND a.backend_start = $2::text::timestamptz AND a.state = $3::text
  AND a.query_start IS NOT DISTINCT FROM $4::text::timestamptz
  AND a.state_change IS NOT DISTINCT FROM $5::text::timestamptz";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    CancelLongQueries,
    Terminate,
    TerminateIdleInTransaction,
    ResetConnections,
}

/// Ends what sessions of a server do, or the sessions.
///
/// | action | whom | how | taken back |
/// |---|---|---|---|
/// | `pg_cancel_long_queries` | sessions whose query runs for `older_than` | the query is canceled, the session lives | nothing to take back: the statement is rolled back |
/// | `pg_terminate` | sessions in `state` (`active`, `idle`, `idle_in_transaction`, `any`; default `active`) for `older_than` | the session is ended | irreversible |
/// | `pg_terminate_idle_in_transaction` | sessions idle within a transaction for `older_than` | the session is ended | irreversible |
/// | `pg_reset_connections` | sessions idle outside of transactions for `older_than`, as pools keep them | the session is ended | nothing to take back: the pool connects anew |
///
/// Parameters: `server` (a registered name), `older_than` (at least 100 ms), `max` (default 10, at
/// most 100; the longest first), `user`, `database` and `application` (patterns, `*` stands for
/// anything; default anybody), `include_superusers` (default false).
///
/// Never ended are our own sessions, and what is no client: autovacuum, replication, workers.
/// The sessions are chosen when the state before is captured, at most `max` however often the step
/// runs, and each is told only if it is, in the same statement, still the same process with the same
/// query: a process that was reused is not hit. (`PostgreSQL` itself signals processes by number: what
/// ends and is replaced within that statement's microseconds is beyond anybody's reach.)
/// A session that has not ended 10 s after it was told is a failure that may pass.
///
/// The role needs `pg_signal_backend` and, to see what others do, `pg_read_all_stats`.
#[derive(Debug)]
pub struct PgSessions {
    spec: ActionSpec,
    servers: PostgresServers,
    verb: Verb,
}

/// A session as it was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Found {
    pid: i32,
    started: String,
    state: String,
    query_start: Option<String>,
    state_change: Option<String>,
    user: String,
    database: Option<String>,
    application: Option<String>,
    age_seconds: f64,
}

impl PgSessions {
    /// `pg_cancel_long_queries`.
    pub fn cancel_long_queries(servers: PostgresServers) -> Self {
        Self::new(servers, Verb::CancelLongQueries)
    }

    /// `pg_terminate`.
    pub fn terminate(servers: PostgresServers) -> Self {
        Self::new(servers, Verb::Terminate)
    }

    /// `pg_terminate_idle_in_transaction`.
    pub fn terminate_idle_in_transaction(servers: PostgresServers) -> Self {
        Self::new(servers, Verb::TerminateIdleInTransaction)
    }

    /// `pg_reset_connections`.
    pub fn reset_connections(servers: PostgresServers) -> Self {
        Self::new(servers, Verb::ResetConnections)
    }

    fn new(servers: PostgresServers, verb: Verb) -> Self {
        let lost = Inverse::Irreversible("what the session had not committed is lost".to_owned());
        let (description, risk, inverse) = match verb {
            Verb::CancelLongQueries => ("cancel long queries", RiskLevel::Medium, Inverse::Nothing),
            Verb::Terminate => ("end sessions", RiskLevel::High, lost),
            Verb::TerminateIdleInTransaction => (
                "end sessions idle in a transaction",
                RiskLevel::Medium,
                lost,
            ),
            Verb::ResetConnections => ("end idle sessions", RiskLevel::Medium, Inverse::Nothing),
        };
        let older_than = ParamKind::Duration {
            min: Duration::from_millis(100),
            max: Duration::from_secs(30 * 86_400),
        };
        let max = ParamKind::Integer { min: 1, max: MOST };
        let mut params = vec![
            PostgresServers::param(),
            Param::required("older_than", older_than, "for how long already"),
            Param::optional("max", max, "how many at most, the longest first").or(10),
            Param::optional("user", ParamKind::Text, "whose sessions; `*` is anything"),
            Param::optional(
                "database",
                ParamKind::Text,
                "in which database; `*` is anything",
            ),
            Param::optional(
                "application",
                ParamKind::Text,
                "of which application; `*` is anything",
            ),
            Param::optional("include_superusers", ParamKind::Bool, "superusers as well").or(false),
        ];
        if verb == Verb::Terminate {
            let states = ParamKind::OneOf(&["active", "idle", "idle_in_transaction", "any"]);
            params.push(Param::optional("state", states, "in which state").or("active"));
        }
        let spec = ActionSpec::new(description)
            .with_params(params)
            .with_effect(EffectClass::Idempotent)
            .with_risk(risk)
            .with_inverse(inverse);
        Self {
            spec,
            servers,
            verb,
        }
    }

    fn states(&self, call: &ActionCall<'_>) -> Result<Vec<&'static str>, ActionError> {
        const OPEN: [&str; 2] = ["idle in transaction", "idle in transaction (aborted)"];
        let asked = match self.verb {
            Verb::CancelLongQueries => "active",
            Verb::Terminate => call.text("state")?,
            Verb::TerminateIdleInTransaction => "idle_in_transaction",
            Verb::ResetConnections => "idle",
        };
        Ok(match asked {
            "active" => vec!["active", "fastpath function call"],
            "idle" => vec!["idle"],
            "idle_in_transaction" => OPEN.to_vec(),
            "any" => [&["active", "fastpath function call", "idle"][..], &OPEN].concat(),
            _ => return Err(ActionError::argument("state", "one of the states")),
        })
    }

    /// Tells one session; false if it is no longer what was found.
    async fn tell(&self, session: &mut Session, one: &Found) -> Result<bool, ActionError> {
        let function = match self.verb {
            Verb::CancelLongQueries => "pg_cancel_backend",
            _ => "pg_terminate_backend",
        };
        let what = format!("ending session {}", one.pid);
        let rows = about(session, &what, &format!("{function}(a.pid)"), one).await?;
        // No row: it is no longer there. False: it ended in between.
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }
}

/// How many of `told` go on.
async fn n_left(session: &mut Session, told: &[&Found]) -> Result<usize, ActionError> {
    let mut left = 0;
    for one in told {
        left += about(session, "looking whether they ended", "true", one)
            .await?
            .len();
    }
    Ok(left)
}

/// Asks for `what` if a session is still what was found.
async fn about(
    session: &mut Session,
    doing: &str,
    what: &str,
    one: &Found,
) -> Result<Vec<Row>, ActionError> {
    let statement = format!("SELECT {what} {STILL}");
    let params: [&(dyn ToSql + Sync); 5] = [
        &one.pid,
        &one.started,
        &one.state,
        &one.query_start,
        &one.state_change,
    ];
    let rows = session.rows(&statement, &params).await;
    rows.map_err(|error| session.failed(doing, &error))
}

/// A pattern of `LIKE` for a pattern with `*`.
fn like(pattern: &str) -> String {
    let mut like = String::new();
    for c in pattern.chars() {
        match c {
            '*' => like.push('%'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            c => like.push(c),
        }
    }
    like
}

#[async_trait]
impl Action for PgSessions {
    fn name(&self) -> &'static str {
        match self.verb {
            Verb::CancelLongQueries => "pg_cancel_long_queries",
            Verb::Terminate => "pg_terminate",
            Verb::TerminateIdleInTransaction => "pg_terminate_idle_in_transaction",
            Verb::ResetConnections => "pg_reset_connections",
        }
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.servers.touches(target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        self.servers.check(args)
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let states = self.states(call)?;
        let older_than = call.duration("older_than")?.as_secs_f64();
        let pattern = |param| call.args.get(param).and_then(Value::as_str).map(like);
        let (user, database) = (pattern("user"), pattern("database"));
        let application = pattern("application");
        let superusers = call.boolean("include_superusers")?;
        let max = i64::try_from(call.unsigned("max")?).map_or(MOST, |max| max.min(MOST));
        let mut session = self.servers.open(cx, call).await?;
        // Others' sessions would look like doing nothing, and nothing would be found.
        let sees = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')";
        let sees = session
            .ask("asking what the role may see", sees, &[])
            .await?;
        if !sees.first().is_some_and(|row| row.get(0)) {
            let detail = "it does not see what others do, expected a member of pg_read_all_stats";
            return Err(ActionError::invalid("the role", detail));
        }
        let rows = session
            .ask(
                "looking for sessions",
                FIND,
                &[
                    &APPLICATION,
                    &states,
                    &older_than,
                    &user,
                    &database,
                    &application,
                    &superusers,
                    &max,
                ],
            )
            .await?;
        let found: Vec<_> = rows
            .iter()
            .map(|row| Found {
                pid: row.get(0),
                started: row.get(1),
                state: row.get(2),
                query_start: row.get(3),
                state_change: row.get(4),
                user: row.get(5),
                database: row.get(6),
                application: row.get(7),
                age_seconds: row.get(8),
            })
            .collect();
        Ok(json!(found))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let found: Vec<Found> = serde_json::from_value(call.captured.clone())
            .map_err(|_| ActionError::invalid("captured state", "expected the sessions found"))?;
        let mut session = self.servers.open(cx, call).await?;
        let mut told = Vec::new();
        for one in &found {
            if self.tell(&mut session, one).await? {
                told.push(one);
            }
        }
        let started = cx.now();
        let mut left = n_left(&mut session, &told).await?;
        while left > 0 && cx.now().since(started) < SETTLE {
            cx.clock().sleep(POLL).await;
            left = n_left(&mut session, &told).await?;
        }
        if left > 0 {
            let detail = format!(
                "{left} of {} go on {SETTLE:?} after they were told",
                told.len()
            );
            return Err(ActionError::transient("ending sessions", detail));
        }
        let sessions: Vec<_> = told.iter().map(|one| json!({
            "pid": one.pid, "user": one.user, "database": one.database,
            "application": one.application, "state": one.state, "age_seconds": one.age_seconds,
        })).collect();
        Ok(json!({
            "found": found.len(), "ended": told.len(), "gone_before": found.len() - told.len(),
            "sessions": sessions,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_star_stands_for_anything() {
        assert_eq!(like(r"web_*%\"), r"web\_%\%\\");
    }
}
