//! Lifts a kernel into a detector that watches every matching series.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Anomaly, Severity, Subject};
use homeostasis_core::signal::{Interest, Sample, SeriesId, SeriesKey, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelSnapshot, SeriesDetector};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violations};
use serde::{Deserialize, Serialize};

use super::alerting::Alerting;
use super::selector::Selector;
use super::slot::{Slot, StoredSlot};
use crate::{check, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 2;

type Factory<K> = Box<dyn Fn(&SeriesKey) -> K + Send>;

/// A detector made of a kernel: one kernel for each selected series, with alerting over its scores.
///
/// *Whom it is about:* the labels `service` and `instance` name the target; a series without them belongs to the
/// default target, and is ignored and counted if there is none.
/// *Bounded:* at most `max_series` are watched. When all places are taken, the series that was silent longest
/// gives way if it was silent for `idle_after`; otherwise the new one is refused and counted, so that models in use
/// are not lost to a flood of names.
/// *Time:* a sample more than `max_ahead` later than the context's clock is ignored and counted, because it would make
/// all that follow late.
/// NaN and infinities are missing values: they neither begin nor end an alarm.
/// O(1) per sample beside the kernel.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{Alerting, AlertingConfig, Ewma, EwmaConfig, PerSeries, Selector};
///
/// let ewma = Ewma::new(EwmaConfig::default())?;
/// let detector = PerSeries::new("latency_ewma", Selector::metric("probe_latency_seconds"), move |_| ewma.clone())?
///     .with_alerting(Alerting::new(AlertingConfig { sustain_samples: 5, ..AlertingConfig::default() })?)
///     .with_max_series(1_000);
/// assert_eq!(detector.name(), "latency_ewma");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
pub struct PerSeries<K> {
    name: String,
    selector: Selector,
    make: Factory<K>,
    alerting: Alerting,
    max_series: usize,
    idle_after: Duration,
    max_ahead: Duration,
    default_target: Option<Target>,
    severity_hint: Option<Severity>,
    playbook_hint: Option<String>,
    slots: Vec<Slot<K>>,
    /// Where in `slots` a series stands.
    places: HashMap<Arc<SeriesKey>, usize>,
    /// What the handles of the catalog stand for, so that names are compared once.
    routes: HashMap<SeriesId, Route>,
    /// Before this time no series gives way.
    full_until: Timestamp,
    counts: SeriesCounts,
}

/// What a [`PerSeries`] left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SeriesCounts {
    /// Samples of series for which there was no place.
    pub refused: u64,
    /// Samples of selected series that name no target.
    pub untargeted: u64,
    /// Samples from the future.
    pub ahead: u64,
    /// Series that gave way to others.
    pub evicted: u64,
}

#[derive(Debug, Clone)]
struct Route {
    key: Arc<SeriesKey>,
    is_selected: bool,
    /// Where the series stood in `slots` when it was last looked up.
    place: usize,
}

impl<K: SeriesDetector> PerSeries<K> {
    /// A detector called `name` that watches what `selector` selects with the kernels `make` gives.
    ///
    /// # Errors
    /// If the name is empty.
    pub fn new(
        name: impl Into<String>,
        selector: Selector,
        make: impl Fn(&SeriesKey) -> K + Send + 'static,
    ) -> Result<Self, ConfigError> {
        let name = name.into();
        let mut found = Violations::new();
        check::named(&mut found, "per_series.name", &name);
        found.into_result(Self {
            name,
            selector,
            make: Box::new(make),
            alerting: Alerting::default(),
            max_series: 10_000,
            idle_after: Duration::from_secs(3600),
            max_ahead: Duration::from_secs(3600),
            default_target: None,
            severity_hint: None,
            playbook_hint: None,
            slots: Vec::new(),
            places: HashMap::new(),
            routes: HashMap::new(),
            full_until: Timestamp::from_nanos(i64::MIN),
            counts: SeriesCounts::default(),
        })
    }

    /// The same with this alerting; default [`AlertingConfig::default`](super::AlertingConfig).
    pub fn with_alerting(mut self, alerting: Alerting) -> Self {
        self.alerting = alerting;
        self
    }

    /// The same for at most this many series, at least 1; default 10 000.
    pub fn with_max_series(mut self, max_series: usize) -> Self {
        self.max_series = max_series.max(1);
        self
    }

    /// The same, where a series may give way after this much silence; default 1 hour.
    pub fn with_idle_after(mut self, idle_after: Duration) -> Self {
        self.idle_after = idle_after;
        self
    }

    /// The same, where samples may be this much ahead of the clock; default 1 hour.
    pub fn with_max_ahead(mut self, max_ahead: Duration) -> Self {
        self.max_ahead = max_ahead;
        self
    }

