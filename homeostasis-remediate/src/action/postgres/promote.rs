//! `pg_promote_replica`.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value, json};

use super::server::{PostgresServers, Session};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, ProbeAnswer,
};

const FIND: &str = r"
SELECT pg_is_in_recovery(),
  EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'),
  has_function_privilege('pg_promote(boolean,integer)', 'execute'),
  CASE WHEN pg_is_in_recovery()
    THEN (pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn())::int8 END,
  CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";

/// Makes a standby the primary (`pg_promote`, server 12 or later).
///
/// Parameters: `server` (a registered name, of the standby), `while_primary_streams` (default false).
///
/// It is refused before anything is touched while the standby still receives from its primary: that one
/// lives, and two primaries would part; unless `while_primary_streams` says that somebody sees to that.
/// It waits until the standby takes writes, and tells the new timeline. Probeable: a primary is not in
/// recovery. Irreversible, so it needs approval: the old primary follows only after `pg_rewind`.
#[derive(Debug)]
pub struct PgPromoteReplica {
    spec: ActionSpec,
    servers: PostgresServers,
}

/// What a server says of its part in replication.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    is_standby: bool,
    is_streaming: bool,
    may_promote: bool,
    /// How much it received and has not replayed.
    bytes_to_replay: Option<i64>,
    /// In hexadecimal digits.
    timeline: Option<String>,
}

impl PgPromoteReplica {
    /// The action for these servers.
    pub fn new(servers: PostgresServers) -> Self {
        let spec = ActionSpec::new("make a standby the primary")
            .with_params([
                PostgresServers::param(),
                Param::optional(
                    "while_primary_streams",
                    ParamKind::Bool,
                    "although the primary lives",
                )
                .or(false),
            ])
            .with_effect(EffectClass::Probeable)
            .with_risk(RiskLevel::Critical)
            .with_inverse(Inverse::Irreversible(
                "the old primary cannot follow without pg_rewind".to_owned(),
            ))
            .with_timeout(Duration::from_secs(120));
        Self { spec, servers }
    }
}

async fn look(session: &mut Session) -> Result<Part, ActionError> {
    let rows = session
        .ask("asking for its part in replication", FIND, &[])
        .await?;
    let row = rows
        .first()
        .ok_or_else(|| ActionError::invalid("the server", "expected one row"))?;
    Ok(Part {
        is_standby: row.get(0),
        is_streaming: row.get(1),
        may_promote: row.get(2),
        bytes_to_replay: row.get(3),
        timeline: row.get(4),
    })
}

/// Refuses what would part two primaries.
fn refuse_a_living_primary(part: &Part, call: &ActionCall<'_>) -> Result<(), ActionError> {
    if part.is_streaming && !call.boolean("while_primary_streams")? {
        let detail = "it still receives from its primary, expected one that is gone";
        return Err(ActionError::invalid("the standby", detail));
    }
    Ok(())
}

fn report(part: &Part) -> Value {
    json!({ "in_recovery": part.is_standby, "timeline": part.timeline })
}

#[async_trait]
impl Action for PgPromoteReplica {
    fn name(&self) -> &'static str {
        "pg_promote_replica"
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
        let mut session = self.servers.open(cx, call).await?;
        let part = look(&mut session).await?;
        if !part.is_standby {
            let detail = "it is not in recovery, expected a standby";
            return Err(ActionError::invalid("the server", detail));
        }
        if !part.may_promote {
            let detail = "it may not execute pg_promote, expected a role that may";
            return Err(ActionError::invalid("the role", detail));
        }
        refuse_a_living_primary(&part, call)?;
        Ok(json!({ "in_recovery": true, "bytes_to_replay": part.bytes_to_replay }))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        if call.captured["in_recovery"] != true {
            return Err(ActionError::invalid("captured state", "expected a standby"));
        }
        let mut session = self.servers.open(cx, call).await?;
        let part = look(&mut session).await?;
        if !part.is_standby {
            // An earlier attempt: it was a standby when the step began.
            return Ok(report(&part));
        }
        // The primary may have come back since.
        refuse_a_living_primary(&part, call)?;
        let what = "promoting the standby";
        // The limit of the statement is shorter than this.
        let rows = session.rows("SELECT pg_promote(true, 86400)", &[]).await;
        let rows = rows.map_err(|error| session.failed(what, &error))?;
        let part = look(&mut session).await?;
        if rows.first().is_some_and(|row| row.get(0)) && !part.is_standby {
            return Ok(report(&part));
        }
        Err(ActionError::transient(what, "it is still in recovery"))
    }

    async fn probe(&self, cx: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        let asked = async {
            let mut session = self.servers.open(cx, call).await?;
            look(&mut session).await
        };
        match asked.await {
            Err(error) => ProbeAnswer::CannotTell(error.report().to_string()),
            Ok(part) if !part.is_standby => ProbeAnswer::Happened(report(&part)),
            Ok(_) => ProbeAnswer::DidNot,
        }
    }
}
