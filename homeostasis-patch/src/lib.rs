#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod applied_patch;
mod config_patcher;
mod config_remedy;
mod diff;
mod edit;
mod file_patch;
mod file_patch_error;
mod hand_over;
#[cfg(feature = "code")]
mod language;
#[cfg(feature = "model-patcher")]
mod model;
#[cfg(any(feature = "code", all(feature = "sandbox", target_os = "linux")))]
mod patch_checks;
mod project_file;
#[cfg(feature = "code")]
mod propose;
mod rebase;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
pub mod sandbox;
#[cfg(feature = "code")]
mod syntax;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
pub mod trial;
#[cfg(feature = "code")]
mod validate;

pub use applied_patch::{AppliedPatch, apply_candidate, revert};
pub use config_patcher::ConfigPatcher;
pub use config_remedy::ConfigRemedy;
pub use diff::{Applied, Conflict, ConflictReason, DiffError, DiffLine, FileDiff, Hunk, LineKind};
pub use diff::{DEFAULT_CONTEXT, UnifiedDiff};
pub use edit::{ConfigEdit, ConfigPath, EditError, EditOp, Format, PathSegment, apply_edits};
pub use file_patch::FilePatch;
pub use file_patch_error::FilePatchError;
pub use hand_over::{
    Author, ChangeSet, HandOver, HandOverError, LiveTree, Overwritten, PatchBranch,
};
pub use hand_over::{PatchFolder, Receipt, RolledBack, Session, SessionFile};
pub use hand_over::{SessionState, Settled};
#[cfg(feature = "code")]
pub use language::Language;
#[cfg(feature = "model-patcher")]
pub use model::{ModelPatcher, ModelPatcherConfig};
#[cfg(feature = "code")]
pub use propose::{
    Dropped, Proposal, ProposalBudget, Proposer, SourceTree, TemplatePatcher, TemplateRefusal,
    TemplateSet,
};
pub use rebase::{Fit, Rebased, rebase};
#[cfg(feature = "code")]
pub use validate::{Flag, PatchValidator, Refusal, RefusalReason, RiskFactor, TextSide};
#[cfg(feature = "code")]
pub use validate::{Validation, ValidatorConfig};
