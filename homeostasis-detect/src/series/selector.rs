//! Which series a detector watches.

use std::fmt;
use std::sync::Arc;

use homeostasis_core::signal::{Labels, SeriesKey};
use serde::{Deserialize, Serialize};

type Predicate = Arc<dyn Fn(&SeriesKey) -> bool + Send + Sync>;

/// Selects series by metric, labels and a predicate; all that are given must hold.
///
/// ```
/// use homeostasis::core::signal::SeriesKey;
/// use homeostasis::detect::Selector;
///
/// let selector = Selector::metric("process_cpu_ratio")
///     .with_label("service", "orders")
///     .when(|key| key.labels.contains_key("instance"));
/// let key = SeriesKey::new("process_cpu_ratio").with("service", "orders");
/// assert!(!selector.selects(&key));
/// assert!(selector.selects(&key.with("instance", "0")));
/// ```
#[derive(Clone, Default)]
pub struct Selector {
    metrics: Vec<String>,
    labels: Labels,
    predicates: Vec<Predicate>,
}

/// What a selector selects, as it is stored beside what was learned of it: predicates are only counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selected {
    metrics: Vec<String>,
    labels: Labels,
    n_predicates: usize,
}

impl Selector {
    /// Every series.
    pub fn all() -> Self {
        Self::default()
    }

    /// Series of this metric.
    pub fn metric(name: impl Into<String>) -> Self {
        Self::metrics([name])
    }

    /// Series of any of these metrics; of none of them if there are none.
    pub fn metrics<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let metrics: Vec<String> = names.into_iter().map(Into::into).collect();
        let selector = Self {
            metrics,
            ..Self::default()
        };
        if selector.metrics.is_empty() {
            selector.when(|_| false)
        } else {
            selector
        }
    }

    /// The same, and the label has this value.
    pub fn with_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// The same, and `predicate` holds. It must give the same answer for the same name every time.
    pub fn when(mut self, predicate: impl Fn(&SeriesKey) -> bool + Send + Sync + 'static) -> Self {
        self.predicates.push(Arc::new(predicate));
        self
    }

    /// Whether it selects this series.
    pub fn selects(&self, key: &SeriesKey) -> bool {
        (self.metrics.is_empty() || self.metrics.contains(&key.metric))
            && key.matches(&key.metric, &self.labels)
            && self.predicates.iter().all(|predicate| predicate(key))
    }

    pub(crate) fn selected(&self) -> Selected {
        Selected {
            metrics: self.metrics.clone(),
            labels: self.labels.clone(),
            n_predicates: self.predicates.len(),
        }
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector")
            .field("metrics", &self.metrics)
            .field("labels", &self.labels)
            .field("n_predicates", &self.predicates.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_given_must_hold() {
        let key = SeriesKey::new("up").with("service", "a");
        assert!(Selector::all().selects(&key));
        assert!(Selector::metrics(["down", "up"]).selects(&key));
        assert!(!Selector::metric("down").selects(&key));
        assert!(
            !Selector::metric("up")
                .with_label("service", "b")
                .selects(&key)
        );
        assert!(!Selector::all().with_label("zone", "x").selects(&key));
        assert!(!Selector::metrics(Vec::<String>::new()).selects(&key));
    }
}
