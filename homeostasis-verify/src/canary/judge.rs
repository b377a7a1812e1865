//! The judge: evidence in, decision out.

use std::fmt::Write as _;
use std::time::Duration;

use homeostasis_core::record::{
    CanaryAnswer, CanaryDecision, CanaryForecast, CanaryInterval, CanaryTraffic,
};
use homeostasis_core::stage::{CanaryAnalysis, CanaryAnalyst, CanaryError};
use homeostasis_core::{ConfigError, Ratio, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::CanaryConfig;
use super::evidence::{Failures, Slowness, weighed};
use super::forecast;
use crate::stats::ArmPair;

/// The weight of latencies beside failures in the evidence of harm.
const LATENCY_WEIGHT: f64 = 0.25;
const VERSION: u32 = 1;

/// Judges a canary against a baseline that gets the same kind of requests at the same time.
///
/// *Roll back* if the evidence that it is worse, averaged over the metrics, reaches `1 / alpha`;
/// *promote* if the evidence that it stays below the margin reaches `1 / beta` for every metric;
/// *uncertain* if neither came about within the horizon, and *continue* before. After a promotion it
/// goes on watching until the horizon, and *roll back* replaces *promote*. All evidence is of
/// e-processes ([`stats`](crate::stats)), so the error rates hold however often one
/// looks, if each interval is fair to both arms whatever came before and noise is no more than
/// assumed or calibrated. Noise of one arm that lasts over intervals looks like a difference.
///
/// Failures are judged by counts ([`CountRatio`](crate::stats::CountRatio)) that allow for the noise
/// of small groups, and by signs alone ([`SignBet`](crate::stats::SignBet)) if
/// [`calibrate`](CanaryAnalysis::calibrate) finds more than eight times the assumed variance. That choice falls before
/// the first interval and stays.
///
/// One interval costs O(1); the state is of bounded size.
///
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::core::record::{ArmInterval, CanaryAnswer, CanaryInterval};
/// use homeostasis::core::stage::CanaryAnalysis;
/// use homeostasis::verify::{CanaryConfig, CanaryJudge};
/// use std::time::Duration;
///
/// let mut judge = CanaryJudge::new(CanaryConfig::default())?;
/// for minute in 1..=4 {
///     judge.observe(&CanaryInterval {
///         ended: Timestamp::from_secs(60 * minute),
///         length: Duration::from_secs(60),
///         canary: Some(ArmInterval::new(300, 30)),
///         baseline: Some(ArmInterval::new(300, 2)),
///     });
/// }
/// let decision = judge.decision();
/// assert_eq!(decision.answer, CanaryAnswer::RollBack);
/// assert!(decision.reason.contains("10.0 % failed, baseline 0.7 %"), "{}", decision.reason);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct CanaryJudge {
    version: u32,
    config: CanaryConfig,
    started: Option<Timestamp>,
    last: Option<Timestamp>,
    /// When the first interval began in which the canary had requests.
    warm_from: Option<Timestamp>,
    failures: Failures,
    latency: Option<Slowness>,
    n_judged: u32,
    n_missing: u32,
    settled: Option<CanaryAnswer>,
}

/// As it was stored, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    config: CanaryConfig,
    started: Option<Timestamp>,
    last: Option<Timestamp>,
    warm_from: Option<Timestamp>,
    failures: Failures,
    latency: Option<Slowness>,
    n_judged: u32,
    n_missing: u32,
    settled: Option<CanaryAnswer>,
}

impl TryFrom<Stored> for CanaryJudge {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        if stored.version != VERSION {
            return Err(format!("version: {}, expected {VERSION}", stored.version));
        }
        stored.config.check().map_err(|error| error.to_string())?;
        if stored.latency.as_ref().map(Slowness::rule) != stored.config.latency {
            return Err("latency: another rule than in config".to_owned());
        }
        Ok(Self {
            version: stored.version,
            config: stored.config,
            started: stored.started,
            last: stored.last,
            warm_from: stored.warm_from,
            failures: stored.failures,
            latency: stored.latency,
            n_judged: stored.n_judged,
            n_missing: stored.n_missing,
            settled: stored.settled,
        })
    }
}

