//! `await_canary`: watch a new version that gets traffic until it is proven good or bad.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::parse_duration;
use homeostasis_core::port::ArmMeter;
use homeostasis_core::record::{
    ArmInterval, CanaryAnswer, CanaryInterval, EffectClass, Inverse, RiskLevel,
};
use homeostasis_core::stage::{CanaryAnalysis, CanaryAnalyst};
use homeostasis_core::{Context, Target, Timestamp, timeout};
use serde_json::{Map, Value, json};

use super::proof::Tally;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind,
};

/// Watches the slot that a new version answers from, interval by interval, until it is decided
/// whether it may get more traffic. It touches nothing: it is done if the version may, and fails if
/// it may not, which ends the run and has it taken back.
///
/// Parameters:
/// - `service` and `canary`: the slot that is watched.
/// - `baseline`: the slot of the old version, answering at the same time. With one, the
///   [analyst](CanaryAnalyst) decides, and the share that succeeded must not be below `min_success`.
///   Without one (it gets no traffic) it must be proven over at least `min_requests` that the canary
///   keeps `min_success`: of 98 %, that takes 357 requests of which none fails, and more if some do.
/// - `interval`: how long one look spans, 1 s to 1 h. Default 1 min.
/// - `at_least`: how long it is watched even if it is decided before. Default 0 s.
/// - `at_most`: when it must be decided, up to 22 h.
/// - `min_success`: the share of requests that must succeed, `0..=1`; bad at once if it is proven not
///   to be kept. Required, and below 1, without a baseline.
/// - `min_requests`: default 100.
/// - `max_error_increase`: at once bad if the share that fails is proven to be more than this above
///   that of the baseline, `0..=1`. Default 0.05.
/// - `on_uncertain`: if it is not decided in time, or nothing was measured: `roll_back`, the
///   default, or `hold`, which asks people and leaves the traffic as it is until they answer.
///
/// An analysis that is over while the watch goes on is followed by a new one: what says roll back ends
/// the watch, also if an earlier one said promote, and each adds its own chance of an error.
///
/// It counts from its first attempt: one that takes up after a crash reads what it missed from the
/// [meter](ArmMeter). An interval that cannot be read is missing; nothing is made up for it.
#[derive(Debug)]
pub struct AwaitCanary {
    spec: ActionSpec,
    arms: Arc<dyn ArmMeter>,
    analyst: Arc<dyn CanaryAnalyst>,
}

const SECOND: Duration = Duration::from_secs(1);
/// A meter that takes longer has not measured.
const MEASURED_WITHIN: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

/// A day, which no step may outlast, less an interval and the time to answer in.
pub(crate) const LONGEST_WATCH: Duration = Duration::from_secs(22 * 3600);

impl AwaitCanary {
    /// The action over what `arms` measures, decided by `analyst`.
    pub fn new(arms: Arc<dyn ArmMeter>, analyst: Arc<dyn CanaryAnalyst>) -> Self {
        let span = |min, max| ParamKind::Duration { min, max };
        let spec = ActionSpec::new("watch a new version until it is proven good or bad")
            .with_params([
                Param::required("service", ParamKind::Name, "whose slots"),
                Param::required("canary", ParamKind::Name, "the slot of the new version"),
                Param::optional("baseline", ParamKind::Name, "the slot of the old version"),
                Param::optional("interval", span(SECOND, HOUR), "how long one look spans").or("1m"),
                Param::optional(
                    "at_least",
                    span(Duration::ZERO, LONGEST_WATCH),
                    "how long it is watched even if it is decided",
                )
                .or("0s"),
                Param::required(
                    "at_most",
                    span(SECOND, LONGEST_WATCH),
                    "when it must be decided",
                ),
                Param::optional("min_success", ParamKind::Any, "the share that must succeed"),
                Param::optional(
                    "min_requests",
                    ParamKind::Integer {
                        min: 1,
                        max: i64::from(u32::MAX),
                    },
                    "how many requests decide without a baseline",
                )
                .or(100),
                Param::optional(
                    "max_error_increase",
                    ParamKind::Any,
                    "the proven increase of failures that ends it at once",
                )
                .or(0.05),
                Param::optional(
                    "on_uncertain",
                    ParamKind::OneOf(&["roll_back", "hold"]),
                    "what follows if it is not decided",
                )
                .or("roll_back"),
            ])
            .with_effect(EffectClass::Read)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Nothing);
        Self {
            spec,
            arms,
            analyst,
        }
    }
}

