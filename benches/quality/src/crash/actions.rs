//! One action of each effect class, with real effects on the world.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::record::{EffectClass, Inverse, RiskLevel, StepPhase};
use homeostasis::core::{ConfigError, Context, ErrorKind, async_trait};
use homeostasis::remediate::action::{
    Action, ActionCall, ActionError, ActionRegistry, ActionSpec, Param, ParamKind, ProbeAnswer,
};
use serde_json::Value;

use super::clock::SPEED;
use super::protocol::{Line, say};
use super::world::{EffectRecord, World};

/// How long an action thinks before its effect, and rests after it: room for kills.
const PAUSE: Duration = Duration::from_millis(2);

/// The actions the playbooks call.
pub(crate) fn actions(world: &Arc<World>) -> Result<ActionRegistry, ConfigError> {
    let taken_back = |what: &str| Inverse::Captured(what.to_owned());
    let mut registry = ActionRegistry::default();
    for (name, nature, inverse) in [
        ("look", EffectClass::Read, Inverse::Nothing),
        ("set", EffectClass::Idempotent, taken_back("the setting")),
        ("order", EffectClass::Keyed, taken_back("the order")),
        ("restart", EffectClass::Probeable, Inverse::Nothing),
        ("kick", EffectClass::Opaque, Inverse::Nothing),
    ] {
        registry.register(Deed::new(name, nature, inverse, Arc::clone(world)))?;
    }
    Ok(registry)
}

/// An action that leaves a record in the world.
#[derive(Debug)]
struct Deed {
    name: &'static str,
    nature: EffectClass,
    spec: ActionSpec,
    world: Arc<World>,
}

impl Deed {
    fn new(name: &'static str, nature: EffectClass, inverse: Inverse, world: Arc<World>) -> Self {
        let fails = ParamKind::OneOf(&["never", "before", "after", "first_before", "first_after"]);
        let spec = ActionSpec::new(format!("an effect that is {nature}"))
            .with_effect(nature)
            .with_risk(RiskLevel::Low)
            .with_inverse(inverse)
            .with_timeout(Duration::from_secs(120))
            .with_params([
                Param::optional(
                    "cures",
                    ParamKind::Bool,
                    "Whether the service is well then.",
                )
                .or(false),
                Param::optional("fails", fails, "When it fails, before or after its effect.")
                    .or("never"),
                Param::optional("value", ParamKind::Text, "What is written.").or(""),
            ]);
        Self {
            name,
            nature,
            spec,
            world,
        }
    }

    fn record(&self, call: &ActionCall<'_>, phase: StepPhase) -> io::Result<()> {
        let record = EffectRecord {
            service: call.target.service_name().to_owned(),
            action: self.name.to_owned(),
            key: call.key.as_str().to_owned(),
            nature: self.nature,
            phase,
            attempt: call.attempt,
            applied: true,
            pid: std::process::id(),
        };
        match self.nature {
            EffectClass::Keyed => self.world.append_keyed(record),
            _ => self.world.append(&record),
        }
    }

    /// The effect itself; it is in the world when this returns.
    fn act(&self, call: &ActionCall<'_>) -> io::Result<()> {
        let service = call.target.service_name();
        self.record(call, StepPhase::Do)?;
        if self.nature == EffectClass::Idempotent {
            let value = call.args.get("value").and_then(Value::as_str);
            self.world.set(service, value.unwrap_or_default())?;
        }
        if call.args.get("cures") == Some(&Value::Bool(true)) {
            self.world.cure(service)?;
        }
        Ok(())
    }

    fn take_back(&self, call: &ActionCall<'_>) -> io::Result<()> {
        self.record(call, StepPhase::Undo)?;
        if let Some(before) = call.captured.as_str() {
            self.world.set(call.target.service_name(), before)?;
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> ActionError {
        ActionError::permanent(self.name, source)
    }
}

async fn pause(cx: &Context) {
    cx.clock().sleep(PAUSE * SPEED).await;
}

#[async_trait]
impl Action for Deed {
    fn name(&self) -> &str {
        self.name
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        if self.nature != EffectClass::Idempotent {
            return Ok(Value::Null);
        }
        let before = self.world.setting(call.target.service_name());
        before.map(Value::from).map_err(|error| self.failed(error))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        pause(cx).await;
        let first = call.attempt == 1;
        match call.text("fails")? {
            "before" => {
                let kind = ErrorKind::Permanent;
                return Err(ActionError::not_begun(self.name, kind, "it is refused"));
            }
            "first_before" if first => {
                let kind = ErrorKind::Transient;
                return Err(ActionError::not_begun(self.name, kind, "it is busy"));
            }
            _ => {}
        }
        tokio::task::block_in_place(|| self.act(call)).map_err(|error| self.failed(error))?;
        say(&[Line::Effect {
            key: call.key.to_string(),
        }]);
        pause(cx).await;
        match call.text("fails")? {
            "after" => Err(ActionError::permanent(self.name, "it broke on the way")),
            "first_after" if first => Err(ActionError::transient(self.name, "no answer came")),
            _ => Ok(Value::Null),
        }
    }

    async fn probe(&self, _: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        match self
            .world
            .has(call.target.service_name(), call.key.as_str())
        {
            Ok(true) => ProbeAnswer::Happened(Value::Null),
            Ok(false) => ProbeAnswer::DidNot,
            Err(error) => ProbeAnswer::CannotTell(error.to_string()),
        }
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        pause(cx).await;
        tokio::task::block_in_place(|| self.take_back(call)).map_err(|error| self.failed(error))?;
        pause(cx).await;
        Ok(Value::Null)
    }
}
