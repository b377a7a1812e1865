//! `restart_unit`, `start_unit`, `stop_unit`, `reload_unit`: units of systemd.

use homeostasis_core::ConfigError;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value, json};

use super::names::{Allowed, Named, UNIT};
use super::tool::{Argv, Tool, ToolAction, Verb, argv};
use super::unit_limits;
use crate::action::{ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind};

/// Makes the actions on units of systemd that a host allows.
///
/// Each takes `unit` (a full name such as `nginx.service`).
///
/// # Examples
/// ```
/// use homeostasis::remediate::action::{ActionRegistry, Systemctl, Tool};
///
/// let systemctl = Systemctl::new(Tool::find("systemctl"), ["web-*.service"])?;
/// let mut actions = ActionRegistry::default();
/// actions.register(systemctl.restart_unit())?;
/// actions.register(systemctl.set_unit_limits())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Systemctl {
    tool: Tool,
    units: Allowed,
}

impl Systemctl {
    /// Actions through `tool` on units whose name fits one of the patterns (`*`, `?`).
    ///
    /// # Errors
    /// If a pattern is none.
    pub fn new<I: Into<String>>(
        tool: Tool,
        units: impl IntoIterator<Item = I>,
    ) -> Result<Self, ConfigError> {
        let units = Allowed::new("systemctl.units", units)?;
        Ok(Self { tool, units })
    }

    fn action(&self, name: &'static str, verb: UnitVerb, spec: ActionSpec) -> ToolAction {
        let units = self.units.clone();
        let spec = spec.with_params([Param::required("unit", ParamKind::Text, "which unit")]);
        ToolAction::new(name, spec, &self.tool, OnUnit { verb, units })
    }

    /// `restart_unit`: stops and starts it, or starts it if it is down. Probeable: its
    /// `InvocationID` is another one. Medium risk; there is nothing to take back.
    pub fn restart_unit(&self) -> ToolAction {
        let spec = ActionSpec::new("restart a unit of systemd, or start it if it is down")
            .with_effect(EffectClass::Probeable)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Nothing);
        self.action("restart_unit", UnitVerb::Restart, spec)
    }

    /// `start_unit`. Idempotent, low risk; undo stops it if it was down.
    pub fn start_unit(&self) -> ToolAction {
        let spec = ActionSpec::new("start a unit of systemd")
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Captured("whether the unit ran".to_owned()));
        self.action("start_unit", UnitVerb::Start, spec)
    }

    /// `stop_unit`. Idempotent, high risk; undo starts it if it ran.
    pub fn stop_unit(&self) -> ToolAction {
        let spec = ActionSpec::new("stop a unit of systemd")
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::High)
            .with_inverse(Inverse::Captured("whether the unit ran".to_owned()));
        self.action("stop_unit", UnitVerb::Stop, spec)
    }

    /// `reload_unit`: it reads its configuration again. Idempotent, low risk; nothing to take back.
    pub fn reload_unit(&self) -> ToolAction {
        let spec = ActionSpec::new("make a unit of systemd read its configuration again")
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Nothing);
        self.action("reload_unit", UnitVerb::Reload, spec)
    }

    /// `set_unit_limits`: memory, CPU and tasks of a unit until the next boot (`--runtime`).
    ///
    /// Parameters: `unit`, and at least one of `memory_max_bytes`, `memory_high_bytes`, `tasks_max`,
    /// `cpu_percent` (of one CPU). Idempotent, medium risk; undo sets the limits before.
    pub fn set_unit_limits(&self) -> ToolAction {
        unit_limits::action(&self.tool, self.units.clone())
    }
}

/// Where `unit` is checked.
pub(super) fn unit(allowed: &Allowed) -> Named<'_> {
    Named {
        param: "unit",
        grammar: UNIT,
        allowed: Some(allowed),
    }
}

/// The question for properties of a unit.
pub(super) fn show(properties: &str, unit: &str) -> Argv {
    let properties = format!("--property={properties}");
    argv(["--no-ask-password", "show", &properties, "--", unit])
}