/// The arguments, read.
struct Watch<'a> {
    service: &'a str,
    canary: &'a str,
    baseline: Option<&'a str>,
    interval: Duration,
    at_least: Duration,
    at_most: Duration,
    min_success: Option<f64>,
    min_requests: u64,
    max_error_increase: f64,
    holds: bool,
}

impl<'a> Watch<'a> {
    fn read(call: &ActionCall<'a>) -> Result<Self, ActionError> {
        let share = |name: &str| {
            let value = call.args.get(name).filter(|value| !value.is_null());
            let share = value.map(|value| as_share(value).ok_or(name));
            share
                .transpose()
                .map_err(|name| ActionError::argument(name, "a share, 0 to 1"))
        };
        let at_most = call.duration("at_most")?;
        Ok(Self {
            service: call.text("service")?,
            canary: call.text("canary")?,
            baseline: call.args.get("baseline").and_then(Value::as_str),
            interval: call.duration("interval")?,
            at_least: call.duration("at_least")?.min(at_most),
            at_most,
            min_success: share("min_success")?,
            min_requests: call.unsigned("min_requests")?,
            max_error_increase: share("max_error_increase")?.unwrap_or(1.0),
            holds: call.text("on_uncertain")? == "hold",
        })
    }
}

fn as_share(value: &Value) -> Option<f64> {
    value.as_f64().filter(|share| (0.0..=1.0).contains(share))
}

/// What was seen so far.
struct Seen {
    analysis: Option<Box<dyn CanaryAnalysis>>,
    /// Why an analysis that is over said that it may be promoted.
    promoted: Option<String>,
    canary: Tally,
    baseline: Tally,
    n_intervals: u64,
    n_missing: u64,
    last_error: Option<String>,
}

/// What follows from it.
enum Decision {
    GoOn,
    Good(String),
    Bad(String),
    Undecided(String),
}

impl Seen {
    /// Takes in an interval, with what went wrong when it was measured.
    fn take(&mut self, interval: &CanaryInterval) {
        self.n_intervals += 1;
        let wants_baseline = self.analysis.is_some();
        let is_missing = |arm: &Option<ArmInterval>| arm.is_none();
        let missing =
            is_missing(&interval.canary) || wants_baseline && is_missing(&interval.baseline);
        self.n_missing += u64::from(missing);
        if let Some(arm) = &interval.canary {
            self.canary.add(arm.requests, arm.failed);
        }
        if let Some(arm) = &interval.baseline {
            self.baseline.add(arm.requests, arm.failed);
        }
        if let Some(analysis) = &mut self.analysis {
            analysis.observe(interval);
        }
    }

    /// Begins another analysis if the one that is over was before the watch: what was decided would
    /// stay, whatever is seen from now on.
    fn begin_anew(&mut self, analyst: &dyn CanaryAnalyst, watch: &Watch<'_>, elapsed: Duration) {
        let Some(decision) = self.analysis.as_ref().map(|analysis| analysis.decision()) else {
            return;
        };
        match decision.answer {
            CanaryAnswer::Promote if elapsed < watch.at_least => {
                self.promoted = Some(decision.reason);
            }
            CanaryAnswer::Uncertain if elapsed < watch.at_most => {}
            _ => return,
        }
        self.analysis = Some(analyst.begin());
    }

    /// Whether what must succeed does: beside a baseline as far as it was seen, alone proven.
    fn keeps_floor(&self, floor: Option<f64>) -> bool {
        // A floor of nothing is none.
        match (floor.filter(|floor| *floor > 0.0), &self.analysis) {
            (Some(floor), None) => self.canary.is_below(1.0 - floor),
            (Some(floor), Some(_)) => self.success().is_some_and(|success| success >= floor),
            (None, _) => self.success().is_some(),
        }
    }

