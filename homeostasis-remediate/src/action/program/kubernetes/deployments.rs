//! `scale_deployment`, `restart_rollout`, `undo_rollout`.

use homeostasis_core::Digest;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value, json};

use super::super::names::Allowed;
use super::super::tool::{Argv, Tool, ToolAction, Verb};
use super::{existing, in_namespace, named, namespace, namespace_param};
use crate::action::{ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind};

const MAX_REPLICAS: i64 = 1000;

fn action(
    name: &'static str,
    spec: ActionSpec,
    more: Option<Param>,
    tool: &Tool,
    verb: OnDeployment,
) -> ToolAction {
    let which = Param::required("deployment", ParamKind::Text, "which deployment");
    let spec = spec.with_params([namespace_param(), which].into_iter().chain(more));
    ToolAction::new(name, spec, tool, verb)
}

pub(super) fn scale(tool: &Tool, namespaces: Allowed) -> ToolAction {
    let spec = ActionSpec::new("set how many replicas a deployment has")
        .with_effect(EffectClass::Idempotent)
        .with_risk(RiskLevel::Medium)
        .with_inverse(Inverse::Captured(
            "the number of replicas before".to_owned(),
        ));
    let count = ParamKind::Integer {
        min: 0,
        max: MAX_REPLICAS,
    };
    let replicas = Param::required("replicas", count, "how many");
    let verb = DeploymentVerb::Scale;
    action(
        "scale_deployment",
        spec,
        Some(replicas),
        tool,
        OnDeployment { verb, namespaces },
    )
}

pub(super) fn restart(tool: &Tool, namespaces: Allowed) -> ToolAction {
    let spec = ActionSpec::new("replace every pod of a deployment, few at a time")
        .with_effect(EffectClass::Probeable)
        .with_risk(RiskLevel::Medium)
        .with_inverse(Inverse::Nothing);
    let verb = DeploymentVerb::Restart;
    action(
        "restart_rollout",
        spec,
        None,
        tool,
        OnDeployment { verb, namespaces },
    )
}

pub(super) fn undo(tool: &Tool, namespaces: Allowed) -> ToolAction {
    let spec = ActionSpec::new("take a deployment back to an earlier revision")
        .with_effect(EffectClass::Probeable)
        .with_risk(RiskLevel::Medium)
        .with_inverse(Inverse::Captured("the revision before".to_owned()));
    let count = ParamKind::Integer {
        min: 0,
        max: i64::from(i32::MAX),
    };
    let revision = Param::optional("to_revision", count, "which; 0 is the one before").or(0);
    let verb = DeploymentVerb::Undo;
    action(
        "undo_rollout",
        spec,
        Some(revision),
        tool,
        OnDeployment { verb, namespaces },
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeploymentVerb {
    Scale,
    Restart,
    Undo,
}

#[derive(Debug)]
struct OnDeployment {
    verb: DeploymentVerb,
    namespaces: Allowed,
}

impl OnDeployment {
    fn on(
        &self,
        call: &ActionCall<'_>,
        verb: &[&str],
        flags: &[&str],
    ) -> Result<Vec<Argv>, ActionError> {
        Ok(vec![in_namespace(
            &self.namespaces,
            "deployment",
            call,
            verb,
            flags,
        )?])
    }

    fn scale_to(&self, call: &ActionCall<'_>, replicas: u64) -> Result<Vec<Argv>, ActionError> {
        let replicas = format!("--replicas={replicas}");
        self.on(call, &["scale", "deployment"], &[&replicas])
    }

    fn go_to(&self, call: &ActionCall<'_>, revision: u64) -> Result<Vec<Argv>, ActionError> {
        let revision = format!("--to-revision={revision}");
        self.on(call, &["rollout", "undo", "deployment"], &[&revision])
    }
}

impl Verb for OnDeployment {
    fn problems(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let names = [namespace(&self.namespaces), named("deployment")];
        names.iter().filter_map(|name| name.problem(args)).collect()
    }

    fn questions(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        self.on(
            call,
            &["get", "deployment"],
            &["--output=json", "--ignore-not-found"],
        )
    }

    fn state(&self, _: &ActionCall<'_>, answers: &[String]) -> Result<Value, String> {
        let deployment = existing(answers, "deployment")?;
        // Absent is 1 by default.
        let replicas = match &deployment["spec"]["replicas"] {
            Value::Null => 1,
            replicas => replicas.as_u64().ok_or("expected a number of replicas")?,
        };
        let template = &deployment["spec"]["template"];
        let annotation = |of: &Value, name: &str| of["metadata"]["annotations"][name].clone();
        let revision = annotation(&deployment, "deployment.kubernetes.io/revision");
        Ok(json!({
            "replicas": replicas,
            "restarted_at": annotation(template, "kubectl.kubernetes.io/restartedAt"),
            "revision": revision.as_str().and_then(|text| text.parse::<u64>().ok()),
            // What it runs may hold secrets, its digest does not.
            "template": Digest::of(template).to_string(),
        }))
    }

    fn refusal(&self, _: &ActionCall<'_>, before: &Value) -> Option<String> {
        (self.verb == DeploymentVerb::Undo && before["revision"].is_null())
            .then(|| "the deployment has no revision to come back to".to_owned())
    }

    fn doing(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        match self.verb {
            DeploymentVerb::Scale => self.scale_to(call, call.unsigned("replicas")?),
            DeploymentVerb::Restart => self.on(call, &["rollout", "restart", "deployment"], &[]),
            DeploymentVerb::Undo => self.go_to(call, call.unsigned("to_revision")?),
        }
    }

    fn is_done(&self, call: &ActionCall<'_>, now: &Value) -> Option<bool> {
        let differs = |field: &str| Some(now[field] != call.captured[field]);
        match self.verb {
            DeploymentVerb::Scale => Some(now["replicas"] == call.args["replicas"]),
            DeploymentVerb::Restart => differs("restarted_at"),
            DeploymentVerb::Undo => differs("template"),
        }
    }

    fn undoing(&self, call: &ActionCall<'_>, now: &Value) -> Result<Vec<Argv>, ActionError> {
        let before = |field: &str| {
            let expected = format!("expected the {field} before");
            let before = call.captured[field].as_u64();
            before.ok_or_else(|| ActionError::invalid("captured state", expected))
        };
        let same = |field: &str| now[field] == call.captured[field];
        match self.verb {
            DeploymentVerb::Scale if !same("replicas") => self.scale_to(call, before("replicas")?),
            DeploymentVerb::Undo if !same("template") => self.go_to(call, before("revision")?),
            _ => Ok(Vec::new()),
        }
    }
}
