//! `await_drained`: wait until a slot that gets no traffic any more has answered what it had.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::parse_duration;
use homeostasis_core::port::{ArmMeter, TrafficRouter};
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, ErrorKind, Target};
use serde_json::{Map, Value, json};

use crate::action::{Action, ActionCall, ActionError, ActionSpec, Param, ParamKind};

/// Waits until a slot has answered nothing for a while, or has no request on its way any more where
/// the router can tell ([`with_router`](Self::with_router)).
///
/// Parameters:
/// - `service` and `slot`.
/// - `quiet`: for how long, 1 s to 1 h; longer than the slowest request takes, because a request is
///   seen when it is answered. Default 10 s.
/// - `at_most`: it fails if that takes longer, up to 1 h. Default 5 min.
///
/// A slot that is not measured is not drained, and one that gets traffic is not either where the
/// router is known.
#[derive(Debug)]
pub struct AwaitDrained {
    spec: ActionSpec,
    arms: Arc<dyn ArmMeter>,
    router: Option<Arc<dyn TrafficRouter>>,
}

const SECOND: Duration = Duration::from_secs(1);

impl AwaitDrained {
    /// The action over what `arms` measures.
    pub fn new(arms: Arc<dyn ArmMeter>) -> Self {
        let span = || ParamKind::Duration {
            min: SECOND,
            max: Duration::from_secs(3600),
        };
        let spec = ActionSpec::new("wait until a slot has answered what it had")
            .with_params([
                Param::required("service", ParamKind::Name, "whose slot"),
                Param::required("slot", ParamKind::Name, "which slot"),
                Param::optional("quiet", span(), "how long it must answer nothing").or("10s"),
                Param::optional("at_most", span(), "when that has taken too long").or("5m"),
            ])
            .with_effect(EffectClass::Read)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Nothing);
        Self {
            spec,
            arms,
            router: None,
        }
    }

    /// The same, where the router that shares the traffic is asked first: a slot without weight that
    /// has no request [on its way](TrafficRouter::in_flight) is drained, whether or not it was ever
    /// measured in this life of the process. A router that cannot tell leaves it to the meter.
    #[must_use]
    pub fn with_router(mut self, router: Arc<dyn TrafficRouter>) -> Self {
        self.router = Some(router);
        self
    }

    /// What the router knows: drained, or why not; `None` if it cannot tell.
    async fn on_its_way(&self, service: &str, slot: &str) -> Option<Result<(), String>> {
        let router = self.router.as_ref()?;
        match router.weights(service).await {
            Ok(Some(weights)) if weights.share(slot).get() > 0.0 => {
                return Some(Err("it gets traffic".to_owned()));
            }
            Ok(_) => {}
            Err(error) => return Some(Err(error.report().to_string())),
        }
        match router.in_flight(service, slot).await {
            Ok(None) => None,
            Ok(Some(0)) => Some(Ok(())),
            Ok(Some(n)) => Some(Err(format!("{n} requests are on their way"))),
            Err(error) => Some(Err(error.report().to_string())),
        }
    }

    /// Nothing if the slot is drained, else what was seen.
    async fn undrained(
        &self,
        cx: &Context,
        (service, slot): (&str, &str),
        quiet: Duration,
    ) -> Option<String> {
        if let Some(told) = self.on_its_way(service, slot).await {
            return told.err();
        }
        let now = cx.now();
        let answered = self.arms.answered(cx, (service, slot), now - quiet, now);
        match answered.await {
            Ok(Some(arm)) if arm.requests == 0 => None,
            Ok(Some(arm)) => Some(format!("{} requests in the last {quiet:?}", arm.requests)),
            Ok(None) => Some("it is not measured".to_owned()),
            Err(error) => Some(error.report().to_string()),
        }
    }
}

