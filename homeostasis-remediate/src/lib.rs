#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod action;
mod file;
pub mod playbook;
#[cfg(feature = "resilience")]
pub mod resilience;
pub mod rollout;
pub mod run;
mod template;
pub mod traffic;

pub use run::PlaybookRemediator;
