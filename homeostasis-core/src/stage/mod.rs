//! The five stages as traits: what a plug-in implements.

mod analyzer;
mod canary;
mod detector;
mod fuser;
mod kernel;
mod patch_check;
mod patcher;
mod remediator;
mod row;
mod run_log;
mod verifier;

pub use analyzer::{AnalyzeError, Analyzer, Evidence};
pub use canary::{CanaryAnalysis, CanaryAnalyst, CanaryError};
pub use detector::{DetectError, Detector, ModelPart, ModelRest, ModelSnapshot};
pub use fuser::{Fuser, StrongestFinding};
pub use kernel::{KernelScore, SeriesDetector};
pub use patch_check::{PatchCheck, PatchProof, PatchReport};
pub use patcher::{PatchError, PatchRequest, Patcher};
pub use remediator::{ExecuteError, PlanError, PlanRequest, Remediator, Selection};
pub use row::{RowDetector, RowScore, Rows};
pub use run_log::{RunJournal, RunLog, RunLogError};
pub use verifier::{Verifier, VerifyError, VerifyRequest};
