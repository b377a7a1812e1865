//! Several detectors of a target as one.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{Anomaly, Direction, Expectation, Subject};
use homeostasis_core::signal::{Interest, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelSnapshot};
use homeostasis_core::{ConfigError, Context, Score, Target, Timestamp, Violations};
use serde::{Deserialize, Serialize};

use super::score::{
    CompositeLevel, CompositeScore, CompositeWeights, CompositeWeightsConfig, DetectorFamily,
};
use crate::{check, members, prose, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 1;
/// The longest explanation of a member that is repeated, in characters.
const MAX_REPEATED: usize = 512;

/// How a [`Composite`] adds up and when it alarms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompositeConfig {
    /// The weights of the families and where levels begin.
    pub weights: CompositeWeightsConfig,
    /// The level from which on an anomaly is raised; default medium.
    pub raise: CompositeLevel,
    /// For how long what a detector found counts; default 5m, above 0. Members must raise again within it what lasts.
    #[serde(with = "crate::duration_text")]
    pub window: Duration,
    /// After how long an anomaly that lasts is raised again; default 60 s, above 0.
    #[serde(with = "crate::duration_text::option")]
    pub reraise: Option<Duration>,
    /// How many targets are followed at most; default 1000, at least 1.
    pub max_targets: usize,
}

impl Default for CompositeConfig {
    fn default() -> Self {
        Self {
            weights: CompositeWeightsConfig::default(),
            raise: CompositeLevel::Medium,
            window: Duration::from_secs(300),
            reraise: Some(Duration::from_secs(60)),
            max_targets: 1000,
        }
    }
}

/// Runs detectors of several families and raises one anomaly for each target, from what all of them found.
///
/// The score of a family is the highest of the anomalies its detectors found for the target within `window`, or for the
/// service it is an instance of, or 0;
/// the composite is the weighted mean ([`CompositeWeights::combine`]).
/// A family without detectors has no say, nor has one whose detectors all failed in the last call: the weights of the
/// others are enlarged, so that a broken model makes nobody blind.
/// The anomalies of the members themselves are not passed on.
/// To add up weak evidence, give the members a low [`AlertingConfig::threshold`](crate::AlertingConfig), and a `reraise`
/// shorter than `window`.
///
/// An anomaly is raised when the level reaches `raise`, when it rises further, and again after each `reraise` in which
/// a member raised something; it is over when the level falls below `raise`, also because evidence is older than
/// `window`.
/// So a member must raise again what lasts, within `window` and at least every third of the engine's quiet time.
/// Its severity hint is that of the level or the worst of its members', its picture that of the member that adds most.
/// Members whose anomalies name people or a playbook pass that on.
/// When `max_targets` are followed, those that had nothing for `window` give way; if there are none, a new one is left
/// out and counted.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{Alerting, AlertingConfig, Composite, CompositeConfig, DetectorFamily, Ewma, EwmaConfig, PerSeries, Selector, Trend, TrendConfig};
/// use std::time::Duration;
///
/// let lasting = AlertingConfig { reraise: Some(Duration::from_secs(60)), ..AlertingConfig::default() };
/// let (ewma, trend) = (Ewma::new(EwmaConfig::default())?, Trend::new(TrendConfig::default())?);
/// let ewma = PerSeries::new("ewma", Selector::all(), move |_| ewma.clone())?;
/// let trend = PerSeries::new("trend", Selector::all(), move |_| trend.clone())?;
/// let composite = Composite::new("composite", CompositeConfig::default())?
///     .with(DetectorFamily::Statistical, ewma.with_alerting(Alerting::new(lasting.clone())?))
///     .with(DetectorFamily::Pattern, trend.with_alerting(Alerting::new(lasting)?));
/// assert_eq!(composite.name(), "composite");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Composite {
    name: String,
    config: CompositeConfig,
    weights: CompositeWeights,
    members: Vec<Member>,
    targets: BTreeMap<Target, Standing>,
    n_refused: u64,
    /// What members found and nobody has judged yet.
    heard: Vec<(usize, Anomaly)>,
}

#[derive(Debug)]
struct Member {
    family: DetectorFamily,
    detector: Box<dyn Detector>,
    has_failed: bool,
}

/// What was found for one target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Standing {
    /// The last anomaly of each detector, with its family.
    found: Vec<(DetectorFamily, Anomaly)>,
    raised: Option<(CompositeLevel, Timestamp)>,
}

