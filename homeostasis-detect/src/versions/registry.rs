//! A detector whose model has versions.

mod parts;

use std::collections::VecDeque;
use std::fmt;

use async_trait::async_trait;
use homeostasis_core::record::Anomaly;
use homeostasis_core::signal::{Interest, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelPart, ModelSnapshot};
use homeostasis_core::{ConfigError, Context, Timestamp, Violations, timeout};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::parts::{Incoming, Known, whole};
use super::evaluation::{Decision, PromotionRule, ShadowEvaluation};
use super::handle::{
    ModelEvent, ModelEventKind, ModelStatus, ModelVersion, ModelVersionsHandle, Order,
};
use super::schedule::RetrainSchedule;
use crate::members::caught;
use crate::{check, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 3;
/// Events kept.
const MAX_EVENTS: usize = 200;

/// How versions of a model come and go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelVersionsConfig {
    /// When a candidate is trained; default daily between 2 and 5 o'clock, never if absent.
    pub retrain: Option<RetrainSchedule>,
    /// When a candidate takes over.
    pub rule: PromotionRule,
    /// How many versions are kept to go back to; default 5, range 1 to 100. Each costs what a snapshot costs.
    pub max_kept: usize,
}

impl Default for ModelVersionsConfig {
    fn default() -> Self {
        Self {
            retrain: Some(RetrainSchedule::default()),
            rule: PromotionRule::default(),
            max_kept: 5,
        }
    }
}

type Trainer<D> = Box<dyn FnMut(&Context) -> Result<D, DetectError> + Send>;

/// A detector whose model has versions: one serves, a candidate learns and is compared in its shadow, earlier ones are
/// kept to go back to.
///
/// *Training:* when the schedule says so, or a host, a candidate is made; it sees all signals, and nobody hears it.
/// For [`PromotionRule::train_for`] it only learns, then it is compared with the model that serves, alarm by alarm and
/// against what people say was an incident ([`ModelVersionsHandle::learn`]).
/// After [`PromotionRule::evaluate_for`] the rule lets it take over, or it is given up; a candidate that fails, panics
/// or takes more than half of the time that is left is given up at once, and what serves is not disturbed; one that never
/// yields delays the call it is found out in.
/// Where the model that serves fails, nothing is compared.
/// A model that begins to serve forgets which alarms are on, so that what is abnormal then is told, perhaps again.
/// *Going back:* the model that stops serving is kept with all it had learned; [`ModelVersionsHandle::roll_back`] lets a
/// kept one serve again.
/// The last 200 events are recorded with their reasons; they, the versions and the comparison are part of the snapshot.
/// While there is a candidate every signal is judged twice.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{Ewma, EwmaConfig, ModelVersions, ModelVersionsConfig, PerSeries, Selector};
///
/// let make = || {
///     let ewma = Ewma::new(EwmaConfig::default()).expect("a configuration in range");
///     PerSeries::new("cpu", Selector::metric("process_cpu_ratio"), move |_| ewma.clone()).expect("a name")
/// };
/// let detector = ModelVersions::new(ModelVersionsConfig::default(), make)?;
/// let handle = detector.handle();
/// assert_eq!(detector.name(), "cpu");
/// // Later, while the engine owns the detector:
/// handle.roll_back(1, "ann", "version 2 cries wolf");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
pub struct ModelVersions<D> {
    config: ModelVersionsConfig,
    make: Box<dyn Fn() -> D + Send>,
    trainer: Option<Trainer<D>>,
    serving: D,
    /// Which one serves; known from the first call on, because only calls have a time.
    serves: Option<ModelVersion>,
    candidate: Option<Candidate<D>>,
    /// While its parts are taken up.
    incoming: Option<Incoming<D>>,
    /// With their models in parts.
    kept: VecDeque<(ModelVersion, Vec<ModelSnapshot>)>,
    events: VecDeque<ModelEvent>,
    /// How many there were ever.
    n_events: u64,
    n_versions: u64,
    last_trained: Option<Timestamp>,
    handle: ModelVersionsHandle,
}

#[derive(Debug)]
struct Candidate<D> {
    detector: D,
    standing: CandidateStanding,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CandidateStanding {
    version: ModelVersion,
    /// Nothing while it only learns.
    evaluation: Option<ShadowEvaluation>,
    is_recommended: bool,
}

impl<D: Detector> ModelVersions<D> {
    /// A detector that begins with the model `make` gives; every model it gives is new and the same.
    ///
    /// # Errors
    /// If a field of `config` is outside its range, or the detector keeps no model that can be stored.
    pub fn new(
        config: ModelVersionsConfig,
        make: impl Fn() -> D + Send + 'static,
    ) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        if let Some(retrain) = &config.retrain {
            retrain.check(&mut found, "model_versions.retrain");
        }
        config.rule.check(&mut found, "model_versions.rule");
        let max = config.max_kept;
        let path = "model_versions.max_kept";
        check::that(
            &mut found,
            (1..=100).contains(&max),
            path,
            max,
            "1 to 100 versions",
        );
        let serving = make();
        check::that(
            &mut found,
            serving.snapshot().is_some(),
            "model_versions.detector",
            serving.name(),
            "a detector whose model can be stored",
        );
        found.into_result(Self {
            config,
            make: Box::new(make),
            trainer: None,
            serving,
            serves: None,
            candidate: None,
            incoming: None,
            kept: VecDeque::new(),
            events: VecDeque::new(),
            n_events: 0,
            n_versions: 0,
            last_trained: None,
            handle: ModelVersionsHandle::default(),
        })
    }