    /// The same, where a series that names no service belongs to `target`.
    pub fn with_default_target(mut self, target: Target) -> Self {
        self.default_target = Some(target);
        self
    }

    /// The same with a hint how severe its anomalies are.
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity_hint = Some(severity);
        self
    }

    /// The same with a hint which playbook asks for its anomalies.
    pub fn with_playbook(mut self, playbook: impl Into<String>) -> Self {
        self.playbook_hint = Some(playbook.into());
        self
    }

    /// How many series are watched.
    pub fn n_series(&self) -> usize {
        self.slots.len()
    }

    /// What was left out so far.
    pub fn counts(&self) -> SeriesCounts {
        self.counts
    }

    /// Where the series of `sample` stands in `slots`; it gets a place if it has none.
    fn place(&mut self, batch: &SignalBatch<'_>, sample: &Sample) -> Option<usize> {
        let key = batch.catalog.key(sample.series)?;
        match self.routes.get(&sample.series) {
            Some(route) if Arc::ptr_eq(&route.key, &key) => {
                if !route.is_selected {
                    return None;
                }
                let slot = self.slots.get(route.place);
                if slot.is_some_and(|slot| Arc::ptr_eq(&slot.key, &key)) {
                    return Some(route.place);
                }
            }
            _ => {
                let route = Route {
                    key: Arc::clone(&key),
                    is_selected: self.selector.selects(&key),
                    place: usize::MAX,
                };
                let is_selected = route.is_selected;
                self.routes.insert(sample.series, route);
                if !is_selected {
                    return None;
                }
            }
        }
        let place = match self.places.get(&key) {
            Some(place) => {
                // Restored, or named by another catalog so far.
                self.slots[*place].key = Arc::clone(&key);
                *place
            }
            None => self.admit(&key, sample.at)?,
        };
        self.routes.get_mut(&sample.series)?.place = place;
        Some(place)
    }

    /// Gives a new series a place, if there is one.
    fn admit(&mut self, key: &Arc<SeriesKey>, at: Timestamp) -> Option<usize> {
        let Some(target) = key.target().or_else(|| self.default_target.clone()) else {
            self.counts.untargeted += 1;
            return None;
        };
        if !self.make_room(at) {
            if self.counts.refused == 0 {
                tracing::warn!(
                    detector = self.name,
                    max_series = self.max_series,
                    "no place for another series; some are not watched"
                );
            }
            self.counts.refused += 1;
            return None;
        }
        let slot = Slot::new(Arc::clone(key), target, at, (self.make)(key));
        self.insert(slot);
        Some(self.slots.len() - 1)
    }

    fn insert(&mut self, slot: Slot<K>) {
        self.places.insert(Arc::clone(&slot.key), self.slots.len());
        self.slots.push(slot);
    }

    /// Makes a place if there is none.
    fn make_room(&mut self, at: Timestamp) -> bool {
        if self.slots.len() < self.max_series {
            return true;
        }
        if at < self.full_until {
            return false;
        }
        let quietest = self
            .slots
            .iter()
            .enumerate()
            .min_by(|(_, a), (_, b)| (a.last_seen, &a.key).cmp(&(b.last_seen, &b.key)));
        let Some((place, slot)) = quietest else {
            return true;
        };
        if at.since(slot.last_seen) < self.idle_after {
            // Nobody is silent long enough before this.
            self.full_until = slot.last_seen + self.idle_after;
            return false;
        }
        let gone = self.slots.swap_remove(place);
        self.places.remove(&gone.key);
        if let Some(moved) = self.slots.get(place) {
            self.places.insert(Arc::clone(&moved.key), place);
        }
        self.counts.evicted += 1;
        true
    }

    fn take(
        &mut self,
        batch: &SignalBatch<'_>,
        sample: &Sample,
        latest: Timestamp,
    ) -> Option<Anomaly> {
        if sample.at > latest {
            self.counts.ahead += 1;
            return None;
        }
        let place = self.place(batch, sample)?;
        let slot = self.slots.get_mut(place)?;
        let alarm = slot.take(&self.alerting, sample.at, sample.value)?;
        let subject = Subject::Series((*slot.key).clone());
        let mut anomaly = Anomaly::new(&self.name, slot.target.clone(), subject, sample.at);
        alarm.describe(&mut anomaly, sample.value);
        anomaly.severity_hint = self.severity_hint;
        anomaly.playbook_hint.clone_from(&self.playbook_hint);
        Some(anomaly)
    }
}

