//! Enrichment: what is worked out once, when a record arrives.

use std::fmt;

use crate::signal::LogRecord;

/// Adds to a log record what its text implies: the error as structure, a fingerprint.
///
/// The engine calls its enrichers in order, once per record, on its own task and before the record
/// is redacted, kept or shown to a detector; sources that know more (a tail that joins the lines of
/// a stack trace) may call them earlier.
///
/// *Guarantees an implementation gives:* it does not block, its cost is bounded by the length of
/// the record, and it leaves alone what is already filled in: enriching twice changes nothing.
pub trait Enricher: fmt::Debug + Send + Sync {
    /// Fills in what is missing.
    fn enrich(&self, record: &mut LogRecord);
}

const _: fn(&dyn Enricher) = |_| {};
