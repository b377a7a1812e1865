//! Rollouts: a new version gets traffic in stages, each confirmed before the next.
//!
//! A [`Rollout`] is data. It becomes a plan whose steps shift traffic and wait for a verdict, and a
//! plan that is begun is a run like any other: it goes through the gate, survives a crash of its
//! process at every step, and when a step fails it is taken back, which is the rollback.
//!
//! | strategy | stages |
//! |---|---|
//! | canary | 1, 10, 50, 100 % |
//! | progressive | 1, 5, 25, 50, 100 %, each with its time and the share that must succeed |
//! | stepwise | a first share, then as much again until 100 % |
//! | blue-green | 100 % at once; the old slot stays until it is confirmed |
//! | A/B test | one share for a time, then 100 % if it is no worse |
//! | stages | as written |
//!
//! A new version may be watched before all that in the shadow: it gets copies, and no traffic.

mod plan;
#[cfg(test)]
mod plan_tests;
mod remediator;
mod spec;
mod stages;

pub use plan::RolloutBinding;
pub use remediator::{ROLLOUTS, RolloutRemediator};
pub use spec::{OnUncertain, RollbackMode, Rollout, RolloutStep};
pub use stages::{RolloutStage, RolloutStrategy};
