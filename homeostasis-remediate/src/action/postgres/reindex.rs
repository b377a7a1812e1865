//! `pg_reindex`.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value, json};

use super::name::QualifiedName;
use super::server::{PostgresServers, Session};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, ProbeAnswer,
};

/// How long a probe waits for a build that goes on although nobody listens to it any more.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

const FIND: &str = r"
SELECT c.oid::int8, i.indisvalid AND i.indisready, pg_relation_size(c.oid),
  EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.relid = i.indrelid)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_index i ON i.indexrelid = c.oid
WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind = 'i'";

/// What a failed try left behind: invalid, on the same table and the same columns, and called after the
/// index as the server calls such (names that would be too long are cut).
const LEFT_BEHIND: &str = r"
SELECT o.relname::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_index i ON i.indexrelid = c.oid
JOIN pg_index x ON x.indrelid = i.indrelid AND x.indkey = i.indkey AND x.indclass = i.indclass
  AND NOT x.indisvalid AND x.indexrelid <> i.indexrelid
JOIN pg_class o ON o.oid = x.indexrelid
CROSS JOIN LATERAL (SELECT regexp_replace(o.relname::text, '_cc(new|old)[0-9]*$', '')) s(stem)
WHERE n.nspname = $1::text AND c.relname = $2::text AND o.relname::text ~ '_cc(new|old)[0-9]*$'
  AND (s.stem = c.relname::text OR octet_length(c.relname::text) > 54 AND starts_with(c.relname::text, s.stem))
ORDER BY 1";

/// Builds an index anew while its table is used (`REINDEX INDEX CONCURRENTLY`, server 12 or later).
///
/// Parameters: `server` (a registered name), `index` (`schema.name` as stored, a part with a dot in
/// double quotes).
///
/// Readers and writers go on; it waits for every transaction that is older. A try that fails leaves an
/// invalid index `…_ccnew` or `…_ccold` behind that costs every write: it is dropped at once if that can
/// be, and otherwise by the next try; one that another session is building is left alone, because its lock is
/// waited for and not had. Probeable: the rebuilt index is another object with the same name. It is
/// verified to be valid; bytes are told before and after. Nothing to take back.
#[derive(Debug)]
pub struct PgReindex {
    spec: ActionSpec,
    servers: PostgresServers,
}

/// An index as the catalog has it.
#[derive(Debug, Clone, Copy)]
struct Index {
    oid: i64,
    is_valid: bool,
    bytes: i64,
    /// Somebody builds an index on its table.
    is_busy: bool,
}

impl PgReindex {
    /// The action for these servers.
    pub fn new(servers: PostgresServers) -> Self {
        let spec = ActionSpec::new("build an index anew while its table is used")
            .with_params([
                PostgresServers::param(),
                Param::required("index", ParamKind::Text, "which index: schema.name"),
            ])
            .with_effect(EffectClass::Probeable)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Nothing)
            .with_timeout(Duration::from_secs(1800));
        Self { spec, servers }
    }

    /// Drops what failed tries left behind; how many there were.
    async fn clean(session: &mut Session, name: &QualifiedName) -> Result<usize, ActionError> {
        let rows = session
            .ask(
                "looking for invalid indexes",
                LEFT_BEHIND,
                &[&name.schema, &name.name],
            )
            .await?;
        for row in &rows {
            let left = QualifiedName {
                schema: name.schema.clone(),
                name: row.get(0),
            };
            let statement = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", left.quoted());
            session.act("dropping an invalid index", &statement).await?;
        }
        Ok(rows.len())
    }
}

async fn look(session: &mut Session, name: &QualifiedName) -> Result<Index, ActionError> {
    let rows = session
        .ask("looking at the index", FIND, &[&name.schema, &name.name])
        .await?;
    let row = rows.first().ok_or_else(|| {
        ActionError::argument("index", "an index that is there, no partitioned one")
    })?;
    Ok(Index {
        oid: row.get(0),
        is_valid: row.get(1),
        bytes: row.get(2),
        is_busy: row.get(3),
    })
}

fn captured_oid(call: &ActionCall<'_>) -> Result<i64, ActionError> {
    let oid = call.captured["oid"].as_i64();
    oid.ok_or_else(|| ActionError::invalid("captured state", "expected the index as it was"))
}

fn report(call: &ActionCall<'_>, now: Index, n_dropped: usize) -> Value {
    json!({
        "bytes_before": call.captured["bytes"], "bytes": now.bytes, "valid": now.is_valid,
        "dropped_invalid": n_dropped,
    })
}

#[async_trait]
impl Action for PgReindex {
    fn name(&self) -> &'static str {
        "pg_reindex"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.servers.touches(target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = self.servers.check(args);
        problems.extend(QualifiedName::problem("index", args.get("index")));
        problems
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let name = QualifiedName::of(call, "index")?;
        let mut session = self.servers.open(cx, call).await?;
        let index = look(&mut session, &name).await?;
        Ok(json!({ "oid": index.oid, "bytes": index.bytes, "valid": index.is_valid }))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (name, before) = (QualifiedName::of(call, "index")?, captured_oid(call)?);
        let mut session = self.servers.open(cx, call).await?;
        let present = look(&mut session, &name).await?;
        let n_dropped = Self::clean(&mut session, &name).await?;
        if present.oid != before && present.is_valid {
            // An earlier attempt, perhaps one that failed after the new index had taken the name.
            return Ok(report(call, present, n_dropped));
        }
        let what = format!("rebuilding {}", name.quoted());
        let statement = format!("REINDEX INDEX CONCURRENTLY {}", name.quoted());
        if let Err(error) = session.act(&what, &statement).await {
            // What cannot be dropped now is dropped by the next try.
            let _ = Self::clean(&mut session, &name).await;
            return Err(error);
        }
        let now = look(&mut session, &name).await?;
        if now.oid == before || !now.is_valid {
            let detail = format!("the server said it did; valid: {}", now.is_valid);
            return Err(ActionError::permanent(what, detail));
        }
        Ok(report(call, now, n_dropped))
    }

    async fn probe(&self, cx: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        let asked = async {
            let (name, before) = (QualifiedName::of(call, "index")?, captured_oid(call)?);
            let mut session = self.servers.open(cx, call).await?;
            let started = cx.now();
            let mut now = look(&mut session, &name).await?;
            while now.is_busy && now.oid == before && cx.now().since(started) < PATIENCE {
                cx.clock().sleep(POLL).await;
                now = look(&mut session, &name).await?;
            }
            Ok::<_, ActionError>((now, before))
        };
        match asked.await {
            Err(error) => ProbeAnswer::CannotTell(error.report().to_string()),
            Ok((now, before)) if now.oid != before && now.is_valid => {
                ProbeAnswer::Happened(report(call, now, 0))
            }
            Ok((now, _)) if now.is_busy => {
                ProbeAnswer::CannotTell("an index of this table is being built".to_owned())
            }
            Ok(_) => ProbeAnswer::DidNot,
        }
    }
}
