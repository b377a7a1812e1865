//! One engine for all shapes of evidence: each family is divided by what innocents look like in it,
//! and the logarithms that remain are added.

mod activity;
mod behavior;
mod blame;
mod bundle;
mod engine;
mod excess;
mod family;
mod memory;
mod network;
mod onset;
mod propagation;
mod resource;
mod symptom;

pub use activity::{Activity, CallCount, EdgeGaps, LogCount, OperationCount};
pub use blame::BlamedChange;
pub use bundle::{Alarm, EvidenceBundle, EvidenceChange, EvidenceSeries, SeriesKind, Worse};
pub use engine::{EvidenceFusion, FamilyReading, Ranking, Suspect};
pub use family::Family;
pub use memory::{Memory, PastIncident};
pub use onset::onset_of;
