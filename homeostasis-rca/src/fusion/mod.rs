//! One engine for all shapes of evidence: each family is divided by what innocents look like in it,
//! and the logarithms that remain are added.

mod activity;
mod analyzer;
mod behavior;
mod blame;
mod bundle;
mod engine;
mod excess;
mod family;
mod gather;
mod memory;
mod network;
mod onset;
mod propagation;
mod resource;
mod symptom;
mod verdict;

pub use activity::{Activity, CallCount, EdgeGaps, LogCount, OperationCount};
pub use analyzer::FusionAnalyzer;
pub use blame::BlamedChange;
pub use bundle::{Alarm, EvidenceBundle, EvidenceChange, EvidenceSeries, SeriesKind, Worse};
pub use engine::{EvidenceFusion, FamilyReading, Ranking, Suspect};
pub use family::Family;
pub use memory::{Memory, PastIncident};
pub use onset::onset_of;