    /// The share that succeeded; `None` without requests.
    fn success(&self) -> Option<f64> {
        self.canary.failure_ratio().map(|ratio| 1.0 - ratio)
    }

    /// What is decided `elapsed` after the beginning.
    fn decide(&self, watch: &Watch<'_>, elapsed: Duration) -> Decision {
        if self
            .canary
            .exceeds_by(self.baseline, watch.max_error_increase)
        {
            return Decision::Bad(format!(
                "{}: more than {} points above the baseline's",
                self.words(),
                watch.max_error_increase * 100.0
            ));
        }
        if let Some(floor) = watch.min_success
            && self.canary.exceeds(1.0 - floor)
        {
            return Decision::Bad(format!("{}: below {floor} that succeed", self.words()));
        }
        let mut decision = self.analysis.as_ref().map(|analysis| analysis.decision());
        if let (Some(decision), Some(reason)) = (&mut decision, &self.promoted)
            && decision.answer != CanaryAnswer::RollBack
        {
            (decision.answer, decision.reason) = (CanaryAnswer::Promote, reason.clone());
        }
        let answer = decision.as_ref().map(|decision| decision.answer);
        let because = |otherwise: &str| {
            let reason = decision.as_ref().map(|decision| decision.reason.clone());
            reason.unwrap_or_else(|| otherwise.to_owned())
        };
        match answer {
            Some(CanaryAnswer::RollBack) => return Decision::Bad(because("")),
            Some(CanaryAnswer::Uncertain) if elapsed >= watch.at_most => {
                return Decision::Undecided(because(""));
            }
            _ => {}
        }
        let is_enough = match answer {
            Some(answer) => answer == CanaryAnswer::Promote,
            None => self.canary.requests >= watch.min_requests,
        };
        let keeps_floor = self.keeps_floor(watch.min_success);
        if is_enough && keeps_floor && elapsed >= watch.at_least {
            return Decision::Good(because(&self.words()));
        }
        if elapsed < watch.at_most {
            return Decision::GoOn;
        }
        let settled_by = decision.and_then(|decision| decision.settled_by);
        let settled_by = match watch.min_success.filter(|_| is_enough && !keeps_floor) {
            Some(floor) => format!("more requests: it is not proven whether {floor} succeed"),
            None => settled_by
                .unwrap_or_else(|| format!("{} requests to the new version", watch.min_requests)),
        };
        Decision::Undecided(format!(
            "{}; it would be settled by {settled_by}",
            self.words()
        ))
    }

    /// The numbers in words.
    fn words(&self) -> String {
        let arm = |tally: Tally| format!("{} of {} failed", tally.failed, tally.requests);
        let mut words = format!("canary {}", arm(self.canary));
        if self.analysis.is_some() {
            words = format!("{words}, baseline {}", arm(self.baseline));
        }
        if self.n_missing > 0 {
            let (missing, all) = (self.n_missing, self.n_intervals);
            words = format!("{words}, {missing} of {all} intervals not measured");
        }
        match &self.last_error {
            Some(error) => format!("{words} ({error})"),
            None => words,
        }
    }
}

impl AwaitCanary {
    async fn measure(
        &self,
        cx: &Context,
        watch: &Watch<'_>,
        (from, until): (Timestamp, Timestamp),
        seen: &mut Seen,
    ) -> CanaryInterval {
        // A meter that hangs makes a watch longer by one interval and not by one each time.
        let give_up = cx.now().max(until) + until.since(from);
        let mut arms = [None, None];
        for (arm, slot) in arms.iter_mut().zip([Some(watch.canary), watch.baseline]) {
            let Some(slot) = slot else { continue };
            let arm_of = (watch.service, slot);
            let answered = self.arms.answered(cx, arm_of, from, until);
            let within = MEASURED_WITHIN.min(give_up.since(cx.now()));
            match timeout(&**cx.clock(), within, answered).await {
                Ok(Ok(answered)) => *arm = answered,
                Ok(Err(error)) => seen.last_error = Some(error.report().to_string()),
                Err(_) => {
                    let error = format!("measuring took longer than {within:?}");
                    seen.last_error = Some(error);
                }
            }
        }
        let [canary, baseline] = arms;
        CanaryInterval {
            ended: until,
            length: until.since(from),
            canary,
            baseline,
        }
    }
}

