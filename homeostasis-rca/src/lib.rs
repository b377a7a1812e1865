#![doc = include_str!("../README.md")]

mod change;
#[cfg(feature = "classifier")]
mod classifier;
mod down;
mod fuser;
mod fusion;
mod meaning;
mod rule;
mod saturation;
mod scope;
mod shift;
mod stats;
mod topology_walk;
mod trend;

pub use change::{ChangeAnalyzer, ChangeConfig};
#[cfg(feature = "classifier")]
pub use classifier::{
    CategoryScore, ClassifierAnalyzer, ClassifierTrainer, ErrorClassifier, Evaluation,
    HybridAnswer, HybridClassifier, HybridConfig, LabeledError, Prediction, ReliabilityBin,
    TrainError,
};
pub use down::DownAnalyzer;
pub use fuser::{LogOddsConfig, LogOddsFuser};
pub use fusion::{
    Activity, Alarm, BlamedChange, CallCount, EdgeGaps, EvidenceBundle, EvidenceChange,
    EvidenceFusion, EvidenceSeries, Family, FamilyReading, FusionAnalyzer, LogCount, Memory,
    OperationCount, PastIncident, Ranking, SeriesKind, Suspect, Worse, onset_of,
};
#[cfg(feature = "schema")]
pub use rule::rule_schema;
pub use rule::{
    Blames, Criticality, ErrorLine, ErrorText, LintFinding, LintKind, Pattern, Patterns,
    Requirement, Rule, RuleAnalyzer, RuleMatch, RuleSet,
};
pub use saturation::SaturationAnalyzer;
pub use topology_walk::TopologyWalk;
pub use trend::TrendAnalyzer;
