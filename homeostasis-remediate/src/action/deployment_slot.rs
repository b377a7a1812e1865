//! `rollback_deployment`: point a deployment back at an earlier slot.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{ConfigError, Context, ErrorKind, Target};
use serde_json::{Map, Value, json};

use super::flag::new_name;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, is_name,
    unknown_name,
};
use crate::file::{read_small, write_atomically};

/// The deployment slots of one service: `<root>/slots/<version>/`, and `<root>/current`, a file
/// that names the deployed version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentSlots {
    /// Whose slots they are.
    pub target: Target,
    /// The folder with `current` and `slots/`.
    pub root: PathBuf,
}

impl DeploymentSlots {
    /// The slots of `target` below `root`.
    pub fn new(target: Target, root: impl Into<PathBuf>) -> Self {
        Self {
            target,
            root: root.into(),
        }
    }

    /// The deployed version.
    ///
    /// # Errors
    /// If `current` cannot be read or names no version.
    pub fn current(&self) -> Result<String, ActionError> {
        let path = self.root.join("current");
        let text = read_small(&path, 4096)
            .map_err(|cause| {
                let what = format!("reading {}", path.display());
                ActionError::not_begun(what, ErrorKind::Transient, cause)
            })?
            .unwrap_or_default();
        let version = text.trim();
        if is_name(version) {
            Ok(version.to_owned())
        } else {
            let what = path.display().to_string();
            Err(ActionError::invalid(
                what,
                format!("it says {version:?}, expected a version"),
            ))
        }
    }

    /// The version that was deployed last before `current`: the newest of the other slots by the
    /// time its folder was changed, among equals the last by name.
    ///
    /// # Errors
    /// If there is no other slot, or the slots cannot be read.
    pub fn previous(&self, current: &str) -> Result<String, ActionError> {
        let folder = self.root.join("slots");
        let unreadable = |cause: std::io::Error| {
            let what = format!("reading {}", folder.display());
            ActionError::not_begun(what, ErrorKind::Transient, cause)
        };
        let mut newest = None;
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // `DirEntry::metadata` does not follow links.
            let metadata = entry.metadata().map_err(unreadable)?;
            if !metadata.is_dir() || !is_name(&name) || name == current {
                continue;
            }
            newest = newest.max(Some((metadata.modified().map_err(unreadable)?, name)));
        }
        newest.map(|(_, name)| name).ok_or_else(|| {
            let detail = format!("no slot besides {current:?} to go back to");
            ActionError::invalid(folder.display().to_string(), detail)
        })
    }

    fn require(&self, version: &str) -> Result<(), ActionError> {
        let slot = self.root.join("slots").join(version);
        let exists =
            is_name(version) && fs::symlink_metadata(&slot).is_ok_and(|metadata| metadata.is_dir());
        if exists {
            Ok(())
        } else {
            Err(ActionError::invalid(
                format!("slot {version:?}"),
                "expected an existing slot",
            ))
        }
    }

    async fn point_to(&self, version: String) -> Result<(), ActionError> {
        let path = self.root.join("current");
        let what = format!("pointing {} at {version:?}", path.display());
        // Renaming is quick, syncing may not be.
        tokio::task::spawn_blocking(move || {
            write_atomically(&path, format!("{version}\n").as_bytes())
        })
        .await
        .map_err(|cause| ActionError::transient(what.clone(), cause))?
        .map_err(|cause| ActionError::transient(what, cause))
    }
}

/// Points a deployment at an earlier slot; the service takes it up when it reloads or is restarted,
/// which is a step of its own. Undo points back at the slot before, unless somebody deployed
/// another one meanwhile.
///
/// Parameters: `deployment` (a registered name) and `to`: a version, or `previous` (the default),
/// which is resolved once, before the first attempt.
#[derive(Debug)]
pub struct RollbackDeployment {
    spec: ActionSpec,
    deployments: BTreeMap<String, DeploymentSlots>,
}

impl Default for RollbackDeployment {
    /// Without deployments.
    fn default() -> Self {
        let spec = ActionSpec::new("point a deployment at an earlier slot")
            .with_params([
                Param::required("deployment", ParamKind::Name, "which deployment"),
                Param::optional("to", ParamKind::Name, "the version, or `previous`").or("previous"),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Captured(
                "the slot that was deployed before".to_owned(),
            ));
        Self {
            spec,
            deployments: BTreeMap::new(),
        }
    }
}

impl RollbackDeployment {
    /// The same with a deployment called `name`.
    ///
    /// # Errors
    /// If the name is taken or not a plain word.
    pub fn deployment(
        mut self,
        name: impl Into<String>,
        slots: DeploymentSlots,
    ) -> Result<Self, ConfigError> {
        let name = new_name("deployments", name.into(), &self.deployments)?;
        self.deployments.insert(name, slots);
        Ok(self)
    }