#[async_trait]
impl Action for AwaitDrained {
    fn name(&self) -> &'static str {
        "await_drained"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        super::service_of(target, args)
    }

    fn watches(&self, args: &Map<String, Value>) -> Duration {
        let at_most = args.get("at_most").and_then(Value::as_str);
        at_most.and_then(parse_duration).unwrap_or_default()
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (service, slot) = (call.text("service")?, call.text("slot")?);
        let (quiet, at_most) = (call.duration("quiet")?, call.duration("at_most")?);
        let begun = cx.now();
        loop {
            let undrained = self.undrained(cx, (service, slot), quiet).await;
            let took = cx.now().since(begun);
            let Some(seen) = undrained else {
                return Ok(json!({ "drained_after_seconds": took.as_secs() }));
            };
            if took >= at_most {
                let what = format!("draining slot {slot:?} of {service:?}");
                return Err(ActionError::not_begun(what, ErrorKind::Timeout, seen));
            }
            cx.clock().sleep(SECOND).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::port::{MemoryArms, MemoryRouter, Weights};
    use homeostasis_core::{ManualClock, Timestamp};

    use super::*;
    use crate::action::laws;

    /// The end of a wait that begins `after` seconds after the last answer, and how long it took.
    async fn waited(is_measured: bool, after: u64) -> (Result<Value, ActionError>, u64) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000)));
        let cx = Context::new(Arc::clone(&clock) as Arc<_>, 1);
        let arms = Arc::new(MemoryArms::default());
        if is_measured {
            arms.record(&*clock, ("orders", "blue"), SECOND, false);
        }
        clock.advance(Duration::from_secs(after));
        let action = AwaitDrained::new(arms);
        let args = json!({"service": "orders", "slot": "blue", "quiet": "10s", "at_most": "30s"});
        let args = args.as_object().unwrap();
        let (target, key) = (Target::service("orders").unwrap(), laws::key(0));
        let begun = cx.now();
        let call = ActionCall::new(&target, args, &key);
        let mut wait = action.perform(&cx, &call);
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut wait => break ended,
                () = tokio::task::yield_now() => clock.advance(SECOND),
            }
        };
        (ended, cx.now().since(begun).as_secs())
    }

    #[tokio::test]
    async fn a_slot_is_drained_when_it_has_been_quiet_and_one_that_is_not_measured_never_is() {
        let (ended, took) = waited(true, 60).await;
        assert!(ended.is_ok() && took == 0, "{took}");
        let (ended, took) = waited(true, 2).await;
        assert!(ended.is_ok() && (8..=10).contains(&took), "{took}");
        let (ended, took) = waited(false, 60).await;
        let error = ended.unwrap_err();
        assert_eq!((error.kind(), took), (ErrorKind::Timeout, 30));
        assert!(
            error.report().to_string().contains("not measured"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_slot_nobody_measured_is_drained_when_the_router_has_nothing_on_its_way() {
        let cx = laws::context();
        let router = Arc::new(MemoryRouter::default());
        let of = |blue, green| Weights::new([("blue", blue), ("green", green)]).unwrap();
        let follower = router
            .serve(
                "orders",
                ["blue", "green"].map(str::to_owned).iter(),
                &of(1, 0),
            )
            .unwrap();
        let on_its_way = follower.begin_at("blue").unwrap();
        let action = AwaitDrained::new(Arc::new(MemoryArms::default()))
            .with_router(Arc::clone(&router) as Arc<_>);
        let seen = async || {
            let arm = ("orders", "blue");
            action.undrained(&cx, arm, SECOND).await
        };
        assert_eq!(seen().await.unwrap(), "it gets traffic");
        router.set_weights("orders", &of(0, 1)).await.unwrap();
        assert_eq!(seen().await.unwrap(), "1 requests are on their way");
        drop(on_its_way);
        assert_eq!(seen().await, None);
    }

    #[tokio::test]
    async fn waiting_again_gives_the_same_answer() {
        let arms = Arc::new(MemoryArms::default());
        let cx = laws::context();
        arms.record(&**cx.clock(), ("orders", "blue"), SECOND, false);
        let args = json!({"service": "orders", "slot": "blue", "quiet": "1s"});
        // It touches nothing, so there is nothing to observe.
        laws::repeat_and_undo(&AwaitDrained::new(arms), &args, || ()).await;
    }
}