impl Composite {
    /// A detector called `name`, without members.
    ///
    /// # Errors
    /// If the name is empty, or a field of `config` is outside its range.
    pub fn new(name: impl Into<String>, config: CompositeConfig) -> Result<Self, ConfigError> {
        let name = name.into();
        let mut found = Violations::new();
        check::named(&mut found, "composite.name", &name);
        let weights = found.absorb(CompositeWeights::new(config.weights));
        check::lasting(&mut found, "composite.window", config.window);
        if let Some(reraise) = config.reraise {
            check::lasting(&mut found, "composite.reraise", reraise);
        }
        let max = config.max_targets;
        let path = "composite.max_targets";
        check::that(&mut found, max > 0, path, max, "at least 1 target");
        found.into_result(Self {
            name,
            config,
            weights: weights.unwrap_or_default(),
            members: Vec::new(),
            targets: BTreeMap::new(),
            n_refused: 0,
            heard: Vec::new(),
        })
    }

    /// The same with this member.
    pub fn with(mut self, family: DetectorFamily, detector: impl Detector + 'static) -> Self {
        self.members.push(Member {
            family,
            detector: Box::new(detector),
            has_failed: false,
        });
        self
    }

    /// The configuration.
    pub fn config(&self) -> &CompositeConfig {
        &self.config
    }

    /// How many anomalies of members were of targets for which there was no place.
    pub fn n_refused(&self) -> u64 {
        self.n_refused
    }

    /// What the families say of `target` at `at`; nothing is known of a target nobody complained about.
    pub fn score(&self, target: &Target, at: Timestamp) -> Option<CompositeScore> {
        self.targets.get(target)?;
        let mut said = [None; 4];
        for member in self.members.iter().filter(|member| !member.has_failed) {
            said[member.family.index()] = Some(Score::ZERO);
        }
        for (family, anomaly) in self.evidence(target, at) {
            let said = &mut said[family.index()];
            *said = said.map(|score: Score| score.max(anomaly.score));
        }
        Some(self.weights.combine(said))
    }

