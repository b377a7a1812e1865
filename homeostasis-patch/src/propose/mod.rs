//! From an error to proposed changes of code.

mod answer;
mod branch;
mod budget;
mod caught;
mod coded;
mod condition;
mod constant;
mod declared;
mod donor;
mod draft;
mod exit;
mod fallback;
mod grammar;
mod mapping;
mod patcher;
mod permission;
mod proposer;
mod reach;
mod refusal;
mod render;
mod repeatable;
mod report;
mod rust_exit;
mod site;
mod source_tree;
mod template;
mod template_document;
mod template_set;

pub use budget::ProposalBudget;
pub use patcher::TemplatePatcher;
pub use proposer::{Dropped, Proposal, Proposer, TemplateRefusal};
pub use source_tree::SourceTree;
pub use template_set::TemplateSet;