#[async_trait]
impl Action for AwaitCanary {
    fn name(&self) -> &'static str {
        "await_canary"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        super::service_of(target, args)
    }

    fn watches(&self, args: &Map<String, Value>) -> Duration {
        let span = |name| {
            args.get(name)
                .and_then(Value::as_str)
                .and_then(parse_duration)
        };
        let at_most = span("at_most").unwrap_or_default();
        at_most.saturating_add(span("interval").unwrap_or_default())
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = Vec::new();
        for name in ["min_success", "max_error_increase"] {
            let value = args.get(name).filter(|value| !value.is_null());
            if value.is_some_and(|value| as_share(value).is_none()) {
                problems.push(ArgumentProblem::new(format!("/{name}"), "a share, 0 to 1"));
            }
        }
        if args.get("baseline").is_none() && args.get("min_success").is_none() {
            let expected = "a share, 0 to 1: without a baseline it is all there is to judge by";
            problems.push(ArgumentProblem::new("/min_success", expected));
        }
        let floor = args.get("min_success").and_then(Value::as_f64);
        if args.get("baseline").is_none() && floor == Some(1.0) {
            let expected = "a share below 1: no number of requests proves that none fails";
            problems.push(ArgumentProblem::new("/min_success", expected));
        }
        if args
            .get("baseline")
            .is_some_and(|slot| Some(slot) == args.get("canary"))
        {
            problems.push(ArgumentProblem::new(
                "/baseline",
                "another slot than the canary",
            ));
        }
        problems
    }

    async fn capture(&self, cx: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        Ok(json!({ "started_nanos": cx.now().as_nanos() }))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let watch = Watch::read(call)?;
        let started = call.captured["started_nanos"].as_i64().ok_or_else(|| {
            ActionError::invalid("captured state", "expected when it was started")
        })?;
        let started = Timestamp::from_nanos(started);
        let mut seen = Seen {
            analysis: watch.baseline.map(|_| self.analyst.begin()),
            promoted: None,
            canary: Tally::default(),
            baseline: Tally::default(),
            n_intervals: 0,
            n_missing: 0,
            last_error: None,
        };
        let ends = started + watch.at_most;
        let mut from = started;
        loop {
            let until = (from + watch.interval).min(ends.max(from + SECOND));
            // Nothing to wait for if another life should have looked already.
            cx.clock().sleep(until.since(cx.now())).await;
            let interval = self.measure(cx, &watch, (from, until), &mut seen).await;
            seen.take(&interval);
            let elapsed = until.since(started);
            tracing::debug!(
                service = watch.service,
                canary = watch.canary,
                seen = seen.words(),
                "an interval of a canary is over"
            );
            match seen.decide(&watch, elapsed) {
                Decision::GoOn => {
                    seen.begin_anew(&*self.analyst, &watch, elapsed);
                    from = until;
                }
                Decision::Good(reason) => {
                    return Ok(json!({
                        "answer": "promote",
                        "reason": reason,
                        "seconds": elapsed.as_secs(),
                        "requests": seen.canary.requests,
                        "failed": seen.canary.failed,
                    }));
                }
                Decision::Bad(reason) => return Err(bad(&watch, reason)),
                Decision::Undecided(reason) if watch.holds => {
                    return Err(ActionError::Undecided { reason });
                }
                Decision::Undecided(reason) => {
                    return Err(bad(&watch, format!("uncertain: {reason}")));
                }
            }
        }
    }
}

fn bad(watch: &Watch<'_>, reason: String) -> ActionError {
    let what = format!(
        "the new version in slot {:?} of {:?}",
        watch.canary, watch.service
    );
    ActionError::permanent(what, reason)
}

#[cfg(test)]
#[path = "await_canary_tests.rs"]
pub(super) mod tests;