    /// What counts for `target` at `at`: what was found for it, and for the service it is an instance of.
    fn evidence<'a>(
        &'a self,
        target: &Target,
        at: Timestamp,
    ) -> impl Iterator<Item = &'a (DetectorFamily, Anomaly)> {
        let service = target.instance_name().map(|_| target.to_service());
        let of = |target: &Target| self.targets.get(target);
        let standings = [of(target), service.as_ref().and_then(of)];
        let window = self.config.window;
        let standings = standings.into_iter().flatten();
        standings.flat_map(move |standing| standing.fresh(at, window))
    }

    /// Takes what a member found.
    fn take(&mut self, family: DetectorFamily, anomaly: Anomaly) {
        let window = self.config.window;
        if !self.targets.contains_key(&anomaly.target) {
            if self.targets.len() >= self.config.max_targets {
                self.targets
                    .retain(|_, standing| standing.fresh(anomaly.at, window).next().is_some());
            }
            if self.targets.len() >= self.config.max_targets {
                self.n_refused = self.n_refused.saturating_add(1);
                return;
            }
        }
        let standing = self.targets.entry(anomaly.target.clone()).or_default();
        let at = anomaly.at;
        standing.found.retain(|(_, before)| {
            at.since(before.at) <= window
                && (before.detector != anomaly.detector
                    || !before.subject.is_same(&anomaly.subject))
        });
        // The strongest few say all there is to say.
        standing.found.push((family, anomaly));
        if standing.found.len() > 4 * Anomaly::MAX_CONTRIBUTIONS {
            let weakest = standing.found.iter().enumerate();
            let weakest = weakest
                .min_by_key(|(_, (_, anomaly))| anomaly.score)
                .map(|(i, _)| i);
            weakest.map(|i| standing.found.remove(i));
        }
    }

    /// Whether what is known of `target` is an anomaly at `at`.
    fn judge(&mut self, target: &Target, at: Timestamp) -> Option<Anomaly> {
        let composite = self.score(target, at)?;
        let standing = self.targets.get_mut(target)?;
        let Some(level) = composite.level.filter(|level| *level >= self.config.raise) else {
            standing.raised = None;
            return None;
        };
        let is_due = match standing.raised {
            None => true,
            Some((before, _)) if level > before => true,
            Some((_, raised)) => {
                let reraise = self.config.reraise;
                reraise.is_some_and(|interval| at.since(raised) >= interval)
            }
        };
        if !is_due {
            return None;
        }
        standing.raised = Some((level, at));
        Some(self.describe(target, at, &composite, level))
    }

    /// Ends the anomaly of `target` if it is none any more at `at`, so that the next one is raised.
    fn end(&mut self, target: &Target, at: Timestamp) {
        let level = self.score(target, at).and_then(|score| score.level);
        if let Some(standing) = self.targets.get_mut(target)
            && level.is_none_or(|level| level < self.config.raise)
            && standing.raised.is_some_and(|(_, raised)| raised < at)
        {
            standing.raised = None;
        }
    }

    fn describe(
        &self,
        target: &Target,
        at: Timestamp,
        composite: &CompositeScore,
        level: CompositeLevel,
    ) -> Anomaly {
        let found = self.evidence(target, at);
        let weight = |family: DetectorFamily| {
            let part = composite.parts.iter().find(|part| part.family == family);
            part.map_or(0.0, |part| part.weight.get())
        };
        let mut weighed: Vec<(f64, DetectorFamily, &Anomaly)> = found
            .map(|(family, anomaly)| (weight(*family) * anomaly.score.get(), *family, anomaly))
            .filter(|(product, ..)| *product > 0.0)
            .collect();
        weighed.sort_by(|a, b| {
            b.0.total_cmp(&a.0)
                .then_with(|| a.2.detector.cmp(&b.2.detector))
        });
        let since = weighed
            .iter()
            .map(|(.., anomaly)| anomaly.since)
            .min()
            .unwrap_or(at);
        let threshold = self.weights.threshold(self.config.raise);
        let text = format!(
            "composite score of {target} is {composite}, expected at most {}, since {since}",
            prose::number(threshold.get())
        );
        let said = weighed.iter().take(4).map(|(_, family, anomaly)| {
            let said: String = anomaly.explanation.chars().take(MAX_REPEATED).collect();
            format!("{} ({family}): {said}", anomaly.detector)
        });
        let text = format!("{text}: {}", said.collect::<Vec<_>>().join("; "));
        let subject = Subject::Condition("composite score".to_owned());
        let weights = weighed.iter().map(|(product, family, anomaly)| {
            (
                format!("{family}: {} of {}", anomaly.subject, anomaly.detector),
                *product,
            )
        });
        let mut raised = Anomaly::new(&self.name, target.clone(), subject, at)
            .saying(text)
            .due_to(weights);
        raised.since = since.min(at);
        raised.score = composite.score;
        raised.surprise = weighed
            .iter()
            .map(|(.., anomaly)| anomaly.surprise)
            .fold(0.0, f64::max);
        raised.observed = Some(composite.score.get());
        raised.expected = Expectation::Between {
            low: None,
            high: Some(threshold.get()),
        };
        raised.direction = Direction::High;
        if let Some((.., top)) = weighed.first() {
            raised.series.clone_from(&top.series);
            raised.direction = top.direction;
        }
        let hints = weighed
            .iter()
            .filter_map(|(.., anomaly)| anomaly.severity_hint);
        raised.severity_hint = hints.chain(level.severity()).min();
        raised.needs_people = weighed.iter().any(|(.., anomaly)| anomaly.needs_people);
        let mut playbooks = weighed
            .iter()
            .filter_map(|(.., anomaly)| anomaly.playbook_hint.clone());
        raised.playbook_hint = playbooks.next();
        raised
    }
}

/// Until when the signals of `batch` tell; where it has none, time passes nevertheless.
fn latest(cx: &Context, batch: &SignalBatch<'_>) -> Timestamp {
    let samples = batch.samples.iter().map(|sample| sample.at);
    let health = batch.health.iter().map(|report| report.at);
    let logs = batch.logs.iter().map(|record| record.at);
    let now = cx.now();
    let seen = samples.chain(health).chain(logs);
    seen.filter(|at| *at <= now).max().unwrap_or(now)
}

impl Standing {
    /// What counts at `at`.
    fn fresh(
        &self,
        at: Timestamp,
        window: Duration,
    ) -> impl Iterator<Item = &(DetectorFamily, Anomaly)> {
        let found = self.found.iter();
        found.filter(move |(_, anomaly)| anomaly.at <= at && at.since(anomaly.at) <= window)
    }
}

