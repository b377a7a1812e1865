//! Actions: the verbs of playbooks. Each declares what it may do before it does it.

#[cfg(any(
    feature = "postgres",
    feature = "redis-actions",
    all(feature = "haproxy", unix),
    all(feature = "process", target_os = "linux")
))]
mod address;
mod cache;
mod call;
mod capture;
mod credential;
mod deployment_slot;
#[cfg(all(feature = "files", target_os = "linux"))]
mod files;
mod flag;
mod function;
#[cfg(all(any(feature = "files", feature = "process"), target_os = "linux"))]
mod glob;
#[cfg(all(feature = "haproxy", unix))]
pub(crate) mod haproxy;
mod http;
#[cfg(test)]
pub(crate) mod injection_tests;
mod intensity;
#[cfg(test)]
pub(crate) mod laws;
#[cfg(all(feature = "process", target_os = "linux"))]
pub(crate) mod nginx;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(all(feature = "process", target_os = "linux"))]
mod process;
#[cfg(all(feature = "process", target_os = "linux"))]
pub(crate) mod program;
#[cfg(feature = "redis-actions")]
mod redis;
mod registry;
mod reload_config;
#[cfg(feature = "resilience")]
mod reset_breaker;
mod rollout;
#[cfg(any(
    feature = "postgres",
    feature = "redis-actions",
    all(feature = "haproxy", unix),
    all(feature = "process", target_os = "linux")
))]
mod servers;
mod shed_load;
mod spec;
mod supervisor;
mod task;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value};

pub use cache::ClearCache;
pub(crate) use call::bounded;
pub use call::{ActionCall, ActionError, MAX_OUTPUT_BYTES, ProbeAnswer};
pub use capture::Capture;
pub use credential::{Credential, SecretSource};
pub use deployment_slot::{DeploymentSlots, RollbackDeployment};
#[cfg(all(feature = "files", target_os = "linux"))]
pub use files::{
    CleanFiles, CompressFiles, EmptyQuarantine, FileRoots, LogWriter, RelocateFiles, ReopenSignal,
    RotateLog,
};
pub use flag::SetFlag;
pub use function::{CallFunction, FunctionCall};
#[cfg(all(feature = "haproxy", unix))]
pub use haproxy::{HaproxyConfig, HaproxyInstances, HaproxyServer};
pub use http::HttpRequestAction;
pub use intensity::RestartIntensity;
#[cfg(all(feature = "process", target_os = "linux"))]
pub use nginx::{NginxConfig, NginxReload};
pub use pool::ResizePool;
#[cfg(feature = "postgres")]
pub use postgres::{
    PgPromoteReplica, PgReindex, PgSessions, PgVacuum, PostgresServerConfig, PostgresServers,
};
#[cfg(all(feature = "process", target_os = "linux"))]
pub use process::{
    PidFileWriter, ProcessError, ProcessId, ProcessSpec, ProcessSupervisor, RestartProcess,
    StartProcess, StopProcess,
};
#[cfg(all(feature = "process", target_os = "linux"))]
pub use program::{
    Firewall, Kubectl, NetworkInterfaces, PackageCache, Program, RunProgram, SetResourceLimit,
    Systemctl, Tool, ToolAction, flush_dns_cache,
};
#[cfg(feature = "redis-actions")]
pub use redis::{
    RedisDeleteKeys, RedisKillClients, RedisMemoryPurge, RedisPromoteReplica, RedisServerConfig,
    RedisServers, RedisSetConfig,
};
pub use registry::ActionRegistry;
pub use reload_config::ReloadConfig;
#[cfg(feature = "resilience")]
pub use reset_breaker::ResetBreaker;
pub(crate) use rollout::LONGEST_WATCH;
pub use rollout::{AwaitCanary, AwaitDrained, ShiftTraffic};
pub use shed_load::{Admitted, LoadShedder, Priority, ShedLoad, Shedding};
pub use spec::{ActionSpec, ArgumentProblem, Param, ParamKind};
pub(crate) use spec::{captures_in, is_name};
pub use supervisor::{Child, GaveUp, Restart, Strategy, Supervisor};
pub use task::{RestartTask, TaskError, TaskSupervisor};

