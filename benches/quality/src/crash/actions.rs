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
use super::world::{EffectRecord, Fate, World};

/// How long an action thinks before its effect, and rests after it: room for kills.
const PAUSE: Duration = Duration::from_millis(2);

/// When an action may be told to fail.
const FAILURES: &[&str] = &[
    "never",
    "before",
    "after",
    "first_before",
    "first_after",
    "first_undo",
    "undo",
    "silent",
    "hangs",
];

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
        let fails = ParamKind::OneOf(FAILURES);
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

    fn record(&self, call: &ActionCall<'_>, phase: StepPhase) -> EffectRecord {
        EffectRecord {
            service: call.target.service_name().to_owned(),
            action: self.name.to_owned(),
            key: call.key.as_str().to_owned(),
            nature: self.nature,
            phase,
            attempt: call.attempt,
            token: call.token.unwrap_or_default(),
            fate: Fate::Applied,
            pid: std::process::id(),
            change: None,
        }
    }

    /// The effect itself, in one direction; it is in the world when this returns. The service is
    /// alone with it from the look at the lease to the last change.
    fn act(&self, call: &ActionCall<'_>, phase: StepPhase) -> Result<(), ActionError> {
        let service = call.target.service_name();
        let change = || -> io::Result<Fate> {
            let visit = self.world.visit(service)?;
            let value = match phase {
                StepPhase::Do => call.args.get("value"),
                StepPhase::Undo => Some(call.captured),
            };
            let value = value.and_then(Value::as_str).unwrap_or_default();
            let value = (self.nature == EffectClass::Idempotent).then_some(value);
            let fate = visit.write(self.record(call, phase), value)?;
            if fate == Fate::Late {
                return Ok(fate);
            }
            if phase == StepPhase::Do && call.args.get("cures") == Some(&Value::Bool(true)) {
                self.world.cure(service)?;
            }
            Ok(fate)
        };
        match tokio::task::block_in_place(change) {
            Ok(Fate::Late) => {
                let kind = ErrorKind::Conflict;
                Err(ActionError::not_begun(
                    self.name,
                    kind,
                    "a newer lease is known here",
                ))
            }
            Ok(Fate::Applied | Fate::Known) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Whether it happened. Asking shows the lease: whoever held an older one comes too late.
    fn happened(&self, call: &ActionCall<'_>) -> io::Result<bool> {
        let visit = self.world.visit(call.target.service_name())?;
        if !visit.is_newest(call.token.unwrap_or_default())? {
            return Err(io::Error::other("a newer lease is known here"));
        }
        visit.has(call.key.as_str())
    }

    /// Whether nobody tried this before.
    fn is_new(&self, call: &ActionCall<'_>) -> Result<bool, ActionError> {
        let tried = || {
            self.world
                .is_new(call.target.service_name(), call.key.as_str())
        };
        tokio::task::block_in_place(tried).map_err(|error| self.failed(error))
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
            // If people have it done again, its attempts count from one.
            "hangs" if self.is_new(call)? => return std::future::pending().await,
            _ => {}
        }
        self.act(call, StepPhase::Do)?;
        say(&[Line::effect(call.key, StepPhase::Do)]);
        pause(cx).await;
        match call.text("fails")? {
            "after" => Err(ActionError::permanent(self.name, "it broke on the way")),
            "silent" => std::future::pending().await,
            "first_after" if first => Err(ActionError::transient(self.name, "no answer came")),
            _ => Ok(Value::Null),
        }
    }

    async fn probe(&self, _: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        match tokio::task::block_in_place(|| self.happened(call)) {
            Ok(true) => ProbeAnswer::Happened(Value::Null),
            Ok(false) => ProbeAnswer::DidNot,
            Err(error) => ProbeAnswer::CannotTell(error.to_string()),
        }
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        pause(cx).await;
        let fails = call.text("fails")?;
        if fails == "undo" {
            return Err(ActionError::permanent(self.name, "it is rusted in place"));
        }
        self.act(call, StepPhase::Undo)?;
        say(&[Line::effect(call.key, StepPhase::Undo)]);
        pause(cx).await;
        if fails == "first_undo" && call.attempt == 1 {
            return Err(ActionError::transient(self.name, "no answer came"));
        }
        Ok(Value::Null)
    }
}
