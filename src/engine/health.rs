//! The engine's own health: what an operator asks of the healer itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(feature = "signals")]
use homeostasis_core::Target;
#[cfg(feature = "signals")]
use homeostasis_core::signal::{HealthReport, HealthState};
use homeostasis_core::{ErrorReport, Timestamp};
use serde::Serialize;

use crate::engine::evidence::LeftOut;
use crate::engine::models::ModelHealth;

#[cfg(feature = "signals")]
use crate::engine::settings::EngineSettings;

/// An engine that looks at no signal for as long as so many turns may take is late.
#[cfg(feature = "signals")]
const LATE_TURNS: u32 = 10;

/// Counters the engine keeps of itself.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    last_turn: AtomicI64,
    turns: AtomicU64,
    samples: AtomicU64,
    records: AtomicU64,
    anomalies: AtomicU64,
    dropped_anomalies: AtomicU64,
    store_errors: AtomicU64,
    analyses: AtomicU64,
    reused_diagnoses: AtomicU64,
    left_out: AtomicU64,
    /// Detectors that rest or owe an answer since they last misbehaved.
    skipped: Mutex<BTreeSet<String>>,
    models: Mutex<BTreeMap<String, ModelHealth>>,
    blames: Mutex<Vec<Blame>>,
}

/// Who misbehaved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Blame {
    /// The stage: `detector`, `analyzer` …
    pub stage: String,
    /// Its name.
    pub plugin: String,
    /// When it last did.
    pub at: Timestamp,
    /// How often.
    pub times: u64,
    /// What it did last.
    pub report: ErrorReport,
}

/// The engine's health at one instant.
///
/// A `last_turn` that does not move is a dead engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EngineHealth {
    /// When signals were last looked at.
    pub last_turn: Timestamp,
    /// How often they were.
    pub turns: u64,
    /// Samples taken in.
    pub samples: u64,
    /// Other records taken in, with those that sampled log records stand for.
    pub records: u64,
    /// Signals that wait.
    pub queue_depth: usize,
    /// Samples lost because the queue was full.
    pub lost_samples: u64,
    /// Records lost because the queue was full.
    pub lost_records: u64,
    /// Log records of floods that were not handed on; others carry their weight, so that counts
    /// stay exact.
    pub suppressed_records: u64,
    /// Anomalies found.
    pub anomalies: u64,
    /// Anomalies dropped because too many incidents were open or a detector flooded.
    pub dropped_anomalies: u64,
    /// Incidents that are open.
    pub open_incidents: usize,
    /// Incidents that wait for a slot.
    pub waiting_heals: usize,
    /// Failed writes and reads of the store.
    pub store_errors: u64,
    /// Looks at the evidence on an incident for which analyzers were called.
    pub analyses: u64,
    /// Looks that needed no analysis, as nothing was new since the last one.
    pub reused_diagnoses: u64,
    /// Signals left out of analyses to stay within the memory budget
    /// ([`EngineSettings::evidence_bytes`](crate::EngineSettings::evidence_bytes)); one that is left
    /// out of several counts several times.
    pub left_out_evidence: u64,
    /// What the store has of the models of all detectors and enrichers, by whose they are; empty
    /// where none are kept.
    pub models: Vec<ModelHealth>,
    /// Who misbehaved, most recent last; at most 64.
    pub blames: Vec<Blame>,
}

impl Vitals {
    const MAX_BLAMES: usize = 64;

