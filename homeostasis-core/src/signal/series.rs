//! Time series: interned names, and the three-word sample.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};

use crate::port::Redactor;
use crate::target::Target;
use crate::time::Timestamp;

/// What stands for the values of a label past its limit.
const OTHER: &str = "other";

/// The label of a metric's overflow series, and the name of the last one, which all metrics share.
const OVERFLOW: &str = "overflow";

/// Labels of a series, sorted by name.
pub type Labels = BTreeMap<String, String>;

/// The name of a series: a metric and its labels.
///
/// The labels `service` and `instance` say whom it is about.
///
/// ```
/// use homeostasis::core::signal::SeriesKey;
/// let key = SeriesKey::new("error_ratio").with("service", "gateway");
/// assert_eq!(key.to_string(), r#"error_ratio{service="gateway"}"#);
/// assert_eq!(key.target().unwrap().to_string(), "gateway");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesKey {
    /// What is measured, with its unit as suffix: `resident_memory_bytes`.
    pub metric: String,
    /// Of whom, and which part of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
}

impl SeriesKey {
    /// A series without labels.
    pub fn new(metric: impl Into<String>) -> Self {
        Self {
            metric: metric.into(),
            labels: Labels::new(),
        }
    }

    /// The same with one label more.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Whom it is about, from the labels `service` and `instance`; `None` without a valid service.
    pub fn target(&self) -> Option<Target> {
        let service = self.labels.get("service")?;
        match self.labels.get("instance") {
            None => Target::service(service).ok(),
            Some(instance) => Target::instance(service, instance).ok(),
        }
    }

    /// Whether the metric is `metric` and every label of `labels` is here with the same value.
    pub fn matches(&self, metric: &str, labels: &Labels) -> bool {
        self.metric == metric
            && labels
                .iter()
                .all(|(name, value)| self.labels.get(name) == Some(value))
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        for (i, (name, value)) in self.labels.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if i == 0 { '{' } else { ',' })?;
        }
        if self.labels.is_empty() {
            Ok(())
        } else {
            f.write_str("}")
        }
    }
}

/// The handle of an interned [`SeriesKey`]; valid for the catalog that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesId(u32);

impl SeriesId {
    /// The position in the catalog.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Of which series.
    pub series: SeriesId,
    /// When.
    pub at: Timestamp,
    /// How much; NaN says "measured, no value".
    pub value: f64,
}

/// How many series a [`SeriesCatalog`] tells apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeriesLimits {
    /// Of all metrics together; default 100 000, at least 1 (0 counts as 1).
    pub total: usize,
    /// Of one metric; default 2 000, at least 1 (0 counts as 1).
    pub per_metric: usize,
    /// How many values of a label are told apart within one metric, by the label's name; default
    /// none. Every further value becomes `"other"`; with 0 all do.
    pub label_values: BTreeMap<String, usize>,
}

impl Default for SeriesLimits {
    fn default() -> Self {
        Self {
            total: 100_000,
            per_metric: 2_000,
            label_values: BTreeMap::new(),
        }
    }
}

/// Interns series names, bounded: past a limit everything of a metric falls into one overflow
/// series, so that a label explosion costs memory once.
///
/// Look-up takes a read lock and happens when a handle is made, not when a sample is recorded. It
/// costs O(labels), for a name that is refused too.
///
/// With a redactor no name that holds a secret is kept: it is interned under its redacted form.
#[derive(Debug, Clone)]
pub struct SeriesCatalog {
    shared: Arc<RwLock<CatalogState>>,
    limits: Arc<SeriesLimits>,
    redactor: Option<Arc<dyn Redactor>>,
}

#[derive(Debug, Default)]
struct CatalogState {
    keys: Vec<Arc<SeriesKey>>,
    ids: HashMap<Arc<SeriesKey>, SeriesId>,
    /// Of every metric that has a series: no more than there are keys.
    metrics: HashMap<String, MetricState>,
    overflowed: AtomicU64,
}

/// What one metric holds.
#[derive(Debug, Default)]
struct MetricState {
    n_series: usize,
    /// Where its refused names go, once there were some.
    overflow: Option<SeriesId>,
    overflowed: AtomicU64,
    /// Values seen of the labels that have a limit.
    values: BTreeMap<String, HashSet<String>>,
}

impl SeriesCatalog {
    /// A catalog for at most `limit` series (at least 1) of any metric, and one overflow series per
    /// metric.
    pub fn new(limit: usize) -> Self {
        Self::with_limits(SeriesLimits {
            total: limit,
            per_metric: limit,
            ..SeriesLimits::default()
        })
    }

