//! `pg_vacuum`.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value, json};

use super::name::QualifiedName;
use super::server::{PostgresServers, Session};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind,
};

/// How long the server's statistics may take to tell of a vacuum that is done.
const SETTLE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

const FIND: &str = r"
SELECT c.relkind::text, coalesce(s.n_dead_tup, 0), coalesce(s.vacuum_count, 0), c.relfilenode::int8,
  pg_total_relation_size(c.oid), age(c.relfrozenxid)::int8
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE n.nspname = $1::text AND c.relname = $2::text";

/// Vacuums one table.
///
/// Parameters: `server` (a registered name), `table` (`schema.name` as stored, a part with a dot in
/// double quotes), `analyze` (default true), `freeze` (default false), `full` (default false; the
/// host must have [allowed](Self::allowing_full) it).
///
/// Without `full` readers and writers go on; only changes of the table's form wait. A server skips a
/// table of somebody else without an error, so it is verified that it counted one vacuum more, and with
/// `full` that the table has a new file. What it tells are dead rows, bytes and the age of the oldest
/// transaction, before and after. Idempotent; nothing to take back.
#[derive(Debug)]
pub struct PgVacuum {
    spec: ActionSpec,
    servers: PostgresServers,
    full: bool,
}

/// A table as the catalog and the statistics have it.
#[derive(Debug, Clone, Copy)]
struct Table {
    dead_rows: i64,
    n_vacuums: i64,
    file: i64,
    bytes: i64,
    age: i64,
}

impl PgVacuum {
    /// The action for these servers.
    pub fn new(servers: PostgresServers) -> Self {
        let option = |name, doc| Param::optional(name, ParamKind::Bool, doc).or(false);
        let spec = ActionSpec::new("vacuum a table while it is used")
            .with_params([
                PostgresServers::param(),
                Param::required("table", ParamKind::Text, "which table: schema.name"),
                option("analyze", "statistics of the planner as well").or(true),
                option("freeze", "freeze all rows: against wraparound"),
                option("full", "rewrite the table; locks it"),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Nothing)
            .with_timeout(Duration::from_secs(1800));
        Self {
            spec,
            servers,
            full: false,
        }
    }

    /// The same, able to run `VACUUM FULL` when a playbook says `full`: it rewrites the table under an
    /// ACCESS EXCLUSIVE lock, so nobody reads or writes it meanwhile, and needs as much free disk as
    /// the table. The action is then of high risk.
    #[must_use]
    pub fn allowing_full(mut self) -> Self {
        self.full = true;
        self.spec.risk = RiskLevel::High;
        "vacuum a table; with `full` under an ACCESS EXCLUSIVE lock: nobody reads or writes it meanwhile"
            .clone_into(&mut self.spec.description);
        self
    }
}

async fn look(session: &mut Session, name: &QualifiedName) -> Result<Table, ActionError> {
    let rows = session
        .ask("looking at the table", FIND, &[&name.schema, &name.name])
        .await?;
    let row = rows.first().filter(|row| {
        let kind: &str = row.get(0);
        matches!(kind, "r" | "m")
    });
    let row = row.ok_or_else(|| {
        ActionError::argument(
            "table",
            "a table or materialized view that is there, no partitioned one",
        )
    })?;
    Ok(Table {
        dead_rows: row.get(1),
        n_vacuums: row.get(2),
        file: row.get(3),
        bytes: row.get(4),
        age: row.get(5),
    })
}

fn is_full(args: &Map<String, Value>) -> bool {
    args.get("full").and_then(Value::as_bool).unwrap_or(false)
}

#[async_trait]
impl Action for PgVacuum {
    fn name(&self) -> &'static str {
        "pg_vacuum"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.servers.touches(target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = self.servers.check(args);
        problems.extend(QualifiedName::problem("table", args.get("table")));
        if is_full(args) && !self.full {
            let expected = "false: the host does not allow VACUUM FULL";
            problems.push(ArgumentProblem::new("/full", expected));
        }
        problems
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let name = QualifiedName::of(call, "table")?;
        let mut session = self.servers.open(cx, call).await?;
        let table = look(&mut session, &name).await?;
        Ok(json!({ "dead_rows": table.dead_rows, "bytes": table.bytes, "age": table.age }))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let full = is_full(call.args);
        if full && !self.full {
            let reason = "the host does not allow VACUUM FULL".to_owned();
            return Err(ActionError::Denied { reason });
        }
        let name = QualifiedName::of(call, "table")?;
        let mut options = vec!["SKIP_LOCKED false"];
        for (param, option) in [
            ("analyze", "ANALYZE"),
            ("freeze", "FREEZE"),
            ("full", "FULL"),
        ] {
            if call.boolean(param)? {
                options.push(option);
            }
        }
        let mut session = self.servers.open(cx, call).await?;
        let before = look(&mut session, &name).await?;
        let what = format!("vacuuming {}", name.quoted());
        let statement = format!("VACUUM ({}) {}", options.join(", "), name.quoted());
        session.act(&what, &statement).await?;
        let started = cx.now();
        loop {
            let now = look(&mut session, &name).await?;
            // Statistics do not count a rewrite.
            let done = if full {
                now.file != before.file
            } else {
                now.n_vacuums > before.n_vacuums
            };
            if done {
                return Ok(json!({
                    "before": call.captured,
                    "dead_rows": now.dead_rows, "bytes": now.bytes, "age": now.age,
                }));
            }
            if full || cx.now().since(started) >= SETTLE {
                let detail = "the server skipped it: the role may not vacuum this table";
                return Err(ActionError::permanent(what, detail));
            }
            cx.clock().sleep(POLL).await;
        }
    }
}