/// The value of a property in what `show` answered.
pub(super) fn property<'a>(answer: &'a str, name: &str) -> Result<&'a str, String> {
    answer
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .ok_or_else(|| format!("expected a line `{name}=...` from systemctl show"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnitVerb {
    Restart,
    Start,
    Stop,
    Reload,
}

#[derive(Debug)]
struct OnUnit {
    verb: UnitVerb,
    units: Allowed,
}

fn runs(state: &Value) -> bool {
    let active = state["active"].as_str();
    matches!(
        active,
        Some("active" | "activating" | "reloading" | "refreshing")
    )
}

impl OnUnit {
    fn run(&self, verb: &str, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        let unit = unit(&self.units).of(call)?;
        Ok(vec![argv(["--no-ask-password", verb, "--", unit])])
    }
}

impl Verb for OnUnit {
    fn problems(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unit(&self.units).problem(args).into_iter().collect()
    }

    fn questions(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        let unit = unit(&self.units).of(call)?;
        Ok(vec![show("LoadState,ActiveState,InvocationID", unit)])
    }

    fn state(&self, _: &ActionCall<'_>, answers: &[String]) -> Result<Value, String> {
        let answer = answers.concat();
        let load = property(&answer, "LoadState")?;
        if load != "loaded" {
            return Err(format!("expected a unit that is loaded, it is {load:?}"));
        }
        let active = property(&answer, "ActiveState")?;
        let invocation = property(&answer, "InvocationID")?;
        Ok(json!({ "active": active, "invocation": invocation }))
    }

    fn refusal(&self, _: &ActionCall<'_>, before: &Value) -> Option<String> {
        (self.verb == UnitVerb::Reload && !runs(before))
            .then(|| "a unit that does not run reads nothing again".to_owned())
    }

    fn doing(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        let verb = match self.verb {
            UnitVerb::Restart => "restart",
            UnitVerb::Start => "start",
            UnitVerb::Stop => "stop",
            UnitVerb::Reload => "reload",
        };
        self.run(verb, call)
    }

    fn is_done(&self, call: &ActionCall<'_>, now: &Value) -> Option<bool> {
        let is_new = call.captured["invocation"] != now["invocation"];
        match self.verb {
            UnitVerb::Restart => Some(is_new && now["active"] != "failed"),
            // A unit that does one thing and ends has run, though it does not now.
            UnitVerb::Start => Some(runs(now) || is_new && now["active"] == "inactive"),
            UnitVerb::Stop => Some(!runs(now) && now["active"] != "deactivating"),
            UnitVerb::Reload => None,
        }
    }

    fn undoing(&self, call: &ActionCall<'_>, now: &Value) -> Result<Vec<Argv>, ActionError> {
        match (self.verb, runs(call.captured), runs(now)) {
            (UnitVerb::Start, false, true) => self.run("stop", call),
            (UnitVerb::Stop, true, false) => self.run("start", call),
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::testing::engine;

    use super::super::testing::{Fake, perform, refusal};
    use super::*;
    use crate::action::laws;

    /// A systemd with one service: it has a state and a number that every start changes.
    const SYSTEMD: &str = r#"
        verb=$2 unit=; for unit; do :; done
        [ "$unit" = web.service ] || { echo LoadState=not-found; echo ActiveState=inactive; echo InvocationID=; exit 0; }
        case $verb in
            show) echo LoadState=loaded; echo ActiveState=$(cat active); echo InvocationID=$(cat starts);;
            start) [ $(cat active) = active ] || { echo active > active; echo $(($(cat starts) + 1)) > starts; };;
            restart) echo active > active; echo $(($(cat starts) + 1)) > starts;;
            stop) echo inactive > active;;
            reload) :;;
            *) exit 9;;
        esac"#;

    fn fake(active: &str) -> (Fake, Systemctl) {
        let fake = Fake::new(SYSTEMD, &[("active", active), ("starts", "7")]);
        let systemctl = Systemctl::new(fake.tool(), ["web*.service"]).unwrap();
        (fake, systemctl)
    }

    #[tokio::test]
    async fn every_verb_obeys_the_laws_whether_the_unit_runs_or_not() {
        let args = json!({"unit": "web.service"});
        for active in ["active", "inactive", "failed"] {
            let (fake, systemctl) = fake(active);
            let starts = || fake.read("starts");
            let is_active = || fake.read("active").trim() == "active";
            laws::repeat_and_undo(&systemctl.start_unit(), &args, is_active).await;
            fake.write("active", active);
            laws::repeat_and_undo(&systemctl.stop_unit(), &args, is_active).await;
            laws::repeat_and_undo(&systemctl.restart_unit(), &args, starts).await;
            laws::repeat_and_undo(&systemctl.reload_unit(), &args, starts).await;
            assert!(is_active());
        }
    }

    #[tokio::test]
    async fn the_arguments_are_exactly_these() {
        let (fake, systemctl) = fake("active");
        let args = json!({"unit": "web.service"});
        for (action, verb) in [
            (systemctl.restart_unit(), "restart"),
            (systemctl.stop_unit(), "stop"),
            (systemctl.start_unit(), "start"),
            (systemctl.reload_unit(), "reload"),
        ] {
            fake.perform(&action, &args).await.unwrap();
            let ran = fake.calls();
            let question = "--property=LoadState,ActiveState,InvocationID";
            let question = vec!["--no-ask-password", "show", question, "--", "web.service"];
            let doing = vec!["--no-ask-password", verb, "--", "web.service"];
            assert_eq!(
                ran,
                [&question, &question, &doing, &question].map(Clone::clone)
            );
        }
    }

    #[tokio::test]
    async fn what_is_unknown_not_allowed_or_not_there_runs_nothing() {
        let (fake, systemctl) = fake("inactive");
        let unknown = fake
            .perform(&systemctl.restart_unit(), &json!({"unit": "web-2.service"}))
            .await;
        assert!(refusal(unknown).contains("not-found"));
        let reload = fake
            .perform(&systemctl.reload_unit(), &json!({"unit": "web.service"}))
            .await;
        assert!(refusal(reload).contains("does not run"));
        assert!(fake.calls().iter().all(|args| args[1] == "show"));
        let other = fake
            .perform(&systemctl.restart_unit(), &json!({"unit": "db.service"}))
            .await;
        assert!(refusal(other).contains("`web*.service`"));
        let absent = Systemctl::new(Tool::at("/nowhere/systemctl").unwrap(), ["*"]).unwrap();
        let args = json!({"unit": "web.service"});
        let problems =
            crate::action::Action::check(&absent.restart_unit(), args.as_object().unwrap());
        assert!(
            problems[0].expected.contains("/nowhere/systemctl"),
            "{problems:?}"
        );
        assert_eq!(fake.calls(), Vec::<Vec<String>>::new());
    }

    /// The real program reads our arguments; without systemd as its first process, a machine has
    /// nothing else to object.
    #[tokio::test]
    async fn the_real_systemctl_understands_the_arguments() {
        let Some(path) = engine::find("systemctl", &["/usr/bin"]) else {
            return;
        };
        let systemctl = Systemctl::new(Tool::at(path).unwrap(), ["*"]).unwrap();
        if std::path::Path::new("/run/systemd/system").exists() {
            let args = json!({"unit": "homeostasis-no-such-unit.service"});
            let asked = perform(&systemctl.restart_unit(), &args).await;
            return assert!(refusal(asked).contains("not-found"));
        }
        let limits = json!({"unit": "web.service", "cpu_percent": 20});
        for (action, args) in [
            (systemctl.restart_unit(), json!({"unit": "web.service"})),
            (systemctl.set_unit_limits(), limits),
        ] {
            let said = super::super::testing::run_unasked(&action, &args).await;
            assert_eq!(
                said.matches("not been booted with systemd").count(),
                2,
                "{said}"
            );
        }
    }
}
