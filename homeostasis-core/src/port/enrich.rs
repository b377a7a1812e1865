//! Enrichment: what is worked out once, when a record arrives.

use std::fmt;

use crate::signal::LogRecord;
use crate::stage::{DetectError, ModelSnapshot};

/// Adds to a log record what its text implies: the error as structure, a fingerprint.
///
/// The engine calls its enrichers in order, once per record, on its own task and before the record
/// is redacted, kept or shown to a detector; sources that know more (a tail that joins the lines of
/// a stack trace) may call them earlier.
///
/// *Guarantees an implementation gives:* it does not block, its cost is bounded by the length of
/// the record, and it leaves alone what is already filled in: enriching twice changes nothing.
///
/// *What it learned* outlives the process if it has a [`snapshot`](Enricher::snapshot) and a
/// [`restore`](Enricher::restore), as with a [`Detector`](crate::stage::Detector).
pub trait Enricher: fmt::Debug + Send + Sync {
    /// Stable; its model is stored under it. Of several with one name each is told by its place among them.
    fn name(&self) -> &str {
        "enricher"
    }

    /// Fills in what is missing.
    fn enrich(&self, record: &mut LogRecord);

    /// What it has learned, if it has a model that can be stored.
    ///
    /// Made on a thread that may block, while records come: who locks what [`enrich`](Enricher::enrich) needs does so
    /// for a moment only.
    fn snapshot(&self) -> Option<ModelSnapshot> {
        None
    }

    /// Takes up what was stored, in place of what it has learned; called before the first record.
    ///
    /// # Errors
    /// If it has no such model, or the snapshot is of another enricher or shape; nothing changes then.
    fn restore(&self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        Err(DetectError::invalid(
            format!("snapshot of {}", snapshot.detector),
            format!("{} keeps no model that can be restored", self.name()),
        ))
    }
}

const _: fn(&dyn Enricher) = |_| {};
