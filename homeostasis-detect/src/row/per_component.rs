//! Lifts a kernel of rows into a detector that watches every component.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{Anomaly, Direction, Expectation, Severity, Subject};
use homeostasis_core::signal::{Interest, Sample, SeriesId, SeriesKey, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelPart, ModelSnapshot, RowDetector};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::component::{Alarm, Component, Stored};
use crate::series::{AlertState, Alerting, Selected, Selector};
use crate::{check, parts, prose, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 2;
/// How many features an explanation names.
const N_NAMED: usize = 3;

type Factory<K> = Box<dyn Fn(&Target) -> K + Send>;

/// How a [`PerComponent`] makes rows, and when it learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerComponentConfig {
    /// The time between rows; default 1m, 1ms to 1d. Of several samples in it the last counts.
    #[serde(with = "crate::duration_text")]
    pub step: Duration,
    /// For how many steps the last value of a series stands in for the next; default 1, range 0 to 1000. Then it is
    /// missing.
    pub carry: u32,
    /// How far back is learned; default 7d, at least `min_rows` steps and at most 100 000.
    #[serde(with = "crate::duration_text")]
    pub window: Duration,
    /// How often a new model is learned; default 1d, at least one step. The last one serves meanwhile.
    #[serde(with = "crate::duration_text")]
    pub retrain: Duration,
    /// How many rows the first model needs; default 256, range 32 to 100 000.
    pub min_rows: usize,
    /// How many pieces of learning are done after each row; default 8, range 1 to 10 000. A piece takes some
    /// milliseconds.
    pub pieces_per_row: u32,
    /// How many pieces one call does for all components together; default 256, range 1 to 1 000 000.
    /// Those that learn share them alike, and who has come the least far gets what cannot be shared; what is left by
    /// then goes to those that begin in the same call.
    pub pieces_per_call: u32,
    /// How many components are watched; default 100, range 1 to 100 000. Samples of others are counted.
    pub max_components: usize,
    /// After how much silence a component may give way to a new one; default 1d.
    #[serde(with = "crate::duration_text")]
    pub idle_after: Duration,
    /// How far ahead of the clock a sample may be; default 1h. Later ones are counted.
    #[serde(with = "crate::duration_text")]
    pub max_ahead: Duration,
}

impl Default for PerComponentConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            step: Duration::from_secs(60),
            carry: 1,
            window: 7 * DAY,
            retrain: DAY,
            min_rows: 256,
            pieces_per_row: 8,
            pieces_per_call: 256,
            max_components: 100,
            idle_after: DAY,
            max_ahead: Duration::from_secs(3600),
        }
    }
}

impl PerComponentConfig {
    /// How many rows the window has.
    pub fn max_rows(&self) -> usize {
        let steps = self.window.as_nanos() / self.step.as_nanos().max(1);
        usize::try_from(steps).unwrap_or(usize::MAX)
    }

    fn check(&self, found: &mut Violations) {
        let step = Duration::from_millis(1)..=Duration::from_secs(86_400);
        let text = |duration| homeostasis_core::document::format_duration(duration);
        let holds = step.contains(&self.step);
        check::that(
            found,
            holds,
            "per_component.step",
            text(self.step),
            "1ms to 1d",
        );
        let holds = self.carry <= 1000;
        check::that(
            found,
            holds,
            "per_component.carry",
            self.carry,
            "0 to 1000 steps",
        );
        let holds = (self.min_rows..=100_000).contains(&self.max_rows());
        let expected = format!("{} to 100000 steps of {}", self.min_rows, text(self.step));
        check::that(
            found,
            holds,
            "per_component.window",
            text(self.window),
            &expected,
        );
        let holds = self.retrain >= self.step;
        check::that(
            found,
            holds,
            "per_component.retrain",
            text(self.retrain),
            "at least one step",
        );
        let holds = (32..=100_000).contains(&self.min_rows);
        check::that(
            found,
            holds,
            "per_component.min_rows",
            self.min_rows,
            "32 to 100000 rows",
        );
        let holds = (1..=10_000).contains(&self.pieces_per_row);
        check::that(
            found,
            holds,
            "per_component.pieces_per_row",
            self.pieces_per_row,
            "1 to 10000",
        );
        let holds = (1..=1_000_000).contains(&self.pieces_per_call);
        check::that(
            found,
            holds,
            "per_component.pieces_per_call",
            self.pieces_per_call,
            "1 to 1000000",
        );
        let holds = (1..=100_000).contains(&self.max_components);
        check::that(
            found,
            holds,
            "per_component.max_components",
            self.max_components,
            "1 to 100000",
        );
    }
}