    /// The same, where candidates come from `trainer`, which may read the past through the context's observations.
    ///
    /// A snapshot holds what a model learned and not how it is configured: what is restored, after a restart or to go
    /// back, is made by the `make` of [`new`](Self::new). So what a trainer gives may differ from that in what it has
    /// learned, and in nothing else; a candidate whose model a new one cannot take up is refused, other differences
    /// nobody can see.
    ///
    /// It is called within [`Detector::detect`] and should be quick; what learns from signals as they come needs none.
    pub fn with_trainer(
        mut self,
        trainer: impl FnMut(&Context) -> Result<D, DetectError> + Send + 'static,
    ) -> Self {
        self.trainer = Some(Box::new(trainer));
        self
    }

    /// What the host speaks with while the engine owns this.
    pub fn handle(&self) -> ModelVersionsHandle {
        self.handle.clone()
    }

    /// The configuration.
    pub fn config(&self) -> &ModelVersionsConfig {
        &self.config
    }

    fn new_version(&mut self, at: Timestamp, origin: String) -> ModelVersion {
        self.n_versions += 1;
        ModelVersion {
            id: self.n_versions,
            created: at,
            origin,
        }
    }

    fn record(
        &mut self,
        at: Timestamp,
        version: u64,
        kind: ModelEventKind,
        (by, reason): (&str, String),
    ) {
        tracing::info!(
            detector = self.serving.name(),
            version,
            ?kind,
            by,
            reason,
            "model version"
        );
        self.n_events += 1;
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(ModelEvent {
            at,
            version,
            kind,
            by: by.to_owned(),
            reason,
        });
    }

    fn keep(&mut self, version: ModelVersion, model: Vec<ModelSnapshot>) {
        // A version that served twice is kept as it was last.
        self.kept.retain(|(kept, _)| kept.id != version.id);
        while self.kept.len() >= self.config.max_kept {
            self.kept.pop_front();
        }
        self.kept.push_back((version, model));
    }

    /// Keeps what serves now, if it can be stored.
    fn retire(&mut self) {
        if let (Some(version), Some(model)) = (self.serves.take(), whole(&self.serving)) {
            self.keep(version, model);
        }
    }

    fn train(&mut self, cx: &Context, by: &str, reason: String) {
        let now = cx.now();
        self.last_trained = Some(now);
        if self.candidate.is_some() {
            self.reject(now, by, "another one is trained".to_owned());
        }
        let version = self.new_version(now, reason.clone());
        let made = match &mut self.trainer {
            Some(trainer) => trainer(cx),
            None => Ok((self.make)()),
        };
        let made = made.and_then(|detector| {
            let snapshot = detector.snapshot().ok_or_else(|| {
                DetectError::invalid("a trained model", "a model that can be stored")
            })?;
            if self.trainer.is_some() && detector.name() == self.serving.name() {
                (self.make)().restore(&snapshot)?;
            }
            Ok(detector)
        });
        match made {
            Ok(detector) if detector.name() == self.serving.name() => {
                self.record(now, version.id, ModelEventKind::Trained, (by, reason));
                let standing = CandidateStanding {
                    version,
                    evaluation: None,
                    is_recommended: false,
                };
                self.candidate = Some(Candidate { detector, standing });
            }
            Ok(other) => {
                let reason = format!(
                    "its name is {:?}, expected {:?}",
                    other.name(),
                    self.serving.name()
                );
                self.record(now, version.id, ModelEventKind::Refused, (by, reason));
            }
            Err(error) => {
                let reason = format!("training failed: {}", error.report());
                self.record(now, version.id, ModelEventKind::Refused, (by, reason));
            }
        }
    }

    fn promote(&mut self, now: Timestamp, by: &str, reason: String) {
        let Some(candidate) = self.candidate.take() else {
            let serves = self.serves.as_ref().map_or(0, |version| version.id);
            let reason = format!("there is no candidate ({reason})");
            return self.record(now, serves, ModelEventKind::Refused, (by, reason));
        };
        self.retire();
        self.serving = candidate.detector;
        // What it raised in the shadow nobody heard.
        self.serving.forget_alarms();
        let version = candidate.standing.version;
        self.record(now, version.id, ModelEventKind::Promoted, (by, reason));
        self.serves = Some(version);
    }

