//! What is promoted, what is not, and that nothing is without data.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::port::{MemoryArms, TrafficError};
use homeostasis_core::record::{
    CanaryAnswer, CanaryDecision, CanaryForecast, CanaryInterval, CanaryTraffic,
};
use homeostasis_core::stage::{CanaryAnalysis, CanaryAnalyst, CanaryError};
use homeostasis_core::{Context, ErrorKind, ManualClock, Target, Timestamp};

use super::*;
use crate::action::laws;

/// Compares shares after a thousand requests of each arm: a rule simple enough to know the answer.
#[derive(Debug, Default, Clone)]
struct Plain {
    canary: Tally,
    baseline: Tally,
}

impl CanaryAnalysis for Plain {
    fn calibrate(&mut self, _: &CanaryInterval) {}

    fn observe(&mut self, interval: &CanaryInterval) {
        if let (Some(canary), Some(baseline)) = (&interval.canary, &interval.baseline) {
            self.canary.add(canary.requests, canary.failed);
            self.baseline.add(baseline.requests, baseline.failed);
        }
    }

    fn decision(&self) -> CanaryDecision {
        let ratios = (self.canary.failure_ratio(), self.baseline.failure_ratio());
        let is_enough = self.canary.requests.min(self.baseline.requests) >= 1000;
        let answer = match ratios {
            (Some(canary), Some(baseline)) if is_enough && canary > 2.0 * baseline + 0.001 => {
                CanaryAnswer::RollBack
            }
            (Some(_), Some(_)) if is_enough => CanaryAnswer::Promote,
            _ => CanaryAnswer::Continue,
        };
        CanaryDecision {
            answer,
            reason: format!("{ratios:?}"),
            settled_by: (!is_enough).then(|| "1000 requests of each".to_owned()),
            harm_limit: 0.0,
            safe_limit: 0.0,
            evidence: Vec::new(),
        }
    }

    fn state(&self) -> Value {
        Value::Null
    }
}

#[derive(Debug)]
pub(crate) struct PlainAnalyst;

impl CanaryAnalyst for PlainAnalyst {
    fn begin(&self) -> Box<dyn CanaryAnalysis> {
        Box::new(Plain::default())
    }

    fn resume(&self, _: &Value) -> Result<Box<dyn CanaryAnalysis>, CanaryError> {
        Ok(self.begin())
    }

    fn forecast(&self, _: &CanaryTraffic) -> CanaryForecast {
        CanaryForecast {
            minimum_effect: None,
            twice_found_after: None,
            promoted_after: None,
            summary: String::new(),
        }
    }
}

