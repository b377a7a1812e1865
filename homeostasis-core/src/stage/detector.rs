//! Detectors: from signals to anomalies.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Context;
use crate::error::stage_error;
use crate::record::Anomaly;
use crate::signal::{Interest, SignalBatch};

stage_error!(
    /// Why a detector gave no answer.
    DetectError
);

/// The state of a model, so that it can be stored, moved and rolled back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSnapshot {
    /// Which detector it belongs to.
    pub detector: String,
    /// The version of its shape; a detector refuses shapes it does not know.
    pub version: u32,
    /// The state.
    pub state: Value,
}

/// A part of a model: each can be stored and taken up without the others.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPart {
    /// What of the model is in it.
    pub snapshot: ModelSnapshot,
    /// What is not, nor in the parts before it; `None` if this is the last one.
    pub rest: Option<ModelRest>,
}

impl ModelPart {
    /// A part after which nothing is left.
    pub fn last(snapshot: ModelSnapshot) -> Self {
        Self {
            snapshot,
            rest: None,
        }
    }
}

/// What is left of a model after some of its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRest {
    /// Where the next part begins, as only the detector understands it.
    pub from: Value,
    /// How many series, components … are left; at least 1.
    pub n_left: usize,
}

/// Finds anomalies in signals.
///
/// # Expected flow
/// The engine calls [`detect`](Detector::detect) with what arrived since the last call, filtered
/// by [`interest`](Detector::interest). Anomalies go into incidents.
///
/// # Guarantees
/// One engine task owns the detector: calls never overlap, no lock is needed. Every call has a
/// deadline; a panic is caught. Who panics, hangs, fails or returns an anomaly that breaks
/// [`Anomaly::violation`] is named in the journal and skipped for a while; the others go on.
///
/// # Assumptions
/// A call is cancel-safe at every `.await`: it may be dropped there. Time comes from the signals
/// or `cx`, never from a clock of its own. A batch may be empty: time passes without signals too.
/// What lasts is raised again now and then, at least every third of the engine's quiet time: an
/// anomaly that is not seen any more is not acted on, and in the end taken for gone.
///
/// *What it learned* outlives the process if it has a [`snapshot`](Detector::snapshot) and a
/// [`restore`](Detector::restore): where the store is durable the engine stores the model under the node and
/// [`name`](Detector::name) now and then, and restores it before the first call. No part is made while a call is under
/// way, nor after one that failed.
///
/// ```
/// use homeostasis::core::record::{Anomaly, Subject};
/// use homeostasis::core::signal::SignalBatch;
/// use homeostasis::core::{Context, async_trait, stage::{DetectError, Detector}};
///
/// #[derive(Debug)]
/// struct NegativeBalance;
///
/// #[async_trait]
/// impl Detector for NegativeBalance {
///     fn name(&self) -> &str {
///         "negative_balance"
///     }
///
///     async fn detect(&mut self, _: &Context, batch: SignalBatch<'_>) -> Result<Vec<Anomaly>, DetectError> {
///         let mut found = Vec::new();
///         for sample in batch.samples.iter().filter(|sample| sample.value < 0.0) {
///             let Some(key) = batch.catalog.key(sample.series) else { continue };
///             let Some(target) = key.target() else { continue };
///             let subject = Subject::Series((*key).clone());
///             found.push(Anomaly::new(self.name(), target, subject, sample.at).saying("a balance below zero"));
///         }
///         Ok(found)
///     }
/// }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(
    note = "implement `Detector` with `#[async_trait]`; a pure `SeriesDetector` kernel is lifted by `homeostasis::detect::PerSeries`"
)]
pub trait Detector: fmt::Debug + Send {
    /// Stable; used in configuration, journal, metrics and blame.
    fn name(&self) -> &str;

    /// Which signals it wants.
    fn interest(&self) -> Interest {
        Interest::all()
    }

    /// Looks at what arrived.
    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError>;

    /// Its model, if it has one that can be stored.
    fn snapshot(&self) -> Option<ModelSnapshot> {
        None
    }

    /// A part of its model, made between two calls of [`detect`](Detector::detect): of about `max_bytes` as JSON, and
    /// more only where what cannot be divided is larger.
    ///
    /// `from` is what the part before said is left, `None` asks for the first part. Signals may come between two parts,
    /// so what is in one must be right without the others. What is new by then or gone may be missed or passed over;
    /// all else is in exactly one part. By default the whole [`snapshot`](Detector::snapshot) is the one part: a
    /// detector of many independent series divides it, because its task does nothing else while a part is made.
    fn snapshot_part(&self, from: Option<&Value>, max_bytes: usize) -> Option<ModelPart> {
        let _ = max_bytes;
        let whole = from.is_none().then(|| self.snapshot()).flatten();
        whole.map(ModelPart::last)
    }

    /// Forgets which alarms are on, so that what is still abnormal is raised anew; its model stays.
    ///
    /// For those who let a detector be heard that was not before. Nothing by default: what raises no alarms that last has
    /// none to forget.
    fn forget_alarms(&mut self) {}

    /// Takes a stored model up again; scores afterwards are the same to the bit.
    ///
    /// # Errors
    /// If it has no such model, or the snapshot is of another detector or shape.
    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        Err(DetectError::invalid(
            format!("snapshot of {}", snapshot.detector),
            format!("{} keeps no model that can be restored", self.name()),
        ))
    }

    /// Takes up a part that [`snapshot_part`](Detector::snapshot_part) gave, beside those it has taken up since it was
    /// made; scores afterwards are the same to the bit. By default a part is the whole model.
    ///
    /// # Errors
    /// As [`restore`](Detector::restore), or if it does not go with the parts before it; these stay.
    fn restore_part(&mut self, part: &ModelSnapshot) -> Result<(), DetectError> {
        self.restore(part)
    }
}

const _: fn(&dyn Detector) = |_| {};

#[async_trait]
impl<T: Detector + ?Sized> Detector for Box<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn interest(&self) -> Interest {
        (**self).interest()
    }

    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        (**self).detect(cx, batch).await
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        (**self).snapshot()
    }

    fn snapshot_part(&self, from: Option<&Value>, max_bytes: usize) -> Option<ModelPart> {
        (**self).snapshot_part(from, max_bytes)
    }

    fn forget_alarms(&mut self) {
        (**self).forget_alarms();
    }

    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        (**self).restore(snapshot)
    }

    fn restore_part(&mut self, part: &ModelSnapshot) -> Result<(), DetectError> {
        (**self).restore_part(part)
    }
}