    fn reject(&mut self, now: Timestamp, by: &str, reason: String) {
        if let Some(candidate) = self.candidate.take() {
            let version = candidate.standing.version.id;
            self.record(now, version, ModelEventKind::Rejected, (by, reason));
        } else {
            let reason = format!("there is no candidate ({reason})");
            self.record(now, 0, ModelEventKind::Refused, (by, reason));
        }
    }

    fn roll_back(&mut self, now: Timestamp, to: u64, (by, reason): (&str, String)) {
        let kept = self.kept.iter().find(|(version, _)| version.id == to);
        let Some((version, parts)) = kept.cloned() else {
            let kept: Vec<_> = self.kept.iter().map(|(version, _)| version.id).collect();
            let reason = format!("it is not kept, expected one of {kept:?} ({reason})");
            return self.record(now, to, ModelEventKind::Refused, (by, reason));
        };
        let mut model = (self.make)();
        let mut parts = parts.iter();
        if let Err(error) = parts.try_for_each(|part| model.restore_part(part)) {
            let reason = format!("it cannot be restored: {} ({reason})", error.report());
            return self.record(now, to, ModelEventKind::Refused, (by, reason));
        }
        self.retire();
        self.kept.retain(|(kept, _)| kept.id != to);
        self.serving = model;
        self.serving.forget_alarms();
        self.serves = Some(version);
        self.record(now, to, ModelEventKind::RolledBack, (by, reason));
        // It was compared with another one.
        if let Some(candidate) = &mut self.candidate
            && candidate.standing.evaluation.is_some()
        {
            candidate.standing.evaluation = Some(ShadowEvaluation::new(now));
        }
    }

    fn obey(&mut self, cx: &Context, order: Order) {
        let now = cx.now();
        match order {
            Order::RollBack { to, by, reason } => self.roll_back(now, to, (&by, reason)),
            Order::Keep { by, reason } => {
                if let Some(model) = whole(&self.serving) {
                    let version = self.new_version(now, format!("kept by {by}: {reason}"));
                    self.record(now, version.id, ModelEventKind::Kept, (&by, reason));
                    self.keep(version, model);
                }
            }
            Order::Retrain { by, reason } => self.train(cx, &by, reason),
            Order::Promote { by, reason } => self.promote(now, &by, reason),
            Order::Reject { by, reason } => self.reject(now, &by, reason),
            Order::Learn(feedback) => {
                let standing = self
                    .candidate
                    .as_mut()
                    .map(|candidate| &mut candidate.standing);
                if let Some(evaluation) = standing.and_then(|it| it.evaluation.as_mut()) {
                    evaluation.learn(feedback);
                }
            }
        }
    }

    /// Compares the candidate, and does what the rule says of it. Whether anything changed.
    fn compare(&mut self, now: Timestamp, serving: &[Anomaly], shadow: &[Anomaly]) -> bool {
        let rule = self.config.rule.clone();
        let Some(candidate) = &mut self.candidate else {
            return false;
        };
        let standing = &mut candidate.standing;
        let Some(evaluation) = &mut standing.evaluation else {
            if now.since(standing.version.created) < rule.train_for {
                return false;
            }
            standing.evaluation = Some(ShadowEvaluation::new(now));
            return true;
        };
        evaluation.take(&rule, serving, shadow);
        let decision = evaluation
            .decide(&rule, now)
            .filter(|_| !standing.is_recommended);
        match decision {
            None => return !serving.is_empty() || !shadow.is_empty(),
            Some(Decision {
                is_better: true,
                reason,
            }) if rule.promotes => {
                self.promote(now, "rule", reason);
            }
            Some(Decision {
                is_better: true,
                reason,
            }) => {
                standing.is_recommended = true;
                let version = standing.version.id;
                self.record(now, version, ModelEventKind::Recommended, ("rule", reason));
            }
            Some(Decision {
                is_better: false,
                reason,
            }) => self.reject(now, "rule", reason),
        }
        true
    }

    fn status(&self) -> ModelStatus {
        let standing = self.candidate.as_ref().map(|candidate| &candidate.standing);
        let evaluation = standing.and_then(|standing| standing.evaluation.as_ref());
        ModelStatus {
            serving: self.serves.clone(),
            candidate: standing.map(|standing| standing.version.clone()),
            compared: evaluation.map(ShadowEvaluation::comparison),
            kept: self
                .kept
                .iter()
                .map(|(version, _)| version.clone())
                .collect(),
            events: self.events.iter().cloned().collect(),
        }
    }
}

