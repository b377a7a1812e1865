//! Tries a patch on a copy of the project: does the fault show without it, is it gone with it, and does
//! everything else still work?
//!
//! A [`TrialPlan`] is data: tests with their level.
//! The tests of a level run side by side, the levels one after the other, cheap before dear; after a level
//! with a required failure nothing dearer is run.
//! A level whose tests changed their copy leaves the next one another copy.
//! What a patch costs is measured last: a [`TimingJudge`] compares timings with it and without it.
//! [`Trial`] runs it; [`TrialReport`] says what came of each and whether the patch may be handed over.

mod cache;
mod coverage;
mod error;
mod go_coverage;
mod plan;
mod reasons;
mod regression;
mod report;
mod runner;
mod rust_coverage;
mod source_map;
mod timing;
mod tree;
mod trigger_source;
mod v8_coverage;

pub use coverage::Coverage;
pub use error::TrialError;
pub use plan::{Level, TrialFile, TrialPlan, TrialTest};
pub use regression::{CannotGenerate, FailingCall, RegressionTest};
pub use report::{Attempt, TestOutcome, TestResult, TrialReport, TrialVerdict};
pub use runner::Trial;
pub use timing::{
    Measure, TimingConfig, TimingJudge, TimingJudgment, TimingOutcome, TimingPair, TimingVerdict,
};
pub use trigger_source::{LoggedFailure, TriggerSource};