    pub(crate) fn turn(&self, now: Timestamp, samples: usize, records: u64) {
        self.last_turn.store(now.as_nanos(), Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.samples.fetch_add(samples as u64, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn anomaly(&self) {
        self.anomalies.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped_anomalies(&self, n: usize) {
        self.dropped_anomalies
            .fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn store_error(&self) {
        self.store_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a look at evidence: whether an earlier diagnosis was reused, and what was left out.
    pub(crate) fn analyzed(&self, reused: bool, left_out: LeftOut) {
        let counter = if reused {
            &self.reused_diagnoses
        } else {
            &self.analyses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.left_out.fetch_add(left_out.total(), Ordering::Relaxed);
    }

    /// Notes whether a detector is skipped: from its misdeed to its next good answer.
    pub(crate) fn skips(&self, detector: &str, skipped: bool) {
        let mut all = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        if skipped {
            all.insert(detector.to_owned());
        } else {
            all.remove(detector);
        }
    }

    /// Whether any detector is skipped.
    pub(crate) fn skips_any(&self) -> bool {
        !self
            .skipped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<String, ModelHealth>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whose model is kept.
    pub(crate) fn model(&self, health: ModelHealth) {
        self.models().insert(health.of.clone(), health);
    }

    /// Notes that a model is stored as it is at `now`, but for what was left out.
    pub(crate) fn model_stored(&self, of: &str, now: Timestamp, bytes: u64, left_out: usize) {
        if let Some(health) = self.models().get_mut(of) {
            (health.stored_at, health.bytes, health.left_out) = (Some(now), bytes, left_out);
        }
    }

    /// Notes that nothing of a model could be stored.
    pub(crate) fn model_left_out(&self, of: &str, left_out: usize) {
        if let Some(health) = self.models().get_mut(of) {
            health.left_out = left_out;
        }
    }

    /// Notes a misdeed.
    pub(crate) fn blame(&self, stage: &str, plugin: &str, report: ErrorReport, at: Timestamp) {
        let mut blames = self.blames.lock().unwrap_or_else(PoisonError::into_inner);
        let known = blames
            .iter()
            .position(|blame| blame.stage == stage && blame.plugin == plugin);
        let times = known.map_or(0, |i| blames.remove(i).times) + 1;
        if blames.len() == Self::MAX_BLAMES {
            blames.remove(0);
        }
        blames.push(Blame {
            stage: stage.to_owned(),
            plugin: plugin.to_owned(),
            at,
            times,
            report,
        });
    }

    /// The detectors that are skipped, by name.
    #[cfg(feature = "signals")]
    fn skipped(&self) -> Vec<String> {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.iter().cloned().collect()
    }

    /// What the engine says of itself on the health board at `now`.
    ///
    /// At worst *degraded*: when the healer has trouble, its host still does its work.
    #[cfg(feature = "signals")]
    pub(crate) fn report(&self, settings: &EngineSettings, now: Timestamp) -> HealthReport {
        let last_turn = Timestamp::from_nanos(self.last_turn.load(Ordering::Relaxed));
        let patience = (settings.tick + settings.detect_deadline) * LATE_TURNS;
        let (is_new, skipped) = (self.turns.load(Ordering::Relaxed) == 0, self.skipped());
        let trouble = if is_new {
            "no signal was looked at yet".to_owned()
        } else if now.since(last_turn) > patience {
            format!("no signal was looked at since {last_turn}")
        } else if !skipped.is_empty() {
            format!("skipped detectors: {}", skipped.join(", "))
        } else {
            String::new()
        };
        let state = if trouble.is_empty() {
            HealthState::Healthy
        } else {
            HealthState::Degraded
        };
        let target = Target::service("homeostasis").expect("it is a name");
        HealthReport::new(now, target, "engine", state).saying(trouble)
    }

    /// Misdeeds at or after `since`.
    pub(crate) fn blames_since(&self, since: Timestamp) -> Vec<Blame> {
        let blames = self.blames.lock().unwrap_or_else(PoisonError::into_inner);
        blames
            .iter()
            .filter(|blame| blame.at >= since)
            .cloned()
            .collect()
    }

    pub(crate) fn read(&self) -> EngineHealth {
        EngineHealth {
            last_turn: Timestamp::from_nanos(self.last_turn.load(Ordering::Relaxed)),
            turns: self.turns.load(Ordering::Relaxed),
            samples: self.samples.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            queue_depth: 0,
            lost_samples: 0,
            lost_records: 0,
            suppressed_records: 0,
            anomalies: self.anomalies.load(Ordering::Relaxed),
            dropped_anomalies: self.dropped_anomalies.load(Ordering::Relaxed),
            open_incidents: 0,
            waiting_heals: 0,
            store_errors: self.store_errors.load(Ordering::Relaxed),
            analyses: self.analyses.load(Ordering::Relaxed),
            reused_diagnoses: self.reused_diagnoses.load(Ordering::Relaxed),
            left_out_evidence: self.left_out.load(Ordering::Relaxed),
            models: self.models().values().cloned().collect(),
            blames: self.blames_since(Timestamp::from_nanos(i64::MIN)),
        }
    }
}
