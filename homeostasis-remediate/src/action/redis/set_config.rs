//! `redis_set_config`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value, json};

use super::server::{Link, RedisServers};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind,
};

/// What can be set: load, memory and clients; nothing that names a file, a program or a secret.
const SETTINGS: &[&str] = &[
    "active-defrag-cycle-max",
    "active-expire-effort",
    "activedefrag",
    "hz",
    "latency-monitor-threshold",
    "lazyfree-lazy-eviction",
    "lazyfree-lazy-expire",
    "maxclients",
    "maxmemory",
    "maxmemory-clients",
    "maxmemory-policy",
    "maxmemory-samples",
    "min-replicas-max-lag",
    "min-replicas-to-write",
    "repl-backlog-size",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "stop-writes-on-bgsave-error",
    "tcp-keepalive",
    "timeout",
];

/// Sets one setting of a running server (`CONFIG SET`); undo puts the earlier value back.
///
/// Parameters: `server` (a registered name), `setting` (one about load, memory or clients, such as
/// `maxmemory` or `maxmemory-policy`; none that names a file, a program or a secret), `value`.
///
/// A value that would have the server evict keys at once is refused, also by undo, unless its keys may be
/// [evicted](super::RedisServerConfig::evictable): a `maxmemory` below what is used while the policy
/// evicts, and a policy that evicts (more) while `maxmemory` is exceeded.
/// What it evicts later, as the data grow, is gone; a lower `maxmemory-clients` closes connections.
///
/// It is verified by reading it back: sizes such as `100mb` are compared as bytes. Nothing is written to
/// the server's file, so a restart forgets it. Idempotent.
#[derive(Debug)]
pub struct RedisSetConfig {
    spec: ActionSpec,
    servers: RedisServers,
}

impl RedisSetConfig {
    /// The action for these servers.
    pub fn new(servers: RedisServers) -> Self {
        let spec = ActionSpec::new("set a setting of a Redis server")
            .with_params([
                RedisServers::param(),
                Param::required("setting", ParamKind::OneOf(SETTINGS), "which setting"),
                Param::required("value", ParamKind::Text, "its new value"),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Captured("the setting's earlier value".to_owned()));
        Self { spec, servers }
    }

    async fn refuse_eviction(
        &self,
        link: &mut Link,
        call: &ActionCall<'_>,
        value: &str,
    ) -> Result<(), ActionError> {
        if self.servers.named(call.args).is_some_and(|it| it.evictable) {
            return Ok(());
        }
        refuse_eviction(link, call.text("setting")?, value).await
    }
}

/// The setting, if it is one that may be read, set and put back: others are secrets, files and programs.
fn setting<'a>(call: &ActionCall<'a>) -> Result<&'a str, ActionError> {
    let setting = call.text("setting")?;
    if SETTINGS.contains(&setting) {
        return Ok(setting);
    }
    let reason = format!("the setting {setting:?} is not one that may be set");
    Err(ActionError::Denied { reason })
}

async fn get(link: &mut Link, setting: &str) -> Result<String, ActionError> {
    let command = ::redis::cmd("CONFIG").arg("GET").arg(setting).clone();
    let mut found: BTreeMap<String, String> = link.ask("reading the setting", &command).await?;
    let value = found.remove(setting);
    value.ok_or_else(|| ActionError::argument("setting", "one that this server has"))
}

/// Refuses what would cost keys at once.
async fn refuse_eviction(link: &mut Link, setting: &str, value: &str) -> Result<(), ActionError> {
    const NONE: &str = "noeviction";
    if !["maxmemory", "maxmemory-policy"].contains(&setting) {
        return Ok(());
    }
    let policy = get(link, "maxmemory-policy").await?;
    let limit = get(link, "maxmemory").await?;
    let info = link.info("memory").await?;
    let used = info.get("used_memory").and_then(|text| bytes(text));
    let (Some(used), Some(limit)) = (used, bytes(&limit)) else {
        let detail = "expected used_memory and maxmemory in bytes";
        return Err(ActionError::invalid("the server", detail));
    };
    let is_over = |limit: u64| limit > 0 && used > limit;
    let lost = if setting == "maxmemory" {
        // What is no size is the server's to refuse.
        policy != NONE && bytes(value).is_some_and(is_over)
    } else {
        let value = value.to_ascii_lowercase();
        let widens =
            policy == NONE || value.starts_with("allkeys") && policy.starts_with("volatile");
        value != NONE && widens && is_over(limit)
    };
    if !lost {
        return Ok(());
    }
    let detail = format!(
        "{value:?} would evict keys at once: {used} bytes are used, maxmemory is {limit}, the policy {policy}"
    );
    Err(ActionError::invalid(setting, detail))
}

/// Sets it, and reads it back.
async fn set(link: &mut Link, setting: &str, value: &str) -> Result<String, ActionError> {
    let what = format!("setting {setting}");
    let command = ::redis::cmd("CONFIG")
        .arg("SET")
        .arg(setting)
        .arg(value)
        .clone();
    link.act::<()>(&what, &command).await?;
    let now = get(link, setting).await.map_err(ActionError::begun)?;
    let same =
        now.eq_ignore_ascii_case(value) || bytes(&now).is_some_and(|n| bytes(value) == Some(n));
    if same {
        return Ok(now);
    }
    let detail = format!("it is {now:?}, expected {value:?}");
    Err(ActionError::permanent(what, detail))
}

/// A size as Redis reads it: `k` is 1000, `kb` is 1024.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[async_trait]
impl Action for RedisSetConfig {
    fn name(&self) -> &'static str {
        "redis_set_config"
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
        let setting = setting(call)?;
        let mut link = self.servers.open(cx, call).await?;
        let now = get(&mut link, setting).await?;
        self.refuse_eviction(&mut link, call, call.text("value")?)
            .await?;
        Ok(json!({ "value": now }))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let setting = setting(call)?;
        let mut link = self.servers.open(cx, call).await?;
        let value = call.text("value")?;
        self.refuse_eviction(&mut link, call, value).await?;
        let now = set(&mut link, setting, value).await?;
        Ok(json!({ "value": now, "was": call.captured["value"] }))
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let was = call.captured["value"].as_str();
        let was = was.ok_or_else(|| ActionError::invalid("captured state", "expected a value"))?;
        let setting = setting(call)?;
        let mut link = self.servers.open(cx, call).await?;
        self.refuse_eviction(&mut link, call, was).await?;
        let now = set(&mut link, setting, was).await?;
        Ok(json!({ "value": now }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_redis_reads_them() {
        for (text, n) in [
            ("0", 0),
            ("1k", 1000),
            ("1KB", 1024),
            ("100mb", 104_857_600),
            ("7b", 7),
        ] {
            assert_eq!(bytes(text), Some(n), "{text}");
        }
        for bad in [
            "",
            "mb",
            "1tb",
            "-1",
            "1.5gb",
            "99999999999gb",
            "noeviction",
        ] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
