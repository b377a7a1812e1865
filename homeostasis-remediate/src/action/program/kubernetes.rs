//! Pods, deployments and nodes of Kubernetes, through `kubectl`.

#[cfg(test)]
mod api_server;
mod deployments;
#[cfg(feature = "kube")]
mod http_route;
mod nodes;
mod pods;
#[cfg(test)]
mod tests;

#[cfg(feature = "kube")]
pub use http_route::{HttpRouteRouter, HttpRouteSlots};

use homeostasis_core::ConfigError;
use serde_json::Value;

use super::names::{Allowed, LABEL, Named, SUBDOMAIN};
use super::tool::{Argv, Tool, ToolAction, argv};
use crate::action::{ActionCall, ActionError, Param, ParamKind};

/// Makes actions on a cluster through `kubectl`, in the namespaces and on the nodes a host allows.
///
/// Which cluster, and as whom, the tool says: `--context`, `--kubeconfig`, or the environment of a
/// pod. What the cluster forbids, it forbids.
///
/// # Examples
/// ```
/// use homeostasis::remediate::action::{ActionRegistry, Kubectl, Tool};
///
/// let tool = Tool::find("kubectl").arg("--context=production");
/// let kubectl = Kubectl::new(tool).namespaces(["shop", "shop-*"])?.nodes(["worker-*"])?;
/// let mut actions = ActionRegistry::default();
/// actions.register(kubectl.delete_pod())?;
/// actions.register(kubectl.scale_deployment())?;
/// actions.register(kubectl.drain_node())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Kubectl {
    tool: Tool,
    namespaces: Allowed,
    nodes: Allowed,
    min_replicas: u32,
}

impl Kubectl {
    /// Actions through `tool`, in no namespace and on no node yet.
    pub fn new(tool: Tool) -> Self {
        Self {
            tool,
            namespaces: Allowed::default(),
            nodes: Allowed::default(),
            min_replicas: 1,
        }
    }

    /// The same for namespaces whose name fits one of the patterns (`*`, `?`), instead of those
    /// given before.
    ///
    /// # Errors
    /// If a pattern is none.
    pub fn namespaces<I: Into<String>>(
        mut self,
        patterns: impl IntoIterator<Item = I>,
    ) -> Result<Self, ConfigError> {
        self.namespaces = Allowed::new("kubectl.namespaces", patterns)?;
        Ok(self)
    }

    /// The same for nodes whose name fits one of the patterns.
    ///
    /// # Errors
    /// If a pattern is none.
    pub fn nodes<I: Into<String>>(
        mut self,
        patterns: impl IntoIterator<Item = I>,
    ) -> Result<Self, ConfigError> {
        self.nodes = Allowed::new("kubectl.nodes", patterns)?;
        Ok(self)
    }

    /// The same with another least number that `scale_deployment` may be given, instead of 1; with 0
    /// a playbook may take a service away.
    #[must_use]
    pub fn min_replicas(mut self, min_replicas: u32) -> Self {
        self.min_replicas = min_replicas;
        self
    }

    /// `delete_pod`: its controller starts another. Parameters: `namespace`, `pod`.
    ///
    /// A pod without controller is refused: nothing would start it again; one that is being deleted
    /// too. Probeable by the pod's
    /// `uid`: a new pod under the same name is left alone. Medium risk; nothing to take back.
    pub fn delete_pod(&self) -> ToolAction {
        pods::delete(&self.tool, self.namespaces.clone())
    }

    /// `scale_deployment`: sets the number of replicas. Parameters: `namespace`, `deployment`,
    /// `replicas` ([`min_replicas`](Self::min_replicas) to 1000). Idempotent, medium risk; undo sets the number before. An autoscaler
    /// of the same deployment will set its own number again.
    pub fn scale_deployment(&self) -> ToolAction {
        deployments::scale(&self.tool, self.namespaces.clone(), self.min_replicas)
    }

    /// `restart_rollout`: every pod of a deployment is replaced, few at a time. Parameters:
    /// `namespace`, `deployment`. Probeable by the time of the last restart; medium risk; nothing to
    /// take back.
    pub fn restart_rollout(&self) -> ToolAction {
        deployments::restart(&self.tool, self.namespaces.clone())
    }

    /// `undo_rollout`: a deployment goes back to an earlier revision. Parameters: `namespace`,
    /// `deployment`, `to_revision` (default 0, the one before). Probeable by the pod template;
    /// medium risk; undo goes to the revision before, if the cluster still keeps it.
    pub fn undo_rollout(&self) -> ToolAction {
        deployments::undo(&self.tool, self.namespaces.clone())
    }

    /// `cordon_node`: a node gets no new pods. Parameter: `node`. Idempotent, medium risk; undo lets
    /// it get some if it did before.
    pub fn cordon_node(&self) -> ToolAction {
        nodes::cordon(&self.tool, self.nodes.clone())
    }

    /// `uncordon_node`: a node gets new pods again. Parameter: `node`. Idempotent, low risk; undo
    /// cordons it if it was.
    pub fn uncordon_node(&self) -> ToolAction {
        nodes::uncordon(&self.tool, self.nodes.clone())
    }

    /// `drain_node`: a node gets no new pods, and its pods are evicted as their budgets allow.
    ///
    /// Parameters: `node`, `evict_within` (default `2m`, at most `15m`), `delete_emptydir_data` (default `false`: a
    /// pod with such data stops the drain). Pods of daemon sets stay; a pod without controller stops
    /// it. Idempotent, high risk; undo lets the node get pods again, those that left stay away.
    pub fn drain_node(&self) -> ToolAction {
        nodes::drain(&self.tool, self.nodes.clone())
    }
}

/// The parameter `namespace`.
fn namespace_param() -> Param {
    Param::required("namespace", ParamKind::Text, "in which namespace")
}

fn namespace(allowed: &Allowed) -> Named<'_> {
    Named {
        param: "namespace",
        grammar: LABEL,
        allowed: Some(allowed),
    }
}

/// A name that needs no leave of its own, because its namespace has it.
fn named(param: &'static str) -> Named<'static> {
    Named {
        param,
        grammar: SUBDOMAIN,
        allowed: None,
    }
}

/// `verb... --namespace=N flags... -- name`: what stands after `--` is no option.
fn in_namespace(
    allowed: &Allowed,
    param: &'static str,
    call: &ActionCall<'_>,
    verb: &[&str],
    flags: &[&str],
) -> Result<Argv, ActionError> {
    let mut all: Argv = verb.iter().map(|&word| word.to_owned()).collect();
    all.push(format!("--namespace={}", namespace(allowed).of(call)?));
    all.extend(flags.iter().map(|&flag| flag.to_owned()));
    all.extend(argv(["--", named(param).of(call)?]));
    Ok(all)
}

/// The object that was answered; `None` if nothing was.
fn object(answers: &[String]) -> Result<Option<Value>, String> {
    let answer = answers.concat();
    if answer.trim().is_empty() {
        return Ok(None);
    }
    let object = serde_json::from_str(&answer);
    object.map_err(|error| format!("expected JSON from kubectl: {error}"))
}

fn existing(answers: &[String], what: &str) -> Result<Value, String> {
    object(answers)?.ok_or_else(|| format!("expected a {what}, there is none of that name"))
}
