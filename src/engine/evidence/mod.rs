//! The evidence of one look at an incident: taken out of the window once, bounded, so that all
//! analyzers see the same, and so that it can be kept, compared, saved and looked at again.

mod budget;
mod cache;
mod file;
mod frozen;
mod kept;

pub use budget::LeftOut;
pub(crate) use file::Story;
pub use file::{EvidenceError, IncidentEvidence};

pub(crate) use cache::{DiagnosisCache, DiagnosisKey};
pub(crate) use frozen::Frozen;
pub(crate) use kept::{KeptEvidence, Look};