/// What the candidate says, or why it is given up.
async fn ask(
    candidate: &mut impl Detector,
    cx: &Context,
    batch: SignalBatch<'_>,
) -> Result<Vec<Anomaly>, String> {
    let slow = || "it took more than half of the time that was left".to_owned();
    let asked = caught(candidate.detect(cx, batch));
    let answer = match cx.remaining() {
        None => asked.await,
        // The other half is for what else there is to do.
        Some(left) => {
            let half = left / 2;
            let answer = timeout(&**cx.clock(), half, asked).await;
            let answer = answer.map_err(|_| slow())?;
            // What never yields cannot be interrupted, only found out.
            let took = left.saturating_sub(cx.remaining().unwrap_or_default());
            if took > half {
                return Err(slow());
            }
            answer
        }
    };
    match answer {
        None => Err("it panicked".to_owned()),
        Some(Err(error)) => Err(format!("it failed: {}", error.report())),
        Some(Ok(found)) => match found.iter().find_map(Anomaly::violation) {
            Some(broken) => Err(format!("it returned {broken}")),
            None => Ok(found),
        },
    }
}

#[async_trait]
impl<D: Detector> Detector for ModelVersions<D> {
    fn name(&self) -> &str {
        self.serving.name()
    }

    fn interest(&self) -> Interest {
        self.serving.interest()
    }

    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let now = cx.now();
        let mut has_changed = false;
        // No more parts come.
        self.incoming = None;
        if self.serves.is_none() {
            let first = self.new_version(now, "the first".to_owned());
            self.serves = Some(first);
            self.last_trained = Some(now);
            has_changed = true;
        }
        for order in self.handle.take_orders() {
            self.obey(cx, order);
            has_changed = true;
        }
        let is_due = self.config.retrain.zip(self.last_trained);
        if self.candidate.is_none() && is_due.is_some_and(|(plan, last)| plan.is_due(last, now)) {
            self.train(cx, "schedule", "it was time, and quiet".to_owned());
            has_changed = true;
        }
        let found = self.serving.detect(cx, batch).await;
        if let Some(candidate) = &mut self.candidate {
            match ask(&mut candidate.detector, cx, batch).await {
                Ok(shadow) => {
                    // A call that failed is not one without alarms.
                    if let Ok(serving) = &found {
                        has_changed |= self.compare(now, serving, &shadow);
                    }
                }
                Err(reason) => {
                    self.reject(now, "rule", reason);
                    has_changed = true;
                }
            }
        }
        if has_changed {
            self.handle.publish(self.status());
        }
        found
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        let candidate = match &self.candidate {
            Some(candidate) => Some((candidate.standing.clone(), candidate.detector.snapshot()?)),
            None => None,
        };
        let stored = Stored {
            known: self.known(),
            serving: self.serving.snapshot()?,
            candidate,
            kept: self.kept.clone(),
        };
        Some(ModelSnapshot {
            detector: self.name().to_owned(),
            version: VERSION,
            state: state::save(&stored)?,
        })
    }

    /// What is known of the versions is a part, each part of a model is one, and each part of a kept one.
    fn snapshot_part(&self, from: Option<&Value>, max_bytes: usize) -> Option<ModelPart> {
        self.part(from, max_bytes)
    }

    fn forget_alarms(&mut self) {
        self.serving.forget_alarms();
    }

    /// If anything does not fit, nothing changes.
    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let stored: Stored = state::open(self.serving.name(), VERSION, snapshot)?;
        let mut serving = (self.make)();
        serving.restore(&stored.serving)?;
        let candidate = match stored.candidate {
            None => None,
            Some((standing, snapshot)) => {
                let mut detector = (self.make)();
                detector.restore(&snapshot)?;
                Some(Candidate { detector, standing })
            }
        };
        self.serving = serving;
        (self.candidate, self.incoming) = (candidate, None);
        self.kept = stored.kept;
        let excess = self.kept.len().saturating_sub(self.config.max_kept);
        self.kept.drain(..excess);
        self.remember(stored.known);
        self.handle.publish(self.status());
        Ok(())
    }

    /// A candidate whose last part does not come is dropped, and a model that serves of which parts are missing goes on
    /// as the first version; if a part of a model does not fit, all begins anew.
    fn restore_part(&mut self, part: &ModelSnapshot) -> Result<(), DetectError> {
        self.take_up(part)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    known: Known,
    serving: ModelSnapshot,
    candidate: Option<(CandidateStanding, ModelSnapshot)>,
    kept: VecDeque<(ModelVersion, Vec<ModelSnapshot>)>,
}

impl<D: fmt::Debug> fmt::Debug for ModelVersions<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelVersions")
            .field("config", &self.config)
            .field("serving", &self.serving)
            .field("serves", &self.serves)
            .field("candidate", &self.candidate.as_ref().map(|it| &it.standing))
            .field("n_kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
