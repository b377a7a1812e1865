//! `restart_interface`: a network interface down and up again.

use homeostasis_core::ConfigError;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value, json};

use super::names::{Allowed, INTERFACE, Named};
use super::tool::{Argv, Tool, ToolAction, Verb, argv};
use crate::action::{ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind};

/// Makes the action on network interfaces that a host allows, through `ip` of iproute2.
///
/// # Examples
/// ```
/// use homeostasis::remediate::action::{ActionRegistry, NetworkInterfaces, Tool};
///
/// let interfaces = NetworkInterfaces::new(Tool::find("ip"), ["wg?", "eth1"])?;
/// let mut actions = ActionRegistry::default();
/// actions.register(interfaces.restart_interface())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct NetworkInterfaces {
    tool: Tool,
    interfaces: Allowed,
}

impl NetworkInterfaces {
    /// Actions through `tool` on interfaces whose name fits one of the patterns (`*`, `?`).
    ///
    /// # Errors
    /// If a pattern is none.
    pub fn new<I: Into<String>>(
        tool: Tool,
        interfaces: impl IntoIterator<Item = I>,
    ) -> Result<Self, ConfigError> {
        let interfaces = Allowed::new("interfaces", interfaces)?;
        Ok(Self { tool, interfaces })
    }

    /// `restart_interface`: down and up again, or up if it was down.
    ///
    /// Parameters: `interface`, `default_route` (default `false`: an interface that carries a
    /// default route stays as it is). Idempotent, high risk: routes through it and IPv6 addresses go
    /// with the link and come back only if something on the machine sets them. Undo brings it up if
    /// it was up, down if it was down.
    pub fn restart_interface(&self) -> ToolAction {
        let spec = ActionSpec::new("take a network interface down and up again")
            .with_params([
                Param::required("interface", ParamKind::Text, "which interface"),
                Param::optional(
                    "default_route",
                    ParamKind::Bool,
                    "also one that carries a default route",
                )
                .or(false),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::High)
            .with_inverse(Inverse::Captured("whether the link was up".to_owned()));
        let interfaces = self.interfaces.clone();
        ToolAction::new(
            "restart_interface",
            spec,
            &self.tool,
            Restart { interfaces },
        )
    }
}

#[derive(Debug)]
struct Restart {
    interfaces: Allowed,
}

impl Restart {
    fn interface(&self) -> Named<'_> {
        Named {
            param: "interface",
            grammar: INTERFACE,
            allowed: Some(&self.interfaces),
        }
    }

    fn set(&self, call: &ActionCall<'_>, to: &str) -> Result<Argv, ActionError> {
        let interface = self.interface().of(call)?;
        Ok(argv(["link", "set", "dev", interface, to]))
    }
}

/// What `ip -json` printed: nothing is an empty list.
fn list(answer: &str) -> Result<Vec<Value>, String> {
    if answer.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(answer).map_err(|error| format!("expected a list from ip -json: {error}"))
}

/// Whether a route leads through `interface`, by itself or as one of several.
fn leads_through(route: &Value, interface: &str) -> bool {
    let hops = route["nexthops"].as_array().into_iter().flatten();
    hops.chain([route]).any(|hop| hop["dev"] == interface)
}

impl Verb for Restart {
    fn problems(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        self.interface().problem(args).into_iter().collect()
    }

    fn questions(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        let interface = self.interface().of(call)?;
        Ok(vec![
            argv(["-json", "link", "show", "dev", interface]),
            argv(["-json", "-4", "route", "show", "default"]),
            argv(["-json", "-6", "route", "show", "default"]),
        ])
    }

    fn state(&self, call: &ActionCall<'_>, answers: &[String]) -> Result<Value, String> {
        let interface = self
            .interface()
            .of(call)
            .map_err(|error| error.to_string())?;
        let [link, v4, v6] = answers else {
            return Err("expected three answers".to_owned());
        };
        let links = list(link)?;
        let link = links.iter().find(|link| link["ifname"] == interface);
        let flags = link.and_then(|link| link["flags"].as_array());
        let flags =
            flags.ok_or_else(|| format!("expected an interface {interface:?} with flags"))?;
        let routes = list(v4)?.into_iter().chain(list(v6)?);
        let has_default = routes
            .into_iter()
            .any(|route| leads_through(&route, interface));
        Ok(json!({ "up": flags.contains(&"UP".into()), "default_route": has_default }))
    }