/// Answers at a steady rate since the epoch: requests a second, and every how manieth fails.
#[derive(Debug)]
struct Steady(Vec<(&'static str, u64, u64)>);

#[async_trait]
impl ArmMeter for Steady {
    async fn answered(
        &self,
        _: &Context,
        (_, slot): (&str, &str),
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ArmInterval>, TrafficError> {
        if slot == "broken" {
            return Err(TrafficError::transient("reading", "the meter is away"));
        }
        let arm = self.0.iter().find(|(known, ..)| *known == slot);
        Ok(arm.map(|(_, rate, every)| {
            let requests = until.since(from).as_secs() * rate;
            ArmInterval::new(requests, requests.checked_div(*every).unwrap_or(0))
        }))
    }
}

const START: Timestamp = Timestamp::from_secs(1_000_000);

/// The end of a watch over `arms`, and how long it took; the clock runs on its own.
async fn watched(arms: Steady, args: &Value) -> (Result<Value, ActionError>, Duration) {
    watched_by(
        &AwaitCanary::new(Arc::new(arms), Arc::new(PlainAnalyst)),
        args,
    )
    .await
}

async fn watched_by(action: &AwaitCanary, args: &Value) -> (Result<Value, ActionError>, Duration) {
    let clock = Arc::new(ManualClock::new(START));
    let cx = Context::new(Arc::clone(&clock) as Arc<_>, 1);
    let mut args = args.as_object().unwrap().clone();
    action.spec().fill_defaults(&mut args);
    assert_eq!(action.spec().problems(&args, false), []);
    assert_eq!(action.check(&args), []);
    let (target, key) = (Target::service("orders").unwrap(), laws::key(0));
    let call = ActionCall::new(&target, &args, &key);
    let captured = action.capture(&cx, &call).await.unwrap();
    let call = call.with_captured(&captured);
    let mut watch = action.perform(&cx, &call);
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut watch => break ended,
            () = tokio::task::yield_now() => clock.advance(Duration::from_secs(1)),
        }
    };
    (ended, cx.now().since(START))
}

#[expect(clippy::needless_pass_by_value, reason = "always a literal")]
fn args(more: Value) -> Value {
    let mut args = json!({
        "service": "orders", "canary": "green", "baseline": "blue",
        "interval": "10s", "at_least": "2m", "at_most": "10m",
    });
    let more = more.as_object().unwrap().clone();
    args.as_object_mut().unwrap().extend(more);
    args
}

#[tokio::test]
async fn what_is_no_worse_is_promoted_when_its_least_time_is_over_and_not_before() {
    let arms = || Steady(vec![("green", 100, 200), ("blue", 100, 200)]);
    let (ended, took) = watched(arms(), &args(json!({}))).await;
    assert_eq!(ended.unwrap()["answer"], "promote");
    assert_eq!(took.as_secs(), 120);
    // Decided after ten seconds, if nothing keeps it.
    let (ended, took) = watched(arms(), &args(json!({"at_least": "0s"}))).await;
    assert!(ended.is_ok() && took.as_secs() == 10, "{took:?}");
    // A stage is as long as its traffic needs: 1000 requests at 5 a second take 200 s.
    let slow = Steady(vec![("green", 5, 200), ("blue", 100, 200)]);
    let (ended, took) = watched(slow, &args(json!({}))).await;
    assert!(ended.is_ok() && took.as_secs() == 200, "{took:?}");
}

#[tokio::test]
async fn what_is_worse_is_not_promoted_and_the_least_time_is_not_waited_for() {
    let arms = Steady(vec![("green", 100, 20), ("blue", 100, 200)]);
    let (ended, took) = watched(arms, &args(json!({}))).await;
    let error = ended.unwrap_err();
    assert_eq!((error.kind(), took.as_secs()), (ErrorKind::Permanent, 10));
}

#[tokio::test]
async fn a_proven_increase_of_more_than_five_points_ends_it_before_the_analyst_is_sure() {
    // 30 a second: the analyst would need 34 s.
    let arms = || Steady(vec![("green", 30, 2), ("blue", 30, 200)]);
    let (ended, took) = watched(arms(), &args(json!({}))).await;
    let report = ended.unwrap_err().report().to_string();
    assert!(report.contains("more than 5 points above"), "{report}");
    assert!(took.as_secs() <= 20, "{took:?}");
    let (_, took) = watched(arms(), &args(json!({"max_error_increase": 1}))).await;
    assert_eq!(took.as_secs(), 40);
}

#[tokio::test]
async fn a_floor_holds_whatever_the_comparison_says() {
    // Both fail as often: no worse, and below the floor.
    let arms = || Steady(vec![("green", 100, 50), ("blue", 100, 50)]);
    let (ended, _) = watched(arms(), &args(json!({"min_success": 0.99}))).await;
    let report = ended.unwrap_err().report().to_string();
    assert!(report.contains("below 0.99 that succeed"), "{report}");
    assert!(
        watched(arms(), &args(json!({"min_success": 0.98})))
            .await
            .0
            .is_ok()
    );
}

#[tokio::test]
async fn without_a_baseline_requests_and_the_floor_decide() {
    let alone = |more: Value| {
        let mut args = args(more);
        args.as_object_mut().unwrap().remove("baseline");
        args
    };
    let good = alone(json!({"min_success": 0.99}));
    let (ended, took) = watched(Steady(vec![("green", 10, 500)]), &good).await;
    assert!(ended.is_ok() && took.as_secs() == 120, "{took:?}");
    let (ended, _) = watched(Steady(vec![("green", 10, 50)]), &good).await;
    assert!(ended.is_err());
    // Three requests a minute are thirty in ten.
    let (ended, took) = watched(Steady(vec![("green", 0, 0)]), &good).await;
    assert!(
        ended
            .unwrap_err()
            .report()
            .to_string()
            .contains("uncertain")
    );
    assert_eq!(took.as_secs(), 600);
    let action = AwaitCanary::new(Arc::new(Steady(vec![])), Arc::new(PlainAnalyst));
    let unfounded = alone(json!({}));
    let problems = action.check(unfounded.as_object().unwrap());
    assert_eq!(problems[0].pointer, "/min_success");
}

#[tokio::test]
async fn without_data_nothing_is_promoted_and_what_would_settle_it_is_said() {
    let cases = [
        (Steady(vec![]), "60 of 60 intervals not measured"),
        (
            Steady(vec![("green", 9, 0)]),
            "60 of 60 intervals not measured",
        ),
        (
            Steady(vec![("green", 0, 0), ("blue", 9, 0)]),
            "0 of 0 failed",
        ),
        (
            Steady(vec![("green", 1, 0), ("blue", 9, 0)]),
            "settled by 1000 requests of each",
        ),
    ];
    for (arms, said) in cases {
        let (ended, took) = watched(arms, &args(json!({"on_uncertain": "hold"}))).await;
        let error = ended.unwrap_err();
        assert!(matches!(error, ActionError::Undecided { .. }), "{error}");
        assert!(
            !error.may_have_begun() && error.to_string().contains(said),
            "{error}"
        );
        assert_eq!(took.as_secs(), 600);
    }
    let (ended, _) = watched(Steady(vec![]), &args(json!({"baseline": "broken"}))).await;
    let report = ended.unwrap_err().report().to_string();
    assert!(
        report.contains("uncertain") && report.contains("the meter is away"),
        "{report}"
    );
}

#[tokio::test]
async fn watching_again_gives_the_same_answer() {
    // A life that begins late reads what it missed from the meter, and is told the same.
    let clock = Arc::new(ManualClock::new(START));
    let cx = Context::new(Arc::clone(&clock) as Arc<_>, 1);
    let arms = Arc::new(MemoryArms::default());
    for _ in 0..300 {
        for n in 0..20 {
            arms.record(
                &*clock,
                ("orders", "green"),
                Duration::from_millis(n),
                n == 0,
            );
            arms.record(
                &*clock,
                ("orders", "blue"),
                Duration::from_millis(n),
                n == 0,
            );
        }
        clock.advance(Duration::from_secs(1));
    }
    let action = AwaitCanary::new(arms, Arc::new(PlainAnalyst));
    let mut given = args(json!({"at_most": "4m"})).as_object().unwrap().clone();
    action.spec().fill_defaults(&mut given);
    let (target, key) = (Target::service("orders").unwrap(), laws::key(0));
    let captured = json!({ "started_nanos": START.as_nanos() });
    let call = ActionCall::new(&target, &given, &key).with_captured(&captured);
    let first = action.perform(&cx, &call).await.unwrap();
    assert_eq!(
        action.perform(&cx, &call.with_attempt(2)).await.unwrap(),
        first
    );
    assert_eq!(
        (&first["seconds"], &first["requests"]),
        (&json!(120), &json!(2400))
    );
    // It touches nothing, so there is nothing to observe.
    let late = Arc::new(Steady(vec![("green", 100, 0)]));
    let alone = json!({
        "service": "orders", "canary": "green", "interval": "1s", "at_most": "1s",
        "min_success": 0.9,
    });
    let action = AwaitCanary::new(late, Arc::new(PlainAnalyst));
    laws::repeat_and_undo(&action, &alone, || ()).await;
}

/// The new version turns bad after half an hour: 3 % of it fail, instead of 1 % of both.
#[derive(Debug)]
struct Turns;

#[async_trait]
impl ArmMeter for Turns {
    async fn answered(
        &self,
        _: &Context,
        (_, slot): (&str, &str),
        _: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ArmInterval>, TrafficError> {
        let is_bad = slot == "green" && until.since(START) > Duration::from_secs(1800);
        let failed = if is_bad { 36 } else { 12 };
        Ok(Some(ArmInterval::new(1200, failed)))
    }
}

#[tokio::test]
async fn what_turns_bad_after_it_was_found_good_is_not_promoted() {
    let action = AwaitCanary::new(Arc::new(Turns), Arc::new(PlainAnalyst));
    let args = json!({
        "service": "orders", "canary": "green", "baseline": "blue",
        "at_least": "1h", "at_most": "2h",
    });
    let (ended, took) = watched_by(&action, &args).await;
    assert!(ended.unwrap_err().report().to_string().contains("0.03"));
    assert_eq!(took, Duration::from_secs(31 * 60));
}

/// Gives up after three looks.
#[derive(Debug, Default)]
struct Short(Plain, u32);

impl CanaryAnalysis for Short {
    fn calibrate(&mut self, _: &CanaryInterval) {}

    fn observe(&mut self, interval: &CanaryInterval) {
        self.0.observe(interval);
        self.1 += 1;
    }

    fn decision(&self) -> CanaryDecision {
        let mut decision = self.0.decision();
        if self.1 >= 3 && decision.answer == CanaryAnswer::Continue {
            decision.answer = CanaryAnswer::Uncertain;
        }
        decision
    }

    fn state(&self) -> Value {
        Value::Null
    }
}

#[derive(Debug)]
struct ShortAnalyst;

impl CanaryAnalyst for ShortAnalyst {
    fn begin(&self) -> Box<dyn CanaryAnalysis> {
        Box::new(Short::default())
    }

    fn resume(&self, _: &Value) -> Result<Box<dyn CanaryAnalysis>, CanaryError> {
        Ok(self.begin())
    }

    fn forecast(&self, traffic: &CanaryTraffic) -> CanaryForecast {
        PlainAnalyst.forecast(traffic)
    }
}

#[tokio::test]
async fn an_analysis_that_gives_up_early_does_not_end_the_watch() {
    let arms = Steady(vec![("blue", 1, 0), ("green", 1, 0)]);
    let action = AwaitCanary::new(Arc::new(arms), Arc::new(ShortAnalyst));
    let args = json!({
        "service": "orders", "canary": "green", "baseline": "blue",
        "at_least": "10m", "at_most": "20m",
    });
    let (ended, took) = watched_by(&action, &args).await;
    assert!(
        ended
            .unwrap_err()
            .report()
            .to_string()
            .contains("uncertain")
    );
    assert_eq!(took, Duration::from_secs(20 * 60));
}

#[tokio::test]
async fn a_floor_without_a_baseline_is_proven_and_not_read_off_a_hundred_requests() {
    let alone = json!({
        "service": "orders", "canary": "green", "interval": "10s", "at_most": "10m",
        "min_success": 0.98,
    });
    // Of a hundred requests none fails four in ten times if three in a hundred do.
    let (ended, took) = watched(Steady(vec![("green", 10, 0)]), &alone).await;
    assert_eq!(ended.unwrap()["requests"], 400);
    assert_eq!(took.as_secs(), 40);
    // Twice what is allowed is found, and what is allowed by a hair is decided by nobody.
    let (ended, took) = watched(Steady(vec![("green", 100, 25)]), &alone).await;
    assert!(
        ended
            .unwrap_err()
            .report()
            .to_string()
            .contains("below 0.98")
    );
    assert!((10..=60).contains(&took.as_secs()), "{took:?}");
    let (ended, took) = watched(Steady(vec![("green", 10, 50)]), &alone).await;
    assert!(
        ended
            .unwrap_err()
            .report()
            .to_string()
            .contains("uncertain")
    );
    assert_eq!(took.as_secs(), 600);
}

/// Two requests of the first look of each arm fail, and none after it.
#[derive(Debug)]
struct Stumbles;

#[async_trait]
impl ArmMeter for Stumbles {
    async fn answered(
        &self,
        _: &Context,
        _: (&str, &str),
        from: Timestamp,
        _: Timestamp,
    ) -> Result<Option<ArmInterval>, TrafficError> {
        let is_first = from == START;
        Ok(Some(ArmInterval::new(1500, 2 * u64::from(is_first))))
    }
}

#[tokio::test]
async fn few_failures_below_a_high_floor_are_no_breach_that_is_proven() {
    let action = AwaitCanary::new(Arc::new(Stumbles), Arc::new(PlainAnalyst));
    let given = args(json!({"min_success": 0.999, "at_least": "10s", "max_error_increase": 1}));
    let (ended, took) = watched_by(&action, &given).await;
    // 1,498 of 1,500 are below it, 2,998 of 3,000 are not.
    assert_eq!(ended.unwrap()["failed"], 2);
    assert_eq!(took.as_secs(), 20);
}

/// Never answers.
#[derive(Debug)]
struct Hangs;

#[async_trait]
impl ArmMeter for Hangs {
    async fn answered(
        &self,
        _: &Context,
        _: (&str, &str),
        _: Timestamp,
        _: Timestamp,
    ) -> Result<Option<ArmInterval>, TrafficError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_meter_that_hangs_does_not_make_the_watch_longer() {
    let action = AwaitCanary::new(Arc::new(Hangs), Arc::new(PlainAnalyst));
    let (ended, took) = watched_by(&action, &args(json!({"at_most": "2m"}))).await;
    let report = ended.unwrap_err().report().to_string();
    assert!(report.contains("measuring took longer"), "{report}");
    assert!(took.as_secs() <= 130, "{took:?}");
}
