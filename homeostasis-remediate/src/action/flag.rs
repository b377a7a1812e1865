//! `set_flag`: turn a switch of the host on or off.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{ConfigError, Context, Target};
use serde_json::{Map, Value, json};

use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, is_name,
    unknown_name,
};

/// Turns a switch the host registered on or off; undo puts the earlier state back.
///
/// Parameters: `flag` (a registered name) and `value` (`true` or `false`).
#[derive(Debug)]
pub struct SetFlag {
    spec: ActionSpec,
    flags: BTreeMap<String, Flag>,
}

struct Flag {
    target: Target,
    get: Arc<dyn Fn() -> bool + Send + Sync>,
    set: Arc<dyn Fn(bool) + Send + Sync>,
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flag")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Default for SetFlag {
    /// Without flags.
    fn default() -> Self {
        let spec = ActionSpec::new("turn a switch of the host on or off")
            .with_params([
                Param::required("flag", ParamKind::Name, "which switch"),
                Param::required("value", ParamKind::Bool, "on or off"),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Captured("the flag's earlier value".to_owned()));
        Self {
            spec,
            flags: BTreeMap::new(),
        }
    }
}

impl SetFlag {
    /// The same with a switch of `target`; both closures must return at once.
    ///
    /// # Errors
    /// If the name is taken or not a plain word.
    pub fn flag(
        mut self,
        name: impl Into<String>,
        target: Target,
        get: impl Fn() -> bool + Send + Sync + 'static,
        set: impl Fn(bool) + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let name = new_name("flags", name.into(), &self.flags)?;
        let flag = Flag {
            target,
            get: Arc::new(get),
            set: Arc::new(set),
        };
        self.flags.insert(name, flag);
        Ok(self)
    }

    fn named(&self, call: &ActionCall<'_>) -> Result<&Flag, ActionError> {
        self.flags
            .get(call.text("flag")?)
            .ok_or_else(|| ActionError::argument("flag", "a registered flag"))
    }
}

/// Checks the name under which a host registers something.
pub(super) fn new_name<T>(
    what: &str,
    name: String,
    taken: &BTreeMap<String, T>,
) -> Result<String, ConfigError> {
    if !is_name(&name) {
        let expected = ParamKind::Name.expected();
        return Err(ConfigError::single(what, format!("{name:?}"), expected));
    }
    if taken.contains_key(&name) {
        return Err(ConfigError::single(
            what,
            format!("{name:?}"),
            "each name once",
        ));
    }
    Ok(name)
}

#[async_trait]
impl Action for SetFlag {
    fn name(&self) -> &'static str {
        "set_flag"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        args.get("flag")
            .and_then(Value::as_str)
            .and_then(|name| self.flags.get(name))
            .map_or_else(|| target.clone(), |flag| flag.target.clone())
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "flag", self.flags.keys())
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        Ok(json!({ "value": (self.named(call)?.get)() }))
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (flag, value) = (self.named(call)?, call.boolean("value")?);
        (flag.set)(value);
        Ok(json!({ "value": value, "was": call.captured["value"] }))
    }

    async fn undo(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let was = call.captured["value"]
            .as_bool()
            .ok_or_else(|| ActionError::invalid("captured state", "expected the flag's value"))?;
        (self.named(call)?.set)(was);
        Ok(json!({ "value": was }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::action::laws;

    fn action(state: &Arc<AtomicBool>) -> SetFlag {
        let (read, write) = (Arc::clone(state), Arc::clone(state));
        SetFlag::default()
            .flag(
                "fallback",
                Target::service("gateway").unwrap(),
                move || read.load(Ordering::SeqCst),
                move |on| write.store(on, Ordering::SeqCst),
            )
            .unwrap()
    }

    #[tokio::test]
    async fn repeating_do_and_undo_is_harmless() {
        for before in [false, true] {
            let state = Arc::new(AtomicBool::new(before));
            let action = action(&state);
            let args = json!({"flag": "fallback", "value": true});
            laws::repeat_and_undo(&action, &args, || state.load(Ordering::SeqCst)).await;
            assert_eq!(state.load(Ordering::SeqCst), before);
        }
    }

    #[test]
    fn a_flag_counts_as_its_owner_and_unknown_ones_are_refused() {
        let action = action(&Arc::default());
        let orders = Target::service("orders").unwrap();
        let args = |flag: &str| json!({ "flag": flag }).as_object().unwrap().clone();
        assert_eq!(
            action.touches(&orders, &args("fallback")).to_string(),
            "gateway"
        );
        assert!(
            action.check(&args("fallbcak"))[0]
                .expected
                .contains("`fallback`")
        );
        assert!(action.check(&args("fallback")).is_empty());
        assert!(action.flag("fallback", orders, || true, |_| ()).is_err());
    }
}
