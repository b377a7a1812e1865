//! The laws of one action, for the tests beside each.
//!
//! A new action needs a test that calls [`repeat_and_undo`], and a line in `PROVEN` and `Shipped::all`
//! (`laws/shipped.rs`).

#[cfg(all(
    feature = "files",
    feature = "process",
    feature = "postgres",
    feature = "redis-actions",
    feature = "haproxy",
    feature = "resilience",
    target_os = "linux"
))]
mod shipped;

use std::fmt::Debug;
use std::sync::Arc;

use homeostasis_core::record::EffectClass;
use homeostasis_core::{
    BoxFuture, Clock, Context, IdempotencyKey, IncidentId, RunId, Target, Timestamp,
};
use serde_json::Value;

use crate::action::{Action, ActionCall, ProbeAnswer};

/// Real time, for tests that wait for real processes, and for tokio's paused time.
#[derive(Debug)]
pub(crate) struct RealClock;

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "a test's clock reads the wall")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        Timestamp::EPOCH + since
    }

    fn sleep(&self, duration: std::time::Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

pub(crate) fn context() -> Context {
    Context::new(Arc::new(RealClock), 1).for_incident(IncidentId::from_u128(9))
}

pub(crate) fn key(n: usize) -> IdempotencyKey {
    IdempotencyKey::new(RunId::from_u128(5), n)
}

/// Does it, does it again as after a crash, takes it back, takes it back again.
pub(crate) async fn repeat_and_undo<S: PartialEq + Debug>(
    action: &dyn Action,
    args: &Value,
    observe: impl Fn() -> S,
) {
    repeat_and_undo_in(&context(), action, args, observe).await;
}

/// The same with another clock.
pub(crate) async fn repeat_and_undo_in<S: PartialEq + Debug>(
    cx: &Context,
    action: &dyn Action,
    args: &Value,
    observe: impl Fn() -> S,
) {
    let target = Target::service("orders").unwrap();
    let mut args = args.as_object().unwrap().clone();
    action.spec().fill_defaults(&mut args);
    assert_eq!(action.spec().problems(&args, false), []);
    assert_eq!(action.check(&args), []);
    let key = key(0);
    let before = observe();
    let call = ActionCall::new(&target, &args, &key);
    let captured = action.capture(cx, &call).await.unwrap();
    assert_eq!(observe(), before, "capture changed something");
    let call = call.with_captured(&captured);
    if action.effect(&args) == EffectClass::Probeable {
        let answer = action.probe(cx, &call).await;
        assert!(!matches!(answer, ProbeAnswer::Happened(_)), "{answer:?}");
    }
    action.perform(cx, &call).await.unwrap();
    let after = observe();
    if action.effect(&args) == EffectClass::Probeable {
        let answer = action.probe(cx, &call).await;
        assert!(matches!(answer, ProbeAnswer::Happened(_)), "{answer:?}");
    }
    assert_eq!(observe(), after, "probe changed something");
    if action.effect(&args) != EffectClass::Opaque {
        action.perform(cx, &call.with_attempt(2)).await.unwrap();
        assert_eq!(observe(), after, "doing it twice is not doing it once");
    }
    if matches!(
        action.inverse(&args),
        homeostasis_core::record::Inverse::Captured(_)
    ) {
        for _ in 0..2 {
            action.undo(cx, &call).await.unwrap();
            assert_eq!(observe(), before, "undo did not put back what was captured");
        }
    }
}