    fn refusal(&self, call: &ActionCall<'_>, before: &Value) -> Option<String> {
        let told = call.args.get("default_route") == Some(&Value::Bool(true));
        (before["default_route"] == true && !told).then(|| {
            "the interface carries a default route; `default_route: true` restarts it all the same"
                .to_owned()
        })
    }

    fn doing(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        Ok(vec![self.set(call, "down")?, self.set(call, "up")?])
    }

    fn is_done(&self, _: &ActionCall<'_>, now: &Value) -> Option<bool> {
        // Up is how it must end, and how it may have been all the time.
        (now["up"] == false).then_some(false)
    }

    fn undoing(&self, call: &ActionCall<'_>, now: &Value) -> Result<Vec<Argv>, ActionError> {
        match (call.captured["up"].as_bool(), now["up"].as_bool()) {
            (Some(true), Some(false)) => Ok(vec![self.set(call, "up")?]),
            (Some(false), Some(true)) => Ok(vec![self.set(call, "down")?]),
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fake, Namespace, perform, refusal};
    use super::*;
    use crate::action::laws;

    #[tokio::test]
    async fn a_real_interface_goes_down_and_up_and_the_default_route_is_spared() {
        let Some(net) = Namespace::with("ip") else {
            return;
        };
        net.ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
        net.ip(&["addr", "add", "10.9.9.1/24", "dev", "v0"]);
        let links = |name: &str| {
            let shown = net.ip(&["-json", "link", "show", "dev", name]);
            shown.contains("\"UP\"")
        };
        let interfaces = NetworkInterfaces::new(net.tool("ip"), ["v*"]).unwrap();
        let action = interfaces.restart_interface();
        let args = json!({"interface": "v0"});
        for up in [false, true] {
            net.ip(&["link", "set", "dev", "v0", if up { "up" } else { "down" }]);
            laws::repeat_and_undo(&action, &args, || (links("v0"), links("v1"))).await;
        }
        net.ip(&["route", "add", "default", "via", "10.9.9.2", "dev", "v0"]);
        assert!(refusal(perform(&action, &args).await).contains("default route"));
        assert!(net.ip(&["route"]).contains("default"));
        let told = json!({"interface": "v0", "default_route": true});
        let output = perform(&action, &told).await.unwrap();
        assert_eq!(output["now"]["up"], true);
        assert!(!net.ip(&["route"]).contains("default"), "it did go down");
        let unknown = refusal(perform(&action, &json!({"interface": "v9"})).await);
        assert!(unknown.contains("v9"), "{unknown}");
    }

    #[tokio::test]
    async fn the_arguments_are_exactly_these() {
        let script =
            r#"case "$*" in *link\ show*) echo '[{"ifname":"eth1","flags":["UP"]}]';; esac"#;
        let fake = Fake::new(script, &[]);
        let action = NetworkInterfaces::new(fake.tool(), ["*"])
            .unwrap()
            .restart_interface();
        fake.perform(&action, &json!({"interface": "eth1"}))
            .await
            .unwrap();
        let calls = fake.calls();
        let show = "-json link show dev eth1";
        assert_eq!(calls[0].join(" "), show);
        let doing: Vec<_> = calls
            .iter()
            .filter(|args| args[1] == "set")
            .map(|args| args.join(" "))
            .collect();
        assert_eq!(doing, ["link set dev eth1 down", "link set dev eth1 up"]);
    }

    #[test]
    fn one_of_several_next_hops_counts() {
        let route = json!({"dst": "default", "nexthops": [{"dev": "eth0"}, {"dev": "eth1"}]});
        assert!(leads_through(&route, "eth1") && !leads_through(&route, "eth2"));
        assert_eq!(list(" \n").unwrap(), Vec::<Value>::new());
    }
}