/// Something a step of a playbook can do.
///
/// # Expected flow
/// When a playbook is loaded its arguments are checked against [`spec`](Action::spec) and
/// [`check`](Action::check). When a plan is made, [`effect`](Action::effect),
/// [`inverse`](Action::inverse) and [`touches`](Action::touches) become part of it. When the plan
/// runs: [`capture`](Action::capture), then the intent is made durable, then
/// [`perform`](Action::perform). After a crash the effect class decides what happens, see
/// [`EffectClass`]; only `Probeable` actions are [`probe`](Action::probe)d.
///
/// # Guarantees
/// `perform` is called with a durable intent and the same key for every attempt; `captured` is the
/// state before the *first* attempt. An opaque action whose `perform` may have begun is never
/// called again for that key. Futures are dropped at the deadline.
///
/// # Assumptions
/// `capture` and `probe` change nothing. The effect class is the truth. `undo` tolerates that
/// `perform` never ran, half ran, or was undone already; it is called again after a crash.
/// Whatever a dropped future leaves running must have ended, or be bounded by the action itself.
#[async_trait]
#[diagnostic::on_unimplemented(note = "implement `Action` with `#[async_trait]`")]
pub trait Action: fmt::Debug + Send + Sync {
    /// Stable; what playbooks call it.
    fn name(&self) -> &str;

    /// Parameters, effect class, risk, inverse and bounds.
    fn spec(&self) -> &ActionSpec;

    /// What is known about doing it twice with these arguments.
    fn effect(&self, args: &Map<String, Value>) -> EffectClass {
        let _ = args;
        self.spec().effect
    }

    /// How it is taken back with these arguments.
    fn inverse(&self, args: &Map<String, Value>) -> Inverse {
        let _ = args;
        self.spec().inverse.clone()
    }

    /// How long it may watch with these arguments without touching anything, beside its timeout.
    fn watches(&self, args: &Map<String, Value>) -> Duration {
        let _ = args;
        Duration::ZERO
    }

    /// What it touches when it is planned for `target`: what the blast radius is computed from.
    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        let _ = args;
        target.clone()
    }

    /// The argument vectors of the programs it would start with these arguments, in order, for a dry
    /// run to show; none if it starts none. It changes nothing.
    fn commands(&self, target: &Target, args: &Map<String, Value>) -> Vec<Vec<String>> {
        let _ = (target, args);
        Vec::new()
    }

    /// What is wrong with arguments beyond their types, such as a name nobody registered.
    ///
    /// Arguments with placeholders are checked when they are filled in.
    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let _ = args;
        Vec::new()
    }

    /// The state before, as far as `undo` or `probe` need it; it changes nothing.
    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let _ = (cx, call);
        Ok(Value::Null)
    }

    /// Does it. What it returns is stored, up to [`MAX_OUTPUT_BYTES`].
    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError>;

    /// Whether an earlier attempt with this key happened; it changes nothing.
    async fn probe(&self, cx: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        let _ = (cx, call);
        ProbeAnswer::CannotTell(format!("`{}` cannot be probed", self.name()))
    }

    /// Takes it back from the captured state.
    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let _ = (cx, call);
        Err(ActionError::Denied {
            reason: format!("`{}` has no inverse", self.name()),
        })
    }
}

const _: fn(&dyn Action) = |_| {};

#[async_trait]
impl<T: Action + ?Sized> Action for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn spec(&self) -> &ActionSpec {
        (**self).spec()
    }

    fn effect(&self, args: &Map<String, Value>) -> EffectClass {
        (**self).effect(args)
    }

    fn inverse(&self, args: &Map<String, Value>) -> Inverse {
        (**self).inverse(args)
    }

    fn watches(&self, args: &Map<String, Value>) -> Duration {
        (**self).watches(args)
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        (**self).touches(target, args)
    }

    fn commands(&self, target: &Target, args: &Map<String, Value>) -> Vec<Vec<String>> {
        (**self).commands(target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        (**self).check(args)
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        (**self).capture(cx, call).await
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        (**self).perform(cx, call).await
    }

    async fn probe(&self, cx: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        (**self).probe(cx, call).await
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        (**self).undo(cx, call).await
    }
}

/// Refuses an argument that names nothing in `known`.
pub(crate) fn unknown_name<'a>(
    args: &Map<String, Value>,
    param: &str,
    known: impl Iterator<Item = &'a String>,
) -> Vec<ArgumentProblem> {
    let Some(name) = args.get(param).and_then(Value::as_str) else {
        return Vec::new();
    };
    let names: Vec<_> = known.collect();
    if name.contains("${") || names.iter().any(|known| *known == name) {
        return Vec::new();
    }
    let listed: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    let expected = if listed.is_empty() {
        format!("a registered {param}; none is registered")
    } else {
        format!("one of {}", listed.join(", "))
    };
    vec![ArgumentProblem::new(format!("/{param}"), expected)]
}
