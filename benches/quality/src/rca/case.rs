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
    /// The change that caused it.
    pub(crate) change: Label,
    /// What kind of fault it is, if that is known: only to report by it.
    pub(crate) fault: String,
}

/// What is known of the change that caused an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Label {
    /// This one did.
    Change(String),
    /// None did.
    NoChange,
    /// That is not labelled.
    Unknown,
}
