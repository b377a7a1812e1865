//! `shift_traffic`: share the requests to a service anew among its slots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::parse_duration;
use homeostasis_core::port::{TrafficError, TrafficRouter, Weights};
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Ratio, Target};
use serde_json::{Map, Value, json};

use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind,
};

/// Sets the weights of a service's slots, all at once; undo puts back those before.
///
/// Parameters:
/// - `service`: whose requests; the step's target must be that service or a part of it.
/// - `weights`: slot to weight, 0 to 1,000,000, one of them above 0. A slot that has a weight and
///   is not named gets 0.
/// - `back_to`: what undo sets instead of the weights before, for a rollback that jumps.
/// - `expects`: the weights that must be in force when it begins, to within a point of the shares;
///   else somebody else set them, nothing is touched, and people are asked. Those it sets itself
///   will do: then it was done before.
/// - `all_from`: it refuses to begin unless this slot has all of the traffic.
/// - `pause`: how long undo waits after it shifted: for a rollback in stages, or for the requests
///   that are on their way. Default none.
///
/// It refuses to begin where nothing is routed for the service: there would be no way back.
#[derive(Debug)]
pub struct ShiftTraffic {
    spec: ActionSpec,
    router: Arc<dyn TrafficRouter>,
}

const MAX_WEIGHT: i64 = 1_000_000;

/// How far shares may be from those that were set: routers round.
const ONE_POINT: f64 = 0.01;

impl ShiftTraffic {
    /// The action over `router`.
    pub fn new(router: Arc<dyn TrafficRouter>) -> Self {
        let weights = || {
            ParamKind::Map(Box::new(ParamKind::Integer {
                min: 0,
                max: MAX_WEIGHT,
            }))
        };
        let pause = ParamKind::Duration {
            min: Duration::ZERO,
            max: Duration::from_secs(3600),
        };
        let spec = ActionSpec::new("share the requests to a service anew among its slots")
            .with_params([
                Param::required("service", ParamKind::Name, "whose requests"),
                Param::required("weights", weights(), "the weight of each slot"),
                Param::optional(
                    "back_to",
                    weights(),
                    "what undo sets, if not what was before",
                ),
                Param::optional(
                    "expects",
                    weights(),
                    "the weights that must be in force, or people are asked",
                ),
                Param::optional(
                    "all_from",
                    ParamKind::Name,
                    "the slot that must have all of it",
                ),
                Param::optional("pause", pause, "how long undo waits after it shifted").or("0s"),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Captured("the weights before".to_owned()));
        Self { spec, router }
    }

    /// The weights in force.
    async fn present(&self, service: &str) -> Result<Weights, ActionError> {
        let present = self.router.weights(service).await;
        present
            .map_err(|error| refused(service, error))?
            .ok_or_else(|| {
                let place = format!("the routes of {service:?}");
                ActionError::invalid(place, "nothing is routed, expected slots with weights")
            })
    }

    async fn set(&self, service: &str, weights: &Weights) -> Result<(), ActionError> {
        let set = self.router.set_weights(service, weights).await;
        set.map_err(|error| refused(service, error))
    }
}

fn refused(service: &str, error: TrafficError) -> ActionError {
    ActionError::Failed {
        what: format!("the traffic of {service:?}"),
        kind: error.kind(),
        source: Some(error.into()),
    }
}

/// The weights that argument `name` holds.
fn weights(args: &Map<String, Value>, name: &str) -> Option<Result<Weights, String>> {
    let value = args.get(name).filter(|value| !value.is_null())?;
    let read = serde_json::from_value::<Weights>(value.clone());
    Some(read.map_err(|error| error.to_string()))
}

/// `wanted`, and 0 for every other slot of `present`.
fn over(present: &Weights, wanted: &Weights) -> Result<Weights, ActionError> {
    let mut all: BTreeMap<_, _> = present.iter().map(|(slot, _)| (slot, 0)).collect();
    all.extend(wanted.iter());
    Weights::new(all).map_err(|error| ActionError::argument("weights", &error.to_string()))
}

#[async_trait]
impl Action for ShiftTraffic {
    fn name(&self) -> &'static str {
        "shift_traffic"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        super::service_of(target, args)
    }