    /// A catalog with these limits.
    ///
    /// ```
    /// use homeostasis::core::signal::{SeriesCatalog, SeriesKey, SeriesLimits};
    /// let limits = SeriesLimits { per_metric: 2, ..SeriesLimits::default() };
    /// let catalog = SeriesCatalog::with_limits(limits);
    /// for user in ["ann", "bob", "cid", "dot"] {
    ///     catalog.intern(&SeriesKey::new("logins").with("user", user));
    /// }
    /// assert_eq!(catalog.overflowed_of("logins"), 2);
    /// assert_eq!(catalog.overflowed_of("logouts"), 0);
    /// ```
    pub fn with_limits(limits: SeriesLimits) -> Self {
        Self {
            shared: Arc::default(),
            limits: Arc::new(SeriesLimits {
                total: limits.total.max(1),
                per_metric: limits.per_metric.max(1),
                ..limits
            }),
            redactor: None,
        }
    }

    /// The same with secrets taken out of the names that are interned from now on.
    ///
    /// A known name costs nothing more; the redactor is asked when one is not known.
    pub fn redacted_by(mut self, redactor: Arc<dyn Redactor>) -> Self {
        self.redactor = Some(redactor);
        self
    }

    /// The limits.
    pub fn limits(&self) -> &SeriesLimits {
        &self.limits
    }

    /// The handle of `key`; interns it on first sight.
    ///
    /// Label values past their limit are `"other"`. Past the limit of its metric or of all, the
    /// handle of the metric's overflow series (label `overflow="true"`) is given; past the limit of
    /// metrics too, that of the series `overflow`.
    pub fn intern(&self, key: &SeriesKey) -> SeriesId {
        if let Some(id) = self.state().ids.get(key) {
            return *id;
        }
        // Only then: the name without its secret may be known, and have its own series.
        let key = &*self.redacted(key);
        if let Some(id) = self.state().find(&self.limits, key) {
            return id;
        }
        let mut state = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        match state.find(&self.limits, key) {
            Some(id) => id,
            None => state.place(&self.limits, key),
        }
    }

    /// The handle of `key` if it is interned.
    pub fn lookup(&self, key: &SeriesKey) -> Option<SeriesId> {
        let known = self.state().ids.get(key).copied();
        known.or_else(|| match self.redacted(key) {
            Cow::Owned(redacted) => self.state().ids.get(&redacted).copied(),
            Cow::Borrowed(_) => None,
        })
    }

    fn redacted<'a>(&self, key: &'a SeriesKey) -> Cow<'a, SeriesKey> {
        match &self.redactor {
            Some(redactor) => key.redacted(&**redactor),
            None => Cow::Borrowed(key),
        }
    }

    /// The name behind a handle; `None` for a handle of another catalog.
    pub fn key(&self, id: SeriesId) -> Option<Arc<SeriesKey>> {
        self.state().keys.get(id.index()).map(Arc::clone)
    }

    /// Whether `other` is a clone of this one, so that handles of one are handles of the other and mean the same.
    ///
    /// A handle never changes what it stands for: who keeps what it found behind one need not ask again.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How many series are interned.
    pub fn len(&self) -> usize {
        self.state().keys.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a name was refused a series of its own.
    pub fn overflowed(&self) -> u64 {
        self.state().overflowed.load(Ordering::Relaxed)
    }

    /// How often a name of `metric` was; O(1). Names that fell into the series `overflow` are
    /// counted under `overflow`.
    pub fn overflowed_of(&self, metric: &str) -> u64 {
        let state = self.state();
        let metric = state.metrics.get(metric);
        metric.map_or(0, |metric| metric.overflowed.load(Ordering::Relaxed))
    }

    fn state(&self) -> RwLockReadGuard<'_, CatalogState> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SeriesCatalog {
    /// With the default [`SeriesLimits`].
    fn default() -> Self {
        Self::with_limits(SeriesLimits::default())
    }
}

impl CatalogState {
    /// The series of `key`, or the one that already stands for it: an explosion takes no write lock.
    fn find(&self, limits: &SeriesLimits, key: &SeriesKey) -> Option<SeriesId> {
        if let Some(id) = self.ids.get(key) {
            return Some(*id);
        }
        let Some(metric) = self.metrics.get(&key.metric) else {
            return self.find_last(limits);
        };
        let folded = metric.fold(limits, key);
        let found = match &folded {
            Cow::Owned(folded) => self.ids.get(folded).copied(),
            Cow::Borrowed(_) => None,
        };
        let is_full = self.keys.len() >= limits.total || metric.n_series >= limits.per_metric;
        match found.or_else(|| metric.overflow.filter(|_| is_full)) {
            Some(id) => {
                Self::count(&self.overflowed, metric);
                Some(id)
            }
            None if is_full => self.find_last(limits),
            None => None,
        }
    }

