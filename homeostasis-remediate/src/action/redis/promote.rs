//! `redis_promote_replica`.

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value, json};

use super::server::{Link, RedisServers};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, ProbeAnswer,
};

/// Makes a replica a primary (`REPLICAOF NO ONE`).
///
/// Parameters: `server` (a registered name, of the replica), `while_primary_lives` (default false).
///
/// It is refused before anything is touched while the replica is connected to its primary (two primaries
/// would part; `while_primary_lives` says that somebody sees to that), and always while it still receives
/// its first copy: its data are not whole. Probeable: a primary says so. Irreversible, so it needs
/// approval: following again would throw away what was written since. Other replicas and clients are not
/// told; under Sentinel or in a cluster, have those fail over instead.
#[derive(Debug)]
pub struct RedisPromoteReplica {
    spec: ActionSpec,
    servers: RedisServers,
}

impl RedisPromoteReplica {
    /// The action for these servers.
    pub fn new(servers: RedisServers) -> Self {
        let lives = "although the primary lives";
        let spec = ActionSpec::new("make a Redis replica a primary")
            .with_params([
                RedisServers::param(),
                Param::optional("while_primary_lives", ParamKind::Bool, lives).or(false),
            ])
            .with_effect(EffectClass::Probeable)
            .with_risk(RiskLevel::Critical)
            .with_inverse(Inverse::Irreversible(
                "following again would throw away what was written since".to_owned(),
            ));
        Self { spec, servers }
    }
}

/// What a server says of its part in replication.
#[derive(Debug)]
struct Part {
    is_primary: bool,
    is_linked: bool,
    is_copying: bool,
    primary: Option<String>,
    offset: Option<u64>,
}

async fn look(link: &mut Link) -> Result<Part, ActionError> {
    let info = link.info("replication").await?;
    let is = |name: &str, value: &str| info.get(name).is_some_and(|found| found == value);
    let primary = info.get("master_host").zip(info.get("master_port"));
    let offset = info
        .get("slave_repl_offset")
        .or_else(|| info.get("master_repl_offset"));
    Ok(Part {
        is_primary: is("role", "master"),
        is_linked: is("master_link_status", "up"),
        is_copying: is("master_sync_in_progress", "1"),
        primary: primary.map(|(host, port)| format!("{host}:{port}")),
        offset: offset.and_then(|offset| offset.parse().ok()),
    })
}

fn refuse(part: &Part, call: &ActionCall<'_>) -> Result<(), ActionError> {
    let detail = if part.is_copying {
        "it still receives its first copy, expected whole data"
    } else if part.is_linked && !call.boolean("while_primary_lives")? {
        "it is connected to its primary, expected one that is gone"
    } else {
        return Ok(());
    };
    Err(ActionError::invalid("the replica", detail))
}

fn report(part: &Part) -> Value {
    json!({ "primary": part.is_primary, "offset": part.offset })
}

#[async_trait]
impl Action for RedisPromoteReplica {
    fn name(&self) -> &'static str {
        "redis_promote_replica"
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
        let mut link = self.servers.open(cx, call).await?;
        let part = look(&mut link).await?;
        if part.is_primary {
            return Err(ActionError::invalid(
                "the server",
                "it is a primary, expected a replica",
            ));
        }
        refuse(&part, call)?;
        Ok(json!({ "replica_of": part.primary, "offset": part.offset }))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        if !call.captured["replica_of"].is_string() {
            return Err(ActionError::invalid("captured state", "expected a replica"));
        }
        let mut link = self.servers.open(cx, call).await?;
        let part = look(&mut link).await?;
        if part.is_primary {
            // An earlier attempt: it was a replica when the step began.
            return Ok(report(&part));
        }
        // The primary may have come back since.
        refuse(&part, call)?;
        let what = "promoting the replica";
        let promote = ::redis::cmd("REPLICAOF").arg("NO").arg("ONE").clone();
        link.act::<()>(what, &promote).await?;
        let part = look(&mut link).await?;
        if part.is_primary {
            return Ok(report(&part));
        }
        Err(ActionError::transient(what, "it is still a replica"))
    }

    async fn probe(&self, cx: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        let asked = async {
            let mut link = self.servers.open(cx, call).await?;
            look(&mut link).await
        };
        match asked.await {
            Err(error) => ProbeAnswer::CannotTell(error.report().to_string()),
            Ok(part) if part.is_primary => ProbeAnswer::Happened(report(&part)),
            Ok(_) => ProbeAnswer::DidNot,
        }
    }
}
