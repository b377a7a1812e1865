//! A condition that holds for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::condition::{Condition, Quantity, Truth, Variable};
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Anomaly, Expectation, Severity, Subject};
use homeostasis_core::signal::{Interest, Sample, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelSnapshot};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::hold::{Hold, HoldLimits};
use super::latest::{Latest, PartScope, StoredEntry};
use crate::series::Transition;
use crate::{check, prose, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 2;

/// What a [`SustainedCondition`] waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SustainedConditionConfig {
    /// The condition; it says what is wrong: `disk_usage_percent > 85`.
    pub condition: Condition,
    /// For how long it must hold, written `for`; default 0s: the first time it holds.
    #[serde(rename = "for", default, with = "crate::duration_text")]
    pub hold: Duration,
    /// For how long a value counts when no newer one comes; default 5m, above 0.
    /// **Warning:** shorter than the interval between samples, nothing is ever known.
    #[serde(default = "default_staleness", with = "crate::duration_text")]
    pub staleness: Duration,
    /// For how long the condition may be unknown before an episode is forgotten; default 10m, above 0.
    #[serde(default = "default_max_unknown", with = "crate::duration_text")]
    pub max_unknown: Duration,
    /// After how long an anomaly that lasts is raised again; default 60 s, above 0.
    #[serde(default = "default_reraise", with = "crate::duration_text::option")]
    pub reraise: Option<Duration>,
    /// Whom series without the label `service` are about; default nobody: they are ignored.
    #[serde(default)]
    pub default_target: Option<Target>,
    /// A hint how severe it is; default none.
    #[serde(default)]
    pub severity_hint: Option<Severity>,
    /// The playbook that asks for it; default none.
    #[serde(default)]
    pub playbook_hint: Option<String>,
    /// How many series are kept at most; default 10 000, at least 1.
    #[serde(default = "default_max_series")]
    pub max_series: usize,
}

fn default_staleness() -> Duration {
    Duration::from_secs(300)
}

fn default_max_unknown() -> Duration {
    Duration::from_secs(600)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "serde asks for the type of the field"
)]
fn default_reraise() -> Option<Duration> {
    Some(Duration::from_secs(60))
}

fn default_max_series() -> usize {
    10_000
}

impl SustainedConditionConfig {
    /// Waits for `condition` to hold for `hold`; everything else at its default.
    pub fn new(condition: Condition, hold: Duration) -> Self {
        Self {
            condition,
            hold,
            staleness: default_staleness(),
            max_unknown: default_max_unknown(),
            reraise: default_reraise(),
            default_target: None,
            severity_hint: None,
            playbook_hint: None,
            max_series: default_max_series(),
        }
    }
}

/// Raises an anomaly when a condition over metrics has held for a while: `disk_usage_percent > 85` for `5m`.
///
/// *For whom:* the condition is judged for each target that has one of its metrics.
/// A variable without the label `service` means the target's own series, and for an instance that has none those of
/// its service as a whole; a variable with it means that service whoever is judged.
/// If all variables name services, the target of the first one is judged alone.
/// *Parts:* a target with several series of a metric (one for each disk) is judged once for each set of labels they
/// carry beside `service` and `instance`; the condition holds if it holds for one of them.
/// Name labels in the condition to judge only one.
///
/// *When:* at the time of each sample of the target, after all samples of the same instant.
/// A batch should not end in the middle of an instant; if it does, the condition is judged there too.
/// *Unknown:* a value that is missing, NaN, infinite or older than `staleness` is unknown, and so may the condition be;
/// unknown neither begins nor ends an episode: its clock stands still, and after `max_unknown` it is forgotten.
/// An episode raises one anomaly, and another after each `reraise`; it ends when the condition does not hold.
/// A sample more than one hour ahead of the context's clock is ignored.
/// When all places are taken, series silent for an hour give way; if there are none, new ones are refused and counted.
/// Takes time linear in the length of the condition and the number of series of the target, per instant.
///
/// # Examples
/// ```
/// use homeostasis::core::condition::Condition;
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{SustainedCondition, SustainedConditionConfig};
/// use std::time::Duration;
///
/// let condition = Condition::parse("disk_usage_percent > 85")?;
/// let config = SustainedConditionConfig {
///     playbook_hint: Some("disk_full".to_owned()),
///     ..SustainedConditionConfig::new(condition, Duration::from_secs(300))
/// };
/// assert_eq!(SustainedCondition::new("disk_nearly_full", config)?.name(), "disk_nearly_full");
///
/// let untold = Condition::parse("p95_latency > 500ms")?;
/// let error = SustainedCondition::new("slow", SustainedConditionConfig::new(untold, Duration::ZERO)).unwrap_err();
/// assert!(error.to_string().contains("`p95_latency` has no known unit"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SustainedCondition {
    name: String,
    config: SustainedConditionConfig,
    limits: HoldLimits,
    variables: Vec<Variable>,
    /// The only target, if every variable names its service.
    fixed: Option<Target>,
    latest: Latest,
    holds: BTreeMap<Target, Hold>,
    n_refused: u64,
}