    /// The overflow series of all metrics that have none of their own, once there is one.
    fn find_last(&self, limits: &SeriesLimits) -> Option<SeriesId> {
        if self.keys.len() < limits.total.saturating_mul(2) {
            return None;
        }
        let id = *self.ids.get(&SeriesKey::new(OVERFLOW))?;
        Self::count(&self.overflowed, self.metrics.get(OVERFLOW)?);
        Some(id)
    }

    /// Makes the series of a name that [`find`](Self::find) does not know.
    fn place(&mut self, limits: &SeriesLimits, key: &SeriesKey) -> SeriesId {
        let mut fresh = MetricState::default();
        let metric = self.metrics.get_mut(&key.metric).unwrap_or(&mut fresh);
        let folded = metric.fold(limits, key);
        if self.keys.len() < limits.total && metric.n_series < limits.per_metric {
            metric.note(limits, key, &folded);
            let is_own = matches!(folded, Cow::Borrowed(_));
            let id = self.add(folded.into_owned());
            let metric = self.metrics.entry(key.metric.clone()).or_insert(fresh);
            metric.n_series += 1;
            if !is_own {
                Self::count(&self.overflowed, metric);
            }
            return id;
        }
        // One overflow series for each of the first metrics, then one for all others.
        let overflow = if self.keys.len() < limits.total.saturating_mul(2) {
            SeriesKey::new(&key.metric).with(OVERFLOW, "true")
        } else {
            SeriesKey::new(OVERFLOW)
        };
        let id = match self.ids.get(&overflow) {
            Some(id) => *id,
            None => self.add(overflow.clone()),
        };
        let metric = self.metrics.entry(overflow.metric).or_default();
        metric.overflow = Some(id);
        Self::count(&self.overflowed, metric);
        id
    }

    fn count(all: &AtomicU64, metric: &MetricState) {
        all.fetch_add(1, Ordering::Relaxed);
        metric.overflowed.fetch_add(1, Ordering::Relaxed);
    }

    fn add(&mut self, key: SeriesKey) -> SeriesId {
        let id = SeriesId(u32::try_from(self.keys.len()).unwrap_or(u32::MAX));
        let key = Arc::new(key);
        self.keys.push(Arc::clone(&key));
        self.ids.insert(key, id);
        id
    }
}

