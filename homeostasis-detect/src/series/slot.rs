//! One watched series: its kernel, where its alarm stands, and its last points.

use std::cmp::Reverse;
use std::sync::Arc;

use homeostasis_core::record::{Anomaly, Expectation};
use homeostasis_core::signal::{SeriesId, SeriesKey};
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{Target, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alerting::{AlertState, Alerting, Transition};
use crate::prose;
use crate::recent::Recent;

#[derive(Debug)]
pub(super) struct Slot<K> {
    pub(super) key: Arc<SeriesKey>,
    pub(super) target: Target,
    pub(super) last_seen: Timestamp,
    /// Its handle in the catalog that named it last.
    pub(super) handle: Option<SeriesId>,
    kernel: K,
    alert: AlertState,
    recent: Recent,
}

/// A slot as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredSlot {
    pub(super) key: SeriesKey,
    last_seen: Timestamp,
    kernel: Value,
    alert: AlertState,
    recent: Recent,
}

/// An alarm before it has a name: what was found in which sample.
#[derive(Debug)]
pub(super) struct Alarm {
    pub(super) score: KernelScore,
    pub(super) since: Timestamp,
    pub(super) explanation: String,
    pub(super) recent: Vec<(Timestamp, f64)>,
    pub(super) contributions: Vec<(String, f64)>,
}

impl Alarm {
    /// Fills in what was found.
    pub(super) fn describe(self, anomaly: Anomaly, value: f64) -> Anomaly {
        let mut anomaly = anomaly.due_to(self.contributions);
        anomaly.since = self.since;
        anomaly.score = self.score.score;
        // A stranger's kernel may break its contract; the engine would blame the adapter for it.
        anomaly.surprise = if self.score.surprise.is_finite() {
            self.score.surprise.max(0.0)
        } else {
            0.0
        };
        anomaly.direction = self.score.direction;
        anomaly.observed = Some(value);
        anomaly.expected = self.score.expected;
        anomaly.explanation = self.explanation;
        anomaly.series = self.recent;
        anomaly
    }
}

impl<K: SeriesDetector> Slot<K> {
    pub(super) fn new(key: Arc<SeriesKey>, target: Target, at: Timestamp, kernel: K) -> Self {
        Self {
            key,
            target,
            last_seen: at,
            handle: None,
            kernel,
            alert: AlertState::default(),
            recent: Recent::default(),
        }
    }

    /// Forgets all but its name, as if it was made at `now`.
    pub(super) fn begin_anew(&mut self, now: Timestamp, kernel: K) {
        self.last_seen = now;
        self.kernel = kernel;
        self.alert = AlertState::default();
        self.recent = Recent::default();
    }

    /// Since when it is silent, such that the greatest is silent longest.
    pub(super) fn silence(&self) -> Reverse<(Timestamp, Arc<SeriesKey>)> {
        Reverse((self.last_seen, Arc::clone(&self.key)))
    }

    /// Whatever is on is raised anew.
    pub(super) fn forget_alarm(&mut self) {
        self.alert = AlertState::default();
    }

    /// Takes a sample; an alarm if it raises one.
    pub(super) fn take(&mut self, alerting: &Alerting, at: Timestamp, value: f64) -> Option<Alarm> {
        self.last_seen = self.last_seen.max(at);
        if !value.is_finite() {
            self.kernel.update(at, None);
            return None;
        }
        let mut score = self.kernel.update(at, Some(value));
        self.recent.push(at, value);
        let (Transition::Raised { since } | Transition::Reraised { since }) =
            alerting.step(&mut self.alert, at, score.score)
        else {
            return None;
        };
        if matches!(
            score.expected,
            Expectation::Between {
                low: None,
                high: None
            }
        ) {
            score.expected = self.seen_before(since);
        }
        let found = self.kernel.explain().unwrap_or_else(|| {
            format!(
                "is {}, expected {}",
                prose::number(value),
                prose::expectation(&score.expected)
            )
        });
        Some(Alarm {
            explanation: format!("{} {found}, since {since}", self.key),
            score,
            since,
            recent: self.recent.to_vec(),
            contributions: self.kernel.contributions(),
        })
    }

    /// What a kernel that has just begun anew cannot say: the range of the values before `since` that are left.
    fn seen_before(&self, since: Timestamp) -> Expectation {
        let points = self.recent.to_vec();
        let before = points
            .iter()
            .filter(|(at, _)| *at < since)
            .map(|point| point.1);
        let range = before.fold(None, |range: Option<(f64, f64)>, value| match range {
            None => Some((value, value)),
            Some((low, high)) => Some((low.min(value), high.max(value))),
        });
        match range {
            None => Expectation::Words("values that were seen before".to_owned()),
            Some((low, high)) => Expectation::Between {
                low: Some(low),
                high: Some(high),
            },
        }
    }

    /// About the bytes it holds, those of its name included.
    pub(super) fn state_bytes(&self) -> usize {
        let text = |text: &String| size_of::<String>() + text.capacity();
        let labels = self.key.labels.iter();
        let labels: usize = labels.map(|(name, value)| text(name) + text(value)).sum();
        let key = size_of::<SeriesKey>() + self.key.metric.capacity() + labels;
        size_of::<Self>() + key + self.kernel.heap_bytes() + self.recent.heap_bytes()
    }

    pub(super) fn save(&self) -> Option<StoredSlot> {
        Some(StoredSlot {
            key: (*self.key).clone(),
            last_seen: self.last_seen,
            kernel: self.kernel.save()?,
            alert: self.alert,
            recent: self.recent.clone(),
        })
    }

    /// Takes up what was stored.
    pub(super) fn load(&mut self, stored: StoredSlot) -> Result<(), DetectError> {
        self.kernel.load(&stored.kernel)?;
        self.last_seen = stored.last_seen;
        self.alert = stored.alert;
        self.recent = stored.recent;
        Ok(())
    }
}
