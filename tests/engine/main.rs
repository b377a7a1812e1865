//! The engine from signal to closed incident, under simulated time.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod breaker;
mod closing;
mod detection;
mod distrust;
#[cfg(feature = "code")]
mod error_to_patch;
mod escalation;
mod evidence;
mod gating;
mod grouping;
mod hand_over;
mod heal;
mod health;
mod kill_switch;
mod learning;
mod leases;
mod limits;
mod models;
mod operator;
#[cfg(feature = "store")]
mod patch_kills;
#[cfg(all(feature = "code", feature = "sandbox", target_os = "linux"))]
mod patch_python;
mod patching;
mod playbooks;
mod plugins;
mod recovery;
mod retention;
mod shutdown;
mod staleness;
mod templates;
mod verify_control;
mod watch_series;
mod world;
