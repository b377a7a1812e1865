//! `clear_cache`: empty a cache of the host.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{BoxError, BoxFuture, ConfigError, Context, Target};
use serde_json::{Map, Value, json};

use super::flag::new_name;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, unknown_name,
};

/// Empties a cache the host registered. What was in it comes back by being used, so there is
/// nothing to undo; the load of refilling it is why the risk is medium.
///
/// Parameter: `cache` (a registered name).
#[derive(Debug)]
pub struct ClearCache {
    spec: ActionSpec,
    caches: BTreeMap<String, Cache>,
}

type Clear = Arc<dyn Fn() -> BoxFuture<'static, Result<u64, BoxError>> + Send + Sync>;

struct Cache {
    target: Target,
    clear: Clear,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Default for ClearCache {
    /// Without caches.
    fn default() -> Self {
        let spec = ActionSpec::new("empty a cache of the host")
            .with_params([Param::required("cache", ParamKind::Name, "which cache")])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Nothing);
        Self {
            spec,
            caches: BTreeMap::new(),
        }
    }
}

impl ClearCache {
    /// The same with a cache of `target`; `clear` says how many entries it dropped.
    ///
    /// # Errors
    /// If the name is taken or not a plain word.
    pub fn cache(
        mut self,
        name: impl Into<String>,
        target: Target,
        clear: impl Fn() -> BoxFuture<'static, Result<u64, BoxError>> + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let name = new_name("caches", name.into(), &self.caches)?;
        let clear = Arc::new(clear);
        self.caches.insert(name, Cache { target, clear });
        Ok(self)
    }
}

#[cfg(feature = "resilience")]
impl ClearCache {
    /// The same with a cache of the resilience kit, by its name. It fails, and may be repeated, while a
    /// level cannot be told.
    ///
    /// # Errors
    /// If the name is taken or not a plain word.
    pub fn kit_cache<V>(
        self,
        target: Target,
        cache: &Arc<crate::resilience::cache::Cache<V>>,
    ) -> Result<Self, ConfigError>
    where
        V: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        use crate::resilience::cache::Invalidation;
        let kit = Arc::clone(cache);
        self.cache(cache.name(), target, move || {
            let kit = Arc::clone(&kit);
            Box::pin(async move {
                let done = kit.invalidate(&Invalidation::All).await;
                if done.not_reached.is_empty() {
                    return Ok(done.n_in_memory);
                }
                let levels = done.not_reached.join(", ");
                Err(format!("out of reach, and not used until told: {levels}").into())
            })
        })
    }
}

#[async_trait]
impl Action for ClearCache {
    fn name(&self) -> &'static str {
        "clear_cache"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        args.get("cache")
            .and_then(Value::as_str)
            .and_then(|name| self.caches.get(name))
            .map_or_else(|| target.clone(), |cache| cache.target.clone())
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "cache", self.caches.keys())
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let cache = self
            .caches
            .get(call.text("cache")?)
            .ok_or_else(|| ActionError::argument("cache", "a registered cache"))?;
        let dropped = (cache.clear)()
            .await
            .map_err(|cause| ActionError::transient("clearing the cache", cause))?;
        Ok(json!({ "dropped": dropped }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::action::laws;

    #[tokio::test]
    async fn clearing_twice_is_as_good_as_once() {
        let entries = Arc::new(Mutex::new(vec![1, 2, 3]));
        let shared = Arc::clone(&entries);
        let action = ClearCache::default()
            .cache("prices", Target::service("catalog").unwrap(), move || {
                let n = shared.lock().unwrap().drain(..).count() as u64;
                Box::pin(async move { Ok(n) })
            })
            .unwrap();
        let args = json!({"cache": "prices"});
        laws::repeat_and_undo(&action, &args, || entries.lock().unwrap().len()).await;
        assert!(entries.lock().unwrap().is_empty());
    }
}
