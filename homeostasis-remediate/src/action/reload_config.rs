//! `reload_config`: have the host read its configuration anew.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{BoxError, BoxFuture, ConfigError, Context, Target};
use serde_json::{Map, Value, json};

use super::flag::new_name;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, is_name,
    unknown_name,
};

/// Has the host read a configuration it registered anew; undo brings back the version before.
///
/// Parameters: `config` (a registered name), `version` (which one; default the newest there is).
/// It is verified that the version that was asked for is in force, or told which one is.
///
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::remediate::action::ReloadConfig;
/// use std::sync::{Arc, Mutex};
///
/// let version = Arc::new(Mutex::new("7".to_owned()));
/// let (read, write) = (Arc::clone(&version), version);
/// let action = ReloadConfig::default().config(
///     "limits",
///     Target::service("gateway")?,
///     move || read.lock().map(|version| version.clone()).unwrap_or_default(),
///     move |wanted| {
///         let write = Arc::clone(&write);
///         Box::pin(async move {
///             // Read the file of that version, check it, and only then use it.
///             *write.lock().map_err(|_| "poisoned")? = wanted.unwrap_or_else(|| "8".to_owned());
///             Ok(())
///         })
///     },
/// )?;
/// # let _ = action;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReloadConfig {
    spec: ActionSpec,
    configs: BTreeMap<String, Config>,
}

type Load = Arc<dyn Fn(Option<String>) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

struct Config {
    target: Target,
    version: Arc<dyn Fn() -> String + Send + Sync>,
    load: Load,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Default for ReloadConfig {
    /// Without configurations.
    fn default() -> Self {
        let spec = ActionSpec::new("read a configuration of the host anew")
            .with_params([
                Param::required("config", ParamKind::Name, "which configuration"),
                Param::optional(
                    "version",
                    ParamKind::Name,
                    "which version; the newest by default",
                ),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Captured("the version in force before".to_owned()));
        Self {
            spec,
            configs: BTreeMap::new(),
        }
    }
}

impl ReloadConfig {
    /// The same with a configuration of `target`. `version` tells which one is in force, at once;
    /// `load` brings a version into force, the newest if none is asked for, or fails and leaves the
    /// one before in force. An earlier version must stay loadable for undo. A failure counts as one
    /// that stays, unless it is an [`ActionError`], which says so itself.
    ///
    /// # Errors
    /// If the name is taken or not a plain word.
    pub fn config(
        mut self,
        name: impl Into<String>,
        target: Target,
        version: impl Fn() -> String + Send + Sync + 'static,
        load: impl Fn(Option<String>) -> BoxFuture<'static, Result<(), BoxError>>
        + Send
        + Sync
        + 'static,
    ) -> Result<Self, ConfigError> {
        let name = new_name("configs", name.into(), &self.configs)?;
        let config = Config {
            target,
            version: Arc::new(version),
            load: Arc::new(load),
        };
        self.configs.insert(name, config);
        Ok(self)
    }

    fn named(&self, call: &ActionCall<'_>) -> Result<&Config, ActionError> {
        self.configs
            .get(call.text("config")?)
            .ok_or_else(|| ActionError::argument("config", "a registered configuration"))
    }
}

impl Config {
    /// Loads a version, and looks that it is the one in force.
    async fn load(&self, wanted: Option<&str>) -> Result<String, ActionError> {
        let what = format!("loading version {}", wanted.unwrap_or("(the newest)"));
        (self.load)(wanted.map(str::to_owned))
            .await
            .map_err(|cause| match cause.downcast::<ActionError>() {
                Ok(error) => *error,
                Err(cause) => ActionError::permanent(what.as_str(), cause),
            })?;
        let now = (self.version)();
        if wanted.is_some_and(|wanted| wanted != now) {
            let detail = format!("version {now:?} is in force");
            return Err(ActionError::permanent(what, detail));
        }
        Ok(now)
    }
}

#[async_trait]
impl Action for ReloadConfig {
    fn name(&self) -> &'static str {
        "reload_config"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        args.get("config")
            .and_then(Value::as_str)
            .and_then(|name| self.configs.get(name))
            .map_or_else(|| target.clone(), |config| config.target.clone())
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "config", self.configs.keys())
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        Ok(json!({ "version": (self.named(call)?.version)() }))
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let wanted = call.args.get("version").and_then(Value::as_str);
        // It may become a part of a path.
        if wanted.is_some_and(|wanted| !is_name(wanted)) {
            return Err(ActionError::argument(
                "version",
                &ParamKind::Name.expected(),
            ));
        }
        let now = self.named(call)?.load(wanted).await?;
        Ok(json!({ "version": now, "was": call.captured["version"] }))
    }

