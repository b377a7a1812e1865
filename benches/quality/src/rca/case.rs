//! A labelled incident.

use std::collections::BTreeSet;

use homeostasis::rca::EvidenceBundle;

/// An incident with what is known and what is true. The engine sees the bundle alone.
#[derive(Debug)]
pub(crate) struct Case {
    /// Which, for people.
    pub(crate) name: String,
    /// Cases of one system that follow each other: what one leaves behind the next remembers.
    pub(crate) system: String,
    pub(crate) bundle: EvidenceBundle,
    /// Any of these services is right.
    pub(crate) cause: BTreeSet<String>,
    /// The change that caused it: `Some(None)` if none did, `None` if that is not labelled.
    pub(crate) change: Option<Option<String>>,
    /// What kind of fault it is, if that is known: only to report by it.
    pub(crate) fault: String,
}
