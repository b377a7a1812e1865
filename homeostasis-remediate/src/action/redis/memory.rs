//! `redis_memory_purge`.

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value, json};

use super::server::{Link, RedisServers};
use crate::action::{Action, ActionCall, ActionError, ActionSpec, ArgumentProblem};

/// Has a server give memory that it no longer uses back to the system (`MEMORY PURGE`).
///
/// Parameter: `server` (a registered name). Only the allocator jemalloc does something; the allocator and
/// the resident and used bytes before and after are told. Idempotent; nothing to take back.
#[derive(Debug)]
pub struct RedisMemoryPurge {
    spec: ActionSpec,
    servers: RedisServers,
}

impl RedisMemoryPurge {
    /// The action for these servers.
    pub fn new(servers: RedisServers) -> Self {
        let spec = ActionSpec::new("give unused memory of a Redis server back to the system")
            .with_params([RedisServers::param()])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Nothing);
        Self { spec, servers }
    }
}

async fn measure(link: &mut Link) -> Result<Value, ActionError> {
    let info = link.info("memory").await?;
    let bytes = |name: &str| info.get(name).and_then(|text| text.parse::<u64>().ok());
    Ok(json!({
        "resident_bytes": bytes("used_memory_rss"), "used_bytes": bytes("used_memory"),
        "allocator": info.get("mem_allocator"),
    }))
}

#[async_trait]
impl Action for RedisMemoryPurge {
    fn name(&self) -> &'static str {
        "redis_memory_purge"
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

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let mut link = self.servers.open(cx, call).await?;
        let before = measure(&mut link).await?;
        let purge = ::redis::cmd("MEMORY").arg("PURGE").clone();
        link.act::<()>("purging memory", &purge).await?;
        Ok(json!({ "before": before, "after": measure(&mut link).await? }))
    }
}
