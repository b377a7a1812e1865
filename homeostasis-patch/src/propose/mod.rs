//! From an error to proposed changes of code.

mod coded;
mod condition;
mod donor;
mod draft;
mod grammar;
mod patcher;
mod proposer;
mod render;
mod rust_exit;
mod site;
mod source_tree;
mod template;
mod template_set;

pub use patcher::TemplatePatcher;
pub use proposer::{Dropped, Proposal, Proposer, TemplateRefusal};
pub use source_tree::SourceTree;
pub use template_set::TemplateSet;