/// A detector made of a kernel over rows: one kernel for each component, which sees its series side by side.
///
/// *Rows:* the first selector that selects a series makes it that feature of the target its labels `service` and
/// `instance` name. Time is cut in steps; a row ends when a sample of a later step arrives, and holds the last value of
/// each feature, which stands in for `carry` steps and is then missing. A sample whose row is closed is
/// counted and left out; so is one more than `max_ahead` later than the clock. One that is ahead by less counts as one
/// of now, so that a source whose clock is ahead closes no row on the others. When the clock is set back behind what a
/// component has seen by more than `max_ahead`, that component forgets what is later, and is counted. NaN and infinities count as
/// not sent. Steps without any known value make no row.
/// *Learning:* from `min_rows` on, and then every `retrain`, the kernel learns the window in pieces, some
/// after each row, so that no call waits; until it is done the last model judges, and before the first nothing
/// alarms.
/// *Alarms:* as with [`PerSeries`](crate::PerSeries), over the scores of rows. The subject is the series that
/// contributed most.
/// *Bounded:* `8 · features · rows of the window` bytes for each of at most `max_components`, once more while
/// one learns. When all places are taken, the component that was silent longest gives way if it was
/// silent for `idle_after`.
/// *Stored:* window, model and alarm, which go on as if never stopped. What was being learned is learned again up to
/// where it was, when it is taken up; but of all components together no more than `pieces_per_call`, as in any call: where
/// that does not suffice, the learning begins anew with the next row, and the last model judges until it is done.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{PcaResidual, PcaResidualConfig, PerComponent, PerComponentConfig, Selector};
///
/// let kernel = PcaResidual::new(PcaResidualConfig::default())?;
/// let features = ["process_cpu_ratio", "process_memory_bytes", "http_request_seconds"];
/// let detector = PerComponent::new(
///     "metrics_together",
///     features.map(Selector::metric),
///     PerComponentConfig::default(),
///     move |_| kernel.clone(),
/// )?;
/// assert_eq!((detector.name(), detector.n_components()), ("metrics_together", 0));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
pub struct PerComponent<K> {
    name: String,
    features: Vec<Selector>,
    config: PerComponentConfig,
    make: Factory<K>,
    alerting: Alerting,
    severity_hint: Option<Severity>,
    components: HashMap<Target, Component<K>>,
    routes: HashMap<SeriesId, Route>,
    counts: ComponentCounts,
    /// How many pieces of learning the call may still do.
    pieces_left: u32,
}

/// What a [`PerComponent`] left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ComponentCounts {
    /// Samples of components for which there was no place.
    pub refused: u64,
    /// Samples of selected series that name no target.
    pub untargeted: u64,
    /// Samples whose row was closed.
    pub late: u64,
    /// Samples from the future.
    pub ahead: u64,
    /// Components that gave way to others.
    pub evicted: u64,
    /// Components that began anew because the clock was set back behind what they had seen by more than `max_ahead`.
    pub set_back: u64,
}

#[derive(Debug)]
struct Route {
    key: Arc<SeriesKey>,
    feature: Option<usize>,
    target: Option<Target>,
}

