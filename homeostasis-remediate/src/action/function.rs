//! A function of the host as an action.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse};
use homeostasis_core::{BoxFuture, Context, IdempotencyKey, Target};
use serde_json::{Map, Value};

use crate::action::{Action, ActionCall, ActionError, ActionSpec};

/// What a host's function is called with; owned, so that it can be moved into a future.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FunctionCall {
    /// Time, chance, deadline, cancellation, observations.
    pub cx: Context,
    /// On what.
    pub target: Target,
    /// The arguments, checked against the declared parameters.
    pub args: Map<String, Value>,
    /// By which a repetition is recognized.
    pub key: IdempotencyKey,
    /// The state captured before the first attempt; null when the action captures nothing.
    pub captured: Value,
}

type Function =
    Arc<dyn Fn(FunctionCall) -> BoxFuture<'static, Result<Value, ActionError>> + Send + Sync>;

/// A function of the host as an action with a name of its own.
///
/// ```
/// use homeostasis::core::record::{EffectClass, Inverse, RiskLevel};
/// use homeostasis::remediate::action::{ActionSpec, CallFunction};
///
/// let spec = ActionSpec::new("drop idle sessions")
///     .with_effect(EffectClass::Idempotent)
///     .with_risk(RiskLevel::Low)
///     .with_inverse(Inverse::Nothing);
/// let action = CallFunction::new("drop_idle_sessions", spec, |call| {
///     Box::pin(async move { Ok(call.target.to_string().into()) })
/// });
/// # let _ = action;
/// ```
pub struct CallFunction {
    name: String,
    spec: ActionSpec,
    capture: Option<Function>,
    perform: Function,
    undo: Option<Function>,
}

impl fmt::Debug for CallFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFunction")
            .field("name", &self.name)
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl CallFunction {
    /// An action called `name` that calls `perform`.
    ///
    /// A probeable class becomes opaque and a captured inverse irreversible: a function alone can
    /// answer for neither. See [`with_undo`](CallFunction::with_undo); implement [`Action`] to be
    /// probed.
    pub fn new(
        name: impl Into<String>,
        mut spec: ActionSpec,
        perform: impl Fn(FunctionCall) -> BoxFuture<'static, Result<Value, ActionError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        if spec.effect == EffectClass::Probeable {
            spec.effect = EffectClass::Opaque;
        }
        if matches!(spec.inverse, Inverse::Captured(_)) {
            spec.inverse = Inverse::Irreversible("no function takes it back".to_owned());
        }
        Self {
            name: name.into(),
            spec,
            capture: None,
            perform: Arc::new(perform),
            undo: None,
        }
    }

    /// The same with an inverse: `capture` reads the state before, `undo` puts it back; `inverse`
    /// says in words what is put back.
    pub fn with_undo(
        mut self,
        inverse: impl Into<String>,
        capture: impl Fn(FunctionCall) -> BoxFuture<'static, Result<Value, ActionError>>
        + Send
        + Sync
        + 'static,
        undo: impl Fn(FunctionCall) -> BoxFuture<'static, Result<Value, ActionError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.spec.inverse = Inverse::Captured(inverse.into());
        self.capture = Some(Arc::new(capture));
        self.undo = Some(Arc::new(undo));
        self
    }
}

fn owned(cx: &Context, call: &ActionCall<'_>) -> FunctionCall {
    FunctionCall {
        cx: cx.clone(),
        target: call.target.clone(),
        args: call.args.clone(),
        key: call.key.clone(),
        captured: call.captured.clone(),
    }
}

#[async_trait]
impl Action for CallFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        match &self.capture {
            Some(capture) => capture(owned(cx, call)).await,
            None => Ok(Value::Null),
        }
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        (self.perform)(owned(cx, call)).await
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        match &self.undo {
            Some(undo) => undo(owned(cx, call)).await,
            None => Err(ActionError::Denied {
                reason: format!("`{}` has no inverse", self.name),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use serde_json::json;

    use super::*;
    use crate::action::laws;

    #[tokio::test]
    async fn a_function_with_an_inverse_obeys_the_laws() {
        let state = Arc::new(AtomicI64::new(3));
        let (read, write, back) = (Arc::clone(&state), Arc::clone(&state), Arc::clone(&state));
        let spec = ActionSpec::new("set a number").with_effect(EffectClass::Idempotent);
        let action = CallFunction::new("set_number", spec, move |_| {
            write.store(7, Ordering::SeqCst);
            Box::pin(std::future::ready(Ok(Value::Null)))
        })
        .with_undo(
            "the number",
            move |_| Box::pin(std::future::ready(Ok(json!(read.load(Ordering::SeqCst))))),
            move |call| {
                back.store(call.captured.as_i64().unwrap(), Ordering::SeqCst);
                Box::pin(std::future::ready(Ok(Value::Null)))
            },
        );
        laws::repeat_and_undo(&action, &json!({}), || state.load(Ordering::SeqCst)).await;
    }

    #[test]
    fn a_function_cannot_promise_what_it_cannot_do() {
        let spec = ActionSpec::new("x")
            .with_effect(EffectClass::Probeable)
            .with_inverse(Inverse::Captured("?".to_owned()));
        let action =
            CallFunction::new("x", spec, |_| Box::pin(std::future::ready(Ok(Value::Null))));
        assert_eq!(action.spec().effect, EffectClass::Opaque);
        assert!(!action.spec().inverse.is_reversible());
    }
}