/// Samples may be this much ahead of the clock.
const MAX_AHEAD: Duration = Duration::from_secs(3600);
/// Series silent for this long give way.
const IDLE_AFTER: Duration = Duration::from_secs(3600);

impl SustainedCondition {
    /// A detector called `name`.
    ///
    /// # Errors
    /// - The name is empty, or a field of `config` is outside its range.
    /// - The condition has no variable, compares a metric with something that is not a number, or needs a unit that
    ///   the name of a metric does not tell.
    /// - A label `service` or `instance` in the condition is not a name.
    pub fn new(
        name: impl Into<String>,
        config: SustainedConditionConfig,
    ) -> Result<Self, ConfigError> {
        let name = name.into();
        let mut found = Violations::new();
        check::named(&mut found, "sustained_condition.name", &name);
        check::lasting(
            &mut found,
            "sustained_condition.staleness",
            config.staleness,
        );
        check::lasting(
            &mut found,
            "sustained_condition.max_unknown",
            config.max_unknown,
        );
        if let Some(reraise) = config.reraise {
            check::lasting(&mut found, "sustained_condition.reraise", reraise);
        }
        check::that(
            &mut found,
            config.max_series > 0,
            "sustained_condition.max_series",
            config.max_series,
            "at least 1 series",
        );
        let variables: Vec<Variable> = config.condition.variables().cloned().collect();
        let wrong = |expected: String| {
            Violation::new("sustained_condition.condition", &config.condition, expected)
        };
        if variables.is_empty() {
            found.push(wrong("a condition over at least one metric".to_owned()));
        }
        // Errors of evaluation depend on units and kinds only, so that one try tells them all.
        let any = |_: &Variable| Some(Quantity::number(1.0));
        if let Err(error) = config.condition.evaluate(&any) {
            found.push(wrong(format!("a condition over metrics: {error}")));
        }
        let mut fixed = None;
        if variables.iter().all(|v| v.label("service").is_some()) {
            for variable in variables.iter().rev() {
                let target = match (variable.label("service"), variable.label("instance")) {
                    (Some(service), Some(instance)) => Target::instance(service, instance),
                    (service, _) => Target::service(service.unwrap_or_default()),
                };
                match target {
                    Ok(target) => fixed = Some(target),
                    Err(error) => found.push(wrong(format!("names of targets: {error}"))),
                }
            }
        }
        let limits = HoldLimits {
            hold: config.hold,
            max_step: config.staleness,
            max_pause: config.max_unknown.max(config.staleness),
            reraise: config.reraise,
        };
        found.into_result(Self {
            name,
            limits,
            variables,
            fixed,
            latest: Latest::default(),
            holds: BTreeMap::new(),
            n_refused: 0,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SustainedConditionConfig {
        &self.config
    }

    /// How many samples were of series for which there was no place.
    pub fn n_refused(&self) -> u64 {
        self.n_refused
    }

    /// Keeps the sample; the target to judge afterwards, if it concerns one.
    fn take(&mut self, batch: &SignalBatch<'_>, sample: &Sample) -> Option<Target> {
        let key = batch.catalog.key(sample.series)?;
        let mut is_read = false;
        let mut is_anchored = false;
        for variable in &self.variables {
            if key.matches(variable.name(), variable.labels()) {
                is_read = true;
                is_anchored |= variable.label("service").is_none();
            }
        }
        if !is_read {
            return None;
        }
        let target = key.target().or_else(|| self.config.default_target.clone());
        let is_kept = self.latest.take(
            (&key, target.clone()),
            (sample.at, sample.value),
            (self.config.max_series, IDLE_AFTER),
        );
        if !is_kept {
            self.n_refused = self.n_refused.saturating_add(1);
            return None;
        }
        match &self.fixed {
            Some(fixed) => Some(fixed.clone()),
            None => target.filter(|_| is_anchored),
        }
    }

    /// Judges the condition for `target` at `at`.
    fn judge(&mut self, target: &Target, at: Timestamp) -> Result<Option<Anomaly>, DetectError> {
        let mut truth = Truth::False;
        let mut found = None;
        for part in self.latest.parts(&self.variables, target) {
            let scope = PartScope {
                latest: &self.latest,
                target,
                part: &part,
                since: at - self.config.staleness,
            };
            let answer = self
                .config
                .condition
                .evaluate(&scope)
                .map_err(|error| DetectError::permanent("evaluating the condition", error))?;
            truth = truth | answer;
            if answer.is_true() {
                found = Some(part);
                break;
            }
        }
        let hold = self.holds.entry(target.clone()).or_default();
        let (Transition::Raised { since } | Transition::Reraised { since }) =
            hold.step(&self.limits, at, truth)
        else {
            return Ok(None);
        };
        let part = found.unwrap_or_default();
        let scope = PartScope {
            latest: &self.latest,
            target,
            part: &part,
            since: at - self.config.staleness,
        };
        Ok(Some(self.describe(&scope, at, since)))
    }

    fn describe(&self, scope: &PartScope<'_>, at: Timestamp, since: Timestamp) -> Anomaly {
        let text = self.config.condition.to_string();
        let values: Vec<String> = self
            .variables
            .iter()
            .map(|variable| {
                let seen = scope.entry(variable);
                match seen.and_then(|entry| Some((&entry.key, entry.value?))) {
                    Some((key, value)) => format!("{key} = {}", prose::number(value)),
                    None => format!("{variable} is unknown"),
                }
            })
            .collect();
        let subject = Subject::Condition(text.clone());
        let explanation = format!(
            "{text} has held for {} since {since}: {}",
            format_duration(at.since(since)),
            values.join(", ")
        );
        let mut anomaly =
            Anomaly::new(&self.name, scope.target.clone(), subject, at).saying(explanation);
        anomaly.since = since;
        anomaly.expected = Expectation::Words(format!("not {text}"));
        anomaly.severity_hint = self.config.severity_hint;
        anomaly.playbook_hint.clone_from(&self.config.playbook_hint);
        if let [variable] = self.variables.as_slice() {
            anomaly.observed = scope.entry(variable).and_then(|entry| entry.value);
        }
        if let Some(entry) = self.variables.first().and_then(|v| scope.entry(v)) {
            anomaly.series = entry.recent.to_vec();
        }
        anomaly
    }

    fn judge_all(
        &mut self,
        due: &mut BTreeMap<Target, Timestamp>,
        found: &mut Vec<Anomaly>,
    ) -> Result<(), DetectError> {
        for (target, at) in std::mem::take(due) {
            found.extend(self.judge(&target, at)?);
        }
        Ok(())
    }
}

#[async_trait]
impl Detector for SustainedCondition {
    fn name(&self) -> &str {
        &self.name
    }

    fn interest(&self) -> Interest {
        Interest::samples()
    }

    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let mut found = Vec::new();
        let mut due = BTreeMap::new();
        let mut instant = None;
        let latest = cx.now() + MAX_AHEAD;
        for sample in batch.samples.iter().filter(|sample| sample.at <= latest) {
            if instant.is_some_and(|instant| sample.at > instant) {
                self.judge_all(&mut due, &mut found)?;
            }
            instant = instant.max(Some(sample.at));
            if let Some(target) = self.take(&batch, sample) {
                let at = due.entry(target).or_insert(sample.at);
                *at = sample.at.max(*at);
            }
        }
        self.judge_all(&mut due, &mut found)?;
        if self.holds.len() > self.config.max_series {
            let (latest, fixed) = (&self.latest, &self.fixed);
            self.holds
                .retain(|target, _| latest.knows(target) || fixed.as_ref() == Some(target));
        }
        Ok(found)
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        let stored = Stored {
            condition: self.config.condition.clone(),
            series: self.latest.save(),
            holds: self.holds.clone(),
        };
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&stored)?,
        })
    }

    fn forget_alarms(&mut self) {
        self.holds.values_mut().for_each(Hold::forget_alarm);
    }

    /// Only a snapshot of the same condition is taken up.
    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let stored: Stored = state::open(&self.name, VERSION, snapshot)?;
        state::require(
            stored.condition == self.config.condition,
            &format!("snapshot of the condition {}", stored.condition),
            &self.config.condition.to_string(),
        )?;
        state::require(
            stored.series.len() <= self.config.max_series,
            &format!("{} series in the snapshot", stored.series.len()),
            &format!("at most {}, as max_series says", self.config.max_series),
        )?;
        let mut latest = Latest::default();
        for entry in stored.series {
            let default = || self.config.default_target.clone();
            let target = entry.key.target().or_else(default);
            latest.load(entry, target);
        }
        (self.latest, self.holds) = (latest, stored.holds);
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    condition: Condition,
    series: Vec<StoredEntry>,
    holds: BTreeMap<Target, Hold>,
}

#[cfg(test)]
mod tests;
