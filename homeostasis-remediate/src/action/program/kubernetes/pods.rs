//! `delete_pod`.

use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value, json};

use super::super::names::Allowed;
use super::super::tool::{Argv, Tool, ToolAction, Verb};
use super::{in_namespace, named, namespace, namespace_param, object};
use crate::action::{ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind};

pub(super) fn delete(tool: &Tool, namespaces: Allowed) -> ToolAction {
    let spec = ActionSpec::new("delete a pod, so that its controller starts another")
        .with_params([
            namespace_param(),
            Param::required("pod", ParamKind::Text, "which pod"),
        ])
        .with_effect(EffectClass::Probeable)
        .with_risk(RiskLevel::Medium)
        .with_inverse(Inverse::Nothing);
    ToolAction::new("delete_pod", spec, tool, DeletePod { namespaces })
}

#[derive(Debug)]
struct DeletePod {
    namespaces: Allowed,
}

impl DeletePod {
    fn on(
        &self,
        call: &ActionCall<'_>,
        verb: &[&str],
        flags: &[&str],
    ) -> Result<Vec<Argv>, ActionError> {
        Ok(vec![in_namespace(
            &self.namespaces,
            "pod",
            call,
            verb,
            flags,
        )?])
    }
}

impl Verb for DeletePod {
    fn problems(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let names = [namespace(&self.namespaces), named("pod")];
        names.iter().filter_map(|name| name.problem(args)).collect()
    }

    fn questions(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        self.on(
            call,
            &["get", "pod"],
            &["--output=json", "--ignore-not-found"],
        )
    }

    fn state(&self, _: &ActionCall<'_>, answers: &[String]) -> Result<Value, String> {
        let Some(pod) = object(answers)? else {
            return Ok(json!({ "uid": null }));
        };
        let meta = &pod["metadata"];
        let uid = meta["uid"].as_str().ok_or("expected a pod with a uid")?;
        let owners = meta["ownerReferences"].as_array().into_iter().flatten();
        let has_controller = owners.into_iter().any(|owner| owner["controller"] == true);
        Ok(json!({
            "uid": uid,
            "has_controller": has_controller,
            "is_leaving": !meta["deletionTimestamp"].is_null(),
        }))
    }

    fn refusal(&self, _: &ActionCall<'_>, before: &Value) -> Option<String> {
        if before["uid"].is_null() {
            return Some("there is no pod of that name".to_owned());
        }
        (before["has_controller"] != true)
            .then(|| "the pod has no controller: nothing would start it again".to_owned())
    }

    fn doing(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        self.on(call, &["delete", "pod"], &["--wait=false"])
    }

    fn is_done(&self, call: &ActionCall<'_>, now: &Value) -> Option<bool> {
        Some(now["uid"] != call.captured["uid"] || now["is_leaving"] == true)
    }
}