#[async_trait]
impl<K: SeriesDetector> Detector for PerSeries<K> {
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
        let latest = cx.now() + self.max_ahead;
        Ok(batch
            .samples
            .iter()
            .filter_map(|sample| self.take(&batch, sample, latest))
            .collect())
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        let mut series: Vec<StoredSlot> =
            self.slots.iter().map(Slot::save).collect::<Option<_>>()?;
        series.sort_by(|a, b| a.key.cmp(&b.key));
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&Stored { series })?,
        })
    }

    /// Series that are no longer selected are left out; if anything does not fit, nothing changes.
    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let stored: Stored = state::open(&self.name, VERSION, snapshot)?;
        let mut slots = Vec::new();
        for stored in stored.series {
            if !self.selector.selects(&stored.key) {
                continue;
            }
            let key = Arc::new(stored.key.clone());
            let Some(target) = key.target().or_else(|| self.default_target.clone()) else {
                continue;
            };
            let kernel = (self.make)(&key);
            let mut slot = Slot::new(Arc::clone(&key), target, Timestamp::EPOCH, kernel);
            slot.load(stored)?;
            slots.push(slot);
        }
        state::require(
            slots.len() <= self.max_series,
            &format!("{} series in the snapshot", slots.len()),
            &format!("at most {}, as max_series says", self.max_series),
        )?;
        self.slots.clear();
        self.places.clear();
        for slot in slots {
            self.insert(slot);
        }
        self.full_until = Timestamp::from_nanos(i64::MIN);
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    series: Vec<StoredSlot>,
}

