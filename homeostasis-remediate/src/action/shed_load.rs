//! Load shedding: what a host asks before it serves a request, and `shed_load`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Clock, ConfigError, Context, Target, Timestamp};
use serde_json::{Map, Value, json};

use super::flag::new_name;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, unknown_name,
};

/// How much a request matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Nobody waits for it.
    Background,
    /// What most requests are.
    Normal,
    /// Somebody pays for it.
    High,
    /// Never shed: health checks, what ends an overload, what loses data.
    Critical,
}

impl Priority {
    const SHEDDABLE: [(&'static str, Self); 3] = [
        ("background", Self::Background),
        ("normal", Self::Normal),
        ("high", Self::High),
    ];

    fn named(word: &str) -> Option<Self> {
        let mut all = Self::SHEDDABLE.into_iter();
        all.find(|(name, _)| *name == word)
            .map(|(_, priority)| priority)
    }

    fn word(self) -> &'static str {
        let mut all = Self::SHEDDABLE.into_iter();
        all.find(|(_, priority)| *priority == self)
            .map_or("critical", |(name, _)| name)
    }
}

/// Which part of the requests is refused, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shedding {
    /// Out of 100, spread evenly; above 100 counts as 100. With 0 nothing is shed.
    pub percent: u8,
    /// The highest class that is shed; with those below it, in the same part each.
    pub up_to: Priority,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// Decides for each request whether it is served, without a lock and without allocation.
///
/// While nothing is shed that is one load of an atomic, and one addition to the number in flight when a
/// request begins and one when it ends. What is shed is spread evenly by a counter
/// (Weyl's sequence of the golden ratio), so of any `n` requests the shed part is off by a few at most and
/// follows no period of the traffic. Shedding ends by itself: a healer that dies leaves nothing shed.
///
/// ```
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::remediate::action::{LoadShedder, Priority, Shedding};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let shedder = LoadShedder::new(clock.clone());
/// let until = Timestamp::EPOCH + Duration::from_secs(60);
/// shedder.set(Shedding { percent: 100, up_to: Priority::Normal, until });
/// assert!(shedder.try_admit(Priority::Normal).is_none());
/// let permit = shedder.try_admit(Priority::High).expect("it is above");
/// assert_eq!(shedder.n_in_flight(), 1);
/// drop(permit);
/// clock.advance(Duration::from_secs(61));
/// assert!(shedder.try_admit(Priority::Normal).is_some());
/// ```
#[derive(Debug)]
pub struct LoadShedder {
    clock: Arc<dyn Clock>,
    /// Percent (8 bits), class (8 bits), milliseconds since the epoch (48 bits); 0 sheds nothing.
    state: Apart,
    turn: Apart,
    n_shed: Apart,
    n_in_flight: Apart,
}

/// A number in a line of the cache of its own: counting here must not slow the reading of the state.
#[derive(Debug)]
#[repr(align(128))]
struct Apart(AtomicU64);

/// A request that is served until this is dropped.
#[derive(Debug)]
#[must_use = "the request counts as served when this is dropped"]
pub struct Admitted<'a>(&'a LoadShedder);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.n_in_flight.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const MAX_MILLIS: u64 = (1 << 48) - 1;

impl LoadShedder {
    /// One that sheds nothing; `clock` says when shedding ends.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Apart(AtomicU64::new(0)),
            turn: Apart(AtomicU64::new(0)),
            n_shed: Apart(AtomicU64::new(0)),
            n_in_flight: Apart(AtomicU64::new(0)),
        }
    }

    /// Whether a request is served: if so, keep what it gives until it was.
    pub fn try_admit(&self, priority: Priority) -> Option<Admitted<'_>> {
        let state = self.state.0.load(Ordering::Relaxed);
        if state != 0 && self.sheds(state, priority) {
            self.n_shed.0.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.n_in_flight.0.fetch_add(1, Ordering::Relaxed);
        Some(Admitted(self))
    }

    fn sheds(&self, state: u64, priority: Priority) -> bool {
        let now = unpack(state);
        if priority > now.up_to || priority == Priority::Critical {
            return false;
        }
        if self.clock.now() >= now.until {
            // So that nobody asks the clock again; unless it was set anew meanwhile.
            let _ = self
                .state
                .0
                .compare_exchange(state, 0, Ordering::Relaxed, Ordering::Relaxed);
            return false;
        }
        let turn = self
            .turn
            .0
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(GOLDEN);
        u128::from(turn) * 100 < u128::from(now.percent) << 64
    }

    /// Sheds this from now on, instead of what was shed.
    pub fn set(&self, shedding: Shedding) {
        self.state.0.store(pack(shedding), Ordering::Relaxed);
    }

    /// What is shed now; `None` if nothing is, or no longer.
    pub fn shedding(&self) -> Option<Shedding> {
        let state = self.state.0.load(Ordering::Relaxed);
        let shedding = (state != 0).then(|| unpack(state))?;
        (self.clock.now() < shedding.until).then_some(shedding)
    }

    /// How many requests were ever shed.
    pub fn n_shed(&self) -> u64 {
        self.n_shed.0.load(Ordering::Relaxed)
    }

    /// How many requests are being served.
    pub fn n_in_flight(&self) -> u64 {
        self.n_in_flight.0.load(Ordering::Relaxed)
    }
}