    fn named(&self, call: &ActionCall<'_>) -> Result<&DeploymentSlots, ActionError> {
        self.deployments
            .get(call.text("deployment")?)
            .ok_or_else(|| ActionError::argument("deployment", "a registered deployment"))
    }
}

/// Before and after, as captured.
fn captured<'a>(call: &ActionCall<'a>) -> Result<(&'a str, &'a str), ActionError> {
    match (call.captured["from"].as_str(), call.captured["to"].as_str()) {
        (Some(from), Some(to)) => Ok((from, to)),
        _ => Err(ActionError::invalid(
            "captured state",
            "expected the slots before and after",
        )),
    }
}

#[async_trait]
impl Action for RollbackDeployment {
    fn name(&self) -> &'static str {
        "rollback_deployment"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        args.get("deployment")
            .and_then(Value::as_str)
            .and_then(|name| self.deployments.get(name))
            .map_or_else(|| target.clone(), |slots| slots.target.clone())
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "deployment", self.deployments.keys())
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let slots = self.named(call)?;
        let from = slots.current()?;
        let to = match call.text("to")? {
            "previous" => slots.previous(&from)?,
            version => version.to_owned(),
        };
        slots.require(&to)?;
        Ok(json!({ "from": from, "to": to }))
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (slots, (from, to)) = (self.named(call)?, captured(call)?);
        slots.require(to)?;
        if slots.current()? != to {
            slots.point_to(to.to_owned()).await?;
        }
        Ok(json!({ "from": from, "to": to }))
    }

    async fn undo(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (slots, (from, to)) = (self.named(call)?, captured(call)?);
        let current = slots.current()?;
        if current != from {
            if current != to {
                return Err(ActionError::not_begun(
                    format!("pointing back at {from:?}"),
                    ErrorKind::Conflict,
                    format!("{current:?} was deployed meanwhile"),
                ));
            }
            slots.require(from)?;
            slots.point_to(from.to_owned()).await?;
        }
        Ok(json!({ "to": from }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::action::laws;

    fn shop(versions: &[&str], current: &str) -> (tempfile::TempDir, DeploymentSlots) {
        let dir = tempfile::tempdir().unwrap();
        for (age, version) in versions.iter().enumerate() {
            let slot = dir.path().join("slots").join(version);
            fs::create_dir_all(&slot).unwrap();
            let at = UNIX_EPOCH + Duration::from_secs(1_000 + age as u64);
            fs::File::open(&slot).unwrap().set_modified(at).unwrap();
        }
        fs::write(dir.path().join("current"), format!("{current}\n")).unwrap();
        let slots = DeploymentSlots::new(Target::service("gateway").unwrap(), dir.path());
        (dir, slots)
    }

    fn action(slots: &DeploymentSlots) -> RollbackDeployment {
        RollbackDeployment::default()
            .deployment("gateway", slots.clone())
            .unwrap()
    }

    #[tokio::test]
    async fn repeating_do_and_undo_is_harmless() {
        for to in ["previous", "v1"] {
            let (_dir, slots) = shop(&["v1", "v2", "v3"], "v3");
            let args = json!({"deployment": "gateway", "to": to});
            laws::repeat_and_undo(&action(&slots), &args, || slots.current().unwrap()).await;
        }
    }

    #[tokio::test]
    async fn previous_is_resolved_once() {
        let (_dir, slots) = shop(&["v1", "v2"], "v2");
        let action = action(&slots);
        let args = json!({"deployment": "gateway", "to": "previous"});
        let args = args.as_object().unwrap().clone();
        let (target, key, cx) = (slots.target.clone(), laws::key(0), laws::context());
        let call = ActionCall::new(&target, &args, &key);
        let captured = action.capture(&cx, &call).await.unwrap();
        assert_eq!(captured, json!({"from": "v2", "to": "v1"}));
        for attempt in 1..=3 {
            let call = call.with_captured(&captured).with_attempt(attempt);
            action.perform(&cx, &call).await.unwrap();
            assert_eq!(slots.current().unwrap(), "v1");
        }
    }

    #[tokio::test]
    async fn undo_does_not_overwrite_what_somebody_deployed_meanwhile() {
        let (dir, slots) = shop(&["v1", "v2", "v3"], "v2");
        let action = action(&slots);
        let args = json!({"deployment": "gateway", "to": "v1"});
        let args = args.as_object().unwrap().clone();
        let (target, key, cx) = (slots.target.clone(), laws::key(0), laws::context());
        let captured = json!({"from": "v2", "to": "v1"});
        let call = ActionCall::new(&target, &args, &key).with_captured(&captured);
        action.perform(&cx, &call).await.unwrap();
        fs::write(dir.path().join("current"), "v3").unwrap();
        let error = action.undo(&cx, &call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(slots.current().unwrap(), "v3");
    }

    #[test]
    fn versions_that_do_not_exist_or_leave_the_folder_are_refused() {
        let (dir, slots) = shop(&["v1"], "v1");
        for bad in ["v9", "../v1", ".", ""] {
            assert!(slots.require(bad).is_err(), "{bad:?}");
        }
        assert!(slots.previous("v1").is_err());
        std::os::unix::fs::symlink("/etc", dir.path().join("slots/evil")).unwrap();
        assert!(slots.require("evil").is_err());
        assert!(slots.previous("v1").is_err());
        fs::write(dir.path().join("current"), "../../etc").unwrap();
        assert!(slots.current().is_err());
    }
}
