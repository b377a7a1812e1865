//! `resize_pool`: change a limit of the host, such as a pool's size or a semaphore's permits.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{BoxError, ConfigError, Context, Target};
use serde_json::{Map, Value, json};

use super::flag::new_name;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, unknown_name,
};

/// Sets the size of a pool the host registered, within the host's bounds; undo puts the earlier
/// size back.
///
/// Parameters: `pool` (a registered name) and `size` (absolute: relative changes cannot be
/// repeated safely).
#[derive(Debug)]
pub struct ResizePool {
    spec: ActionSpec,
    pools: BTreeMap<String, Pool>,
}

type Get = Arc<dyn Fn() -> u64 + Send + Sync>;
type Set = Arc<dyn Fn(u64) -> Result<(), BoxError> + Send + Sync>;

struct Pool {
    target: Target,
    bounds: RangeInclusive<u64>,
    get: Get,
    set: Set,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("target", &self.target)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl Default for ResizePool {
    /// Without pools.
    fn default() -> Self {
        let size = ParamKind::Integer {
            min: 0,
            max: i64::MAX,
        };
        let spec = ActionSpec::new("set the size of a pool of the host")
            .with_params([
                Param::required("pool", ParamKind::Name, "which pool"),
                Param::required("size", size, "its new size, absolute"),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Captured("the pool's earlier size".to_owned()));
        Self {
            spec,
            pools: BTreeMap::new(),
        }
    }
}

impl ResizePool {
    /// The same with a pool of `target` whose size may be anything in `bounds`.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, or the bounds hold nothing.
    pub fn pool(
        mut self,
        name: impl Into<String>,
        target: Target,
        bounds: RangeInclusive<u64>,
        get: impl Fn() -> u64 + Send + Sync + 'static,
        set: impl Fn(u64) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let name = new_name("pools", name.into(), &self.pools)?;
        if bounds.is_empty() {
            let expected = "bounds with the smaller number first";
            return Err(ConfigError::single(
                format!("pools.{name}"),
                format!("{bounds:?}"),
                expected,
            ));
        }
        let pool = Pool {
            target,
            bounds,
            get: Arc::new(get),
            set: Arc::new(set),
        };
        self.pools.insert(name, pool);
        Ok(self)
    }

    fn named(&self, call: &ActionCall<'_>) -> Result<&Pool, ActionError> {
        self.pools
            .get(call.text("pool")?)
            .ok_or_else(|| ActionError::argument("pool", "a registered pool"))
    }
}

#[async_trait]
impl Action for ResizePool {
    fn name(&self) -> &'static str {
        "resize_pool"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        args.get("pool")
            .and_then(Value::as_str)
            .and_then(|name| self.pools.get(name))
            .map_or_else(|| target.clone(), |pool| pool.target.clone())
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = unknown_name(args, "pool", self.pools.keys());
        let pool = args
            .get("pool")
            .and_then(Value::as_str)
            .and_then(|name| self.pools.get(name));
        let size = args.get("size").and_then(Value::as_u64);
        if let (Some(pool), Some(size)) = (pool, size)
            && !pool.bounds.contains(&size)
        {
            let (min, max) = (pool.bounds.start(), pool.bounds.end());
            let expected = format!("an integer between {min} and {max}, the bounds of this pool");
            problems.push(ArgumentProblem::new("/size", expected));
        }
        problems
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        Ok(json!({ "size": (self.named(call)?.get)() }))
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (pool, size) = (self.named(call)?, call.unsigned("size")?);
        if !pool.bounds.contains(&size) {
            let expected = format!("a size in {:?}", pool.bounds);
            return Err(ActionError::argument("size", &expected));
        }
        (pool.set)(size).map_err(|cause| ActionError::permanent("resizing the pool", cause))?;
        Ok(json!({ "size": size, "was": call.captured["size"] }))
    }

    async fn undo(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let was = call.captured["size"]
            .as_u64()
            .ok_or_else(|| ActionError::invalid("captured state", "expected the pool's size"))?;
        (self.named(call)?.set)(was)
            .map_err(|cause| ActionError::transient("resizing the pool back", cause))?;
        Ok(json!({ "size": was }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::action::laws;

    fn action(size: &Arc<AtomicU64>) -> ResizePool {
        let (read, write) = (Arc::clone(size), Arc::clone(size));
        ResizePool::default()
            .pool(
                "db",
                Target::service("orders").unwrap(),
                1..=64,
                move || read.load(Ordering::SeqCst),
                move |n| {
                    write.store(n, Ordering::SeqCst);
                    Ok(())
                },
            )
            .unwrap()
    }

    #[tokio::test]
    async fn repeating_do_and_undo_is_harmless() {
        let size = Arc::new(AtomicU64::new(8));
        let args = json!({"pool": "db", "size": 32});
        laws::repeat_and_undo(&action(&size), &args, || size.load(Ordering::SeqCst)).await;
    }

    #[test]
    fn the_hosts_bounds_hold_when_a_playbook_is_loaded() {
        let action = action(&Arc::default());
        let args = |size: u64| {
            json!({"pool": "db", "size": size})
                .as_object()
                .unwrap()
                .clone()
        };
        assert!(action.check(&args(64)).is_empty());
        assert_eq!(action.check(&args(65))[0].pointer, "/size");
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        let reversed = 5..=1;
        let target = Target::service("a").unwrap();
        assert!(
            action
                .pool("x", target, reversed, || 1, |_| Ok(()))
                .is_err()
        );
    }
}