    async fn undo(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let was = call.captured["version"].as_str();
        let was =
            was.ok_or_else(|| ActionError::invalid("captured state", "expected a version"))?;
        let config = self.named(call)?;
        // Loading what is in force could disturb for nothing.
        if (config.version)() != was {
            config.load(Some(was)).await?;
        }
        Ok(json!({ "version": was }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use homeostasis_core::ErrorKind;

    use super::*;
    use crate::action::laws;

    /// A host with the versions v1 to v3; it refuses v2, cannot read v5, and takes v4 for v3.
    fn action(version: &Arc<Mutex<String>>) -> ReloadConfig {
        let (read, write) = (Arc::clone(version), Arc::clone(version));
        ReloadConfig::default()
            .config(
                "limits",
                Target::service("gateway").unwrap(),
                move || read.lock().unwrap().clone(),
                move |wanted| {
                    let write = Arc::clone(&write);
                    Box::pin(async move {
                        let wanted = wanted.unwrap_or_else(|| "v3".to_owned());
                        if wanted == "v2" {
                            return Err("line 7 is no limit".into());
                        }
                        if wanted == "v5" {
                            let error = ActionError::transient("reading", "the store is away");
                            return Err(error.into());
                        }
                        *write.lock().unwrap() = wanted.replace("v4", "v3");
                        Ok(())
                    })
                },
            )
            .unwrap()
    }

    #[tokio::test]
    async fn repeating_do_and_undo_is_harmless() {
        for args in [
            json!({"config": "limits"}),
            json!({"config": "limits", "version": "v3"}),
        ] {
            let version = Arc::new(Mutex::new("v1".to_owned()));
            let observe = || version.lock().unwrap().clone();
            laws::repeat_and_undo(&action(&version), &args, observe).await;
            assert_eq!(observe(), "v1");
        }
    }

    #[tokio::test]
    async fn a_version_that_is_refused_or_not_in_force_afterwards_is_a_failure() {
        let version = Arc::new(Mutex::new("v1".to_owned()));
        let action = action(&version);
        for (wanted, kind, said) in [
            ("v2", ErrorKind::Permanent, "line 7"),
            ("v5", ErrorKind::Transient, "the store is away"),
            ("v4", ErrorKind::Permanent, "\"v3\" is in force"),
        ] {
            let args = json!({"config": "limits", "version": wanted});
            let args = args.as_object().unwrap().clone();
            let (target, key) = (Target::service("gateway").unwrap(), laws::key(0));
            let call = ActionCall::new(&target, &args, &key);
            let captured = action.capture(&laws::context(), &call).await.unwrap();
            let call = call.with_captured(&captured);
            let error = action.perform(&laws::context(), &call).await.unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(
                error.report().to_string().contains(said),
                "{}",
                error.report()
            );
            action.undo(&laws::context(), &call).await.unwrap();
            assert_eq!(*version.lock().unwrap(), "v1");
        }
        let unknown = json!({"config": "limtis"});
        let problems = action.check(unknown.as_object().unwrap());
        assert!(problems[0].expected.contains("`limits`"), "{problems:?}");
    }
}