    fn watches(&self, args: &Map<String, Value>) -> Duration {
        let pause = args.get("pause").and_then(Value::as_str);
        pause.and_then(parse_duration).unwrap_or_default()
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = Vec::new();
        for name in ["weights", "back_to", "expects"] {
            if let Some(Err(_)) = weights(args, name) {
                let expected = "a weight above 0 for at least one slot";
                problems.push(ArgumentProblem::new(format!("/{name}"), expected));
            }
        }
        problems
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let present = self.present(call.text("service")?).await?;
        let owner = call.args.get("all_from").and_then(Value::as_str);
        if let Some(slot) = owner.filter(|slot| present.share(slot) != Ratio::ONE) {
            let detail = format!(
                "{}, expected all of the traffic on {slot:?}",
                json!(present)
            );
            return Err(ActionError::invalid("weights", detail));
        }
        Ok(json!({ "weights": present }))
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let service = call.text("service")?;
        let Some(Ok(wanted)) = weights(call.args, "weights") else {
            return Err(ActionError::argument("weights", "slots with weights"));
        };
        let present = self.present(service).await?;
        let wanted = over(&present, &wanted)?;
        if let Some(Ok(expected)) = weights(call.args, "expects")
            && [&expected, &wanted]
                .iter()
                .all(|known| present.distance(known).get() > ONE_POINT)
        {
            let reason = format!(
                "{} of {service:?} are in force, expected {}: somebody else set them",
                json!(present),
                json!(expected)
            );
            return Err(ActionError::Undecided { reason });
        }
        if present != wanted {
            self.set(service, &wanted).await?;
        }
        Ok(json!({ "weights": wanted }))
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let service = call.text("service")?;
        let before = serde_json::from_value::<Weights>(call.captured["weights"].clone());
        let before = before.map_err(|error| {
            ActionError::invalid("captured state", format!("{error}, expected weights"))
        })?;
        let back_to = match weights(call.args, "back_to") {
            Some(Ok(back_to)) => over(&before, &back_to)?,
            _ => before.clone(),
        };
        // A person who takes the routes away while it is taken back is no reason to give up.
        let present = self.router.weights(service).await;
        let present = present.map_err(|error| refused(service, error))?;
        if let Some(present) = &present
            && has_been_lowered(call, &before, &back_to, present)
        {
            return Ok(json!({ "weights": present, "left_as_somebody_set_them": true }));
        }
        if present.as_ref() != Some(&back_to) {
            self.set(service, &back_to).await?;
        }
        cx.clock().sleep(call.duration("pause")?).await;
        Ok(json!({ "weights": back_to }))
    }
}

/// Whether somebody took back more already than this would: of the slots that were to get more, one has
/// less than it would be given back, and none has more. Giving it traffic again is no way back.
fn has_been_lowered(
    call: &ActionCall<'_>,
    before: &Weights,
    back_to: &Weights,
    present: &Weights,
) -> bool {
    let Some(Ok(wanted)) = weights(call.args, "weights") else {
        return false;
    };
    let excess: Vec<f64> = wanted
        .iter()
        .filter(|(slot, _)| wanted.share(slot).get() > before.share(slot).get())
        .map(|(slot, _)| present.share(slot).get() - back_to.share(slot).get())
        .collect();
    excess.iter().any(|more| *more < -ONE_POINT) && excess.iter().all(|more| *more <= ONE_POINT)
}

#[cfg(test)]
mod tests {
    use homeostasis_core::port::MemoryRouter;

    use super::*;
    use crate::action::laws;

    fn routed() -> (Arc<MemoryRouter>, ShiftTraffic) {
        let router = Arc::new(MemoryRouter::default());
        let action = ShiftTraffic::new(Arc::clone(&router) as Arc<_>);
        (router, action)
    }

    async fn put(router: &MemoryRouter, weights: &[(&str, u32)]) {
        let weights = Weights::new(weights.iter().copied()).unwrap();
        router.set_weights("orders", &weights).await.unwrap();
    }

    fn seen(router: &MemoryRouter) -> Option<Value> {
        let weights = router.weights("orders");
        let weights = futures_now(weights).unwrap();
        weights.map(|weights| json!(weights))
    }