impl MetricState {
    /// `key` with the values of labels that are past their limit replaced.
    fn fold<'a>(&self, limits: &SeriesLimits, key: &'a SeriesKey) -> Cow<'a, SeriesKey> {
        let mut folded = Cow::Borrowed(key);
        for (label, limit) in &limits.label_values {
            let Some(value) = key.labels.get(label) else {
                continue;
            };
            let seen = self.values.get(label);
            let is_full = seen.map_or(0, HashSet::len) >= *limit;
            if is_full && value != OTHER && !seen.is_some_and(|seen| seen.contains(value)) {
                let labels = &mut folded.to_mut().labels;
                labels.insert(label.clone(), OTHER.to_owned());
            }
        }
        folded
    }

    /// Remembers the label values of a series that is about to be made.
    fn note(&mut self, limits: &SeriesLimits, key: &SeriesKey, folded: &SeriesKey) {
        for label in limits.label_values.keys() {
            if let Some(value) = key.labels.get(label)
                && folded.labels.get(label) == Some(value)
                && value != OTHER
            {
                let seen = self.values.entry(label.clone()).or_default();
                seen.insert(value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_handle() {
        let catalog = SeriesCatalog::default();
        let key = SeriesKey::new("up").with("service", "a");
        let id = catalog.intern(&key);
        assert_eq!(catalog.intern(&key), id);
        assert_eq!(*catalog.key(id).unwrap(), key);
        assert_eq!(catalog.len(), 1);
    }

    #[test]
    fn a_name_with_a_secret_is_kept_without_it() {
        let redactor = Arc::new(crate::testing::MaskRedactor("hunter2"));
        let catalog = SeriesCatalog::default().redacted_by(redactor);
        let raw = SeriesKey::new("up").with("url", "//a:hunter2@b");
        let id = catalog.intern(&raw);
        assert_eq!(catalog.intern(&raw), id);
        assert_eq!(catalog.lookup(&raw), Some(id));
        assert_eq!(
            catalog.key(id).unwrap().labels["url"],
            "//a:[redacted:test]@b"
        );
        assert_eq!(catalog.len(), 1);
        assert!(
            !format!("{catalog:?}")
                .replace("MaskRedactor(\"hunter2\")", "")
                .contains("hunter2")
        );
    }

    #[test]
    fn neither_a_known_name_with_a_secret_nor_any_refused_name_takes_the_write_lock() {
        let redactor = Arc::new(crate::testing::MaskRedactor("hunter2"));
        let secret = SeriesKey::new("up").with("url", "//a:hunter2@b");
        let catalog = SeriesCatalog::new(2).redacted_by(redactor);
        let id = catalog.intern(&secret);
        // Twice as many as there is room for: the last ones share one series.
        for metric in 0..5 {
            catalog.intern(&SeriesKey::new(format!("m{metric}")));
        }
        let others = [
            SeriesKey::new("m99"),
            SeriesKey::new("m98").with("url", "//a:hunter2@b"),
            SeriesKey::new("up").with("user", "x"),
        ];
        let before = (catalog.len(), catalog.overflowed());
        let reading = catalog.state();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let catalog = catalog.clone();
            move || {
                assert_eq!(catalog.intern(&secret), id);
                for key in &others {
                    catalog.intern(key);
                }
                tell.send(()).unwrap();
            }
        });
        let in_time = told.recv_timeout(std::time::Duration::from_secs(20));
        drop(reading);
        thread.join().unwrap();
        in_time.expect("it waits for the reader");
        assert_eq!(
            (catalog.len(), catalog.overflowed()),
            (before.0, before.1 + 3)
        );
    }

    #[test]
    fn a_label_explosion_is_bounded_and_counted() {
        let catalog = SeriesCatalog::new(4);
        let ids: Vec<_> = (0..100)
            .map(|user| catalog.intern(&SeriesKey::new("m").with("user", user.to_string())))
            .collect();
        assert_eq!(catalog.len(), 5);
        assert_eq!(ids[4], ids[99]);
        assert_eq!(catalog.key(ids[99]).unwrap().labels["overflow"], "true");
        assert_eq!(catalog.overflowed(), 96);
        for metric in 0..100 {
            catalog.intern(&SeriesKey::new(format!("other_{metric}")));
        }
        assert!(catalog.len() <= 9);
    }

    #[test]
    fn a_metric_that_explodes_leaves_room_for_the_others() {
        let catalog = SeriesCatalog::with_limits(SeriesLimits {
            total: 100,
            per_metric: 3,
            ..SeriesLimits::default()
        });
        let user = |n: u32| SeriesKey::new("logins").with("user", n.to_string());
        let ids: Vec<_> = (0..50).map(|n| catalog.intern(&user(n))).collect();
        assert_eq!(catalog.len(), 4);
        let overflow = SeriesKey::new("logins").with("overflow", "true");
        assert_eq!(*catalog.key(ids[49]).unwrap(), overflow);
        assert_eq!(ids[3], ids[49]);
        assert_eq!(catalog.intern(&user(2)), ids[2]);
        assert_eq!(catalog.overflowed_of("logins"), 47);
        let up = SeriesKey::new("up").with("service", "a");
        assert_eq!(*catalog.key(catalog.intern(&up)).unwrap(), up);
        assert_eq!((catalog.overflowed_of("up"), catalog.overflowed()), (0, 47));
    }

    #[test]
    fn values_of_a_label_past_its_limit_are_other_per_metric() {
        let catalog = SeriesCatalog::with_limits(SeriesLimits {
            label_values: BTreeMap::from([("path".to_owned(), 2)]),
            ..SeriesLimits::default()
        });
        let at = |metric: &str, path: &str, method: &str| {
            let key = SeriesKey::new(metric)
                .with("path", path)
                .with("method", method);
            catalog.key(catalog.intern(&key)).unwrap().to_string()
        };
        for path in ["/a", "/b"] {
            assert!(at("requests", path, "GET").contains(path));
        }
        let other = r#"requests{method="GET",path="other"}"#;
        assert_eq!(at("requests", "/c", "GET"), other);
        assert_eq!(at("requests", "/d", "GET"), other);
        assert_eq!(
            at("requests", "/d", "PUT"),
            r#"requests{method="PUT",path="other"}"#
        );
        assert_eq!(at("requests", "other", "GET"), other);
        // A known value stays itself in a new series, and another metric counts for itself.
        assert!(at("requests", "/b", "PUT").contains("/b"));
        assert!(at("errors", "/d", "GET").contains("/d"));
        assert_eq!(catalog.overflowed_of("requests"), 3);
        assert_eq!(catalog.overflowed_of("errors"), 0);
    }
}