fn pack(shedding: Shedding) -> u64 {
    let class = match shedding.up_to {
        Priority::Background => 0,
        Priority::Normal => 1,
        // The critical are not shed.
        Priority::High | Priority::Critical => 2,
    };
    let millis = shedding.until.as_nanos() / 1_000_000;
    let percent = u64::from(shedding.percent.min(100));
    if percent == 0 {
        return 0;
    }
    percent << 56 | class << 48 | u64::try_from(millis).unwrap_or(0).min(MAX_MILLIS)
}

fn unpack(state: u64) -> Shedding {
    let [percent, class, ..] = state.to_be_bytes();
    Shedding {
        percent,
        up_to: match class {
            0 => Priority::Background,
            1 => Priority::Normal,
            _ => Priority::High,
        },
        until: Timestamp::EPOCH + Duration::from_millis(state & MAX_MILLIS),
    }
}

/// Refuses a part of the requests for a while; undo puts back what was shed before, for as long as that
/// would have lasted.
///
/// Parameters: `shedder` (a registered name), `percent` (1 to 100, not above what the host allows),
/// `up_to` (`background`, `normal` or `high`, default `normal`: that class and those below; `critical`
/// requests are never shed), `ttl` (1 s to 24 h): counted from when the state before was captured, so that
/// a repeated step lasts no longer, and one that comes after a long crash sheds nothing.
#[derive(Debug)]
pub struct ShedLoad {
    spec: ActionSpec,
    shedders: BTreeMap<String, Registered>,
}

#[derive(Debug)]
struct Registered {
    target: Target,
    max_percent: u8,
    load: Arc<LoadShedder>,
}

impl Default for ShedLoad {
    /// Without shedders.
    fn default() -> Self {
        let ttl = ParamKind::Duration {
            min: Duration::from_secs(1),
            max: Duration::from_secs(86_400),
        };
        let percent = ParamKind::Integer { min: 1, max: 100 };
        let classes = ParamKind::OneOf(&["background", "normal", "high"]);
        let spec = ActionSpec::new("refuse a part of the requests for a while")
            .with_params([
                Param::required("shedder", ParamKind::Name, "where"),
                Param::required("percent", percent, "how many of a hundred"),
                Param::optional("up_to", classes, "the highest class that is shed").or("normal"),
                Param::required("ttl", ttl, "after which it ends by itself"),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Captured("what was shed before".to_owned()));
        Self {
            spec,
            shedders: BTreeMap::new(),
        }
    }
}

impl ShedLoad {
    /// The same with a shedder of `target` that a playbook may set up to `max_percent`.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, or `max_percent` is not between 1 and 100.
    pub fn shedder(
        mut self,
        name: impl Into<String>,
        target: Target,
        max_percent: u8,
        shedder: Arc<LoadShedder>,
    ) -> Result<Self, ConfigError> {
        let name = new_name("shedders", name.into(), &self.shedders)?;
        if !(1..=100).contains(&max_percent) {
            let path = format!("shedders.{name}.max_percent");
            return Err(ConfigError::single(path, max_percent, "between 1 and 100"));
        }
        let shedder = Registered {
            target,
            max_percent,
            load: shedder,
        };
        self.shedders.insert(name, shedder);
        Ok(self)
    }

    fn of(&self, args: &Map<String, Value>) -> Option<&Registered> {
        self.shedders.get(args.get("shedder")?.as_str()?)
    }

