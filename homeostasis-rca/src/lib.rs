#![doc = include_str!("../README.md")]

mod calls;
mod chain;
mod change;
#[cfg(feature = "classifier")]
mod classifier;
mod down;
mod effect;
mod environment;
mod fuser;
mod fusion;
mod gauge;
mod meaning;
#[cfg(feature = "model-analyzer")]
mod model;
mod rule;
mod saturation;
mod scope;
mod shift;
mod stats;
mod topology_walk;
mod trend;

pub use chain::{ChainBuilder, ChainConfig};
pub use change::{ChangeAnalyzer, ChangeConfig};
#[cfg(feature = "classifier")]
pub use classifier::{
    CategoryScore, ClassifierAnalyzer, ClassifierTrainer, ErrorClassifier, Evaluation,
    HybridAnswer, HybridClassifier, HybridConfig, LabeledError, Prediction, ReliabilityBin,
    TrainError,
};
pub use down::DownAnalyzer;
pub use environment::EnvironmentAnalyzer;
pub use fuser::{LogOddsConfig, LogOddsFuser};
pub use fusion::{
    Activity, Alarm, BlamedChange, CallCount, EdgeGaps, EvidenceBundle, EvidenceChange,
    EvidenceFusion, EvidenceSeries, Family, FamilyReading, FusionAnalyzer, LogCount, Memory,
    OperationCount, PastIncident, Ranking, SeriesKind, Suspect, Worse, onset_of,
};
#[cfg(feature = "model-analyzer")]
pub use model::{ModelAnalyzer, ModelConfig};
#[cfg(feature = "schema")]
pub use rule::rule_schema;
pub use rule::{
    Blames, Criticality, ErrorLine, ErrorText, LintFinding, LintKind, Pattern, Patterns,
    Requirement, Rule, RuleAnalyzer, RuleMatch, RuleSet,
};
pub use saturation::SaturationAnalyzer;
pub use topology_walk::TopologyWalk;
pub use trend::TrendAnalyzer;
