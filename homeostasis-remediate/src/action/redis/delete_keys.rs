//! `redis_delete_keys`.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value, json};

use super::server::{Link, RedisServerConfig, RedisServers};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind,
};

/// How many keys the server looks at, and how many are deleted, at a time: others are served in between.
const BATCH: usize = 500;

/// Deletes the keys that match a pattern (`SCAN`, then `UNLINK`), if there are not more than expected.
///
/// Parameters: `server` (a registered name), `pattern` (of `SCAN … MATCH`; what stands before its first
/// `*`, `?`, `[` or `\` must begin with a prefix that the host lets be
/// [deleted](RedisServerConfig::deletable)), `max` (default 1000, at most 100,000).
///
/// All matching keys are found first, when the state before is captured and again for each attempt: if
/// they are more than `max`, nothing is deleted. It tells how many matched and how many were deleted;
/// keys that are written meanwhile may stay. What an attempt deletes is what matches then: repeated after
/// a crash, that is also what was written in between, at most `max` again. A list of what the first attempt
/// found would not spare it: what is written anew has the name of what was deleted, and Redis keeps no time
/// of writing (`OBJECT IDLETIME` starts anew with every reading, too). So only keys that can be made again
/// belong below a deletable prefix. Looking through a database
/// takes time in the number of all its keys. In a cluster only the keys of that node are found. Idempotent
/// in this sense, irreversible.
#[derive(Debug)]
pub struct RedisDeleteKeys {
    spec: ActionSpec,
    servers: RedisServers,
}

impl RedisDeleteKeys {
    /// The action for these servers.
    pub fn new(servers: RedisServers) -> Self {
        let max = ParamKind::Integer {
            min: 1,
            max: 100_000,
        };
        let spec = ActionSpec::new("delete the keys that match a pattern")
            .with_params([
                RedisServers::param(),
                Param::required("pattern", ParamKind::Text, "which keys"),
                Param::optional("max", max, "more keys than this are a mistake").or(1000),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::High)
            .with_inverse(Inverse::Irreversible("deleted keys are gone".to_owned()))
            .with_timeout(Duration::from_secs(120));
        Self { spec, servers }
    }

    /// The keys to delete.
    async fn find(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
    ) -> Result<(Link, Vec<Vec<u8>>), ActionError> {
        let pattern = self.pattern(call)?;
        let max = usize::try_from(call.unsigned("max")?).unwrap_or(usize::MAX);
        let mut link = self.servers.open(cx, call).await?;
        let keys = matching(&mut link, pattern, max).await?;
        if keys.len() > max {
            let detail = format!("more than {max} keys match {pattern:?}, expected at most that");
            return Err(ActionError::invalid("the keys", detail));
        }
        Ok((link, keys))
    }

    /// The pattern, if its keys may be deleted.
    fn pattern<'a>(&self, call: &ActionCall<'a>) -> Result<&'a str, ActionError> {
        let pattern = call.text("pattern")?;
        let server = self.servers.named(call.args);
        let server =
            server.ok_or_else(|| ActionError::argument("server", "a registered server"))?;
        match refusal(server, pattern) {
            None => Ok(pattern),
            Some(expected) => Err(ActionError::Denied {
                reason: format!("the pattern {pattern:?}, expected {expected}"),
            }),
        }
    }
}

/// What was expected of a pattern whose keys may not be deleted.
fn refusal(server: &RedisServerConfig, pattern: &str) -> Option<String> {
    let plain = pattern
        .split(['*', '?', '[', '\\'])
        .next()
        .unwrap_or_default();
    let may = |prefix: &String| plain.starts_with(prefix.as_str());
    if server.deletable.iter().any(may) {
        return None;
    }
    let prefixes: Vec<_> = server
        .deletable
        .iter()
        .map(|prefix| format!("`{prefix}`"))
        .collect();
    Some(if prefixes.is_empty() {
        "nothing: the host lets no keys of this server be deleted".to_owned()
    } else {
        format!("one that begins with {}", prefixes.join(" or "))
    })
}

/// The matching keys, or the first ones if they are more than `max`.
async fn matching(link: &mut Link, pattern: &str, max: usize) -> Result<Vec<Vec<u8>>, ActionError> {
    let mut keys = std::collections::BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let mut scan = ::redis::cmd("SCAN");
        scan.arg(&cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(BATCH);
        let (next, found): (String, Vec<Vec<u8>>) = link.ask("looking for keys", &scan).await?;
        // A key may be found more than once.
        keys.extend(found);
        if next == "0" || keys.len() > max {
            return Ok(keys.into_iter().collect());
        }
        cursor = next;
    }
}

#[async_trait]
impl Action for RedisDeleteKeys {
    fn name(&self) -> &'static str {
        "redis_delete_keys"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.servers.touches(target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = self.servers.check(args);
        let pattern = args.get("pattern").and_then(Value::as_str);
        if let (Some(server), Some(pattern)) = (self.servers.named(args), pattern)
            && !pattern.contains("${")
            && let Some(expected) = refusal(server, pattern)
        {
            problems.push(ArgumentProblem::new("/pattern", expected));
        }
        problems
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (_, keys) = self.find(cx, call).await?;
        Ok(json!({ "matched": keys.len() }))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let found = self.find(cx, call).await;
        let (mut link, keys) = found.map_err(|error| match call.attempt {
            1 => error,
            // The one before may have deleted some.
            _ => error.begun(),
        })?;
        let mut n_deleted = 0;
        for batch in keys.chunks(BATCH) {
            // One by one: in a cluster, keys of one command must be of one slot.
            let mut unlink = ::redis::pipe();
            for key in batch {
                unlink.cmd("UNLINK").arg(key);
            }
            let gone: Vec<u64> = link.act_all("deleting keys", &unlink).await?;
            n_deleted += gone.iter().sum::<u64>();
        }
        Ok(json!({ "matched": keys.len(), "deleted": n_deleted }))
    }
}