impl CanaryJudge {
    /// A judge that has seen nothing.
    ///
    /// # Errors
    /// All values of `config` that are out of range.
    pub fn new(config: CanaryConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self::checked(config))
    }

    pub(super) fn checked(config: CanaryConfig) -> Self {
        Self {
            version: VERSION,
            started: None,
            last: None,
            warm_from: None,
            failures: Failures::new(&config),
            latency: config.latency.map(Slowness::new),
            n_judged: 0,
            n_missing: 0,
            settled: None,
            config,
        }
    }

    /// The answer alone.
    pub fn answer(&self) -> CanaryAnswer {
        let over = || self.elapsed() >= self.config.horizon;
        match self.settled {
            Some(answer) => answer,
            None if over() => CanaryAnswer::Uncertain,
            None => CanaryAnswer::Continue,
        }
    }

    fn elapsed(&self) -> Duration {
        match (self.started, self.last) {
            (Some(started), Some(last)) => last.since(started),
            _ => Duration::ZERO,
        }
    }

    fn harm_limit(&self) -> f64 {
        -libm::log(self.config.alpha)
    }

    fn safe_limit(&self) -> f64 {
        -libm::log(self.config.beta)
    }

    /// Evidence of harm of all metrics together.
    fn harm(&self) -> f64 {
        match &self.latency {
            None => self.failures.harm(),
            Some(latency) => weighed(self.failures.harm(), latency.harm(), LATENCY_WEIGHT),
        }
    }

    /// Evidence of the metric that is proven safe least.
    fn safe(&self) -> f64 {
        let latency = self.latency.as_ref().map_or(f64::INFINITY, Slowness::safe);
        self.safe_failures().min(latency)
    }

    /// That failures are rare counts only after half of the horizon: a burst may be to come.
    fn safe_failures(&self) -> f64 {
        self.failures.safe(self.rare_counts())
    }

    fn rare_counts(&self) -> bool {
        self.elapsed() * 2 >= self.config.horizon
    }

    /// Whether the baseline fails so seldom that a canary at the margin could fail visibly more:
    /// where nearly everything fails, a ratio says nothing.
    fn baseline_holds(&self) -> bool {
        let share = self.failures.shares().map_or(0.0, |(_, baseline)| baseline);
        share * 2.0 * self.config.margin <= 1.0
    }

    fn settle(&mut self) {
        if self.harm() >= self.harm_limit() {
            self.settled = Some(CanaryAnswer::RollBack);
        } else if self.safe() >= self.safe_limit() && self.baseline_holds() {
            self.settled = Some(CanaryAnswer::Promote);
        }
    }

    fn seen(&self) -> String {
        let mut text = match self.failures.shares() {
            None => "no requests were seen in both arms".to_owned(),
            Some((canary, baseline)) => format!(
                "{} failed, baseline {}",
                Ratio::saturating(canary),
                Ratio::saturating(baseline)
            ),
        };
        if let Some(latency) = &self.latency {
            let _ = write!(text, ", {}", latency.evidence(self.config.alpha).detail);
        }
        let _ = write!(text, "; {} intervals judged", self.n_judged);
        if self.n_missing > 0 {
            let _ = write!(text, ", {} without data", self.n_missing);
        }
        text
    }

    fn reason(&self, answer: CanaryAnswer) -> String {
        let seen = self.seen();
        match answer {
            CanaryAnswer::RollBack => format!(
                "proven worse at an error rate of {}: {seen}",
                self.config.alpha
            ),
            CanaryAnswer::Promote => format!(
                "proven below {} times the failures (or {} of all requests) at an error rate of {}: {seen}",
                self.config.margin,
                Ratio::saturating(self.config.negligible),
                self.config.beta
            ),
            CanaryAnswer::Continue => format!("neither is proven yet: {seen}"),
            CanaryAnswer::Uncertain => {
                format!("neither is proven within {:?}: {seen}", self.config.horizon)
            }
        }
    }

    fn settled_by(&self) -> String {
        let mut missing = Vec::new();
        if !self.failures.has_data() {
            missing.push(
                "requests to both arms at the same time: live, mirrored or synthetic ones"
                    .to_owned(),
            );
        } else if !self.baseline_holds() {
            missing.push("a baseline that does not fail itself that often".to_owned());
        } else if self.safe_failures() < self.safe_limit() {
            missing.push(self.more_time());
        }
        if let Some(latency) = self
            .latency
            .as_ref()
            .filter(|l| l.safe() < self.safe_limit())
        {
            missing.push(format!(
                "more intervals with latencies of both arms ({} so far)",
                latency.n()
            ));
        }
        missing.join("; ")
    }

    /// How much more traffic would do if the canary is what it seems to be.
    fn more_time(&self) -> String {
        let watched = self.elapsed().min(self.config.horizon);
        let judged = watched.saturating_sub(self.config.warm_up);
        let progress = |log_e: f64, limit: f64| (log_e > 0.0).then(|| limit / log_e);
        let factor = progress(self.safe_failures(), self.safe_limit())
            .into_iter()
            .chain(progress(self.harm(), self.harm_limit()))
            .reduce(f64::min);
        let (canary, baseline) = self.failures.requests();
        let so_far = format!("({canary} and {baseline} requests so far)");
        match factor {
            Some(factor) if factor < 100.0 => format!(
                "about {:?} more at the present traffic, or as many mirrored requests {so_far}",
                Duration::from_secs(judged.mul_f64((factor - 1.0).max(0.0)).as_secs().max(60))
            ),
            _ => format!("more traffic, live or mirrored {so_far}"),
        }
    }
}