impl<K: RowDetector> PerComponent<K> {
    /// A detector called `name` that watches what `features` select, side by side, with the kernels `make` gives.
    ///
    /// # Errors
    /// If the name is empty or there is not at least one and at most 128 features; every field of `config`
    /// outside its range, below `per_component`.
    pub fn new(
        name: impl Into<String>,
        features: impl IntoIterator<Item = Selector>,
        config: PerComponentConfig,
        make: impl Fn(&Target) -> K + Send + 'static,
    ) -> Result<Self, ConfigError> {
        let (name, features) = (name.into(), features.into_iter().collect::<Vec<_>>());
        let mut found = Violations::new();
        check::named(&mut found, "per_component.name", &name);
        let holds = (1..=128).contains(&features.len());
        check::that(
            &mut found,
            holds,
            "per_component.features",
            features.len(),
            "1 to 128 features",
        );
        config.check(&mut found);
        found.into_result(Self {
            name,
            features,
            config,
            make: Box::new(make),
            alerting: Alerting::default(),
            severity_hint: None,
            components: HashMap::new(),
            routes: HashMap::new(),
            counts: ComponentCounts::default(),
            pieces_left: config.pieces_per_call,
        })
    }

    /// The same with this alerting; default [`AlertingConfig::default`](crate::AlertingConfig).
    pub fn with_alerting(mut self, alerting: Alerting) -> Self {
        self.alerting = alerting;
        self
    }

