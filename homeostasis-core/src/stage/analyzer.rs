//! Analyzers: from an incident and what was seen to findings.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::cycle::Incident;
use crate::error::stage_error;
use crate::record::Finding;
use crate::stage::{DetectError, ModelSnapshot};
use crate::time::Timestamp;

stage_error!(
    /// Why an analyzer gave no answer.
    AnalyzeError
);

/// What an analyzer looks at. Recent signals are read through [`Context::observations`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Evidence<'a> {
    /// The incident with its anomalies.
    pub incident: &'a Incident,
    /// Nothing before it matters: the start of the stretch that may hold the cause.
    pub from: Timestamp,
    /// The present.
    pub to: Timestamp,
    /// Stretches within which other incidents, now closed, troubled related services: neither the
    /// calm before this one nor a part of it. From and to, both included.
    pub besides: &'a [(Timestamp, Timestamp)],
    /// Before it lines and spans are missing, left out to bound the analysis: whoever counts them
    /// there counts too few. `from` where nothing is missing.
    pub complete_since: Timestamp,
}

impl<'a> Evidence<'a> {
    /// Evidence on `incident` in `from..=to`, all of which counts.
    pub fn new(incident: &'a Incident, from: Timestamp, to: Timestamp) -> Self {
        Self {
            incident,
            from,
            to,
            besides: &[],
            complete_since: from,
        }
    }

    /// The same where lines and spans are complete from `at` on only.
    pub fn complete_since(mut self, at: Timestamp) -> Self {
        self.complete_since = at.max(self.from);
        self
    }

    /// The same without these stretches.
    pub fn besides(mut self, stretches: &'a [(Timestamp, Timestamp)]) -> Self {
        self.besides = stretches;
        self
    }

    /// Whether what happened at `at` counts: it is in the stretch and not another incident's.
    pub fn covers(&self, at: Timestamp) -> bool {
        (self.from..=self.to).contains(&at)
            && !self
                .besides
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&at))
    }
}

/// Looks for one kind of evidence.
///
/// # Guarantees
/// Analyzers of one incident may run at the same time. Deadline and panics as for
/// [`Detector`](crate::stage::Detector): a guilty analyzer is named and skipped.
///
/// # Assumptions
/// The same evidence gives the same findings, until an incident is [closed](Self::closed) or a model
/// [restored](Self::restore). A finding of role cause holds at least one proof. No evidence is an
/// empty list, not an error.
#[async_trait]
#[diagnostic::on_unimplemented(note = "implement `Analyzer` with `#[async_trait]`")]
pub trait Analyzer: fmt::Debug + Send + Sync {
    /// Stable; used in configuration, journal, metrics and blame.
    fn name(&self) -> &str;

    /// Looks.
    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError>;

    /// `incident`, which it may have been asked about, is over, and the journal says so. The only
    /// place where it may learn; called once, unless the process ends first. Must not block.
    fn closed(&self, incident: &Incident) {
        let _ = incident;
    }

    /// What it has learned, if it has a model that can be stored under its name. Made on a thread
    /// that may block.
    fn snapshot(&self) -> Option<ModelSnapshot> {
        None
    }

    /// Takes up what was stored, in place of what it has learned; called before the first incident.
    ///
    /// # Errors
    /// If it has no such model, or the snapshot is of another analyzer or shape; nothing changes
    /// then.
    fn restore(&self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        Err(DetectError::invalid(
            format!("snapshot of {}", snapshot.detector),
            format!("{} keeps no model that can be restored", self.name()),
        ))
    }
}

const _: fn(&dyn Analyzer) = |_| {};

#[async_trait]
impl<T: Analyzer + ?Sized> Analyzer for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        (**self).analyze(cx, evidence).await
    }

    fn closed(&self, incident: &Incident) {
        (**self).closed(incident);
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        (**self).snapshot()
    }

    fn restore(&self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        (**self).restore(snapshot)
    }
}
