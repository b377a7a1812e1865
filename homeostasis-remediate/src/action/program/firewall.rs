//! `add_firewall_rule`: traffic of one source is dropped or rejected by nftables.

use std::net::IpAddr;

use homeostasis_core::ConfigError;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value, json};

use super::names::NFT_NAME;
use super::tool::{Argv, Tool, ToolAction, Verb, argv};
use crate::action::{ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind};

/// The fewest bits a source must fix, so that a slip does not cut off the world.
const MIN_PREFIX: (u8, u8) = (8, 16);

const SOURCE: &str = "an IP address, or a network such as `192.0.2.0/24` of at least 8 bits (IPv6: 16), not of this machine";

/// Makes the action on chains of nftables that a host allows, through `nft`.
///
/// # Examples
/// ```
/// use homeostasis::remediate::action::{ActionRegistry, Firewall, Tool};
///
/// let firewall = Firewall::new(Tool::find("nft"), ["inet filter input"])?;
/// let mut actions = ActionRegistry::default();
/// actions.register(firewall.add_rule())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Firewall {
    tool: Tool,
    chains: Vec<[String; 3]>,
}

impl Firewall {
    /// Actions through `tool` in these chains: family, table and chain, such as `inet filter input`.
    ///
    /// # Errors
    /// If one is not of this form; `path` and value are named.
    pub fn new<I: Into<String>>(
        tool: Tool,
        chains: impl IntoIterator<Item = I>,
    ) -> Result<Self, ConfigError> {
        let parse = |text: String| {
            let expected =
                "a family (`inet`, `ip`, `ip6`), a table and a chain, with one blank between";
            let parts: Vec<_> = text.split(' ').map(str::to_owned).collect();
            let parts = <[String; 3]>::try_from(parts)
                .ok()
                .filter(|[family, table, chain]| {
                    matches!(family.as_str(), "inet" | "ip" | "ip6")
                        && NFT_NAME.is_one(table)
                        && NFT_NAME.is_one(chain)
                });
            parts.ok_or_else(|| {
                ConfigError::single("firewall.chains", format!("{text:?}"), expected)
            })
        };
        let chains = chains.into_iter().map(|text| parse(text.into()));
        let chains = chains.collect::<Result<_, _>>()?;
        Ok(Self { tool, chains })
    }

    /// `add_firewall_rule`: a first rule of a chain for what comes from one address or network.
    ///
    /// Parameters: `chain` (as the host wrote it), `source`, `protocol` and `port` (both or neither),
    /// `verdict` (`drop`, the default, or `reject`). The rule's comment carries the key of the step.
    /// Probeable by that comment, high risk; undo deletes the rule by its handle, and no other.
    pub fn add_rule(&self) -> ToolAction {
        let spec = ActionSpec::new("drop or reject what comes from one source")
            .with_params([
                Param::required(
                    "chain",
                    ParamKind::Text,
                    "where, such as `inet filter input`",
                ),
                Param::required("source", ParamKind::Text, "whose traffic"),
                Param::optional("protocol", ParamKind::OneOf(&["tcp", "udp"]), "only this"),
                Param::optional(
                    "port",
                    ParamKind::Integer {
                        min: 1,
                        max: 65_535,
                    },
                    "only to this port",
                ),
                Param::optional(
                    "verdict",
                    ParamKind::OneOf(&["drop", "reject"]),
                    "what becomes of it",
                )
                .or("drop"),
            ])
            .with_effect(EffectClass::Probeable)
            .with_risk(RiskLevel::High)
            .with_inverse(Inverse::Captured("the chain without the rule".to_owned()));
        let chains = self.chains.clone();
        ToolAction::new("add_firewall_rule", spec, &self.tool, AddRule { chains })
    }
}

/// `ip` or `ip6`, and the source as nft takes it; nft reads its arguments as a language, so nothing
/// but addresses and numbers of ours gets there.
fn source(text: &str) -> Option<(&'static str, String)> {
    let (address, bits) = text
        .split_once('/')
        .map_or((text, None), |(a, b)| (a, Some(b)));
    let address: IpAddr = address.parse().ok()?;
    let (word, all, least) = match address {
        IpAddr::V4(_) => ("ip", 32, MIN_PREFIX.0),
        IpAddr::V6(_) => ("ip6", 128, MIN_PREFIX.1),
    };
    let is_plain = |bits: &str| bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u8 = match bits {
        None => all,
        Some(bits) if is_plain(bits) => bits.parse().ok()?,
        Some(_) => return None,
    };
    let is_ours = address.is_loopback() || address.is_unspecified();
    ((least..=all).contains(&bits) && !is_ours).then(|| (word, format!("{address}/{bits}")))
}

