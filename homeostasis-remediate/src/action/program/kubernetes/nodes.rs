//! `cordon_node`, `uncordon_node`, `drain_node`.

use std::time::Duration;

use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value, json};

use super::super::names::{Allowed, Named, SUBDOMAIN};
use super::super::tool::{Argv, Tool, ToolAction, Verb, argv};
use super::existing;
use crate::action::{ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind};

const SECOND: Duration = Duration::from_secs(1);

fn spec(description: &str, risk: RiskLevel, inverse: &str) -> ActionSpec {
    ActionSpec::new(description)
        .with_params([Param::required("node", ParamKind::Text, "which node")])
        .with_effect(EffectClass::Idempotent)
        .with_risk(risk)
        .with_inverse(Inverse::Captured(inverse.to_owned()))
}

const BEFORE: &str = "whether the node gets new pods";

pub(super) fn cordon(tool: &Tool, nodes: Allowed) -> ToolAction {
    let spec = spec("let a node get no new pods", RiskLevel::Medium, BEFORE);
    let verb = NodeVerb::Cordon;
    ToolAction::new("cordon_node", spec, tool, OnNode { verb, nodes })
}

pub(super) fn uncordon(tool: &Tool, nodes: Allowed) -> ToolAction {
    let spec = spec("let a node get new pods again", RiskLevel::Low, BEFORE);
    let verb = NodeVerb::Uncordon;
    ToolAction::new("uncordon_node", spec, tool, OnNode { verb, nodes })
}

pub(super) fn drain(tool: &Tool, nodes: Allowed) -> ToolAction {
    let inverse = "whether the node gets new pods; those that left stay away";
    let mut spec = spec("evict the pods of a node", RiskLevel::High, inverse);
    let within = ParamKind::Duration {
        min: SECOND,
        max: 3600 * SECOND,
    };
    spec.params.extend([
        Param::optional("evict_within", within, "how long evictions may take").or("2m"),
        Param::optional(
            "delete_emptydir_data",
            ParamKind::Bool,
            "also pods whose `emptyDir` data is lost with them",
        )
        .or(false),
    ]);
    let spec = spec.with_timeout(180 * SECOND);
    let verb = NodeVerb::Drain;
    ToolAction::new("drain_node", spec, tool, OnNode { verb, nodes })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodeVerb {
    Cordon,
    Uncordon,
    Drain,
}

#[derive(Debug)]
struct OnNode {
    verb: NodeVerb,
    nodes: Allowed,
}

impl OnNode {
    fn node(&self) -> Named<'_> {
        Named {
            param: "node",
            grammar: SUBDOMAIN,
            allowed: Some(&self.nodes),
        }
    }

    fn set(&self, call: &ActionCall<'_>, verb: &str) -> Result<Vec<Argv>, ActionError> {
        Ok(vec![argv([verb, "--", self.node().of(call)?])])
    }
}

impl Verb for OnNode {
    fn problems(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        self.node().problem(args).into_iter().collect()
    }

    fn questions(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        let node = self.node().of(call)?;
        Ok(vec![argv([
            "get",
            "node",
            "--output=json",
            "--ignore-not-found",
            "--",
            node,
        ])])
    }

    fn state(&self, _: &ActionCall<'_>, answers: &[String]) -> Result<Value, String> {
        let node = existing(answers, "node")?;
        Ok(json!({ "unschedulable": node["spec"]["unschedulable"] == true }))
    }

    fn doing(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        match self.verb {
            NodeVerb::Cordon => self.set(call, "cordon"),
            NodeVerb::Uncordon => self.set(call, "uncordon"),
            NodeVerb::Drain => {
                let within = call.duration("evict_within")?.as_secs();
                let within = format!("--timeout={within}s");
                let mut all = argv(["drain", "--ignore-daemonsets", &within]);
                if call.boolean("delete_emptydir_data")? {
                    all.push("--delete-emptydir-data".to_owned());
                }
                all.extend(argv(["--", self.node().of(call)?]));
                Ok(vec![all])
            }
        }
    }

    fn is_done(&self, _: &ActionCall<'_>, now: &Value) -> Option<bool> {
        let is_cordoned = now["unschedulable"] == true;
        match self.verb {
            NodeVerb::Cordon => Some(is_cordoned),
            NodeVerb::Uncordon => Some(!is_cordoned),
            // Whether pods are left to evict, only another drain finds out.
            NodeVerb::Drain => (!is_cordoned).then_some(false),
        }
    }

    fn undoing(&self, call: &ActionCall<'_>, now: &Value) -> Result<Vec<Argv>, ActionError> {
        match (
            call.captured["unschedulable"].as_bool(),
            now["unschedulable"].as_bool(),
        ) {
            (Some(true), Some(false)) => self.set(call, "cordon"),
            (Some(false), Some(true)) => self.set(call, "uncordon"),
            _ => Ok(Vec::new()),
        }
    }
}