    /// A future that is ready at once.
    fn futures_now<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => panic!("a router in memory answers at once"),
        }
    }

    #[tokio::test]
    async fn repeating_do_and_undo_is_harmless() {
        let (router, action) = routed();
        put(&router, &[("stable", 3)]).await;
        let args = json!({"service": "orders", "weights": {"stable": 99, "canary": 1}});
        laws::repeat_and_undo(&action, &args, || seen(&router)).await;
        assert_eq!(seen(&router), Some(json!({"stable": 3})));
    }

    #[tokio::test]
    async fn slots_that_are_not_named_get_nothing_and_a_jump_back_lands_where_it_was_told() {
        let (router, action) = routed();
        put(&router, &[("stable", 50), ("canary", 50), ("old", 7)]).await;
        let (cx, key) = (laws::context(), laws::key(0));
        let target = Target::service("orders").unwrap();
        let args = json!({"service": "orders", "weights": {"canary": 1}, "back_to": {"stable": 1}});
        let mut args = args.as_object().unwrap().clone();
        action.spec().fill_defaults(&mut args);
        let call = ActionCall::new(&target, &args, &key);
        let captured = action.capture(&cx, &call).await.unwrap();
        let call = call.with_captured(&captured);
        action.perform(&cx, &call).await.unwrap();
        assert_eq!(
            seen(&router),
            Some(json!({"stable": 0, "canary": 1, "old": 0}))
        );
        action.undo(&cx, &call).await.unwrap();
        assert_eq!(
            seen(&router),
            Some(json!({"stable": 1, "canary": 0, "old": 0}))
        );
    }

    #[tokio::test]
    async fn a_slot_that_a_person_emptied_gets_nothing_back() {
        let (router, action) = routed();
        put(&router, &[("blue", 90), ("green", 10)]).await;
        let (cx, key) = (laws::context(), laws::key(0));
        let target = Target::service("orders").unwrap();
        let args = json!({"service": "orders", "weights": {"blue": 50, "green": 50}});
        let mut args = args.as_object().unwrap().clone();
        action.spec().fill_defaults(&mut args);
        let call = ActionCall::new(&target, &args, &key);
        let captured = action.capture(&cx, &call).await.unwrap();
        let call = call.with_captured(&captured);
        action.perform(&cx, &call).await.unwrap();
        put(&router, &[("blue", 1), ("green", 0)]).await;
        let outcome = action.undo(&cx, &call).await.unwrap();
        assert_eq!(outcome["left_as_somebody_set_them"], true);
        assert_eq!(seen(&router), Some(json!({"blue": 1, "green": 0})));
        // Somebody who gave it more is no reason to leave it there.
        put(&router, &[("blue", 0), ("green", 1)]).await;
        action.undo(&cx, &call).await.unwrap();
        assert_eq!(seen(&router), Some(json!({"blue": 90, "green": 10})));
    }

    #[tokio::test]
    async fn a_slot_that_must_have_all_of_the_traffic_is_asked_before_it_begins_and_not_after() {
        let (router, action) = routed();
        put(&router, &[("blue", 99), ("green", 1)]).await;
        let (cx, key) = (laws::context(), laws::key(0));
        let target = Target::service("orders").unwrap();
        let args = json!({"service": "orders", "weights": {"green": 1}, "all_from": "blue"});
        let args = args.as_object().unwrap().clone();
        let call = ActionCall::new(&target, &args, &key);
        let error = action.capture(&cx, &call).await.unwrap_err();
        assert!(!error.may_have_begun());
        assert!(
            error.to_string().contains("all of the traffic on \"blue\""),
            "{error}"
        );
        put(&router, &[("blue", 3), ("green", 0)]).await;
        let captured = action.capture(&cx, &call).await.unwrap();
        let call = call.with_captured(&captured);
        for _ in 0..2 {
            action.perform(&cx, &call).await.unwrap();
        }
        assert_eq!(seen(&router), Some(json!({"blue": 0, "green": 1})));
    }

    #[tokio::test]
    async fn without_a_way_back_nothing_is_shifted_and_weights_that_lead_nowhere_are_refused() {
        let (router, action) = routed();
        let (cx, key) = (laws::context(), laws::key(0));
        let target = Target::service("orders").unwrap();
        let args = json!({"service": "orders", "weights": {"canary": 1}});
        let args = args.as_object().unwrap().clone();
        let call = ActionCall::new(&target, &args, &key);
        let error = action.capture(&cx, &call).await.unwrap_err();
        assert!(!error.may_have_begun());
        assert!(error.to_string().contains("nothing is routed"), "{error}");
        assert!(action.perform(&cx, &call).await.is_err());
        assert_eq!(seen(&router), None);
        let nowhere = json!({"service": "orders", "weights": {"canary": 0}, "back_to": {}});
        let problems = action.check(nowhere.as_object().unwrap());
        let places: Vec<_> = problems
            .iter()
            .map(|problem| &problem.pointer[..])
            .collect();
        assert_eq!(places, ["/weights", "/back_to"]);
    }
}
