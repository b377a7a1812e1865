//! `restart_interface`: a network interface down and up again.

use std::collections::HashSet;

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
    /// default route of any table, or a bridge, bond, VLAN or tunnel above it that does, stays as it
    /// is; so does one with a route for an eighth of all addresses or more). Idempotent, high risk: routes through it and IPv6 addresses go
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

/// Whether a route leads through one of `interfaces`, by itself or as one of several.
fn leads_through(route: &Value, interfaces: &HashSet<&str>) -> bool {
    let hops = route["nexthops"].as_array().into_iter().flatten();
    let mut devices = hops.chain([route]).filter_map(|hop| hop["dev"].as_str());
    devices.any(|device| interfaces.contains(device))
}

/// Whether a route is the default one, or one of the few that take its place, such as `0.0.0.0/1`.
fn is_wide(route: &Value) -> bool {
    let to = route["dst"].as_str().unwrap_or_default();
    let bits = to.split_once('/').and_then(|(_, bits)| bits.parse().ok());
    to == "default" || bits.is_some_and(|bits: u8| bits <= 3)
}

/// The interface and all that do not work without it: what it is a port of, and what is above it.
fn with_those_above<'a>(interface: &'a str, links: &'a [Value]) -> HashSet<&'a str> {
    let mut found = HashSet::from([interface]);
    loop {
        let n_before = found.len();
        for link in links {
            let name = link["ifname"].as_str().unwrap_or_default();
            let is_in = |field: &str| link[field].as_str().is_some_and(|it| found.contains(it));
            let (is_port, is_above) = (is_in("ifname"), is_in("link"));
            if is_above {
                found.insert(name);
            }
            if is_port && let Some(master) = link["master"].as_str() {
                found.insert(master);
            }
        }
        if found.len() == n_before {
            return found;
        }
    }
}

impl Verb for Restart {
    fn subject(&self) -> &'static [&'static str] {
        &["interface"]
    }

    fn problems(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        self.interface().problem(args).into_iter().collect()
    }

    fn questions(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        // Not even a question about what is no interface.
        self.interface().of(call)?;
        Ok(vec![
            argv(["-json", "link", "show"]),
            argv(["-json", "-4", "route", "show", "table", "all"]),
            argv(["-json", "-6", "route", "show", "table", "all"]),
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
        let needed = with_those_above(interface, &links);
        let mut routes = list(v4)?.into_iter().chain(list(v6)?);
        let has_default = routes.any(|route| is_wide(&route) && leads_through(&route, &needed));
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

    /// A port of a bridge, and the interface below a VLAN with a route in another table.
    #[tokio::test]
    async fn what_a_default_route_rests_on_is_spared_too() {
        let Some(net) = Namespace::with("ip") else {
            return;
        };
        for name in ["v0", "w0"] {
            let peer = name.replace('0', "1");
            net.ip(&["link", "add", name, "type", "veth", "peer", "name", &peer]);
        }
        let action = NetworkInterfaces::new(net.tool("ip"), ["*"]).unwrap();
        let action = action.restart_interface();
        let is_spared = async |name: &str| {
            let said = perform(&action, &json!({ "interface": name })).await;
            said.is_err_and(|error| error.report().to_string().contains("default route"))
        };
        let has_bridges = net.tries("ip", &["link", "add", "br0", "type", "bridge"]);
        if has_bridges {
            net.ip(&["link", "set", "dev", "v0", "master", "br0"]);
            net.ip(&["addr", "add", "10.9.9.1/24", "dev", "br0"]);
            net.ip(&["link", "set", "dev", "br0", "up"]);
            assert!(!is_spared("v0").await);
            net.ip(&["route", "add", "default", "via", "10.9.9.2", "dev", "br0"]);
            assert!(is_spared("v0").await && is_spared("br0").await);
        }
        net.ip(&["addr", "add", "10.8.8.1/24", "dev", "w0"]);
        net.ip(&["link", "set", "dev", "w0", "up"]);
        assert!(!is_spared("w0").await);
        net.ip(&[
            "route",
            "add",
            "0.0.0.0/1",
            "via",
            "10.8.8.2",
            "dev",
            "w0",
            "table",
            "7",
        ]);
        assert!(is_spared("w0").await);
    }

    #[test]
    fn what_is_above_an_interface_is_found_through_any_number() {
        let links = json!([
            {"ifname": "eth0", "master": "bond0"},
            {"ifname": "bond0"},
            {"ifname": "bond0.7", "link": "bond0", "master": "br0"},
            {"ifname": "br0"},
            {"ifname": "eth1"},
        ]);
        let links = links.as_array().unwrap();
        let all = HashSet::from(["eth0", "bond0", "bond0.7", "br0"]);
        assert_eq!(with_those_above("eth0", links), all);
        assert_eq!(with_those_above("br0", links), HashSet::from(["br0"]));
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
        let show = "-json link show";
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
        let leads = |interface| leads_through(&route, &HashSet::from([interface]));
        assert!(leads("eth1") && !leads("eth2"));
        for (to, expected) in [
            ("default", true),
            ("128.0.0.0/1", true),
            ("::/1", true),
            ("10.0.0.0/8", false),
        ] {
            assert_eq!(is_wide(&json!({ "dst": to })), expected, "{to}");
        }
        assert_eq!(list(" \n").unwrap(), Vec::<Value>::new());
    }
}
