//! Lifts a kernel into a detector that watches every matching series.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Anomaly, Severity, Subject};
use homeostasis_core::signal::{Interest, Sample, SeriesKey, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelPart, ModelSnapshot, SeriesDetector};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alerting::Alerting;
use super::selector::Selector;
use super::shards::{Route, Shards};
use super::slot::{Alarm, Slot, StoredSlot};
use crate::{check, hash, parts, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 2;
/// Samples are noted for their series in parts of this many.
const CHUNK: usize = 1 << 16;
/// Before all times.
const NEVER: Timestamp = Timestamp::from_nanos(i64::MIN);

type Factory<K> = Box<dyn Fn(&SeriesKey) -> K + Send>;

/// A detector made of a kernel: one kernel for each selected series, with alerting over its scores.
///
/// *Whom it is about:* the labels `service` and `instance` name the target; a series without them belongs to the
/// default target, and is ignored and counted if there is none.
/// *Bounded:* at most `max_series` are watched. When all places are taken, the series that was silent longest
/// gives way if it was silent for `idle_after`; otherwise the new one is refused and counted, so that models in use
/// are not lost to a flood of names.
/// *Time:* a sample more than `max_ahead` later than the context's clock is ignored and counted, because it would make
/// all that follow late. A clock that is set back by more than that would make all samples late for as long: the series
/// that have seen its future begin anew, and are counted.
/// NaN and infinities are missing values: they neither begin nor end an alarm.
/// *Spread:* kernels that fit now and then are told to do it at other times than those of other series
/// ([`SeriesDetector::stagger`]).
/// *Fast:* O(1) per sample beside the kernel, and side by side on several cores [`with_shards`](Self::with_shards).
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
    shards: Shards<K>,
    /// Before this time no series gives way.
    full_until: Timestamp,
    /// No sample that was taken is later.
    newest: Timestamp,
    counts: SeriesCounts,
    /// What was found in the batch so far.
    found: Vec<Anomaly>,
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
    /// Series that began anew because the clock was set back behind their last sample by more than `max_ahead`.
    pub set_back: u64,
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
            make: Box::new(move |key| {
                let mut kernel = make(key);
                kernel.stagger(hash::share(&key.to_string()));
                kernel
            }),
            alerting: Alerting::default(),
            max_series: 10_000,
            idle_after: Duration::from_secs(3600),
            max_ahead: Duration::from_secs(3600),
            default_target: None,
            severity_hint: None,
            playbook_hint: None,
            shards: Shards::new(1),
            full_until: NEVER,
            newest: NEVER,
            counts: SeriesCounts::default(),
            found: Vec::new(),
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

    /// The same with its series spread over so many shards by the hash of their names, 1 to 64; default 1.
    ///
    /// A batch of some thousand samples is then judged on as many threads as there are shards, which end before the call
    /// does; no lock is taken.
    /// What is found, its order and the snapshot are the same for every number of shards.
    /// More shards than cores cost and bring nothing.
    pub fn with_shards(mut self, n_shards: usize) -> Self {
        let before = std::mem::replace(&mut self.shards, Shards::new(n_shards.clamp(1, 64)));
        for slot in before.into_slots() {
            self.shards.insert(slot);
        }
        self
    }

    /// How many series are watched.
    pub fn n_series(&self) -> usize {
        self.shards.len()
    }

    /// About how many bytes are held for the series that are watched: their models, names, pictures and look-ups.
    ///
    /// With [`Ewma`](crate::Ewma) a series costs about 1.5 KB (measured: 1397 bytes), of which 1 KB is the picture; each kernel says what it
    /// holds beside that ([`SeriesDetector::heap_bytes`]). O(n) for n series.
    pub fn state_bytes(&self) -> usize {
        self.shards.state_bytes()
    }

    /// What was left out so far.
    pub fn counts(&self) -> SeriesCounts {
        self.counts
    }

    /// Finds the place of the sample at `idx` and notes it there.
    fn note(&mut self, batch: &SignalBatch<'_>, samples: &[Sample], idx: u32) {
        let Some(sample) = samples.get(idx as usize) else {
            return;
        };
        let place = match self.shards.route(sample.series) {
            Route::Place(place) => Some(place),
            Route::Ignored => None,
            Route::Untargeted => {
                self.counts.untargeted += 1;
                None
            }
            Route::Unknown => self.look_up(batch, samples, sample),
        };
        if let Some(place) = place {
            self.shards.note(place, idx);
        }
    }

    /// The place of a series whose handle is not known yet; it gets one if there is one.
    fn look_up(
        &mut self,
        batch: &SignalBatch<'_>,
        samples: &[Sample],
        sample: &Sample,
    ) -> Option<u32> {
        let (id, key) = (sample.series, batch.catalog.key(sample.series)?);
        if !self.selector.selects(&key) {
            self.shards.dismiss(id, false);
            return None;
        }
        if let Some(place) = self.shards.find(id, &key) {
            return Some(place);
        }
        let Some(target) = self.target_of(&key) else {
            self.counts.untargeted += 1;
            self.shards.dismiss(id, true);
            return None;
        };
        if !self.make_room(samples, sample.at) {
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
        let kernel = (self.make)(&key);
        let mut slot = Slot::new(key, target, sample.at, kernel);
        slot.handle = Some(id);
        self.shards.insert(slot)
    }

    fn target_of(&self, key: &SeriesKey) -> Option<Target> {
        key.target().or_else(|| self.default_target.clone())
    }

    /// Makes a place if there is none.
    fn make_room(&mut self, samples: &[Sample], at: Timestamp) -> bool {
        if self.shards.len() < self.max_series {
            return true;
        }
        if at < self.full_until {
            return false;
        }
        // Who is silent is known when the samples before this one are taken; and places change then.
        self.shards.run(&self.alerting, samples);
        let Some((place, last_seen)) = self.shards.quietest() else {
            return true;
        };
        if at.since(last_seen) < self.idle_after {
            // Nobody is silent long enough before this.
            self.full_until = last_seen + self.idle_after;
            return false;
        }
        let found = self.describe_alarms(samples);
        self.found.extend(found);
        self.shards.remove(place);
        self.counts.evicted += 1;
        true
    }

    /// The clock was ahead: what has seen samples later than `latest` would be deaf until then.
    fn set_back(&mut self, now: Timestamp, latest: Timestamp) {
        let mut n_series = 0;
        for slot in self.shards.ahead(latest) {
            slot.begin_anew(now, (self.make)(&slot.key));
            n_series += 1;
        }
        self.counts.set_back += n_series;
        self.newest = latest;
        self.full_until = NEVER;
        if n_series > 0 {
            tracing::warn!(
                detector = self.name,
                n_series,
                "the clock was set back; series that were ahead of it begin anew"
            );
        }
    }

    /// The anomalies of what was run, in the order of their samples.
    fn describe_alarms(&mut self, samples: &[Sample]) -> Vec<Anomaly> {
        let alarms = self.shards.take_alarms();
        let describe = |(idx, place, alarm): (u32, u32, Alarm)| {
            let sample = samples.get(idx as usize)?;
            let slot = self.shards.slot(place)?;
            let subject = Subject::Series((*slot.key).clone());
            let anomaly = Anomaly::new(&self.name, slot.target.clone(), subject, sample.at);
            let mut anomaly = alarm.describe(anomaly, sample.value);
            anomaly.severity_hint = self.severity_hint;
            anomaly.playbook_hint.clone_from(&self.playbook_hint);
            Some(anomaly)
        };
        alarms.into_iter().filter_map(describe).collect()
    }
}

/// What is stored.
impl<K: SeriesDetector> PerSeries<K> {
    fn stored(&self, series: Vec<StoredSlot>) -> Option<ModelSnapshot> {
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&Stored { series })?,
        })
    }

    /// The series in a snapshot that are selected, for which there must be room beside `n_watched`.
    fn open(
        &self,
        snapshot: &ModelSnapshot,
        n_watched: usize,
    ) -> Result<Vec<Slot<K>>, DetectError> {
        let stored: Stored = state::open(&self.name, VERSION, snapshot)?;
        let mut slots = Vec::new();
        let mut keys = HashSet::new();
        for stored in stored.series {
            state::require(
                keys.insert(stored.key.clone()),
                &format!("{} in the snapshot", stored.key),
                "each series once",
            )?;
            if !self.selector.selects(&stored.key) {
                continue;
            }
            let key = Arc::new(stored.key.clone());
            let Some(target) = self.target_of(&key) else {
                continue;
            };
            let kernel = (self.make)(&key);
            let mut slot = Slot::new(Arc::clone(&key), target, Timestamp::EPOCH, kernel);
            slot.load(stored)?;
            slots.push(slot);
        }
        state::require(
            n_watched + slots.len() <= self.max_series,
            &format!("{} series in the snapshot", n_watched + slots.len()),
            &format!("at most {}, as max_series says", self.max_series),
        )?;
        Ok(slots)
    }

    fn take_up(&mut self, slots: Vec<Slot<K>>) {
        for slot in slots {
            self.newest = self.newest.max(slot.last_seen);
            self.shards.insert(slot);
        }
        self.full_until = NEVER;
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
        if self.newest > latest {
            self.set_back(cx.now(), latest);
        }
        self.found.clear();
        self.shards.begin(batch.catalog);
        // In parts, so that what is noted is bounded too.
        for samples in batch.samples.chunks(CHUNK) {
            for (idx, sample) in (0..).zip(samples) {
                if sample.at > latest {
                    self.counts.ahead += 1;
                } else {
                    self.newest = self.newest.max(sample.at);
                    self.note(&batch, samples, idx);
                }
            }
            self.shards.run(&self.alerting, samples);
            let found = self.describe_alarms(samples);
            self.found.extend(found);
        }
        Ok(std::mem::take(&mut self.found))
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        let mut series: Vec<StoredSlot> =
            self.shards.iter().map(Slot::save).collect::<Option<_>>()?;
        series.sort_by(|a, b| a.key.cmp(&b.key));
        self.stored(series)
    }

    /// Series by series, in the order of their names.
    fn snapshot_part(&self, from: Option<&Value>, max_bytes: usize) -> Option<ModelPart> {
        let slots = self.shards.iter().map(|slot| (&*slot.key, slot));
        let part = parts::part(slots, from, max_bytes, Slot::save)?;
        Some(ModelPart {
            snapshot: self.stored(part.units)?,
            rest: part.rest,
        })
    }

    fn forget_alarms(&mut self) {
        for slot in self.shards.iter_mut() {
            slot.forget_alarm();
        }
    }

    /// Series that are no longer selected are left out; if anything does not fit, nothing changes.
    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let slots = self.open(snapshot, 0)?;
        self.shards = Shards::new(self.shards.n_shards());
        self.newest = NEVER;
        self.take_up(slots);
        Ok(())
    }

    /// If anything does not fit, or a series is watched already, nothing changes.
    fn restore_part(&mut self, part: &ModelSnapshot) -> Result<(), DetectError> {
        let slots = self.open(part, self.shards.len())?;
        for slot in &slots {
            state::require(
                !self.shards.has(&slot.key),
                &format!("{} in a part of the snapshot", slot.key),
                "each series in one part",
            )?;
        }
        self.take_up(slots);
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
            .field("n_shards", &self.shards.n_shards())
            .field("n_series", &self.shards.len())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