impl CanaryAnalysis for CanaryJudge {
    fn calibrate(&mut self, before: &CanaryInterval) {
        if let (None, Some(one), Some(other)) = (self.started, &before.canary, &before.baseline)
            && let Some(pair) = ArmPair::new(one, other)
        {
            self.failures.calibrate(&pair);
        }
    }

    fn observe(&mut self, interval: &CanaryInterval) {
        if self.last.is_some_and(|last| interval.ended <= last) {
            return;
        }
        let began = interval.ended - interval.length;
        self.started.get_or_insert(began);
        self.last = Some(interval.ended);
        if interval.canary.as_ref().is_some_and(|arm| arm.requests > 0) {
            self.warm_from.get_or_insert(began);
        }
        // What comes after the horizon settles nothing: the answer was given.
        let over = self.elapsed() > self.config.horizon;
        let rolled_back = self.settled == Some(CanaryAnswer::RollBack);
        let warm = |from| began.since(from) >= self.config.warm_up;
        if rolled_back || over || !self.warm_from.is_none_or(warm) {
            return;
        }
        let (Some(canary), Some(baseline)) = (&interval.canary, &interval.baseline) else {
            self.n_missing = self.n_missing.saturating_add(1);
            return;
        };
        if canary.requests == 0 || baseline.requests == 0 {
            self.n_missing = self.n_missing.saturating_add(1);
            return;
        }
        self.n_judged = self.n_judged.saturating_add(1);
        self.failures.observe(canary, baseline, &self.config);
        if let Some(latency) = &mut self.latency {
            latency.observe(canary, baseline);
        }
        self.settle();
    }

    fn decision(&self) -> CanaryDecision {
        let answer = self.answer();
        let open = matches!(answer, CanaryAnswer::Continue | CanaryAnswer::Uncertain);
        let latency = self.latency.as_ref();
        CanaryDecision {
            answer,
            reason: self.reason(answer),
            settled_by: open.then(|| self.settled_by()),
            harm_limit: self.harm_limit(),
            safe_limit: self.safe_limit(),
            evidence: std::iter::once(self.failures.evidence(self.rare_counts()))
                .chain(latency.map(|latency| latency.evidence(self.config.alpha)))
                .collect(),
        }
    }

    fn state(&self) -> Value {
        serde_json::to_value(self).expect("string keys and finite numbers only")
    }
}

/// Starts [`CanaryJudge`]s of one configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CanaryJudges(CanaryConfig);

impl CanaryJudges {
    /// Judges of this configuration.
    ///
    /// # Errors
    /// All values of `config` that are out of range.
    pub fn new(config: CanaryConfig) -> Result<Self, ConfigError> {
        config.check().map(|()| Self(config))
    }
}

impl CanaryAnalyst for CanaryJudges {
    fn begin(&self) -> Box<dyn CanaryAnalysis> {
        Box::new(CanaryJudge::checked(self.0.clone()))
    }

    fn resume(&self, state: &Value) -> Result<Box<dyn CanaryAnalysis>, CanaryError> {
        let judge: CanaryJudge = serde_json::from_value(state.clone())
            .map_err(|error| CanaryError::invalid("canary state", error.to_string()))?;
        if judge.config != self.0 {
            let detail = format!("{:?}, expected {:?}", judge.config, self.0);
            return Err(CanaryError::invalid("canary state, config", detail));
        }
        Ok(Box::new(judge))
    }

    fn forecast(&self, traffic: &CanaryTraffic) -> CanaryForecast {
        forecast::forecast(&self.0, traffic)
    }
}

#[cfg(test)]
mod tests;
