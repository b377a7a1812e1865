//! What is known of an incident: plain data, serialized into the journal.

mod anomaly;
mod bounds;
mod canary;
mod candidate;
mod capture;
mod chain;
mod criterion;
mod diagnosis;
mod event;
mod hand_over;
mod latencies;
pub(crate) mod patch;
mod plan;
mod recovery_strategy;
mod redact;
mod run;
mod scenario;
mod severity;
mod verdict;

pub use anomaly::{Anomaly, Contribution, Direction, Expectation, Fingerprint, Subject};
pub use canary::{
    ArmInterval, CanaryAnswer, CanaryDecision, CanaryEvidence, CanaryForecast, CanaryInterval,
    CanaryTraffic,
};
pub use candidate::{Candidate, Standing};
pub use chain::{CausalChain, ChainPlace, ChainStep};
pub use criterion::{Baseline, Comparison, Criterion, Phases, VerificationSpec};
pub use diagnosis::{Category, Diagnosis, Finding, Hypothesis, Proof, Role};
pub use event::{EventError, EventKind, HealEvent, Resolution, SCHEMA_VERSION};
pub use hand_over::{AnsweredHandOver, HandOver, HandOverAnswer, RunCancellation};
pub use latencies::Latencies;
pub use patch::{PatchCandidate, PatchKind};
pub use plan::{EffectClass, Inverse, Plan, PlanPatch, PlanStep, PlaybookRef, Retry, RiskLevel};
pub use recovery_strategy::RecoveryStrategy;
pub use run::{Outcome, RunState, StepIntent, StepOutcome, StepPhase, StepState, UndoPolicy};
pub use scenario::{Expected, Scenario, ScenarioCall, ScenarioStep};
pub use severity::{BlastRadius, RadiusLevel, Severity};
pub use verdict::{CheckOutcome, CheckResult, Recommendation, Verdict, VerdictKind};
