//! The newest value of every series a condition reads, by target.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::condition::{Quantity, Scope, Variable};
use homeostasis_core::signal::{Labels, SeriesKey};
use homeostasis_core::{Target, Timestamp};
use serde::{Deserialize, Serialize};

use crate::recent::Recent;

/// The newest values, bounded in number.
#[derive(Debug, Clone, Default)]
pub(super) struct Latest {
    entries: Vec<Entry>,
    places: HashMap<Arc<SeriesKey>, usize>,
    by_target: BTreeMap<Target, Vec<usize>>,
    by_metric: HashMap<String, Vec<usize>>,
    /// Before this time no series gives way.
    full_until: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Arc<SeriesKey>,
    target: Option<Target>,
    /// The labels beside those that name the target.
    rest: Labels,
    pub(super) at: Timestamp,
    /// `None` if there was no value.
    pub(super) value: Option<f64>,
    pub(super) recent: Recent,
}

/// An entry as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredEntry {
    pub(super) key: SeriesKey,
    at: Timestamp,
    value: Option<f64>,
    recent: Recent,
}

/// Labels that tell parts of a target apart, without those that name it.
fn rest(labels: &Labels) -> Labels {
    let mut rest = labels.clone();
    rest.remove("service");
    rest.remove("instance");
    rest
}

impl Latest {
    /// Takes a value unless it is late; says whether there was a place for the series.
    pub(super) fn take(
        &mut self,
        (key, target): (&Arc<SeriesKey>, Option<Target>),
        (at, value): (Timestamp, f64),
        (max_series, idle_after): (usize, Duration),
    ) -> bool {
        let place = match self.places.get(key).copied() {
            Some(place) => place,
            None if self.make_room(at, max_series, idle_after) => self.insert(Entry {
                key: Arc::clone(key),
                target,
                rest: rest(&key.labels),
                at,
                value: None,
                recent: Recent::default(),
            }),
            None => return false,
        };
        let entry = &mut self.entries[place];
        let is_first = entry.value.is_none() && entry.at == at;
        if at > entry.at || is_first {
            entry.at = at;
            entry.value = Some(value).filter(|value| value.is_finite());
            if let Some(value) = entry.value {
                entry.recent.push(at, value);
            }
        }
        true
    }

    fn insert(&mut self, entry: Entry) -> usize {
        let place = self.entries.len();
        self.places.insert(Arc::clone(&entry.key), place);
        if let Some(target) = &entry.target {
            let places = self.by_target.entry(target.clone()).or_default();
            places.push(place);
        }
        let metric = entry.key.metric.clone();
        self.by_metric.entry(metric).or_default().push(place);
        self.entries.push(entry);
        place
    }

    /// Drops what was silent for `idle_after` when all places are taken.
    fn make_room(&mut self, at: Timestamp, max_series: usize, idle_after: Duration) -> bool {
        if self.entries.len() < max_series {
            return true;
        }
        if self.full_until.is_some_and(|until| at < until) {
            return false;
        }
        let old = std::mem::take(self);
        for entry in old.entries {
            if at.since(entry.at) < idle_after {
                self.insert(entry);
            }
        }
        let oldest = self.entries.iter().map(|entry| entry.at).min();
        self.full_until = oldest.map(|oldest| oldest + idle_after);
        self.entries.len() < max_series
    }

    /// Whether the target still has a series.
    pub(super) fn knows(&self, target: &Target) -> bool {
        self.by_target.contains_key(target)
    }

    fn of_target<'a>(&'a self, target: &Target) -> impl Iterator<Item = &'a Entry> {
        self.by_target
            .get(target)
            .into_iter()
            .flatten()
            .map(|place| &self.entries[*place])
    }

    /// The series that `variable` means for `target`.
    ///
    /// A variable that names a service means that one; another one means the target's own series, and those of its
    /// service as a whole where an instance has none.
    pub(super) fn series(&self, variable: &Variable, target: &Target) -> Vec<&Entry> {
        let matches = |entry: &&Entry| entry.key.matches(variable.name(), variable.labels());
        if variable.label("service").is_some() {
            return self
                .by_metric
                .get(variable.name())
                .into_iter()
                .flatten()
                .map(|place| &self.entries[*place])
                .filter(matches)
                .collect();
        }
        let own: Vec<&Entry> = self.of_target(target).filter(matches).collect();
        if own.is_empty() && target.instance_name().is_some() {
            return self
                .of_target(&target.to_service())
                .filter(matches)
                .collect();
        }
        own
    }

    /// What tells the parts of `target` apart in the series of `variables`: one set of labels for each
    /// part; one empty set if there are no parts.
    pub(super) fn parts(&self, variables: &[Variable], target: &Target) -> BTreeSet<Labels> {
        let mut parts: BTreeSet<Labels> = variables
            .iter()
            .flat_map(|variable| self.series(variable, target))
            .map(|entry| entry.rest.clone())
            .collect();
        if parts.is_empty() {
            parts.insert(Labels::new());
        }
        parts
    }

    pub(super) fn save(&self) -> Vec<StoredEntry> {
        let mut stored: Vec<StoredEntry> = self
            .entries
            .iter()
            .map(|entry| StoredEntry {
                key: (*entry.key).clone(),
                at: entry.at,
                value: entry.value,
                recent: entry.recent.clone(),
            })
            .collect();
        stored.sort_by(|a, b| a.key.cmp(&b.key));
        stored
    }

    pub(super) fn load(&mut self, stored: StoredEntry, target: Option<Target>) {
        self.insert(Entry {
            rest: rest(&stored.key.labels),
            key: Arc::new(stored.key),
            target,
            at: stored.at,
            value: stored.value,
            recent: stored.recent,
        });
    }
}

/// The values of one part of one target at one time.
#[derive(Debug)]
pub(super) struct PartScope<'a> {
    pub(super) latest: &'a Latest,
    pub(super) target: &'a Target,
    pub(super) part: &'a Labels,
    /// Values older than this are not known any more.
    pub(super) since: Timestamp,
}

impl PartScope<'_> {
    /// The series of `variable` in this part, or of the target as a whole if the part has none, with the highest value.
    pub(super) fn entry(&self, variable: &Variable) -> Option<&Entry> {
        let mut pool = self.latest.series(variable, self.target);
        if pool.iter().any(|entry| entry.rest == *self.part) {
            pool.retain(|entry| entry.rest == *self.part);
        }
        pool.into_iter()
            .filter(|entry| entry.at >= self.since && entry.value.is_some())
            .max_by(|a, b| f64::total_cmp(&a.value.unwrap_or(0.0), &b.value.unwrap_or(0.0)))
    }
}

impl Scope for PartScope<'_> {
    fn lookup(&self, variable: &Variable) -> Option<Quantity> {
        self.entry(variable)?.value.map(Quantity::number)
    }
}
