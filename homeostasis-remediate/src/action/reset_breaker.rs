//! `reset_breaker`: close a circuit breaker of the host.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{ConfigError, Context, Target};
use serde_json::{Map, Value, json};

use super::flag::new_name;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, unknown_name,
};
use crate::resilience::{CircuitBreaker, CircuitPhase};

/// Closes a circuit breaker the host registered, so that calls pass again at once: after its callee
/// was healed. There is nothing to undo: if the callee still fails, the breaker opens by itself.
/// What a person forced open stays so, and the action is denied, unless `forced` is true.
///
/// Parameters: `breaker` (a registered name), `forced` (default false).
#[derive(Debug)]
pub struct ResetBreaker {
    spec: ActionSpec,
    breakers: BTreeMap<String, (Target, Arc<CircuitBreaker>)>,
}

impl Default for ResetBreaker {
    /// Without breakers.
    fn default() -> Self {
        let spec = ActionSpec::new("close a circuit breaker of the host")
            .with_params([
                Param::required("breaker", ParamKind::Name, "which breaker"),
                Param::optional("forced", ParamKind::Bool, "also if a person forced it open")
                    .or(false),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Nothing);
        Self {
            spec,
            breakers: BTreeMap::new(),
        }
    }
}

impl ResetBreaker {
    /// The same with a breaker in front of `target`, by the breaker's name.
    ///
    /// # Errors
    /// If the name is taken or not a plain word.
    pub fn breaker(
        mut self,
        target: Target,
        breaker: Arc<CircuitBreaker>,
    ) -> Result<Self, ConfigError> {
        let name = new_name("breakers", breaker.name().to_owned(), &self.breakers)?;
        self.breakers.insert(name, (target, breaker));
        Ok(self)
    }
}

#[async_trait]
impl Action for ResetBreaker {
    fn name(&self) -> &'static str {
        "reset_breaker"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        args.get("breaker")
            .and_then(Value::as_str)
            .and_then(|name| self.breakers.get(name))
            .map_or_else(|| target.clone(), |(target, _)| target.clone())
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "breaker", self.breakers.keys())
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (_, breaker) = self
            .breakers
            .get(call.text("breaker")?)
            .ok_or_else(|| ActionError::argument("breaker", "a registered breaker"))?;
        let was = breaker.phase();
        if was == CircuitPhase::ForcedOpen && !call.boolean("forced")? {
            let reason = format!("a person forced the breaker `{}` open", breaker.name());
            return Err(ActionError::Denied { reason });
        }
        breaker.reset();
        Ok(json!({ "was": format!("{was:?}") }))
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::{ManualClock, Timestamp};

    use super::*;
    use crate::action::laws;
    use crate::resilience::CircuitBreakerConfig;

    #[tokio::test]
    async fn a_breaker_that_was_opened_lets_calls_pass_and_a_second_reset_is_harmless() {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let breaker = CircuitBreaker::new("prices", CircuitBreakerConfig::default(), clock);
        let breaker = Arc::new(breaker.unwrap());
        let catalog = Target::service("catalog").unwrap();
        let action = ResetBreaker::default()
            .breaker(catalog.clone(), Arc::clone(&breaker))
            .unwrap();
        breaker.force_open();
        let mut args = json!({"breaker": "prices", "forced": false});
        let denied = {
            let key = laws::key(0);
            let call = ActionCall::new(&catalog, args.as_object().unwrap(), &key);
            action.perform(&laws::context(), &call).await
        };
        assert!(
            matches!(denied, Err(ActionError::Denied { .. })),
            "{denied:?}"
        );
        assert_eq!(breaker.phase(), CircuitPhase::ForcedOpen);
        args["forced"] = true.into();
        laws::repeat_and_undo(&action, &args, || breaker.phase()).await;
        assert_eq!(breaker.phase(), CircuitPhase::Closed);
        let gateway = Target::service("gateway").unwrap();
        assert_eq!(action.touches(&gateway, args.as_object().unwrap()), catalog);
        assert!(action.breaker(catalog, breaker).is_err(), "each name once");
    }
}
