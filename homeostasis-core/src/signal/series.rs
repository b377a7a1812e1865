//! Time series: interned names, and the three-word sample.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::port::Redactor;
use crate::target::Target;
use crate::time::Timestamp;

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

/// Interns series names, bounded: past the limit everything of a metric falls into one overflow
/// series, so that a label explosion costs memory once.
///
/// Look-up takes a read lock and happens when a handle is made, not when a sample is recorded.
///
/// With a redactor no name that holds a secret is kept: it is interned under its redacted form.
#[derive(Debug, Clone)]
pub struct SeriesCatalog {
    shared: Arc<RwLock<CatalogState>>,
    limit: usize,
    redactor: Option<Arc<dyn Redactor>>,
}

#[derive(Debug, Default)]
struct CatalogState {
    keys: Vec<Arc<SeriesKey>>,
    ids: HashMap<Arc<SeriesKey>, SeriesId>,
    overflowed: u64,
}

impl SeriesCatalog {
    /// A catalog for at most `limit` series (at least 1) and one overflow series per metric.
    pub fn new(limit: usize) -> Self {
        Self {
            shared: Arc::default(),
            limit: limit.max(1),
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

    /// The handle of `key`; interns it on first sight.
    ///
    /// Past the limit the handle of the metric's overflow series (label `overflow="true"`) is
    /// given; past the limit of metrics too, that of the series `overflow`.
    pub fn intern(&self, key: &SeriesKey) -> SeriesId {
        if let Some(id) = self.find(key) {
            return id;
        }
        let key = &*self.redacted(key);
        let mut state = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = state.ids.get(key) {
            return *id;
        }
        if state.keys.len() < self.limit {
            return state.add(key.clone());
        }
        state.overflowed += 1;
        let overflow = SeriesKey::new(&key.metric).with("overflow", "true");
        let last = SeriesKey::new("overflow");
        if let Some(id) = state.ids.get(&overflow).or_else(|| state.ids.get(&last)) {
            return *id;
        }
        // One overflow series for each of the first `limit` metrics, then one for all others.
        if state.keys.len() < self.limit * 2 {
            state.add(overflow)
        } else {
            state.add(last)
        }
    }

    /// The handle of `key` if it is interned.
    pub fn lookup(&self, key: &SeriesKey) -> Option<SeriesId> {
        self.find(key).or_else(|| match self.redacted(key) {
            Cow::Owned(redacted) => self.find(&redacted),
            Cow::Borrowed(_) => None,
        })
    }

    fn redacted<'a>(&self, key: &'a SeriesKey) -> Cow<'a, SeriesKey> {
        match &self.redactor {
            Some(redactor) => key.redacted(&**redactor),
            None => Cow::Borrowed(key),
        }
    }

    fn find(&self, key: &SeriesKey) -> Option<SeriesId> {
        self.shared
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .ids
            .get(key)
            .copied()
    }

    /// The name behind a handle; `None` for a handle of another catalog.
    pub fn key(&self, id: SeriesId) -> Option<Arc<SeriesKey>> {
        self.shared
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys
            .get(id.index())
            .map(Arc::clone)
    }

    /// How many series are interned.
    pub fn len(&self) -> usize {
        self.shared
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys
            .len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a name was refused a series of its own.
    pub fn overflowed(&self) -> u64 {
        self.shared
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .overflowed
    }
}

impl Default for SeriesCatalog {
    /// Room for 100 000 series.
    fn default() -> Self {
        Self::new(100_000)
    }
}

impl CatalogState {
    fn add(&mut self, key: SeriesKey) -> SeriesId {
        let id = SeriesId(u32::try_from(self.keys.len()).unwrap_or(u32::MAX));
        let key = Arc::new(key);
        self.keys.push(Arc::clone(&key));
        self.ids.insert(key, id);
        id
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
}