#[async_trait]
impl Detector for Composite {
    fn name(&self) -> &str {
        &self.name
    }

    fn interest(&self) -> Interest {
        let wanted = self.members.iter().map(|member| member.detector.interest());
        wanted.reduce(Interest::and).unwrap_or(Interest::samples())
    }

    /// The members are asked together.
    /// One that fails, panics or does not answer in three quarters of the time that is left has no say until it answers
    /// again; what the others found is kept if the call is dropped.
    ///
    /// # Errors
    /// If all members fail: the error of the first.
    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let members = self.members.iter_mut().map(|member| &mut member.detector);
        let failed = members::ask(members, cx, batch, &mut self.heard).await;
        for (member, failed) in self.members.iter_mut().zip(&failed) {
            member.has_failed = failed.is_some();
            if let Some(error) = failed {
                tracing::warn!(
                    detector = self.name,
                    member = member.detector.name(),
                    error = %error.report(),
                    "a member of a composite detector failed; the others decide"
                );
            }
        }
        if self.members.iter().all(|member| member.has_failed)
            && let Some(error) = failed.into_iter().flatten().next()
        {
            return Err(error);
        }
        let heard = std::mem::take(&mut self.heard).into_iter();
        let mut found: Vec<_> = heard
            .map(|(i, anomaly)| (self.members[i].family, anomaly))
            .collect();
        // In the order of time; what was found at one time for one target is judged together.
        found.sort_by(|(_, a), (_, b)| (a.at, &a.target).cmp(&(b.at, &b.target)));
        let last = found.last().map(|(_, anomaly)| anomaly.at);
        let now = latest(cx, &batch).max(last.unwrap_or(Timestamp::EPOCH));
        let (mut raised, mut is_first) = (Vec::new(), true);
        let mut found = found.into_iter().peekable();
        while let Some((family, anomaly)) = found.next() {
            let (at, target) = (anomaly.at, anomaly.target.clone());
            if is_first {
                self.end(&target, at);
            }
            // The engine would blame the composite for what a member got wrong.
            if anomaly.violation().is_none() {
                self.take(family, anomaly);
            }
            let is_last = found
                .peek()
                .is_none_or(|(_, next)| (next.at, &next.target) != (at, &target));
            is_first = is_last;
            if is_last {
                raised.extend(self.judge(&target, at));
            }
        }
        let standing = self.targets.iter().filter(|(_, it)| it.raised.is_some());
        for target in standing.map(|(it, _)| it.clone()).collect::<Vec<_>>() {
            self.end(&target, now);
        }
        Ok(raised)
    }

    fn forget_alarms(&mut self) {
        for member in &mut self.members {
            member.detector.forget_alarms();
        }
        self.targets.clear();
    }

    /// Nothing if one of its members keeps no model.
    fn snapshot(&self) -> Option<ModelSnapshot> {
        let members = self.members.iter().map(|member| member.detector.snapshot());
        let stored = Stored {
            members: members.collect::<Option<_>>()?,
            targets: self
                .targets
                .iter()
                .map(|(target, it)| (target.clone(), it.clone()))
                .collect(),
        };
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&stored)?,
        })
    }

    /// If one of the members refuses, those before it are given back what they had.
    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let stored: Stored = state::open(&self.name, VERSION, snapshot)?;
        let (n, expected) = (stored.members.len(), self.members.len());
        state::require(
            n == expected,
            &format!("{n} members in the snapshot"),
            &format!("{expected}, as there are here"),
        )?;
        state::require(
            stored.targets.len() <= self.config.max_targets,
            &format!("{} targets in the snapshot", stored.targets.len()),
            &format!("at most {}, as max_targets says", self.config.max_targets),
        )?;
        let before: Vec<_> = self
            .members
            .iter()
            .map(|member| member.detector.snapshot())
            .collect();
        for (i, saved) in stored.members.iter().enumerate() {
            if let Err(error) = self.members[i].detector.restore(saved) {
                for (member, before) in self.members.iter_mut().zip(&before[..i]) {
                    if let Some(before) = before {
                        member.detector.restore(before)?;
                    }
                }
                return Err(error);
            }
        }
        self.targets = stored.targets.into_iter().collect();
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    members: Vec<ModelSnapshot>,
    targets: Vec<(Target, Standing)>,
}

#[cfg(test)]
mod tests;