    /// The same with a hint how severe its anomalies are.
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity_hint = Some(severity);
        self
    }

    /// How many components are watched.
    pub fn n_components(&self) -> usize {
        self.components.len()
    }

    /// How many rows the window of a component holds; `None` if it is not watched.
    pub fn n_rows(&self, target: &Target) -> Option<usize> {
        Some(self.components.get(target)?.record.n_rows())
    }

    /// What was left out so far.
    pub fn counts(&self) -> ComponentCounts {
        self.counts
    }

    /// What may be learned in a call, and by whom; for those that do not learn yet it is whatever the others leave.
    fn share_pieces(&mut self) {
        self.pieces_left = self.config.pieces_per_call;
        let mut learning = Vec::new();
        for component in self.components.values_mut() {
            component.share = u32::MAX;
            if component.n_learned().is_some() {
                learning.push(component);
            }
        }
        learning.sort_by(|a, b| {
            let order = |it: &Component<K>| (it.n_learned(), it.record.target.clone());
            order(a).cmp(&order(b))
        });
        let n = u32::try_from(learning.len()).unwrap_or(u32::MAX).max(1);
        let (each, n_more) = (self.pieces_left / n, self.pieces_left % n);
        for (rank, component) in (0..).zip(learning) {
            component.share = each + u32::from(rank < n_more);
        }
    }

    fn take(&mut self, batch: &SignalBatch<'_>, sample: &Sample) -> Vec<Anomaly> {
        let found = self.alarms(batch, sample);
        let Some((target, alarms)) = found else {
            return Vec::new();
        };
        let anomalies = alarms
            .into_iter()
            .filter_map(|alarm| self.anomaly(&target, alarm));
        anomalies.collect()
    }

    fn alarms(&mut self, batch: &SignalBatch<'_>, sample: &Sample) -> Option<(Target, Vec<Alarm>)> {
        let key = batch.catalog.key(sample.series)?;
        let route = self.routes.get(&sample.series);
        if route.is_none_or(|route| !Arc::ptr_eq(&route.key, &key)) {
            let route = Route {
                feature: self
                    .features
                    .iter()
                    .position(|feature| feature.selects(&key)),
                target: key.target(),
                key: Arc::clone(&key),
            };
            self.routes.insert(sample.series, route);
        }
        let route = self.routes.get(&sample.series)?;
        let feature = route.feature?;
        let Some(target) = route.target.clone() else {
            self.counts.untargeted += 1;
            return None;
        };
        if !self.components.contains_key(&target) {
            if !self.make_room(sample.at) {
                self.counts.refused += 1;
                return None;
            }
            let component =
                Component::new(target.clone(), self.features.len(), (self.make)(&target));
            self.components.insert(target.clone(), component);
        }
        let component = self.components.get_mut(&target)?;
        let cell = component.record.cells.get_mut(feature)?;
        if cell.key.as_ref() != Some(&*key) {
            cell.key = Some((*key).clone());
        }
        component.pieces_left = self.pieces_left;
        let taken = component.take(
            &self.config,
            &self.alerting,
            (feature, sample.at, sample.value),
        );
        self.pieces_left = component.pieces_left;
        if taken.is_none() {
            self.counts.late += 1;
        }
        Some((target, taken?))
    }

    fn make_room(&mut self, at: Timestamp) -> bool {
        if self.components.len() < self.config.max_components {
            return true;
        }
        let seen = |(target, component): &(&Target, &Component<K>)| {
            (component.record.last_seen, (*target).clone())
        };
        let Some((last_seen, quietest)) = self.components.iter().map(|entry| seen(&entry)).min()
        else {
            return true;
        };
        let gives_way = at.since(last_seen) >= self.config.idle_after;
        if gives_way {
            self.components.remove(&quietest);
            self.counts.evicted += 1;
        }
        gives_way
    }

    fn anomaly(&self, target: &Target, alarm: Alarm) -> Option<Anomaly> {
        let cells = &self.components.get(target)?.record.cells;
        let key = |feature: &usize| cells.get(*feature)?.key.as_ref();
        let named = alarm.shares.iter().filter_map(|(feature, share)| {
            let value = alarm.row.get(*feature).filter(|value| value.is_finite())?;
            Some((key(feature)?, *value, *share))
        });
        let named: Vec<_> = named
            .take(N_NAMED)
            .filter(|(_, _, share)| *share >= 0.05)
            .collect();
        let most = alarm
            .shares
            .iter()
            .find_map(|(feature, _)| key(feature).map(|key| (*feature, key)));
        let (feature, most) = match most {
            Some(most) => most,
            None => cells
                .iter()
                .enumerate()
                .find_map(|(at, cell)| Some((at, cell.key.as_ref()?)))?,
        };
        let subject = Subject::Series(most.clone());
        let weights = alarm.shares.iter();
        let weights =
            weights.filter_map(|(feature, share)| Some((key(feature)?.to_string(), *share)));
        let mut anomaly =
            Anomaly::new(&self.name, target.clone(), subject, alarm.at).due_to(weights);
        let parts = named.iter().map(|(key, value, share)| {
            format!(
                "{} = {} ({:.0} %)",
                key.metric,
                prose::number(*value),
                100.0 * share
            )
        });
        let parts: Vec<_> = parts.collect();
        let parts = if parts.is_empty() {
            "no single one".to_owned()
        } else {
            parts.join(", ")
        };
        let n_features = cells.iter().filter(|cell| cell.key.is_some()).count();
        anomaly.explanation = format!(
            "{n_features} metrics of {target} do not go together as they used to, most of all {parts}, since {}",
            alarm.since
        );
        anomaly.explanation = anomaly.explanation.chars().take(4096).collect();
        anomaly.since = alarm.since;
        anomaly.score = alarm.score.score;
        anomaly.surprise = alarm.score.surprise.clamp(0.0, f64::MAX);
        anomaly.direction = Direction::Other;
        anomaly.observed = alarm
            .row
            .get(feature)
            .copied()
            .filter(|value| value.is_finite());
        anomaly.expected =
            Expectation::Words("metrics that go together as in the rows learned".to_owned());
        anomaly.severity_hint = self.severity_hint;
        anomaly.series = alarm.series;
        Some(anomaly)
    }
}

/// Some components, and what their rows were made of: with other steps or features they would mean something else.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    #[serde(with = "crate::duration_text")]
    step: Duration,
    features: Vec<Selected>,
    components: Vec<Stored>,
}

/// What is stored.
impl<K: RowDetector> PerComponent<K> {
    fn selected(&self) -> Vec<Selected> {
        self.features.iter().map(Selector::selected).collect()
    }