#[derive(Debug)]
struct AddRule {
    chains: Vec<[String; 3]>,
}

impl AddRule {
    fn chain(&self, call: &ActionCall<'_>) -> Result<&[String; 3], ActionError> {
        let wanted = call.text("chain")?;
        let chain = self.chains.iter().find(|chain| chain.join(" ") == wanted);
        chain.ok_or_else(|| ActionError::argument("chain", "a chain that the host allows"))
    }
}

/// The comment of the rule of this step: the same when it is undone, whose key is another.
fn comment(call: &ActionCall<'_>) -> String {
    let key = call.key.as_str();
    format!("homeostasis {}", key.strip_suffix("/undo").unwrap_or(key))
}

impl Verb for AddRule {
    fn problems(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = Vec::new();
        let known = |param: &str| {
            let text = args.get(param).and_then(Value::as_str);
            text.filter(|text| !text.contains("${"))
        };
        let chains: Vec<_> = self.chains.iter().map(|chain| chain.join(" ")).collect();
        if known("chain").is_some_and(|chain| !chains.iter().any(|known| known == chain)) {
            let expected = format!(
                "one of the chains that the host allows: {}",
                chains.join(", ")
            );
            problems.push(ArgumentProblem::new("/chain", expected));
        }
        if known("source").is_some_and(|text| source(text).is_none()) {
            problems.push(ArgumentProblem::new("/source", SOURCE));
        }
        let is_given = |param: &str| args.get(param).is_some_and(|value| !value.is_null());
        if is_given("protocol") != is_given("port") {
            problems.push(ArgumentProblem::new(
                "/port",
                "`protocol` and `port`, or neither",
            ));
        }
        problems
    }

    fn questions(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        let [family, table, chain] = self.chain(call)?;
        Ok(vec![argv([
            "--json", "--handle", "list", "chain", family, table, chain,
        ])])
    }

    fn state(&self, call: &ActionCall<'_>, answers: &[String]) -> Result<Value, String> {
        let answer: Value = serde_json::from_str(&answers.concat())
            .map_err(|error| format!("expected JSON from nft: {error}"))?;
        let objects = answer["nftables"].as_array();
        let objects = objects.ok_or_else(|| "expected a list `nftables` from nft".to_owned())?;
        let rules = || objects.iter().filter_map(|object| object.get("rule"));
        let ours = rules().find(|rule| rule["comment"] == *comment(call));
        Ok(json!({ "handle": ours.map(|rule| &rule["handle"]), "rules": rules().count() }))
    }

    fn doing(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        let [family, table, chain] = self.chain(call)?;
        let (word, source) =
            source(call.text("source")?).ok_or_else(|| ActionError::argument("source", SOURCE))?;
        let mut all = argv([
            "insert", "rule", family, table, chain, word, "saddr", &source,
        ]);
        if call.args.get("port").is_some_and(|port| !port.is_null()) {
            let protocol = match call.text("protocol")? {
                "tcp" => "tcp",
                "udp" => "udp",
                _ => return Err(ActionError::argument("protocol", "`tcp` or `udp`")),
            };
            let port = u16::try_from(call.unsigned("port")?)
                .map_err(|_| ActionError::argument("port", "a port"))?;
            all.extend(argv([protocol, "dport", &port.to_string()]));
        }
        let verdict = match call.text("verdict")? {
            "drop" => "drop",
            "reject" => "reject",
            _ => return Err(ActionError::argument("verdict", "`drop` or `reject`")),
        };
        // The key is of our making: digits, letters, `-` and `/`.
        let quoted = format!("\"{}\"", comment(call));
        all.extend(argv(["counter", verdict, "comment", &quoted]));
        Ok(vec![all])
    }

    fn is_done(&self, _: &ActionCall<'_>, now: &Value) -> Option<bool> {
        Some(!now["handle"].is_null())
    }

