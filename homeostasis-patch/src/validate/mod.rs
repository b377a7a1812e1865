//! Whether a change of a file may be made at all, and how risky it is.
//!
//! Both texts become trees, each tree a list of *facts* (a call that starts a process, an assertion,
//! a handler that does nothing), and the two lists are compared: what was there before may stay,
//! what is new and dangerous or gone and protective is refused.

mod assertions;
mod assignment;
mod branch;
mod characters;
mod condition;
mod condition_parser;
mod config;
mod danger;
mod dead_code;
mod effect;
mod errors;
mod fact;
mod flags;
mod guard;
mod guard_changes;
mod handlers;
mod hosts;
mod identity;
mod in_place;
mod lints;
mod logs;
mod names;
mod patch_validator;
mod protected;
mod reason;
mod references;
mod resources;
mod secrets;
mod settings;
mod strictness;
mod test_cases;
mod time_limits;
mod token;
mod validation;
mod way_out;
mod words;

pub use config::ValidatorConfig;
pub use patch_validator::PatchValidator;
pub use reason::RefusalReason;
pub use validation::{Flag, Refusal, RiskFactor, TextSide, Validation};