    fn stored(&self, components: Vec<Stored>) -> Option<ModelSnapshot> {
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&Model {
                step: self.config.step,
                features: self.selected(),
                components,
            })?,
        })
    }

    /// The components in a snapshot, for which there must be room beside the `watched`, when so many pieces may still be
    /// learned.
    fn open(
        &self,
        snapshot: &ModelSnapshot,
        watched: &HashMap<Target, Component<K>>,
        pieces_left: &mut u32,
    ) -> Result<HashMap<Target, Component<K>>, DetectError> {
        let model: Model = state::open(&self.name, VERSION, snapshot)?;
        let step = |step| homeostasis_core::document::format_duration(step);
        state::require(
            model.step == self.config.step,
            &format!("a model of steps of {}", step(model.step)),
            &format!("steps of {}, as step says", step(self.config.step)),
        )?;
        let selected = self.selected();
        state::require(
            model.features == selected,
            &format!("a model of the features {:?}", model.features),
            &format!("{selected:?}"),
        )?;
        let stored = model.components;
        let n_components = watched.len() + stored.len();
        state::require(
            n_components <= self.config.max_components,
            &format!("{n_components} components in the snapshot"),
            &format!(
                "at most {}, as max_components says",
                self.config.max_components
            ),
        )?;
        let mut components = HashMap::new();
        for stored in stored {
            let target = stored.record.target.clone();
            state::require(
                !components.contains_key(&target) && !watched.contains_key(&target),
                &format!("{target} in the snapshot"),
                "each component once",
            )?;
            let kernel = (self.make)(&target);
            let component = Component::load(stored, self.features.len(), kernel, pieces_left)?;
            components.insert(target, component);
        }
        Ok(components)
    }
}

#[async_trait]
impl<K: RowDetector> Detector for PerComponent<K> {
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
        let latest = cx.now() + self.config.max_ahead;
        self.share_pieces();
        let mut found = Vec::new();
        for (target, component) in &mut self.components {
            if component.record.last_seen > latest {
                component.set_back(cx.now(), (self.make)(target));
                self.counts.set_back += 1;
            }
        }
        for sample in batch.samples {
            if sample.at > latest {
                self.counts.ahead += 1;
                continue;
            }
            let at = sample.at.min(cx.now());
            found.extend(self.take(&batch, &Sample { at, ..*sample }));
        }
        Ok(found)
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        let components = self.components.values();
        let mut components: Vec<Stored> = components.map(Component::save).collect::<Option<_>>()?;
        components.sort_by(|a, b| a.record.target.cmp(&b.record.target));
        self.stored(components)
    }

    /// Component by component, in the order of their names.
    fn snapshot_part(&self, from: Option<&Value>, max_bytes: usize) -> Option<ModelPart> {
        let part = parts::part(self.components.iter(), from, max_bytes, Component::save)?;
        Some(ModelPart {
            snapshot: self.stored(part.units)?,
            rest: part.rest,
        })
    }

    fn forget_alarms(&mut self) {
        for component in self.components.values_mut() {
            component.record.alert = AlertState::default();
        }
    }

    /// If anything does not fit, nothing changes.
    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let mut pieces_left = self.config.pieces_per_call;
        self.components = self.open(snapshot, &HashMap::new(), &mut pieces_left)?;
        Ok(())
    }

    /// If anything does not fit, or a component is watched already, nothing changes.
    fn restore_part(&mut self, part: &ModelSnapshot) -> Result<(), DetectError> {
        // What is left is for all parts together.
        let mut pieces_left = self.pieces_left;
        let components = self.open(part, &self.components, &mut pieces_left)?;
        self.pieces_left = pieces_left;
        self.components.extend(components);
        Ok(())
    }
}

impl<K> fmt::Debug for PerComponent<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerComponent")
            .field("name", &self.name)
            .field("features", &self.features)
            .field("config", &self.config)
            .field("alerting", &self.alerting)
            .field("n_components", &self.components.len())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