impl<K> fmt::Debug for PerSeries<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerSeries")
            .field("name", &self.name)
            .field("selector", &self.selector)
            .field("alerting", &self.alerting)
            .field("max_series", &self.max_series)
            .field("idle_after", &format_duration(self.idle_after))
            .field("n_series", &self.slots.len())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlertingConfig, Ewma, EwmaConfig};
    use homeostasis_core::signal::SeriesCatalog;
    use homeostasis_core::{ManualClock, Rng};

    fn detector() -> PerSeries<Ewma> {
        let ewma = Ewma::new(EwmaConfig::default()).unwrap();
        PerSeries::new("cpu", Selector::metric("cpu"), move |_| ewma.clone()).unwrap()
    }

    fn key(service: impl fmt::Display) -> SeriesKey {
        SeriesKey::new("cpu").with("service", format!("{service}"))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn context(secs: i64) -> Context {
        Context::new(Arc::new(ManualClock::new(at(secs))), 1)
    }

    /// What `detector` finds in these samples, given all at once.
    async fn detect(
        detector: &mut PerSeries<Ewma>,
        catalog: &SeriesCatalog,
        samples: &[(SeriesKey, i64, f64)],
    ) -> Vec<Anomaly> {
        let samples: Vec<Sample> = samples
            .iter()
            .map(|(key, secs, value)| Sample {
                series: catalog.intern(key),
                at: at(*secs),
                value: *value,
            })
            .collect();
        let cx =
            context(samples.iter().map(|s| s.at.as_nanos()).max().unwrap_or(0) / 1_000_000_000);
        let batch = SignalBatch::empty(catalog).with_samples(&samples);
        detector.detect(&cx, batch).await.unwrap()
    }

    fn noise(key: &SeriesKey, n: i64) -> Vec<(SeriesKey, i64, f64)> {
        let mut rng = Rng::from_seed(3);
        (0..n)
            .map(|secs| (key.clone(), secs, 0.2 + 0.02 * rng.unit()))
            .collect()
    }

    #[tokio::test]
    async fn an_anomaly_says_what_was_expected_what_was_seen_and_since_when() {
        let (mut watch, catalog) = (detector(), SeriesCatalog::default());
        let a = key("a");
        let mut samples = noise(&a, 100);
        samples.extend((100..105).map(|secs| (a.clone(), secs, 0.97)));
        let found = detect(&mut watch, &catalog, &samples).await;
        assert_eq!(found.len(), 1);
        let anomaly = &found[0];
        assert_eq!(anomaly.violation(), None);
        assert_eq!((anomaly.since, anomaly.at), (at(100), at(101)));
        assert_eq!(anomaly.observed, Some(0.97));
        assert!((40..=Anomaly::MAX_POINTS).contains(&anomaly.series.len()));
        assert_eq!(anomaly.series.last(), Some(&(at(101), 0.97)));
        assert_eq!(anomaly.top_feature(), "cpu{service=\"a\"}");
        let text = &anomaly.explanation;
        assert!(
            text.starts_with("cpu{service=\"a\"} is 0.97, expected 0."),
            "{text}"
        );
        assert!(text.ends_with("since 1970-01-01T00:01:40Z"), "{text}");
    }

    #[tokio::test]
    async fn series_are_judged_apart_and_others_are_not_watched() {
        let (mut watch, catalog) = (detector(), SeriesCatalog::default());
        let mut samples = noise(&key("a"), 100);
        samples.extend(noise(&key("b"), 100));
        samples.extend((100..105).map(|secs| (key("b"), secs, 5.0)));
        samples.push((SeriesKey::new("memory").with("service", "a"), 105, 5.0));
        samples.push((SeriesKey::new("cpu"), 105, 5.0));
        let found = detect(&mut watch, &catalog, &samples).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].target.to_string(), "b");
        assert_eq!(watch.n_series(), 2);
        assert_eq!(watch.counts().untargeted, 1);
    }

    #[tokio::test]
    async fn a_flood_of_names_is_refused_and_silent_series_give_way() {
        let catalog = SeriesCatalog::default();
        let mut watch = detector().with_max_series(3);
        let flood: Vec<_> = (0..50).map(|i| (key(i), 10, 1.0)).collect();
        detect(&mut watch, &catalog, &flood).await;
        assert_eq!((watch.n_series(), watch.counts().refused), (3, 47));
        detect(&mut watch, &catalog, &[(key(0), 3700, 1.0)]).await;
        detect(&mut watch, &catalog, &[(key("new"), 3800, 1.0)]).await;
        assert_eq!((watch.n_series(), watch.counts().evicted), (3, 1));
        assert!(watch.places.contains_key(&key("new")) && watch.places.contains_key(&key(0)));
        for (key, place) in &watch.places {
            assert_eq!(watch.slots[*place].key, *key);
        }
    }

    #[tokio::test]
    async fn a_sample_from_the_far_future_does_not_blind_the_detector() {
        let (mut watch, catalog) = (detector(), SeriesCatalog::default());
        let a = key("a");
        detect(&mut watch, &catalog, &noise(&a, 100)).await;
        let future = [Sample {
            series: catalog.intern(&a),
            at: Timestamp::MAX,
            value: 0.2,
        }];
        let batch = SignalBatch::empty(&catalog).with_samples(&future);
        watch.detect(&context(100), batch).await.unwrap();
        assert_eq!(watch.counts().ahead, 1);
        let spike: Vec<_> = (100..103).map(|secs| (a.clone(), secs, 5.0)).collect();
        assert_eq!(detect(&mut watch, &catalog, &spike).await.len(), 1);
    }

    #[tokio::test]
    async fn another_catalog_with_other_handles_changes_nothing() {
        let mut watch = detector();
        let (first, second) = (SeriesCatalog::default(), SeriesCatalog::default());
        let (a, b) = (key("a"), key("b"));
        detect(&mut watch, &first, &noise(&a, 100)).await;
        second.intern(&b);
        let spike: Vec<_> = (100..103).map(|secs| (a.clone(), secs, 5.0)).collect();
        assert_eq!(detect(&mut watch, &second, &spike).await.len(), 1);
        assert_eq!(watch.n_series(), 1);
    }

    #[tokio::test]
    async fn missing_values_neither_begin_nor_end_an_alarm() {
        let catalog = SeriesCatalog::default();
        let mut watch = detector().with_alerting(
            Alerting::new(AlertingConfig {
                clear_samples: 1,
                refractory: Duration::ZERO,
                ..AlertingConfig::default()
            })
            .unwrap(),
        );
        let a = key("a");
        let mut samples = noise(&a, 100);
        for secs in 100..110 {
            let value = if secs % 2 == 0 { 1e6 } else { f64::NAN };
            samples.push((a.clone(), secs, value));
        }
        assert_eq!(detect(&mut watch, &catalog, &samples).await.len(), 1);
    }

    #[test]
    fn a_snapshot_of_another_detector_or_shape_is_refused() {
        let mut watch = detector();
        let snapshot = watch.snapshot().unwrap();
        let other = ModelSnapshot {
            detector: "memory".to_owned(),
            ..snapshot.clone()
        };
        let older = ModelSnapshot {
            version: 1,
            ..snapshot
        };
        assert!(watch.restore(&other).is_err());
        let error = watch.restore(&older).unwrap_err();
        assert_eq!(
            error.to_string(),
            "version 1 of the snapshot: expected version 2"
        );
    }

    #[test]
    fn a_detector_has_a_name() {
        let error = PerSeries::new(" ", Selector::all(), |_| {
            Ewma::new(EwmaConfig::default()).unwrap()
        })
        .unwrap_err();
        assert!(error.to_string().starts_with("per_series.name = \" \""));
    }
}