    fn named(&self, call: &ActionCall<'_>) -> Result<&Registered, ActionError> {
        self.of(call.args)
            .ok_or_else(|| ActionError::argument("shedder", "a registered shedder"))
    }
}

/// Milliseconds of a moment, as they are stored.
fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanos() / 1_000_000).unwrap_or(0)
}

fn captured_moment(call: &ActionCall<'_>, name: &str) -> Result<Timestamp, ActionError> {
    let millis = call.captured[name].as_u64();
    let millis = millis.ok_or_else(|| {
        ActionError::invalid(
            "captured state",
            format!("expected milliseconds as `{name}`"),
        )
    })?;
    Ok(Timestamp::EPOCH + Duration::from_millis(millis))
}

fn report(shedder: &LoadShedder) -> Value {
    let now = shedder.shedding();
    json!({
        "percent": now.map_or(0, |now| now.percent),
        "up_to": now.map(|now| now.up_to.word()),
        "until": now.map_or(0, |now| millis(now.until)),
        "n_shed": shedder.n_shed(),
        "n_in_flight": shedder.n_in_flight(),
    })
}

#[async_trait]
impl Action for ShedLoad {
    fn name(&self) -> &'static str {
        "shed_load"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        let shedder = self.of(args);
        shedder.map_or_else(|| target.clone(), |shedder| shedder.target.clone())
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = unknown_name(args, "shedder", self.shedders.keys());
        let percent = args.get("percent").and_then(Value::as_u64);
        if let (Some(shedder), Some(percent)) = (self.of(args), percent)
            && percent > u64::from(shedder.max_percent)
        {
            let expected = format!("at most {}: the host allows no more", shedder.max_percent);
            problems.push(ArgumentProblem::new("/percent", expected));
        }
        problems
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let mut captured = report(&self.named(call)?.load);
        captured["at"] = millis(cx.now()).into();
        Ok(captured)
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let named = self.named(call)?;
        let percent = u8::try_from(call.unsigned("percent")?).unwrap_or(u8::MAX);
        if percent > named.max_percent {
            let expected = format!("at most {}", named.max_percent);
            return Err(ActionError::argument("percent", &expected));
        }
        let up_to = Priority::named(call.text("up_to")?);
        let up_to = up_to.ok_or_else(|| ActionError::argument("up_to", "a class"))?;
        named.load.set(Shedding {
            percent,
            up_to,
            until: captured_moment(call, "at")? + call.duration("ttl")?,
        });
        Ok(report(&named.load))
    }

    async fn undo(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let named = self.named(call)?;
        let percent = call.captured["percent"].as_u64();
        let percent = percent.and_then(|percent| u8::try_from(percent).ok());
        let percent = percent.ok_or_else(|| {
            ActionError::invalid("captured state", "expected the earlier percent")
        })?;
        let up_to = call.captured["up_to"].as_str().and_then(Priority::named);
        named.load.set(Shedding {
            percent,
            up_to: up_to.unwrap_or(Priority::Background),
            until: captured_moment(call, "until")?,
        });
        Ok(report(&named.load))
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::ManualClock;
    use proptest::prelude::*;

    use super::*;
    use crate::action::laws::{self, RealClock};

    fn shedding(percent: u8, up_to: Priority, millis: u64) -> Shedding {
        let until = Timestamp::EPOCH + Duration::from_millis(millis);
        Shedding {
            percent,
            up_to,
            until,
        }
    }

    fn action(shedder: &Arc<LoadShedder>) -> ShedLoad {
        let target = Target::service("gateway").unwrap();
        let action = ShedLoad::default();
        action
            .shedder("front", target, 80, Arc::clone(shedder))
            .unwrap()
    }

    proptest! {
        #[test]
        fn the_part_that_is_shed_is_exact_within_a_few(
            percent in 0_u8..=100, start in any::<u64>(), n in 1_u32..5000,
        ) {
            let shedder = LoadShedder::new(Arc::new(ManualClock::new(Timestamp::EPOCH)));
            shedder.turn.0.store(start, Ordering::Relaxed);
            shedder.set(shedding(percent, Priority::High, 1));
            let n_shed = (0..n).filter(|_| shedder.try_admit(Priority::Normal).is_none()).count();
            let expected = f64::from(percent) * f64::from(n) / 100.0;
            // The discrepancy of the sequence grows with the logarithm of n.
            let off = (f64::from(u32::try_from(n_shed).unwrap()) - expected).abs();
            prop_assert!(off < 8.0, "{n_shed} of {n}, expected {expected}");
            prop_assert_eq!(shedder.n_shed(), u64::try_from(n_shed).unwrap());
            prop_assert_eq!(shedder.n_in_flight(), 0);
        }

        #[test]
        fn what_is_set_is_what_is_shed(percent in 1_u8..=100, class in 0_usize..3, until in 1_u64..9_000_000_000_000) {
            let set = shedding(percent, Priority::SHEDDABLE[class].1, until);
            let shedder = LoadShedder::new(Arc::new(ManualClock::new(Timestamp::EPOCH)));
            shedder.set(set);
            prop_assert_eq!(shedder.shedding(), Some(set));
        }
    }

    #[test]
    fn a_class_is_shed_with_those_below_and_the_critical_never() {
        let all = [
            Priority::Background,
            Priority::Normal,
            Priority::High,
            Priority::Critical,
        ];
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let shedder = LoadShedder::new(Arc::clone(&clock) as _);
        for up_to in all {
            shedder.set(shedding(100, up_to, 1000));
            for priority in all {
                let admitted = shedder.try_admit(priority).is_some();
                assert_eq!(admitted, priority > up_to || priority == Priority::Critical);
            }
        }
        clock.advance(Duration::from_secs(1));
        assert!(
            all.iter()
                .all(|priority| shedder.try_admit(*priority).is_some())
        );
        assert_eq!(shedder.shedding(), None);
    }

    #[test]
    fn deciding_allocates_nothing() {
        let shedder = LoadShedder::new(Arc::new(ManualClock::new(Timestamp::EPOCH)));
        for percent in [0, 50] {
            shedder.set(shedding(percent, Priority::High, 1));
            let mut n_shed = 0;
            let counted = allocation_counter::measure(|| {
                for _ in 0..1000 {
                    n_shed += u32::from(shedder.try_admit(Priority::Normal).is_none());
                }
            });
            assert_eq!(counted.count_total, 0);
            assert!(n_shed.abs_diff(10 * u32::from(percent)) <= 3, "{n_shed}");
        }
    }

    #[tokio::test]
    async fn repeating_do_and_undo_is_harmless() {
        let args = json!({"shedder": "front", "percent": 50, "ttl": "1h"});
        let later = RealClock.now() + Duration::from_secs(1800);
        let ms = later.as_nanos() / 1_000_000;
        let until = Timestamp::EPOCH + Duration::from_millis(u64::try_from(ms).unwrap());
        let before = [
            None,
            Some(Shedding {
                percent: 7,
                up_to: Priority::Background,
                until,
            }),
        ];
        for before in before {
            let shedder = Arc::new(LoadShedder::new(Arc::new(RealClock)));
            if let Some(before) = before {
                shedder.set(before);
            }
            laws::repeat_and_undo(&action(&shedder), &args, || shedder.shedding()).await;
            assert_eq!(shedder.shedding(), before);
        }
    }

    #[tokio::test]
    async fn it_ends_by_itself_and_a_late_repetition_sheds_nothing() {
        let clock = Arc::new(ManualClock::new(
            Timestamp::EPOCH + Duration::from_secs(100),
        ));
        let shedder = Arc::new(LoadShedder::new(Arc::clone(&clock) as _));
        let action = action(&shedder);
        let cx = Context::new(Arc::clone(&clock) as _, 1);
        let args = json!({"shedder": "front", "percent": 80, "ttl": "60s", "up_to": "high"});
        let args = args.as_object().unwrap().clone();
        let (target, key) = (Target::service("gateway").unwrap(), laws::key(0));
        let call = ActionCall::new(&target, &args, &key);
        let captured = action.capture(&cx, &call).await.unwrap();
        let call = call.with_captured(&captured);
        clock.advance(Duration::from_secs(59));
        assert_eq!(action.perform(&cx, &call).await.unwrap()["percent"], 80);
        clock.advance(Duration::from_secs(1));
        assert_eq!(shedder.shedding(), None);
        let again = action.perform(&cx, &call.with_attempt(2)).await;
        assert_eq!(again.unwrap()["percent"], 0);
        assert!(shedder.try_admit(Priority::Background).is_some());
        let mut more = args.clone();
        more.insert("percent".to_owned(), 81.into());
        assert_eq!(action.check(&more)[0].pointer, "/percent");
        let refused = action
            .perform(
                &cx,
                &ActionCall {
                    args: &more,
                    ..call
                },
            )
            .await;
        assert!(matches!(refused, Err(ActionError::Invalid { .. })));
    }
}