    fn undoing(&self, call: &ActionCall<'_>, now: &Value) -> Result<Vec<Argv>, ActionError> {
        let [family, table, chain] = self.chain(call)?;
        let Some(handle) = now["handle"].as_u64() else {
            return Ok(Vec::new());
        };
        let handle = handle.to_string();
        Ok(vec![argv([
            "delete", "rule", family, table, chain, "handle", &handle,
        ])])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fake, Namespace, perform, refusal};
    use super::*;
    use crate::action::laws;

    #[tokio::test]
    async fn a_real_rule_is_added_once_found_again_and_deleted_alone() {
        let Some(net) = Namespace::with("nft") else {
            return;
        };
        net.nft(&["add table inet filter"]);
        net.nft(&["add chain inet filter input { type filter hook input priority 0; }"]);
        net.nft(&["add rule inet filter input tcp dport 22 accept comment \"not ours\""]);
        let action = Firewall::new(net.tool("nft"), ["inet filter input"])
            .unwrap()
            .add_rule();
        let rules = || {
            let listed = net.nft(&["list chain inet filter input"]);
            let rules = listed.lines().filter(|line| line.contains("comment"));
            rules.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        let key = laws::key(0);
        for (more, expected) in [
            (
                json!({"source": "192.0.2.7"}),
                "ip saddr 192.0.2.7 counter packets 0 bytes 0 drop",
            ),
            (
                json!({"source": "2001:db8::/32", "protocol": "tcp", "port": 443, "verdict": "reject"}),
                "ip6 saddr 2001:db8::/32 tcp dport 443 counter packets 0 bytes 0 reject",
            ),
        ] {
            let mut args = json!({"chain": "inet filter input"});
            args.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            laws::repeat_and_undo(&action, &args, rules).await;
            let output = perform(&action, &args).await.unwrap();
            assert_eq!(output["now"]["rules"], 2);
            let rules = rules();
            assert_eq!(rules.len(), 2, "{rules:?}");
            assert!(rules[0].starts_with(expected), "{rules:?}");
            let comment = format!("comment \"homeostasis {key}\"");
            assert!(rules[0].ends_with(&comment), "{rules:?}");
            assert!(rules[1].contains("not ours"), "{rules:?}");
            net.nft(&["flush chain inet filter input"]);
            net.nft(&["add rule inet filter input tcp dport 22 accept comment \"not ours\""]);
        }
    }

    #[tokio::test]
    async fn nothing_but_addresses_and_known_chains_reaches_the_program() {
        let fake = Fake::new("echo '{\"nftables\": []}'", &[]);
        let action = Firewall::new(fake.tool(), ["inet filter input"])
            .unwrap()
            .add_rule();
        for (chain, source) in [
            ("inet filter forward", "192.0.2.7"),
            ("inet filter input; flush ruleset", "192.0.2.7"),
            ("inet filter input", "0.0.0.0/0"),
            ("inet filter input", "10.0.0.0/7"),
            ("inet filter input", "::/0"),
            ("inet filter input", "127.0.0.1"),
            ("inet filter input", "192.0.2.7 accept; flush ruleset"),
            ("inet filter input", "192.0.2.7/24/1"),
            ("inet filter input", "192.0.2.7/+24"),
            ("inet filter input", "@blocklist"),
            ("inet filter input", "-f"),
            ("inet filter input", "example.org"),
        ] {
            let args = json!({"chain": chain, "source": source});
            refusal(fake.perform(&action, &args).await);
        }
        let half = json!({"chain": "inet filter input", "source": "192.0.2.7", "port": 80});
        assert!(refusal(fake.perform(&action, &half).await).contains("or neither"));
        assert!(fake.calls().is_empty());
        for chain in [
            "filter input",
            "inet filter input x",
            "bridge filter input",
            "inet f;x input",
        ] {
            assert!(Firewall::new(fake.tool(), [chain]).is_err(), "{chain}");
        }
    }

    #[test]
    fn sources_are_written_as_nft_takes_them() {
        assert_eq!(source("192.0.2.7"), Some(("ip", "192.0.2.7/32".to_owned())));
        assert_eq!(
            source("2001:DB8::/32"),
            Some(("ip6", "2001:db8::/32".to_owned()))
        );
        assert_eq!(source("192.0.2.7/33"), None);
    }
}
